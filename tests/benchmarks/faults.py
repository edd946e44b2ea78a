"""What `led denoise` does with damaged raws, when it is killed, and when the disk is full.

    python tests/benchmarks/faults.py
    python tests/benchmarks/faults.py --quick

A whole run writes results/faults.json and faults.md; a quick one only where --json says. Ends
with status 1 if anything is not as it must be.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from damage import KINDS, hostile, variants
from report import RESULTS, SHARED, context, finish, head, note, parser_of, table
from stops import full_disk, killed, small_raws
from watch import led

from tests.conformance import judges
from tests.shoot import make_raw

RATIO = 4
BATCH = 50
FILE_LIMIT_S = 20.0
"""A file's share of a run's limit; `led` has its own limit for each file."""
RUN_LIMIT_S = 400.0
MUST_BE_NONE = ("tracebacks", "hangs", "crashes", "unreported", "unopened", "above 4 GB")
LIMIT_BYTES = 4e9
SEED = 4


def main() -> int:
    """Measure, print and keep."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        results = []
        if "damage" in options.parts:
            results += list(_damaged(folder, options.variants))
        if {"kills", "disk"} & set(options.parts):
            raws, whole = small_raws(folder / "small", options.photos)
            if "kills" in options.parts:
                results.append(killed(raws, whole, folder / "kills", options.kills, note))
            if "disk" in options.parts:
                results += full_disk(raws, whole, folder / "disk", note)
    wrong = sum(result["wrong"] for result in results)
    about = context() | {"seed": SEED, "wrong": wrong}
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "faults.json")
    finish(path, about | {"parts": results}, markdown)
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each, to try it")
    parser.add_argument("--variants", type=int, help="damaged files, of six raws")
    parser.add_argument("--kills", type=int, help="runs that are killed")
    parser.add_argument("--photos", type=int, help="in a run that is killed")
    parser.add_argument(
        "--parts", nargs="+", default=["damage", "kills", "disk"], help="damage, kills, disk"
    )
    parser.add_argument("--folder", type=Path, help="where to work; the system's otherwise")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    options = parser.parse_args()
    options.variants = options.variants or (24 if options.quick else 300)
    options.kills = options.kills or (3 if options.quick else 50)
    options.photos = options.photos or (6 if options.quick else 20)
    return options


def _damaged(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Denoise damaged variants of six raws, then the damaged files that others made."""
    originals = _originals(folder / "whole")
    note(f"{count} damaged variants of {', '.join(path.name for path in originals)}")
    damaged = folder / "damaged"
    made = variants(originals, damaged, count, random.Random(SEED))
    batches = [made[start : start + BATCH] for start in range(0, len(made), BATCH)]
    totals: Counter[str] = Counter()
    for number, batch in enumerate(batches):
        totals += _run(batch, folder / f"out{number}")
        note(f"{min(BATCH * (number + 1), count)} of {count}: {dict(totals)}")
    yield _result(f"{count} damaged variants of six raws", totals)
    files = hostile(folder / "hostile")
    yield _result(
        f"{len(files)} made to cost memory, time or life", _run(files, folder / "hostile-out")
    )
    bad = SHARED / "raw/bad"
    if bad.is_dir():
        files = sorted(bad.iterdir())
        yield _result(
            f"{len(files)} damaged or foreign files from elsewhere", _run(files, folder / "bad")
        )


def _originals(folder: Path) -> list[Path]:
    """Six raws: three made up, three real ones, or made-up ones in their place."""
    folder.mkdir()
    make_raw(folder / "one.dng", shape=(400, 600), orientation=6)
    make_raw(folder / "two.ARW", shape=(401, 603), phase="GBRG", active_area=(5, 3, 399, 601))
    make_raw(folder / "three.NEF", shape=(400, 600), phase="BGGR", byteorder=">", bits=12)
    real = ("canon_s40_0101.CRW", "canon_g2_0304.CRW", "canon_kissx4_ml_colorchart.dng")
    for number, name in enumerate(real):
        source = SHARED / "raw/good" / name
        if source.exists():
            shutil.copy(source, folder / name)
        else:
            make_raw(folder / f"real{number}.CR2", shape=(800, 1200), seed=number)
    return sorted(folder.iterdir())


def _run(files: list[Path], out: Path) -> Counter[str]:
    """Denoise files in one run; count what must not be and what became of them."""
    done = led(
        "denoise", *files, "--ratio", RATIO, "--out", out, "--json", "--quiet",
        limit_s=RUN_LIMIT_S + FILE_LIMIT_S * len(files), memory=True,
    )  # fmt: skip
    counts: Counter[str] = Counter(
        tracebacks=done.tracebacks,
        hangs=int(done.hung),
        # Status 1 says that some failed; anything else is an end before its time.
        crashes=int(not done.hung and done.status not in (0, 1)),
    )
    counts["above 4 GB"] = int(done.peak > LIMIT_BYTES)
    results = [json.loads(line) for _, line in done.lines]
    counts["unreported"] = 0 if done.hung else len(files) - len(results)
    for result in results:
        counts[result["status"]] += 1
        if result["status"] == "failed" and ("\n" in result["error"] or not result["error"]):
            counts["unreported"] += 1
    written = [path for path in out.rglob("*") if path.is_file() and ".led" not in path.parts]
    counts["unopened"] = sum(not _opens(path) for path in written)
    if not judges.MISSING["exiftool"]:
        complaints = judges.complaints(written)
        counts["complaints"] = len(complaints)
        for path, said in complaints.items():
            note(f"exiftool of {path.name}: {said}")
    if any(counts[kind] for kind in ("tracebacks", "hangs", "crashes", "unreported", "unopened")):
        note(f"status {done.status}, {len(results)} of {len(files)} told of\n{done.errors[-4000:]}")
    counts["peak"] = 0
    note(f"{len(files)} files in {done.seconds:.0f} s, {done.peak / 1e9:.2f} GB at most")
    return counts


def _opens(path: Path) -> bool:
    try:
        judges.libraw(path)
    except Exception as error:
        note(f"{path.name} does not open: {error}")
        return False
    return True


def _result(what: str, counts: Counter[str]) -> dict[str, Any]:
    return {
        "what": what,
        "counts": {
            "done": counts["done"],
            "failed": counts["failed"],
            **{kind: counts[kind] for kind in MUST_BE_NONE},
            "exiftool complains of": counts["complaints"],
        },
        "wrong": sum(counts[kind] for kind in MUST_BE_NONE),
    }


def _markdown(about: dict[str, Any], results: list[dict[str, Any]]) -> str:
    text = head("Faults", about)
    text += (
        f"Damage is drawn with seed {SEED}: {', '.join(KINDS)}. Everything but `done`, `failed` "
        "and what exiftool complains of must be 0.\n\n"
    )
    rows = [
        [result["what"], ", ".join(f"{count} {kind}" for kind, count in result["counts"].items())]
        for result in results
    ]
    verdict = f"{about['wrong']} wrong" if about["wrong"] else "nothing wrong"
    return text + table(["what", "what came of it"], rows) + f"\nIn all: {verdict}.\n"


if __name__ == "__main__":
    sys.exit(main())
