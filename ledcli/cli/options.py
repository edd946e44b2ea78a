"""Options that mean the same in every command, and the parsing of their values."""

from pathlib import Path
from typing import Annotated

import typer

from ledcli.errors import UsageError

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per result on standard output.")
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress, messages or hints; warnings and errors stay."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
]
RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Search subfolders too.")]
RawsArgument = Annotated[
    list[str], typer.Argument(metavar="RAW...", help="Raw files, folders or patterns.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, mps or xpu.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, bf16 or float32.")]
TileOption = Annotated[
    int | None, typer.Option(help="Tile size in pixels of one colour; 0: the whole frame.")
]
SeedOption = Annotated[int, typer.Option(help="Random seed.", min=0)]


def parse_numbers(text: str | None, option: str, minimum: float, example: str) -> list[float]:
    """Read a comma-separated option such as ``--ratios 100,300``; raises UsageError."""
    try:
        numbers = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        numbers = [-1.0]
    if not all(minimum <= number < float("inf") and number > 0 for number in numbers):
        limit = f"from {minimum:g}" if minimum else "above 0"
        raise UsageError(
            f"{option} takes comma-separated numbers {limit}, such as {example}, not {text}"
        )
    return numbers


def parse_brightness(ratio: str | None, exposure: str | None) -> tuple[float | None, float | None]:
    """Read ``--ratio`` and ``--exposure``, as in `batch.settings.Settings`.

    Raises UsageError if both are given or a value is out of range, and MetadataError if the raw
    file given for ``--exposure`` has no exposure level. A ratio of None means ``auto``.
    """
    from ledcli.batch.settings import MAX_RATIO

    if ratio is not None and exposure is not None:
        raise UsageError("--ratio and --exposure exclude each other: use one of them")
    if exposure is not None:
        return 1.0, _exposure_level(exposure)
    if ratio == "auto":
        return None, None
    try:
        factor = 1.0 if ratio is None else float(ratio)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= MAX_RATIO:
        raise UsageError(f"--ratio takes a factor from 1 to {MAX_RATIO:g}, or auto, not {ratio}")
    return factor, None


def _exposure_level(text: str) -> float:
    from ledcli.raw.exif import read_exif, require_exposure_level

    try:
        level = float(text)
    except ValueError:
        path = Path(text)
        if not path.is_file():
            raise UsageError(
                f"--exposure takes a number (ISO x seconds) or a raw file; '{text}' is neither"
            ) from None
        return require_exposure_level(path, read_exif(path))
    if not 0 < level < float("inf"):
        raise UsageError(f"--exposure takes a level above 0 (ISO x seconds), not {text}")
    return level
