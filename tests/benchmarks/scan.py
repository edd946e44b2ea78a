"""How long `led pairs scan` takes over many frames, besides reading them and checking pairs.

    OMP_NUM_THREADS=1 python tests/benchmarks/scan.py

Frames are records without raws: headers, and signatures as of 24-MP photos. Three shoots: many
scenes with three lenses; the same with one, so that any frame may belong to any; and all frames of
one scene. Every pair that is checked is good. ``compare`` is the search for each frame's long one,
``rest`` all that follows: order, reasons, the rule, and the list and its record on disk. Beside
them the plain way, each frame with each, for 1,000 frames: it must find the same. Two threads of
NumPy's wait for each other on a busy machine, which counts as processor time: one is used.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from report import RESULTS, context, finish, head, parser_of, table

from ledcli.pairs.checks import CheckedPair, PairCheck
from ledcli.pairs.frames import ratio_of
from ledcli.pairs.result import write_scan
from ledcli.pairs.scan import _Scanner, candidates
from ledcli.reporting import SILENT
from tests.pairs.shoots import LENSES, candidates_one_by_one, shoot

SHOOTS = {
    "many scenes, three lenses": {},
    "many scenes, one lens": {"lenses": LENSES[:1]},
    "one scene, one lens": {"lenses": LENSES[:1], "frames_per_scene": 1 << 30},
}
COUNTS = (1000, 3000, 10_000)
PLAIN_COUNT = 1000
TURNS = 3


class _Recorded(_Scanner):
    """A scanner of made-up frames."""

    def __init__(self, frames, summaries):
        super().__init__(False, False, SILENT)
        self.frames, self.summaries = frames, summaries

    def _read_headers(self, files):
        return self.frames

    def _summaries(self, frames):
        return self.summaries

    def _best_pair(self, short, longs):
        ratio = ratio_of(short.exif, longs[0].exif, (short.file, longs[0].file))
        return CheckedPair(short, longs[0], PairCheck(ratio, similarity=0.9))


def main() -> None:
    """Time, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--json", type=Path, default=RESULTS / "scan.json")
    options = parser.parse_args()
    rows, results = [], []
    for title, how in SHOOTS.items():
        before = None
        for count in options.counts:
            frames, summaries = shoot(count, np.random.default_rng(count), **how)
            plain = _plain(frames, summaries) if count <= PLAIN_COUNT else None
            # Other work on the machine makes some turns slower, never faster.
            compare, total, pairs = min(_scan(frames, summaries) for _ in range(TURNS))
            growth = f"{total / before:.1f}" if before else ""
            before = total
            results.append(
                {
                    "shoot": title,
                    "frames": count,
                    "pairs": pairs,
                    "compare": round(compare, 2),
                    "total": round(total, 2),
                    "plain": None if plain is None else round(plain, 2),
                }
            )
            shown = "" if plain is None else f"{plain:.1f} s"
            seconds = f"{compare:.2f} s", f"{total:.2f} s"
            rows.append([title, f"{count:,}", f"{pairs:,}", *seconds, growth, shown])
            print(*rows[-1], sep="\t", flush=True)
    text = head("Scanning many frames", context())
    text += f"Processor time, the fastest of {TURNS} turns.\n\n"
    header = ["shoot", "frames", "pairs", "compare", "all", "growth", "each with each, compare"]
    text += table(header, rows)
    finish(options.json, context() | {"scans": results}, text)


def _scan(frames, summaries):
    """Return seconds of comparing, seconds in all, and the number of pairs."""
    start = time.process_time()
    for _ in candidates(frames, summaries):
        pass
    compare = time.process_time() - start
    start = time.process_time()
    found = _Recorded(frames, summaries).scan([frame.file for frame in frames])
    with tempfile.TemporaryDirectory() as folder:
        write_scan(found, Path(folder) / "pairs.txt")
    return compare, time.process_time() - start, len(found.pairs)


def _plain(frames, summaries):
    """Return seconds of comparing each frame with each; the result must be the same."""
    start = time.process_time()
    expected = {short: candidates_one_by_one(short, frames, summaries) for short in frames}
    seconds = time.process_time() - start
    if dict(candidates(frames, summaries)) != expected:
        raise SystemExit("the candidates are not those of comparing each frame with each")
    return seconds


if __name__ == "__main__":
    main()
