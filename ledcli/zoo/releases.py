"""Published checkpoints: their names, the registries of what can be downloaded, and the download.

No torch.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs

from ledcli.errors import DownloadError, ModelError, UsageError
from ledcli.output.atomic import atomic_write, make_folder
from ledcli.reporting import SILENT, Reporter
from ledcli.zoo.checkpoint_file import MAX_BYTES, parse_name
from ledcli.zoo.model_file import reading
from ledcli.zoo.spec import MAX_NAME_LENGTH, NAME_RULE, is_name, is_ratio_range, is_text, short
from ledcli.zoo.store import bundled_dir, installed_dir, locked

if TYPE_CHECKING:
    from ledcli.zoo.importing import Imported

BUNDLED = "upstream.toml"
"""The registry that comes with `led`, in the folder of bundled models."""
OWN = "registry.toml"
"""The user's own, in the configuration folder."""
HISTORY = "pulled.json"
"""Accepted licences and first hashes, beside the folder of installed models."""
LICENCES, HASHES = "accepted_licences", "sha256_of_first_download"
"""The keys in it."""
MAX_REGISTRY_BYTES = 1 << 20

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}\.pth")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def model_name(stem: str) -> str:
    """Make the name of a model from that of a file; raises UsageError if nothing is left of it."""
    name = re.sub(r"[^a-z0-9.]+", "-", stem.lower())[:MAX_NAME_LENGTH].strip("-.")
    if not name:
        raise UsageError(f"'{stem}' gives no name for the model: name it with --name")
    return name


@dataclass(frozen=True)
class Release:
    """A file that can be downloaded."""

    name: str
    """Of the model that it becomes."""
    file: str
    """The name under which it is saved."""
    urls: tuple[str, ...]
    """Where it is; the first that answers is used."""
    licence: str
    licence_url: str
    source: str
    ratio_range: tuple[float, float]
    """Ratios that it was trained for."""
    camera: str | None = None
    """The camera that it was tuned to, and its method, where the file's name does not tell them."""
    method: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    """Size of the file; None if unknown, like the hash."""


def bundled_registry() -> Path:
    """Return the path of the registry that comes with `led`."""
    return bundled_dir() / BUNDLED


def own_registry() -> Path:
    """Return the path of the user's own registry; `LED_HOME` moves it."""
    home = os.environ.get("LED_HOME") or platformdirs.user_config_dir("led", appauthor=False)
    return Path(os.path.expanduser(home)) / OWN


def read_releases(extra: Path | None = None) -> dict[str, Release]:
    """Read all registries: the bundled one, the user's own, and an extra one.

    A later one adds entries. To an existing entry it adds its `urls`, which are tried first; its
    other values replace the earlier ones. Raises ModelError when a registry is missing or damaged,
    or has a value that is not allowed.
    """
    entries: dict[str, dict[str, Any]] = {}
    last: dict[str, Path] = {}
    own = [own_registry()] if os.path.isfile(own_registry()) else []
    for path in (bundled_registry(), *own, *([extra] if extra else [])):
        for name, entry in _read_registry(path).items():
            known = entries.get(name, {})
            urls = entry.get("urls", [])
            if not isinstance(urls, list) or not all(isinstance(u, str) and u for u in urls):
                raise ModelError(f"{path}: models.{name}: urls must be a list of addresses")
            urls = [*urls, *known.get("urls", [])]
            entries[name] = known | entry | {"urls": list(dict.fromkeys(urls))}
            last[name] = path
    return {name: _release(last[name], name, entry) for name, entry in entries.items()}


def _read_registry(path: Path) -> dict[str, dict[str, Any]]:
    with reading(path, "registry"), open(path, "rb") as file:
        data = file.read(MAX_REGISTRY_BYTES + 1)
    if len(data) > MAX_REGISTRY_BYTES:
        raise ModelError(f"{path}: is too large for a registry. Name another file.")
    try:
        content = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not TOML ({short(str(error))}). Correct it.") from error
    models, defaults = content.pop("models", {}), content.pop("defaults", {})
    if content or not isinstance(models, dict) or not isinstance(defaults, dict):
        raise ModelError(f"{path}: a registry has tables [models.NAME] and [defaults] only")
    for name, entry in models.items():
        if not is_name(name):
            raise ModelError(f"{path}: {short(name)} cannot name a model: use {NAME_RULE}")
        if not isinstance(entry, dict):
            raise ModelError(f"{path}: models.{name} must be a table")
    return {name: defaults | entry for name, entry in models.items()}


def _release(path: Path, name: str, entry: dict[str, Any]) -> Release:
    """Check an entry's values, which come from anywhere."""
    entry = {"file": f"{name}.pth"} | entry

    def bad(text: str) -> ModelError:
        return ModelError(f"{path}: models.{name}: {text}")

    for key in entry:
        if key not in _RULES:
            raise bad(f"unknown key {short(key)}; there are {', '.join(sorted(_RULES))}")
    for key, (holds, expected) in _RULES.items():
        required = key in ("licence", "licence_url", "source", "urls")
        if (required or key in entry) and not holds(entry.get(key)):
            raise bad(f"{key} must be {expected}")
    ratios = entry.get("ratio_range")
    if ratios is None:
        published = parse_name(Path(entry["file"]).stem)
        if published is None:
            raise bad("needs ratio_range = [LOW, HIGH]: the file's name does not tell it")
        ratios = published.ratio_range
    exact = {"name": name, "urls": tuple(entry["urls"]), "ratio_range": tuple(map(float, ratios))}
    return Release(**(entry | exact))


