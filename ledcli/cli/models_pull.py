"""`led models pull`: fetch a published model by its name and install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.importing import AcceptOption, ForceOption, accept, install
from ledcli.cli.options import DryRunOption, JsonOption, QuietOption
from ledcli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from ledcli.cli.terminal import Progress
    from ledcli.zoo.download import Show
    from ledcli.zoo.releases import Fetched, Release
    from ledcli.zoo.upstream import Imported


def pull(
    entry: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="What to fetch; without it, what there is."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model.", show_default="the same")
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="A registry that adds entries, or mirrors."),
    ] = None,
    accept_license: AcceptOption = False,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a published model and install it.

    A download that was stopped goes on where it was. The file is pinned to its hash: the one in
    the registry, else the one of the first download. A registry.toml of your own, or --registry,
    adds models, and mirrors and hashes to those that are known; without a NAME this says where
    both are.

    Examples
    --------
    What there is, and one of it::

        led models pull

        led models pull led-sonya7s2-ratio100-300 --accept-license
    """
    from ledcli.zoo.releases import bundled_registry, own_registry, read_releases

    output = Output(json=json, quiet=quiet)
    releases = read_releases(registry)
    if entry is None:
        _list(output, releases)
        output.hint(f"the registry is {bundled_registry()}; one of your own is {own_registry()}")
        return
    release = releases.get(entry.lower())
    if release is None:
        raise UsageError(f"no registry has '{entry}'. There are: {', '.join(releases)}")

    from ledcli.zoo.releases import Remembered
    from ledcli.zoo.store import check_name

    name = name or release.name
    check_name(name)
    remembered = Remembered()
    before = remembered.sha256(release.name)
    pinned = release.sha256 or before
    if dry_run:
        record = {"model": name, "status": "planned", "urls": release.urls, "sha256": pinned}
        output.result(record, f"{name}: {release.urls[0]}")
        return
    accept(output, release.licence, release.licence_url, now=accept_license)

    from ledcli.zoo.releases import fetch_release

    with _shown(output, release.file) as show:
        fetched = fetch_release(release, pinned, show=show, say=output.warn)
    imported = _import(release, fetched, force=force)
    if pinned is None:
        remembered.pin(release.name, fetched.sha256)
        output.info(
            f"{release.file}: no registry knows its hash; from now on it must have this one, "
            f"SHA-256 {fetched.sha256}"
        )
    pinning = "registry" if release.sha256 else "first download"
    record = {"source": fetched.url, "sha256": fetched.sha256, "pinned_by": pinning}
    install(output, imported, name, record, dry_run=False)
    fetched.path.unlink(missing_ok=True)


def _import(release: Release, fetched: Fetched, *, force: bool) -> Imported:
    """Read what was fetched; what is no checkpoint is not kept."""
    from ledcli.zoo.upstream import import_checkpoint

    try:
        return import_checkpoint(
            fetched.path,
            ratio_range=release.ratio_range,
            camera=release.camera,
            licence=release.licence,
            source=f"{fetched.url}, of {release.source}"[:1000],
            force=force,
        )
    except ModelError:
        fetched.path.unlink(missing_ok=True)
        raise


def _list(output: Output, releases: dict[str, Release]) -> None:
    from ledcli.zoo.releases import Remembered

    remembered = Remembered()
    rows, records = [], []
    for release in releases.values():
        low, high = release.ratio_range
        pinned = release.sha256 or remembered.sha256(release.name)
        rows.append((release.name, f"{low:g} to {high:g}", release.licence, release.file))
        records.append(
            {
                "name": release.name,
                "ratio_range": release.ratio_range,
                "licence": release.licence,
                "licence_url": release.licence_url,
                "file": release.file,
                "urls": release.urls,
                "sha256": pinned,
            }
        )
    output.table(("NAME", "RATIO", "LICENCE", "FILE"), rows, records=records)


@contextmanager
def _shown(output: Output, file: str) -> Iterator[Show]:
    """Show a download in MB; its size is known only when the server has answered."""
    with ExitStack() as stack:
        bar: Progress | None = None
        shown = 0

        def show(done: int, total: int | None) -> None:
            nonlocal bar, shown
            if bar is None:
                label = f"fetching {file}"
                megabytes = total / 1e6 if total else None
                bar = stack.enter_context(output.progress(megabytes, label, "MB"))
            bar.advance((done - shown) / 1e6)
            shown = done

        yield show
