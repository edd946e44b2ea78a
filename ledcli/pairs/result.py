"""The record beside a list, `pairs.json`: all that a scan found, for scripts and fine-tuning."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.errors import OutputError, PairError
from ledcli.output.atomic import atomic_write

FORMAT = "led pairs 1"
"""What the file calls itself: another file of that name is not ours and is left alone."""
LARGEST_RECORD = 256 << 20
"""Bytes; far above the record of 100,000 frames."""

LARGEST_NUMBER = 1e9
"""No ISO and no exposure time is larger."""


class DarkFrame(NamedTuple):
    """A frame taken with the lens cap on.

    Attributes
    ----------
    file : Path
    iso : float
    exposure_time : float or None
        In seconds.
    camera : str or None
        As `Exif.camera` says it.
    serial : str or None
        The body's, as `Exif.serial` says it; None in records that were written without it.
    """

    file: Path
    iso: float
    exposure_time: float | None = None
    camera: str | None = None
    serial: str | None = None


def record_path(list_path: Path) -> Path:
    """Where the record of a list lies: beside it, its name ending in ``.json``."""
    return Path(list_path).with_suffix(".json")


def write_record(list_path: Path, record: Mapping[str, Any]) -> Path:
    """Write the record of a list, whole or not at all, and return its path.

    Raises
    ------
    OutputError
        It cannot be written, or there is a file of that name which no scan has written.
    """
    path = record_path(list_path)
    check_replaceable(list_path)
    text = json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False)
    atomic_write(path, text.encode("ascii") + b"\n")
    return path


def check_replaceable(list_path: Path) -> None:
    """Raise OutputError where the record's name is taken by a file that is not a record."""
    path = record_path(list_path)
    try:
        ours = _load(path) is not None or not os.path.lexists(path)
    except PairError:
        ours = False
    if not ours:
        raise OutputError(
            f"{path}: is not a record of pairs and would be overwritten: rename it, or choose "
            "another list with --out"
        )


def read_darks(list_path: Path) -> list[DarkFrame]:
    """Return the dark frames that a scan found with the pairs of a list.

    Parameters
    ----------
    list_path : Path
        The list, not the record beside it.

    Returns
    -------
    list of DarkFrame
        Empty when there is no record beside the list.

    Raises
    ------
    PairError
        The record is damaged, or names a dark frame that is not there.
    """
    path = record_path(list_path)
    record = _load(path)
    if record is None:
        return []
    entries = record.get("dark")
    if not isinstance(entries, list):
        raise PairError(f"{path}: is damaged: make it again with 'led pairs scan'")
    return [_dark(entry, path) for entry in entries]


def _dark(entry: object, path: Path) -> DarkFrame:
    try:
        if not isinstance(entry, dict):
            raise TypeError
        name, iso = entry["file"], entry["iso"]
        time, camera, serial = (entry.get(key) for key in ("exposure_time", "camera", "serial"))
        sound = (
            isinstance(name, str)
            and _is_number(iso)
            and (time is None or _is_number(time))
            and all(text is None or isinstance(text, str) for text in (camera, serial))
        )
        if not sound:
            raise TypeError
    except (KeyError, TypeError):
        raise PairError(
            f"{path}: holds a dark frame without a file and an ISO: make it again with "
            "'led pairs scan'"
        ) from None
    file = path.parent / name
    if not os.path.isfile(file):
        raise PairError(
            f"{path}: there is no dark frame {file} any more: put it back, or run "
            "'led pairs scan' again"
        )
    return DarkFrame(file, float(iso), None if time is None else float(time), camera, serial)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < LARGEST_NUMBER


def _load(path: Path) -> dict[str, Any] | None:
    """Read a record; None when there is none, or JSON of another kind."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_RECORD + 1)
        if len(data) > LARGEST_RECORD:
            raise ValueError
        record = json.loads(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PairError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    except (ValueError, RecursionError):
        raise PairError(f"{path}: is damaged: make it again with 'led pairs scan'") from None
    ours = isinstance(record, dict) and record.get("format") == FORMAT
    return record if ours else None
