"""What a scan found, and its record beside the list: `pairs.json`, for scripts and fine-tuning."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ledcli.errors import LedError, OutputError, PairError, UsageError, os_reason
from ledcli.output.atomic import atomic_write, check_new
from ledcli.pairs.checks import CheckedPair, PairCheck
from ledcli.pairs.frames import Frame
from ledcli.pairs.list_file import Pair, check_list_replaceable, list_text, relative_name
from ledcli.pairs.rule import MissingPair, RatioRule
from ledcli.raw.inputs import RAW_SUFFIXES

FORMAT = "led pairs 1"
"""Identifies the record; a file of that name without it is never replaced."""
MAX_RECORD_BYTES = 256 << 20
"""Far above the record of 100,000 frames."""
MAX_NUMBER = 1e9
"""No ISO and no exposure time is larger."""


class ListedDark(NamedTuple):
    """A frame taken with the lens cap on."""

    file: Path
    iso: float
    exposure_time: float | None = None
    camera: str | None = None
    serial: str | None = None

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Take it from a raw's header."""
        exif = frame.exif
        return cls(frame.file, frame.iso, exif.exposure_time, exif.camera, exif.serial)


class UnpairedFrame(NamedTuple):
    """A frame that is in no pair; the reason is the end of a sentence about the file."""

    file: Path
    reason: str
    unreadable: bool = False


@dataclass(frozen=True)
class Scan:
    """All that a scan found."""

    frames: tuple[Frame, ...]
    """Every raw whose header could be read."""
    pairs: tuple[CheckedPair, ...]
    """In the order of the short frames' names."""
    dropped: tuple[CheckedPair, ...]
    """Pairs with problems."""
    unpaired: tuple[UnpairedFrame, ...]
    darks: tuple[ListedDark, ...]
    rules: tuple[RatioRule, ...]
    """One for each body and ratio, including those without a good pair."""
    problems: tuple[LedError, ...] = ()
    """Subfolders that could not be read."""


def scan_record(scan: Scan, folder: Path) -> dict[str, Any]:
    """Return all that a scan found as JSON values, names relative to a folder."""

    def frame_record(frame: ListedDark | UnpairedFrame) -> dict[str, Any]:
        return {**frame._asdict(), "file": relative_name(frame.file, folder)}

    return {
        "pairs": [_pair_record(pair, folder) for pair in scan.pairs],
        "rules": [rule_record(rule, folder) for rule in scan.rules],
        "dark": [frame_record(frame) for frame in scan.darks],
        "unpaired": [frame_record(frame) for frame in scan.unpaired],
    }


def _pair_record(pair: CheckedPair, folder: Path) -> dict[str, Any]:
    short, long = pair.short.exif, pair.long.exif
    return {
        "short": relative_name(pair.short.file, folder),
        "long": relative_name(pair.long.file, folder),
        "camera": short.camera,
        "ratio": pair.check.ratio,
        "iso": short.iso,
        "exposure_time": short.exposure_time,
        "long_iso": long.iso,
        "long_exposure_time": long.exposure_time,
        **_check_record(pair.check),
    }


def _check_record(check: PairCheck) -> dict[str, Any]:
    return {
        "problems": list(check.problems),
        "notes": list(check.notes),
        "moved": check.motion and _rounded(check.motion.share),
        "shift": check.shift and [_rounded(part) for part in check.shift],
        "shift_error": _rounded(check.shift_error),
        "similarity": _rounded(check.similarity),
        "measured_ratio": _rounded(check.measured_ratio),
        "black_offset": _rounded(check.black_offset),
        "clipped": _rounded(check.clipped),
        "long_noise": _rounded(check.long_noise),
    }


def listed_record(
    pair: Pair, result: CheckedPair | LedError, *, keep_shifted: bool
) -> dict[str, Any]:
    """Return the check of a list's pair as JSON values, its names as the list has them."""
    record: dict[str, Any] = {"short": str(pair.short), "long": str(pair.long)}
    if isinstance(result, LedError):
        return {**record, "ok": False, "error": str(result)}
    ok = not result.check.problems_if(keep_shifted=keep_shifted)
    return {**record, "ok": ok, "ratio": result.check.ratio, **_check_record(result.check)}