_RULES: dict[str, tuple[Callable[[Any], object], str]] = {
    "file": (lambda v: is_text(v) and _FILE.fullmatch(v), "the plain name of a .pth file"),
    "urls": (bool, "a list of at least one address"),
    "licence": (is_text, "a text"),
    "licence_url": (is_text, "a text"),
    "source": (is_text, "a text"),
    "ratio_range": (
        lambda v: type(v) is list and is_ratio_range(tuple(v)),
        "two numbers, 0 < low <= high",
    ),
    "camera": (is_text, "a text"),
    "method": (is_text, "a text"),
    "sha256": (lambda v: is_text(v) and _SHA256.fullmatch(v), "64 digits of 0-9 and a-f"),
    "bytes": (lambda v: type(v) is int and 0 < v <= MAX_BYTES, f"a number up to {MAX_BYTES}"),
}


class PullHistory:
    """Licences that were accepted on this machine, and the hashes of first downloads.

    Raises ModelError when its file is damaged.
    """

    def __init__(self) -> None:
        self.path: Path = installed_dir().parent / HISTORY
        self._read()

    def accept(self, licence: str, url: str, *, accepted: bool) -> bool:
        """Return True if a licence is accepted now, False if it was before; raises UsageError."""
        key = f"{licence} {url}"
        if key in self._content[LICENCES]:
            return False
        if not accepted:
            terms = ", which forbids commercial use" if "-NC-" in licence else ""
            raise UsageError(
                f"the model's licence is {licence}{terms}: read it at {url}; --accept-license "
                "accepts it, once for all models under it"
            )
        self._add(LICENCES, key, datetime.now(UTC).isoformat(timespec="seconds"))
        return True

    def sha256(self, name: str) -> str | None:
        """Return the hash that an entry's file had at its first download."""
        return self._content[HASHES].get(name)

    def pin(self, name: str, sha256: str) -> None:
        """Remember the hash of an entry's file."""
        self._add(HASHES, name, sha256)

    def _add(self, part: str, key: str, value: str) -> None:
        make_folder(self.path.parent)
        with locked(self.path.with_suffix(".lock")):
            self._read()  # another process may have written
            self._content[part][key] = value
            atomic_write(self.path, json.dumps(self._content, indent=1).encode())

    def _read(self) -> None:
        damaged = ModelError(f"{self.path}: is damaged; delete it, and accept the licences again")
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            content = {}
        except (OSError, ValueError, RecursionError) as error:
            raise damaged from error
        if not isinstance(content, dict):
            raise damaged
        self._content = {key: content.get(key, {}) for key in (LICENCES, HASHES)}
        for part in self._content.values():
            if not isinstance(part, dict) or not all(map(is_text, part.values())):
                raise damaged


class Pulled(NamedTuple):
    """A downloaded checkpoint, its address and hash, and what says that the hash is right."""

    imported: Imported
    url: str
    sha256: str
    pinned_by: str
    """``registry``, or ``first download``."""


def pull_release(release: Release, *, force: bool = False, report: Reporter = SILENT) -> Pulled:
    """Download a checkpoint and import it; pin its hash at the first download.

    Raises DownloadError when it cannot be downloaded, or its hash is not the one in the registry or
    the pinned one; ModelError when it is not a checkpoint of a network. The file is never kept.
    `report` gets the progress, and a first hash.
    """
    from ledcli.zoo.importing import import_checkpoint

    folder = installed_dir().parent / "downloads"
    busy = f"another led process is downloading to {folder}: wait until it is done"
    with locked(folder / "download.lock", DownloadError(busy)):
        history = PullHistory()
        known = release.sha256 or history.sha256(release.name)
        path, url, sha256 = _fetch(release, folder / release.file, known, report)
        try:
            imported = import_checkpoint(
                path,
                ratio_range=release.ratio_range,
                camera=release.camera,
                method=release.method,
                licence=release.licence,
                source=f"{url}, of {release.source}"[:1000],
                force=force,
            )
        finally:
            path.unlink(missing_ok=True)
        if known is None:
            history.pin(release.name, sha256)
            report.info(
                f"{release.file}: no registry has its hash; later downloads must have this one: "
                f"SHA-256 {sha256}"
            )
    pinned_by = "registry" if release.sha256 else "first download"
    return Pulled(imported, url, sha256, pinned_by)


def _fetch(
    release: Release, target: Path, sha256: str | None, report: Reporter
) -> tuple[Path, str, str]:
    """Download an entry's file, with this hash if any; return its path, address and hash.

    `report` gets a warning about each address that fails; the last one's DownloadError is raised.
    """
    from ledcli.zoo.download import fetch

    get = partial(fetch, target=target, size=release.bytes, sha256=sha256, report=report)
    *mirrors, final = release.urls
    for url in mirrors:
        try:
            return target, url, get(url)
        except DownloadError as error:
            report.warn(f"{error}; trying the next address")
    return target, final, get(final)
