"""Fetching a registry's entry: from the first address that has it, pinned to one hash. No torch."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from ledcli.errors import DownloadError, ModelError, UsageError
from ledcli.output.atomic import atomic_write, make_folder
from ledcli.zoo.checkpoint_file import MAX_BYTES
from ledcli.zoo.download import Show, fetch
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.spec import MAX_RATIO, NAME_RULE, is_name, short
from ledcli.zoo.store import bundled_dir, installed_dir
from ledcli.zoo.upstream import parse_name

FILE = "remembered.json"
_ACCEPTED, _HASHES = "accepted_licences", "sha256_at_first_download"


class Remembered:
    """The notes of this machine, beside the installed models; each is written as it is made.

    Raises
    ------
    ModelError
        When the file of notes is damaged.
    """

    def __init__(self) -> None:
        self.path: Path = installed_dir().parent / FILE
        self._notes = self._read()

    def accept(self, licence: str, url: str, *, accepted: bool) -> bool:
        """Settle a licence: accepted now or before.

        Parameters
        ----------
        licence, url : str
            Its name and where it can be read.
        accepted : bool
            Whether the user accepts it now.

        Returns
        -------
        bool
            Whether it was accepted only now.

        Raises
        ------
        UsageError
            When it never was.
        """
        key = f"{licence} {url}"
        if key in self._notes[_ACCEPTED]:
            return False
        if not accepted:
            terms = ", which forbids commercial use" if "-NC-" in licence else ""
            raise UsageError(
                f"the model's licence is {licence}{terms}: read it at {url}; with "
                "--accept-license you accept it, once for all models under it"
            )
        self._note(_ACCEPTED, key, datetime.now(UTC).isoformat(timespec="seconds"))
        return True

    def sha256(self, name: str) -> str | None:
        """Return the hash that the file of a registry's entry had at its first download."""
        return self._notes[_HASHES].get(name)

    def pin(self, name: str, sha256: str) -> None:
        """Remember the hash of an entry's file."""
        self._note(_HASHES, name, sha256)

    def _note(self, kind: str, key: str, text: str) -> None:
        # Another led may have written since.
        self._notes = self._read()
        self._notes[kind][key] = text
        make_folder(self.path.parent)
        atomic_write(self.path, json.dumps(self._notes, indent=1).encode())

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            notes = {kind: content.get(kind, {}) for kind in (_ACCEPTED, _HASHES)}
            if not all(isinstance(v, str) for kind in notes.values() for v in kind.values()):
                raise ValueError("a note is no text")
        except FileNotFoundError:
            return {_ACCEPTED: {}, _HASHES: {}}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"{self.path}: cannot be understood; delete it, and accept the licences again"
            ) from error
        return notes


BUNDLED = "upstream.toml"
"""The registry that comes with `led`, in the folder of bundled models."""
OWN = "registry.toml"
"""The user's own, in the configuration folder."""
MAX_REGISTRY_BYTES = 1 << 20

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}\.pth")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Release:
    """A checkpoint that can be fetched.

    Attributes
    ----------
    name : str
        Of the model that it becomes.
    file : str
        Its file's name.
    urls : tuple of str
        Where it is, the first that answers.
    licence, licence_url, source : str
        What its user agrees to, where that can be read, and who made it.
    ratio_range : (float, float)
        Lowest and highest ratio that it was trained for.
    camera : str or None
        The camera it was tuned to, where that is not to be told from the file's name.
    sha256 : str or None
        Its hash, where it is known.
    size : int or None
        Its bytes, where they are known.
    """

    name: str
    file: str
    urls: tuple[str, ...]
    licence: str
    licence_url: str
    source: str
    ratio_range: tuple[float, float]
    camera: str | None = None
    sha256: str | None = None
    size: int | None = None


def bundled_registry() -> Path:
    """Return where the registry is that comes with `led`."""
    return bundled_dir() / BUNDLED


def own_registry() -> Path:
    """Return where the user's own registry is looked for; `LED_HOME` names another home."""
    home = os.environ.get("LED_HOME") or platformdirs.user_config_dir("led", appauthor=False)
    return Path(home).expanduser() / OWN