def rule_record(rule: RatioRule, folder: Path | None) -> dict[str, Any]:
    """Return a rule as JSON values, names relative to a folder; None leaves them as they are."""

    def named(scene: Frame | None) -> str | None:
        if scene is None:
            return None
        return str(scene.file) if folder is None else relative_name(scene.file, folder)

    def missing(pairs: Sequence[MissingPair]) -> list[dict[str, Any]]:
        return [
            {"short": asdict(p.short), "long": asdict(p.long), "scene": named(p.scene)}
            for p in pairs
        ]

    instead = rule.instead
    return {
        "camera": rule.camera,
        "serial": rule.serial,
        "ratio": rule.ratio,
        "pairs": rule.pairs,
        "isos": list(rule.isos),
        "holds": rule.holds,
        "to_shoot": missing(rule.to_shoot),
        "instead": instead and {"ratio": instead.ratio, "to_shoot": missing(instead.to_shoot)},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


RULE_COLUMNS = ("CAMERA", "RATIO", "PAIRS", "ISO", "RULE")


def rule_table(rules: Sequence[RatioRule]) -> tuple[list[tuple[object, ...]], list[str]]:
    """Return the rows of the table of rules, under `RULE_COLUMNS`, and what to shoot, line by line.

    A camera is named with its serial number where the model has several bodies.
    """
    bodies: dict[str, set[str | None]] = {}
    for rule in rules:
        bodies.setdefault(rule.camera.casefold(), set()).add(rule.serial)
    rows: list[tuple[object, ...]] = []
    advice: list[str] = []
    for rule in rules:
        several = len(bodies[rule.camera.casefold()]) > 1
        name = f"{rule.camera} (serial {rule.serial or 'unknown'})" if several else rule.camera
        isos = ", ".join(f"{iso:g}" for iso in rule.isos) or "-"
        holds = "holds" if rule.holds else "does not hold: see below"
        rows.append((name, f"{rule.ratio:g}", rule.pairs, isos, holds))
        start = f"{'' if rule.instead else 'shoot for '}{name}, ratio {rule.ratio:g}"
        advice += [f"{start}: {line}" for line in rule.advice]
    return rows, advice


def record_path(list_path: Path) -> Path:
    """Return the path of a list's record: `a.json` of `a.txt`, `a.csv.json` of `a.csv`."""
    name = list_path.stem if list_path.suffix == ".txt" else list_path.name
    return list_path.with_name(f"{name}.json")


def write_record(list_path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a list, whole or not at all.

    Raises OutputError if it cannot be written, or would replace a file that is not a record.
    """
    check_record_replaceable(list_path)
    text = json.dumps({"format": FORMAT, **record}, indent=1, allow_nan=False)
    atomic_write(record_path(list_path), text.encode("ascii") + b"\n")


def write_scan(scan: Scan, list_path: Path) -> None:
    """Write the good pairs of a scan as a list, and all of it beside."""
    pairs = [Pair(pair.short.file, pair.long.file) for pair in scan.pairs]
    text = list_text(list_path, pairs)
    check_record_replaceable(list_path)
    old = record_path(list_path)  # goes first: whatever fails, it is not beside another list
    atomic_write(list_path, text, before_rename=lambda _: old.unlink(missing_ok=True))
    write_record(list_path, scan_record(scan, list_path.parent))


def check_replaceable(list_path: Path) -> None:
    """Raise LedError where a list, or its record, must not be written."""
    if list_path.suffix.lower() in RAW_SUFFIXES | {".json", ""}:
        raise UsageError(f"{list_path}: choose a name for the list that ends in .txt")
    check_new(list_path, "", overwrite=True)
    check_record_replaceable(list_path)
    if not os.path.lexists(record_path(list_path)):  # it would be that of a list of led
        check_list_replaceable(list_path)


def check_record_replaceable(list_path: Path) -> None:
    """Raise OutputError where the record would replace a file that is not a record."""
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


def read_darks(list_path: Path) -> list[ListedDark]:
    """Return the dark frames in the record beside a list; none if there is no record.

    Raises PairError if the record is damaged, or names a dark frame that does not exist.
    """
    path = record_path(list_path)
    record = _load(path)
    if record is None and not os.path.exists(list_path.with_suffix(".txt")):
        path = list_path.with_suffix(".json")  # as older versions named it
        record = _load(path)
    if record is None:
        return []
    entries = record.get("dark")
    if not isinstance(entries, list):
        raise _damaged(path)
    return [_dark_frame(entry, path) for entry in entries]


def _dark_frame(entry: object, path: Path) -> ListedDark:
    known = entry if isinstance(entry, dict) else {}
    values: list[Any] = [known.get(key) for key in ListedDark._fields]
    name, iso, time, camera, serial = values
    valid = (
        isinstance(name, str)
        and _is_number(iso)
        and (time is None or _is_number(time))
        and all(text is None or isinstance(text, str) for text in (camera, serial))
    )
    if not valid:
        raise PairError(
            f"{path}: holds a dark frame without a file and an ISO: make it again with "
            "'led pairs scan'"
        )
    file = path.parent / name
    if not os.path.isfile(file):
        raise PairError(
            f"{path}: the dark frame {file} does not exist: put it back, or run "
            "'led pairs scan' again"
        )
    return ListedDark(file, float(iso), None if time is None else float(time), camera, serial)


def _damaged(path: Path) -> PairError:
    return PairError(f"{path}: is damaged: make it again with 'led pairs scan'")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < MAX_NUMBER  # type: ignore[operator]


def _load(path: Path) -> dict[str, Any] | None:
    """Read a record; None when there is none, or JSON of another kind."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_RECORD_BYTES + 1)
        if len(data) > MAX_RECORD_BYTES:
            raise ValueError
        record = json.loads(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PairError(f"{path}: cannot be read: {os_reason(error)}") from None
    except (ValueError, RecursionError):
        raise _damaged(path) from None
    ours = isinstance(record, dict) and record.get("format") == FORMAT
    return record if ours else None
