"""Time of one photo in a cold `led denoise`, against the network of a process that is warm.

    python tests/benchmarks/start.py
    python tests/benchmarks/start.py --megapixels 6
    python tests/benchmarks/start.py --quick

The two alternate. The cold process's time is from the command to its end: Python and torch start,
the raw is decoded, the network runs for the first time, the DNG is written. CPU seconds are those
of all threads and child processes: on a machine with other work they say more than the clock.
A whole run writes results/start.json and start.md; another only where --json says.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from report import RESULTS, context, finish, head, parser_of, table
from watch import led

from ledcli.inference.denoiser import Denoiser
from ledcli.raw.reader import RawPhoto, read_raw
from ledcli.zoo.store import find_model
from tests.shoot import make_raw

RATIO = 30
REPEATS = 5
TIMES, MORE_S = 1.6, 2.5
"""Aim: the cold process takes at most so many times the warm network's time, and seconds more."""
LIMIT_S = 3600.0


class Taken(NamedTuple):
    """Seconds by the clock and of the processors."""

    wall: float
    cpu: float


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    megapixels, repeats = (1.5, 1) if options.quick else (options.megapixels, options.repeats)
    side = round((megapixels * 1e6 / 6) ** 0.5) // 16 * 16
    shape = (2 * side, 3 * side)
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "IMG_1.ARW"
        make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
        photo = read_raw(raw)
        found = find_model("generic")
        denoiser = Denoiser(found.path, found.csa_set)
        _warm(denoiser, photo)
        for number in range(repeats):
            cold.append(_cold(raw, Path(folder) / f"out{number}"))
            warm.append(_warm(denoiser, photo))
            print(f"cold {cold[-1]}, warm {warm[-1]}", flush=True)
    about = context() | {
        "megapixels": shape[0] * shape[1] / 1e6,
        "model": denoiser.name,
        "precision": denoiser.precision,
        "repeats": repeats,
        "aim": {"times": TIMES, "more_s": MORE_S},
    }
    results = {
        "cold": [each._asdict() for each in cold],
        "warm": [each._asdict() for each in warm],
        **{name: _compared(cold, warm, name) for name in Taken._fields},
    }
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "start.json")
    finish(path, about | results, markdown)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="one small photo, to try it")
    parser.add_argument("--megapixels", type=float, default=24, help="size of the photo")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs to take the median of")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    return parser.parse_args()


def _cold(raw: Path, out: Path) -> Taken:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = led("denoise", raw, "--ratio", RATIO, "--out", out, "--quiet", limit_s=LIMIT_S).checked()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(done.seconds, _cpu(after) - _cpu(before))


def _warm(denoiser: Denoiser, photo: RawPhoto) -> Taken:
    """Measure the network on a photo that is read, with all that `led denoise` has around it."""
    planes = photo.planes()
    noise = photo.estimate_noise(planes)
    start, before = time.perf_counter(), time.process_time()
    denoiser.denoise(planes, RATIO, phase=photo.phase, noise=noise, exif=photo.exif)
    return Taken(time.perf_counter() - start, time.process_time() - before)


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _compared(cold: list[Taken], warm: list[Taken], what: str) -> dict[str, float]:
    alone = statistics.median(getattr(each, what) for each in warm)
    all_of_it = statistics.median(getattr(each, what) for each in cold)
    return {
        "cold_s": all_of_it,
        "warm_s": alone,
        "times": all_of_it / alone,
        "times_beyond": (all_of_it - MORE_S) / alone,
    }


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    text = head("Cold start", about)
    text += (
        f"One photo of {about['megapixels']:.1f} MP, {about['model']} in {about['precision']}: "
        f"`led denoise` in a process of its own, and the network alone in one that is warm; median "
        f"of {about['repeats']} each, alternating.\n\n"
    )
    rows = [
        [
            "by the clock" if name == "wall" else "of the processors",
            f"{found['cold_s']:.2f} s",
            f"{found['warm_s']:.2f} s",
            f"{found['times']:.2f}",
            f"{found['times_beyond']:.2f} ({TIMES} at most)" if name == "wall" else "-",
        ]
        for name in Taken._fields
        for found in [results[name]]
    ]
    columns = ["", "cold process", "warm network", "times", f"times, {MORE_S} s aside"]
    return text + table(columns, rows)


if __name__ == "__main__":
    main()
