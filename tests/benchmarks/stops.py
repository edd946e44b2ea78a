"""Runs that do not come to their end: killed, or on a disk that is full."""

import json
import os
import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watch import Finished, Running, led

from tests.inference.models import write_model
from tests.shoot import make_raw, scene

SEED = 5
SHAPE = (480, 720)
RUN_LIMIT_S = 600.0
ORPHAN_S = 20.0
"""How long what a killed run started may live on."""
EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
"""Fixes the time in the record of what was done, so that runs can be compared by their bytes."""
Note = Callable[[str], None]
Whole = dict[str, bytes]
"""The results of a run that nobody disturbed, by name."""


def small_raws(folder: Path, count: int) -> tuple[Path, Whole]:
    """Make a folder of small raws, and its results in a run that nobody disturbs."""
    raws = folder / "raws"
    raws.mkdir(parents=True)
    for number in range(count):
        light = scene(SHAPE, number) / 4
        make_raw(raws / f"IMG_{number:02d}.ARW", light=light, seed=number)
    write_model(folder / "tiny.safetensors", sets=())
    _denoise(raws, folder / "whole").checked()
    return raws, visible(folder / "whole")


def visible(folder: Path) -> Whole:
    """Return what lies in a folder under names that are not hidden."""
    if not folder.is_dir():
        return {}
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


def killed(raws: Path, whole: Whole, folder: Path, times: int, note: Note) -> dict[str, Any]:
    """Kill runs at random moments, look at what is there, let them go on to the end.

    The moment is drawn among the photos that are finished by then and the time to the next one,
    for most; for some, over the whole of the run, its start included.
    """
    draw = random.Random(SEED)
    counts = dict.fromkeys(
        ("partial files", "orphans", "leftovers", "resumed runs that differ", "tracebacks"), 0
    )
    alone = _denoise(raws, folder / "timed")
    ends = [at for at, _ in alone.lines]
    step = (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
    stopped = finished = 0
    for turn in range(times):
        out = folder / f"killed{turn}"
        if turn % 5 == 4:
            running = _start(raws, out)
            _wait(running, draw.uniform(0, alone.seconds))
        else:
            running = _start(raws, out)
            photos = draw.randrange(len(whole))
            while running.process.poll() is None and len(running.lines) < photos:
                running.new_lines(0.01)
            _wait(running, draw.uniform(0, step))
        stopped += running.process.poll() is None
        running.kill()
        running.process.wait()
        counts["orphans"] += running.orphans(ORPHAN_S)
        there = visible(out)
        finished += len(there)
        counts["partial files"] += _differ(there, whole)
        again = _denoise(raws, out)
        counts["tracebacks"] += again.tracebacks
        counts["resumed runs that differ"] += again.status != 0 or visible(out) != whole
        counts["leftovers"] += len(list(out.rglob("*.part")))
        note(f"kill {turn + 1} of {times}: {len(there)} of {len(whole)} were there; {counts}")
    about = {"killed before the end": stopped, "results there when killed": finished}
    return {
        "what": f"{times} SIGKILLs at random moments of a run of {len(whole)} photos",
        "counts": about | counts,
        "wrong": sum(counts.values()),
    }


def full_disk(raws: Path, whole: Whole, folder: Path, note: Note) -> Iterator[dict[str, Any]]:
    """Run out of disk: too small from the start, filled by others during the run, a file limit."""
    size = max(map(len, whole.values()))
    with _small_disk(folder / "small", 3 * size + (1 << 20)) as disk:
        if disk:
            yield _full(raws, whole, disk / "out", "a disk too small for the run", note)
    with _small_disk(folder / "filled", (len(whole) + 20) * size * 2) as disk:
        if disk:
            fill = _Fill(disk, spare=size + size // 2)
            yield _full(
                raws, whole, disk / "out", "a disk that others fill during the run", note, fill
            )
    # Half of the smallest: not one photo fits under it.
    limit = min(map(len, whole.values())) // 2
    yield _full(
        raws, whole, folder / "limited", "a limit on the size of files", note,
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


class _Fill:
    """Fills a disk, but for a little, when a photo is finished."""

    def __init__(self, disk: Path, spare: int) -> None:
        self.ballast, self.spare = disk / "ballast", spare

    def __call__(self, running: Running, photos: int) -> None:
        if photos == 1:
            free = os.statvfs(self.ballast.parent)
            self.ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - self.spare))

    def clear(self) -> None:
        self.ballast.unlink(missing_ok=True)


def _full(
    raws: Path,
    whole: Whole,
    out: Path,
    what: str,
    note: Note,
    fill: _Fill | None = None,
    prepare: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run until the disk is full, look at what is there, make room and let it go on."""
    first = _denoise(raws, out, on_line=fill, prepare=prepare)
    there = visible(out)
    counts = {
        "not told of": int(first.status != 1),
        "hangs": int(first.hung),
        "partial files": _differ(there, whole),
        "leftovers": len(list(out.rglob("*.part"))) if out.is_dir() else 0,
        "tracebacks": first.tracebacks,
    }
    failed = sum(json.loads(line)["status"] == "failed" for _, line in first.lines)
    note(f"{what}: status {first.status}, {len(there)} done, {failed} failed\n{first.errors}")
    if fill:
        fill.clear()
    room = out if prepare or fill else out.parents[1] / "elsewhere"
    again = _denoise(raws, room)
    if again.status:
        note(again.errors)
    counts["resumed runs that differ"] = int(again.status != 0 or visible(room) != whole)
    about = {"done": len(there), "failed": failed}
    return {"what": what, "counts": about | counts, "wrong": sum(counts.values())}


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """Mount a disk in memory of that many bytes; None where that is not allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "led", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _differ(there: Whole, whole: Whole) -> int:
    """Count what is not, byte for byte, what a whole run writes under that name."""
    return sum(whole.get(name) != data for name, data in there.items())


def _words(raws: Path, out: Path) -> tuple[object, ...]:
    model = raws.parent / "tiny.safetensors"
    return ("denoise", raws, "--ratio", 4, "--out", out, "--model", model, "--json", "--quiet",
            "--device", "cpu")  # fmt: skip


def _denoise(raws: Path, out: Path, **how: Any) -> Finished:
    return led(*_words(raws, out), limit_s=RUN_LIMIT_S, environment=EPOCH, **how)


def _start(raws: Path, out: Path) -> Running:
    return Running(_words(raws, out), EPOCH, None)


def _wait(running: Running, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while running.process.poll() is None and time.perf_counter() < until:
        running.new_lines(min(0.005, seconds))
