"""What `pairs.json` and `--json` say of a scan: every part of it as JSON values."""

from pathlib import Path
from typing import Any

from ledcli.errors import LedError
from ledcli.pairs.checks import PairCheck
from ledcli.pairs.exposure import Exposure
from ledcli.pairs.list_file import Pair, relative_name
from ledcli.pairs.match import Found
from ledcli.pairs.rule import RatioRule, ToShoot
from ledcli.pairs.scan import Scan


def scan_record(scan: Scan, folder: Path) -> dict[str, Any]:
    """Say all that a scan found, names relative to a folder."""
    return {
        "pairs": [pair_record(pair, folder) for pair in scan.pairs],
        "rules": [rule_record(rule, folder) for rule in scan.rules],
        "dark": [
            {
                "file": relative_name(dark.file, folder),
                "iso": dark.iso,
                "exposure_time": dark.exposure_time,
                "camera": dark.camera,
                "serial": dark.serial,
            }
            for dark in scan.darks
        ],
        "left_out": [
            {
                "file": relative_name(left.file, folder),
                "reason": left.reason,
                "unreadable": left.failed,
            }
            for left in scan.left_out
        ],
    }


def pair_record(pair: Found, folder: Path) -> dict[str, Any]:
    """Say what is known of a pair."""
    return {
        "short": relative_name(pair.short.file, folder),
        "long": relative_name(pair.long.file, folder),
        "camera": pair.short.exif.camera,
        "ratio": pair.check.ratio,
        "iso": pair.short.exif.iso,
        "exposure_time": pair.short.exif.exposure_time,
        "long_iso": pair.long.exif.iso,
        "long_exposure_time": pair.long.exif.exposure_time,
        **check_record(pair.check),
    }


def check_record(check: PairCheck) -> dict[str, Any]:
    """Say what was measured on a pair."""
    return {
        "problems": list(check.problems),
        "shift": None if check.shift is None else [_digits(part) for part in check.shift],
        "shift_error": _digits(check.shift_error),
        "similarity": _digits(check.similarity),
        "measured_ratio": _digits(check.measured_ratio),
        "black_offset": _digits(check.offset),
        "clipped": _digits(check.clipped),
        "long_noise": _digits(check.long_noise),
    }


def listed_record(pair: Pair, result: Found | LedError, *, keep_shifted: bool) -> dict[str, Any]:
    """Say what is known of a pair of a list, its names as the list has them."""
    record: dict[str, Any] = {"short": str(pair.short), "long": str(pair.long)}
    if isinstance(result, LedError):
        return {**record, "ok": False, "error": str(result)}
    ok = not result.check.against(keep_shifted=keep_shifted)
    return {**record, "ok": ok, "ratio": result.check.ratio, **check_record(result.check)}


def rule_record(rule: RatioRule, folder: Path | None) -> dict[str, Any]:
    """Say what there is of a camera at a ratio and what to shoot; None leaves names as they are."""
    instead = rule.instead
    return {
        "camera": rule.camera,
        "serial": rule.serial,
        "ratio": rule.ratio,
        "pairs": rule.pairs,
        "isos": list(rule.isos),
        "holds": rule.holds,
        "to_shoot": [_to_shoot(pair, folder) for pair in rule.to_shoot],
        "instead": instead
        and {
            "ratio": instead.ratio,
            "to_shoot": [_to_shoot(pair, folder) for pair in instead.to_shoot],
        },
    }


def _to_shoot(pair: ToShoot, folder: Path | None) -> dict[str, Any]:
    scene = None
    if pair.scene is not None:
        file = pair.scene.file
        scene = str(file) if folder is None else relative_name(file, folder)
    return {"short": _exposure(pair.short), "long": _exposure(pair.long), "scene": scene}


def _exposure(exposure: Exposure) -> dict[str, float]:
    return {"iso": exposure.iso, "exposure_time": exposure.exposure_time}


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
