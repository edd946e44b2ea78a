"""Time of folder runs: one in which all is done already, and one of 20 photos of 24 MP.

    python tests/benchmarks/folderrun.py
    python tests/benchmarks/folderrun.py --quick

A whole run writes results/folderrun.json and folderrun.md; a quick one only where --json says.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import RESULTS, context, finish, head, note, quick_options, table
from watch import Finished, led

from ledcli.batch.manifest import Manifest
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import estimate_noise
from ledcli.raw.reader import read_raw
from ledcli.zoo.store import find_model
from tests.shoot import make_raw

SHAPE = (4000, 6000)
RATIO = 100
FINISHED = 200
IN_A_ROW = 20
DIFFERENT = 4
"""Photos that are made; the others of a folder are the same under other names."""
REPEATS = 5
MOST_AGAIN_S = 2.0
MOST_TIMES = 1.15
"""Aims: a run with nothing to do, and a run's time over that of its networks."""
RUN_LIMIT_S = 3600.0


def main() -> int:
    """Measure, print and keep."""
    options = quick_options(__doc__, "few and small photos")
    shape = (1000, 1500) if options.quick else SHAPE
    finished = 20 if options.quick else FINISHED
    in_a_row = 6 if options.quick else IN_A_ROW
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        raws = _raws(folder / "raws", shape, in_a_row)
        note("the network alone")
        network = [_network(raws, shape)]
        note(f"{in_a_row} photos in a row")
        row = _denoise(raws, folder / "row")
        network.append(_network(raws, shape))
        note(f"{finished} photos that are finished")
        many = _finished(folder, raws, finished)
        again = [_nothing_to_do(many, folder / "done", finished) for _ in range(REPEATS)]
    results = _results(shape, finished, row, in_a_row, network, again)
    about = context() | {"aims": {"again_s": MOST_AGAIN_S, "times": MOST_TIMES}}
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "folderrun.json")
    finish(path, about | results, markdown)
    return int(results["again_s"] > MOST_AGAIN_S)


def _raws(folder: Path, shape: tuple[int, int], count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        path = folder / f"IMG_{number:04d}.ARW"
        if number < DIFFERENT:
            make_raw(path, shape=shape, gain=4.0, read_noise=5.0, iso=12800, seed=number)
        else:
            path.hardlink_to(folder / f"IMG_{number % DIFFERENT:04d}.ARW")
    return folder


def _network(raws: Path, shape: tuple[int, int]) -> float:
    """Median seconds of the network on one of the photos, with nothing else going on."""
    photo = read_raw(raws / "IMG_0000.ARW")
    planes = photo.planes()
    noise = estimate_noise(planes)
    found = find_model("generic")
    denoiser = Denoiser(found.path, found.csa_set)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        denoiser.denoise(planes, RATIO, phase=photo.phase, noise=noise)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def _denoise(raws: Path, out: Path) -> Finished:
    words = ("denoise", raws, "--ratio", RATIO, "--out", out, "--json", "--quiet")
    return led(*words, limit_s=RUN_LIMIT_S).checked()


def _finished(folder: Path, raws: Path, count: int) -> Path:
    """Make a folder of photos with their results: one is denoised, the others are its links."""
    many = folder / "many"
    many.mkdir()
    first = many / "IMG_0000.ARW"
    first.hardlink_to(raws / "IMG_0000.ARW")
    out = folder / "done"
    _denoise(many, out)
    result = out / "IMG_0000.dng"
    with contextlib.closing(Manifest(out)) as manifest:
        entry = manifest.look(result)[1]
        if entry is None:
            raise SystemExit(f"nothing is written down of {result}")
        for number in range(1, count):
            source, output = many / f"IMG_{number:04d}.ARW", out / f"IMG_{number:04d}.dng"
            source.hardlink_to(first)
            output.hardlink_to(result)
            manifest.record(
                dataclasses.replace(
                    entry, output=output.name, source=manifest.relative_path(source)
                )
            )
    return many


def _nothing_to_do(raws: Path, out: Path, count: int) -> float:
    """Seconds of a run that finds everything done, from the command to its end."""
    before = os.stat(out / "IMG_0000.dng").st_mtime_ns
    done = _denoise(raws, out)
    skipped = sum(json.loads(line)["status"] == "skipped" for _, line in done.lines)
    if skipped != count or os.stat(out / "IMG_0000.dng").st_mtime_ns != before:
        raise SystemExit(f"{skipped} of {count} were skipped:\n{done.errors}")
    return done.seconds


def _results(
    shape: tuple[int, int],
    finished: int,
    row: Finished,
    in_a_row: int,
    network: list[float],
    again: list[float],
) -> dict[str, Any]:
    ends = [at for at, _ in row.lines]
    # A photo is reported when it is written.
    pace = (ends[-1] - ends[0]) / (in_a_row - 1)
    alone = statistics.mean(network)
    return {
        "megapixels": shape[0] * shape[1] / 1e6,
        "finished": finished,
        "again_s": statistics.median(again),
        "again_all_s": again,
        "in_a_row": in_a_row,
        "network_s": network,
        "run_s": row.seconds,
        "first_s": ends[0],
        "pace_s": pace,
        "times": row.seconds / (alone * in_a_row),
        "pace_times": pace / alone,
    }


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    text = head("Folder runs", about)
    text += (
        f"Photos of {results['megapixels']:.0f} MP at ratio {RATIO}, to DNG. The network alone is "
        f"the median of {REPEATS} on one photo, with nothing beside it, before and after the run: "
        f"{', '.join(f'{s:.2f} s' for s in results['network_s'])}. The {results['finished']} "
        "finished photos are links to one; a run with nothing to do is the median of "
        f"{len(results['again_all_s'])}.\n\n"
    )
    rows = [
        ["again, all finished", f"{results['finished']}", f"{results['again_s']:.2f} s", ""],
        [
            "in a row, start of Python and torch included",
            f"{results['in_a_row']}",
            f"{results['run_s']:.1f} s",
            f"{results['times']:.2f}",
        ],
        [
            "each, from the first to the last",
            f"{results['in_a_row']}",
            f"{results['pace_s']:.2f} s",
            f"{results['pace_times']:.2f}",
        ],
    ]
    return text + table(["run", "photos", "time", "times the network's alone"], rows)


if __name__ == "__main__":
    sys.exit(main())
