"""Whether there is room for the results, before the first photo."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledcli.batch.settings import Job
from ledcli.errors import OutputError
from ledcli.output.atomic import explain, make_folder, part_file_path
from ledcli.output.formats import FORMATS, EncodeSettings


@dataclass
class _Disk:
    """What one disk is to take, in bytes: at the least, and as a rule."""

    folder: Path
    least: float = 0.0
    usual: float = 0.0
    largest: float = 0.0


def check_space(jobs: Sequence[Job], settings: EncodeSettings) -> str:
    """Check that the output folders can be written to and that the results fit on their disks.

    How large a result will be shows only when it is there. The estimate goes by the sizes of the
    sources: a compressed DNG about as large as the raw, a plain one 1.6 times, PNG and TIFF just
    under four times, with what is replaced taken off. Cameras differ by a factor of two either
    way, so a run is refused only when not even half of that would fit.

    Parameters
    ----------
    jobs : sequence of Job
        With the outputs that are to be made.
    settings : EncodeSettings

    Returns
    -------
    str
        A warning, where it may get tight; else empty.

    Raises
    ------
    OutputError
        A folder cannot be made or written to, or the results cannot fit.
    """
    for root in {job.root: None for job in jobs}:
        make_folder(root)
        _try_to_write(root)
    places = _Places()
    disks: dict[int, _Disk] = {}
    for job in jobs:
        source = _size(job.source)
        for name, path in job.outputs.items():
            least, usual = FORMATS[name].size(settings)
            number, folder = places.of(path.parent)
            disk = disks.setdefault(number, _Disk(folder))
            old = _size(path)
            disk.least += source * least - old
            disk.usual += source * usual - old
            # The old one goes only when the new one is there.
            disk.largest = max(disk.largest, min(old, source * usual))
    warning = ""
    for disk in disks.values():
        free = _free(disk.folder)
        if free is None:
            continue
        needs = f"about {_readable(max(disk.usual + disk.largest, 0))}"
        have = f"{_readable(free)} are free on the disk of {disk.folder}"
        if disk.least > free:
            raise OutputError(
                f"the results need {needs}, {have}: free some space, or choose another with --out"
            )
        if disk.usual + disk.largest > free:
            warning = f"the results may need {needs}, {have}"
    return warning


class _Places:
    """The disk of each folder, and the part of its path that is there; looked up once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Path]] = {}

    def of(self, folder: Path) -> tuple[int, Path]:
        if folder not in self._known:
            place = folder
            while not place.exists() and place != place.parent:
                place = place.parent
            if place == folder and not os.access(place, os.W_OK | os.X_OK):
                raise OutputError(
                    f"{folder}: permission denied: choose a folder you may write to with --out"
                )
            self._known[folder] = (os.stat(place).st_dev, place)
        return self._known[folder]


def _try_to_write(folder: Path) -> None:
    trial = part_file_path(folder)
    try:
        try:
            trial.write_bytes(b"led")
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to: {explain(error)}") from error


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0  # reading or writing it will say what is wrong


def _free(folder: Path) -> int | None:
    """Return the free bytes of a folder's disk; None where the system does not know."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None


def _readable(size: float) -> str:
    for unit, power in (("GB", 1e9), ("MB", 1e6)):
        if size >= power:
            return f"{size / power:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"
