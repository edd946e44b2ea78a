"""A run of many small raws in shards: some killed, with locks and without, against a single run.

    python tests/benchmarks/shards.py
    python tests/benchmarks/shards.py --quick

A whole run writes results/shards.json and shards.md; a quick one only where --json says.
"""

import json
import os
import resource
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from report import RESULTS, context, finish, head, quick_options, table
from stops import EPOCH
from watch import Finished, Running, led

from tests.inference.models import write_model
from tests.shoot import make_raw

PHOTOS = 1000
DIFFERENT = 10
"""Photos that are made; the others are the same under other names."""
SHAPE = (64, 96)
SHARDS = 4
AT_ONCE = 2
KILLED = 1
"""The shard that is killed, and run again."""
AIM_S = 3.0
"""For a run that finds all done."""
REPEATS = 3
RUN_LIMIT_S = 3600.0
NO_LOCKS = "import fcntl\nfcntl.flock = lambda *given: None\n"
"""A `sitecustomize` by which every lock succeeds and excludes nobody."""


def main() -> int:
    """Run, print and keep; 1 if a photo was lost or done twice, or differs."""
    options = quick_options(__doc__, "few photos")
    count = 60 if options.quick else PHOTOS
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        photos = _photos(folder / "raw", count)
        write_model(folder / "tiny.safetensors", sets=())
        print(f"{count} photos in a single run", flush=True)
        start = time.monotonic()
        _denoise(folder, "whole").checked()
        single_s = time.monotonic() - start
        whole = _results(folder / "whole")
        results: dict[str, Any] = {"photos": count, "single_s": single_s}
        for locks in (True, False):
            print(f"in shards, {'with' if locks else 'without'} locks", flush=True)
            results["locks" if locks else "no_locks"] = _in_shards(folder, whole, locks, photos)
    about = context()
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "shards.json")
    finish(path, about | results, markdown)
    return int(not all(results[each]["right"] for each in ("locks", "no_locks")))


def _photos(folder: Path, count: int) -> list[str]:
    """Make nested folders of raws, with names that come more than once."""
    names = []
    for i in range(count):
        name = f"{i % 5}/{i % 3}/IMG_{i // 15:04}.{'ARW' if i % 2 else 'NEF'}"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < DIFFERENT:
            make_raw(path, shape=SHAPE, seed=i)
        else:
            os.link(folder / names[i % DIFFERENT], path)
        names.append(name)
    # Two photos that ask for one name.
    twin = Path(names[-1]).with_suffix(".CR2")
    os.rename(folder / names[-2], folder / twin)
    names[-2] = twin.as_posix()
    return names


def _denoise(folder: Path, out: str, *words: object, **how: Any) -> Finished:
    options = ("--model", folder / "tiny.safetensors", "--device", "cpu", "--json")
    command = ("denoise", folder / "raw", "-r", "--out", folder / out, *options, *words)
    environment = {"OMP_NUM_THREADS": "1", **EPOCH, **how.pop("environment", {})}
    return led(*command, limit_s=RUN_LIMIT_S, environment=environment, **how)


def _results(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if ".led" not in path.relative_to(folder).parts
    }


def _in_shards(
    folder: Path, whole: dict[str, bytes], locks: bool, photos: list[str]
) -> dict[str, Any]:
    """Run the shards, kill one, run it again, then run over all."""
    out = "locks" if locks else "no locks"
    environment = {}
    if not locks:
        stand_in = folder / "site" / "sitecustomize.py"
        stand_in.parent.mkdir()
        stand_in.write_text(NO_LOCKS)
        paths = [str(stand_in.parent), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    def kill(running: Running, lines: int) -> None:
        if lines == max(2, len(photos) // SHARDS // 4):
            running.kill()

    def run(index: int) -> tuple[Finished, Finished | None]:
        words = ("--shard", f"{index}/{SHARDS}")
        if index != KILLED:
            return _denoise(folder, out, *words, environment=environment).checked(), None
        first = _denoise(folder, out, *words, environment=environment, on_line=kill)
        return first, _denoise(folder, out, *words, environment=environment).checked()

    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(run, range(SHARDS)))
    seconds = time.monotonic() - start
    killed, again = runs[KILLED]
    assert killed.status < 0 and again is not None
    finished = [done for pair in runs for done in pair if done is not None]
    done = Counter(
        record["file"]
        for each in finished
        for record in map(json.loads, (text for _, text in each.lines))
        if record["status"] == "done"
    )
    written = Counter(
        json.loads(line)["output"]
        for path in (folder / out / ".led").glob("manifest*.jsonl")
        for line in path.read_text().splitlines()
    )
    nothing = []
    for _ in range(REPEATS):
        start, cpu = time.monotonic(), _cpu_s()
        last = _denoise(folder, out, environment=environment).checked()
        nothing.append((time.monotonic() - start, _cpu_s() - cpu))
        statuses = Counter(json.loads(text)["status"] for _, text in last.lines)
    there = _results(folder / out)
    record = {
        "seconds": seconds,
        "warned": sum("may not exclude other runs" in each.errors for each in finished),
        "manifests": len(list((folder / out / ".led").glob("manifest*.jsonl"))),
        "finished_before_the_kill": len(killed.lines),
        "reported_done_once": sum(n == 1 for n in done.values()),
        "reported_done_twice": sum(n > 1 for n in done.values()),
        "written_once": sum(n == 1 for n in written.values()),
        "written_twice": sum(n > 1 for n in written.values()),
        "the_same_bytes": sum(there.get(name) == data for name, data in whole.items()),
        "other_files": len(there.keys() - whole.keys()),
        "skipped_afterwards": statuses["skipped"],
        "nothing_to_do_s": [seconds for seconds, _ in nothing],
        "nothing_to_do_cpu_s": [seconds for _, seconds in nothing],
        "load_then": [os.getloadavg()[0]],
    }
    count = len(photos)
    same = record["the_same_bytes"] == record["skipped_afterwards"] == len(whole) == count
    # What was in work when the shard was killed may have its line, but not its name yet.
    twice = record["reported_done_twice"] == 0 and record["written_twice"] <= 1
    every = len(written) == count and record["other_files"] == 0
    record["right"] = same and twice and every
    return record


def _cpu_s() -> float:
    """Return the processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        [name.replace("_", " "), *(_text(results[each][name]) for each in ("locks", "no_locks"))]
        for name in results["locks"]
    ]
    return (
        head("Shards", about)
        + f"{results['photos']} raws of {SHAPE[1]} x {SHAPE[0]} pixels in nested folders, "
        f"{SHARDS} shards, {AT_ONCE} at a time, the second killed by SIGKILL and run again; a "
        f"single run took {results['single_s']:.0f} s. *Without locks*: `flock` succeeds and "
        f"excludes nobody. Aim for nothing to do: {AIM_S:g} s. *Load*: processes that wanted to "
        "run in that minute, other users' too.\n\n"
        + table(["", "with locks", "without locks"], rows)
        + "\n*Reported*: lines of `--json`; what the killed shard wrote last, it did not report. "
        "*Written*: lines of the manifests; the photo in work when the shard was killed may have "
        "two.\n"
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{each:.2f}" for each in value)
    return f"{value:.0f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