def read_releases(extra: Path | None = None) -> dict[str, Release]:
    """Read all registries: the bundled one, the user's own, and one named for the occasion.

    A later one adds entries, and to an entry that is there already what it says of it: its `urls`
    are tried before those that are known, its other values stand instead of the former.

    Raises
    ------
    ModelError
        When a registry is missing, damaged, or says what it may not.
    """
    entries: dict[str, dict[str, Any]] = {}
    paths = [bundled_registry(), *([own_registry()] if own_registry().is_file() else [])]
    last: dict[str, Path] = {}
    for path in [*paths, *([extra] if extra is not None else [])]:
        for name, entry in _read(path).items():
            before = entries.get(name, {})
            urls = [*_urls(path, name, entry), *before.get("urls", [])]
            entries[name] = before | entry | {"urls": list(dict.fromkeys(urls))}
            last[name] = path
    return {name: _release(last[name], name, entry) for name, entry in entries.items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_REGISTRY_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such registry. Check the path.") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}). Check it.") from error
    if len(data) > MAX_REGISTRY_BYTES:
        raise ModelError(f"{path}: is too large for a registry. Name another file.")
    try:
        content = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is no TOML ({short(str(error))}). Correct it.") from error
    models = content.pop("models", {})
    if content or not isinstance(models, dict):
        raise ModelError(f"{path}: a registry has tables [models.NAME] and nothing else")
    for name, entry in models.items():
        if not is_name(name):
            raise ModelError(f"{path}: {short(name)} cannot name a model: use {NAME_RULE}")
        if not isinstance(entry, dict):
            raise ModelError(f"{path}: models.{name} must be a table")
    return models


def _urls(path: Path, name: str, entry: dict[str, Any]) -> list[str]:
    urls = entry.get("urls", [])
    if not isinstance(urls, list) or not all(isinstance(u, str) and u for u in urls):
        raise ModelError(f"{path}: models.{name}: urls must be a list of addresses")
    return urls


def _release(path: Path, name: str, entry: dict[str, Any]) -> Release:
    """Check an entry's values; those of TOML come from anywhere."""

    def bad(text: str) -> ModelError:
        return ModelError(f"{path}: models.{name}: {text}")

    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise bad(f"there is no key {short(unknown[0])}; there are {', '.join(sorted(_KEYS))}")
    for key in ("file", "licence", "licence_url", "source"):
        if not isinstance(entry.get(key), str) or not 0 < len(entry[key]) <= 500:
            raise bad(f"{key} must be a text")
    file = entry["file"]
    if not _FILE.fullmatch(file):
        raise bad(f"file must be the plain name of a .pth file, not {short(file)}")
    if not entry["urls"]:
        raise bad("urls names no address")
    camera, sha256, size = (entry.get(key) for key in ("camera", "sha256", "bytes"))
    if camera is not None and not (isinstance(camera, str) and 0 < len(camera) <= 200):
        raise bad("camera must be a text")
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise bad("sha256 must be 64 digits of 0-9 and a-f")
    if size is not None and not (type(size) is int and 0 < size <= MAX_BYTES):
        raise bad(f"bytes must be a whole number up to {MAX_BYTES}")
    ratios = entry.get("ratio_range")
    if ratios is None:
        told = parse_name(Path(file).stem)
        if told is None:
            raise bad("needs ratio_range = [LOW, HIGH]: the file's name does not tell it")
        ratios = told.ratio_range
    elif not _is_range(ratios):
        raise bad("ratio_range must be two numbers, 0 < low <= high")
    return Release(
        name, file, tuple(entry["urls"]), entry["licence"], entry["licence_url"], entry["source"],
        (float(ratios[0]), float(ratios[1])), camera, sha256, size,
    )  # fmt: skip


_KEYS = {
    "file", "urls", "licence", "licence_url", "source", "ratio_range", "camera", "sha256", "bytes",
}  # fmt: skip


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(v) in (int, float) for v in value)
        and 0 < value[0] <= value[1] <= MAX_RATIO
    )


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
