"""Memory of `led denoise`: raws of 24 and 60 MP, and two hundred small ones in a row.

    python tests/benchmarks/memory.py
    python tests/benchmarks/memory.py --quick

The memory is that of the process and its children together, pages they share counted once, looked
at twenty times a second. A whole run writes results/memory.json and memory.md.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from report import RESULTS, context, finish, head, note, quick_options, table
from watch import Finished, led

from tests.shoot import make_raw

LARGE = {(4000, 6000): 2.0e9, (6720, 8960): 3.5e9}
"""Sizes of large raws, and the bytes that each may take."""
SMALL = (800, 1200)
EARLY = 20
MOST_GROWTH_BYTES = 50e6
"""What may come and go between two looks; a photo that stayed would be 180 times 4 MB."""
RUN_LIMIT_S = 1800.0


def main() -> int:
    """Measure, print and keep."""
    options = quick_options(__doc__, "6 MP and 30 photos")
    count = 30 if options.quick else 200
    early = 10 if options.quick else EARLY
    sizes = {(2000, 3000): 2.0e9} if options.quick else LARGE
    large = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for number, (shape, limit) in enumerate(sizes.items()):
            megapixels = shape[0] * shape[1] / 1e6
            note(f"a raw of {megapixels:.0f} MP")
            raw = folder / f"large{number}.ARW"
            make_raw(raw, shape=shape, gain=4.0, read_noise=5.0, iso=12800)
            done = _denoise(raw, folder / raw.stem)
            raw.unlink()
            large.append(
                {
                    "megapixels": megapixels,
                    "limit": limit,
                    "peak": done.peak,
                    "seconds": done.seconds,
                }
            )
        note(f"{count} raws of {SMALL[0] * SMALL[1] / 1e6:.1f} MP")
        (folder / "raws").mkdir()
        make_raw(folder / "raws" / "0000.ARW", shape=SMALL)
        for number in range(1, count):
            # The same photo under many names.
            (folder / "raws" / f"{number:04d}.ARW").hardlink_to(folder / "raws" / "0000.ARW")
        small = _denoise(folder / "raws", folder / "small")
    first, last = _peak_at(small, early), _peak_at(small, count)
    wrong = sum(each["peak"] > each["limit"] for each in large) + int(
        last - first > MOST_GROWTH_BYTES
    )
    results = {
        "large": large,
        "photos": count,
        "early": early,
        "peak_early": first,
        "peak_late": last,
        "wrong": wrong,
    }
    about = context()
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "memory.json")
    finish(path, about | results, markdown)
    return 1 if wrong else 0


def _denoise(raws: Path, out: Path) -> Finished:
    return led(
        "denoise", raws, "--ratio", 100, "--out", out, "--json", "--quiet",
        limit_s=RUN_LIMIT_S, memory=True,
    ).checked()  # fmt: skip


def _peak_at(done: Finished, photos: int) -> int:
    """Return the most memory from the end of photo `photos` - 9 to that of `photos`, in bytes."""
    ends = [at for at, _ in done.lines]
    start, end = ends[photos - 10], ends[photos - 1]
    return max((size for at, size in done.memory if start <= at <= end), default=0)


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        *(
            [
                f"a raw of {each['megapixels']:.0f} MP, ratio 100, to DNG",
                f"{each['peak'] / 1e9:.2f} GB (limit {each['limit'] / 1e9:.1f})",
            ]
            for each in results["large"]
        ),
        *(
            [
                f"{results['photos']} raws of {SMALL[0] * SMALL[1] / 1e6:.1f} MP, {place}",
                f"{results[key] / 1e9:.3f} GB",
            ]
            for place, key in (
                (f"up to photo {results['early']}", "peak_early"),
                (f"up to photo {results['photos']}", "peak_late"),
            )
        ),
    ]
    text = head("Memory", about)
    text += "Peak of the process and its children together; of ten photos in the lower rows.\n\n"
    return text + table(["what", "peak memory"], rows)


if __name__ == "__main__":
    sys.exit(main())
