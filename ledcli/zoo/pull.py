"""Fetching a registry's entry: from the first address that has it, pinned to one hash. No torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import DownloadError
from ledcli.zoo.download import Show, fetch
from ledcli.zoo.modelfile import file_sha256
from ledcli.zoo.registry import Release
from ledcli.zoo.shelf import installed_dir
from ledcli.zoo.torchfile import MAX_BYTES


class Fetched(NamedTuple):
    """A file that was fetched, from where, and its hash."""

    path: Path
    url: str
    sha256: str


def downloads_dir() -> Path:
    """Folder of what is being fetched, or was and is not installed yet."""
    return installed_dir().parent / "downloads"


def fetch_release(
    release: Release,
    pinned: str | None,
    *,
    show: Show = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Fetched:
    """Fetch an entry's file.

    Parameters
    ----------
    release : Release
    pinned : str or None
        Hash that it must have.
    show, say : callable
        As for `download.fetch`; `say` is told of every address that fails, too.

    Raises
    ------
    DownloadError
        When no address gives the file; the last one's reason.
    """
    target = downloads_dir() / release.file
    if pinned and target.is_file() and file_sha256(target) == pinned:
        return Fetched(target, release.urls[0], pinned)
    for url in release.urls:
        try:
            sha256 = fetch(
                url, target, most=MAX_BYTES, size=release.size, sha256=pinned, show=show, say=say
            )
            return Fetched(target, url, sha256)
        except DownloadError as error:
            if url == release.urls[-1]:
                raise
            say(f"{error}; trying the next address")
    raise DownloadError(f"{release.name}: its registry names no address for it")
