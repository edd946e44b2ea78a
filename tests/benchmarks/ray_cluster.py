"""A run of small raws on a Ray cluster of this machine against a local run, and with a node killed.

    python tests/benchmarks/ray_cluster.py
    python tests/benchmarks/ray_cluster.py --quick

A whole run writes results/ray_cluster.json and ray_cluster.md; a quick one only where --json says.
"""

import contextlib
import json
import os
import statistics
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from report import RESULTS, context, finish, head, quick_options, table
from stops import EPOCH
from watch import Finished, Running, led

from tests.shoot import make_raw

PHOTOS = 200
DIFFERENT = 10
"""Photos that are made; the others are the same under other names."""
SHAPE = (320, 480)
CPUS = 2
LAST = 3
"""Photos before the end when the processor time is read: the processes must still be there."""
REPEATS = 3
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
"""On a machine that others use, threads that wait for each other would be most of what counts."""
AIM = 0.10
"""Most that Ray may add to the time of a photo."""
RUN_LIMIT_S = 3600.0


def main() -> int:
    """Run, print and keep; 1 if a photo was lost or done twice, or differs."""
    options = quick_options(__doc__, "few photos")
    count = 20 if options.quick else PHOTOS
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        _photos(folder / "raw", count)
        runs: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
        for number in range(1 if options.quick else REPEATS):
            for how, words in (("local", ()), ("ray", ("--ray", "local"))):
                print(f"{how}, {number + 1}", flush=True)
                runs[how].append(_measured(folder, f"{how}{number}", *words))
        whole = _results(folder / "local0")
        same = all(_results(path) == whole for path in folder.glob("ray*"))
        print("with a node killed", flush=True)
        results: dict[str, Any] = {"photos": count, "runs": runs, "same": same}
        results["killed"] = _with_a_node_killed(folder, whole, count)
    about = context()
    markdown = _markdown(about, results)
    path = options.json or (None if options.quick else RESULTS / "ray_cluster.json")
    finish(path, about | results, markdown)
    return int(not (same and len(whole) == count and results["killed"]["right"]))


def _photos(folder: Path, count: int) -> None:
    for i in range(count):
        path = folder / f"{i % 3}" / f"{i:03}.ARW"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < DIFFERENT:
            make_raw(path, shape=SHAPE, seed=i)
        else:
            first = i % DIFFERENT
            os.link(folder / f"{first % 3}" / f"{first:03}.ARW", path)


def _denoise(folder: Path, out: str, *words: str, threads: int, **how: Any) -> Finished:
    options = ("--device", "cpu", "--quality", "fast", "--json")
    command = ("denoise", folder / "raw", "-r", "--out", folder / out, *options)
    environment = {"OMP_NUM_THREADS": str(threads), **PASSIVE, **EPOCH}
    return led(*command, *words, limit_s=RUN_LIMIT_S, environment=environment, **how).checked()


def _measured(folder: Path, out: str, *words: str) -> dict[str, float]:
    """Return the seconds of a run until its first photo and of each further one."""
    cpu: dict[int, float] = {}

    def look(running: Running, lines: int) -> None:
        cpu[lines] = _cpu_s(running.process.pid)

    done = _denoise(folder, out, *words, threads=CPUS, on_line=look)
    times = [seconds for seconds, _ in done.lines]
    each = (times[-1] - times[0]) / (len(times) - 1)
    last = len(times) - LAST
    cpu_each = (cpu[last] - cpu[1]) / (last - 1)
    first = {"start_s": times[0], "start_cpu_s": cpu[1]}
    return {**first, "photo_s": each, "photo_cpu_s": cpu_each, "all_s": done.seconds}


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, those below it and those they have waited for."""
    parents, times = {}, {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: state, parent, ...
            rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            parents[int(entry)] = int(rest[1])
            times[int(entry)] = sum(map(int, rest[11:15])) / os.sysconf("SC_CLK_TCK")
    family, size = {pid}, 0
    while size < len(family):
        size = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return sum(times.get(each, 0.0) for each in family)


def _results(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.dng")
    }


def _with_a_node_killed(folder: Path, whole: dict[str, bytes], count: int) -> dict[str, Any]:
    """Run on two nodes of a CPU each, and kill one when a third of the photos is done."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = nodes.add_node(num_cpus=1)

    def kill(running: Running, lines: int) -> None:
        if lines == count // 3:
            nodes.remove_node(second, allow_graceful=False)

    try:
        words = ("--ray", nodes.address)
        done = _denoise(folder, "killed", *words, threads=1, on_line=kill)
    finally:
        nodes.shutdown()
    results = [json.loads(text) for _, text in done.lines]
    reported, files = (Counter(each[key] for each in results) for key in ("status", "file"))
    written = Counter(
        json.loads(line)["output"]
        for line in (folder / "killed/.led/manifest.jsonl").read_text().splitlines()
    )
    messages = [line for line in done.errors.splitlines() if not line.startswith("denoising:")]
    record: dict[str, Any] = {
        "exit_status": done.status,
        "reported_done": reported["done"],
        "reported_twice": sum(n > 1 for n in files.values()),
        "written": len(written),
        "written_twice": sum(n > 1 for n in written.values()),
        "the_same_bytes": sum(_results(folder / "killed").get(n) == d for n, d in whole.items()),
        "unfinished_files": len(list((folder / "killed").rglob(".led-*"))),
        "messages": messages,
    }
    twice = record["reported_twice"] + record["written_twice"] + record["unfinished_files"]
    every = record["reported_done"] == record["written"] == record["the_same_bytes"] == count
    record["right"] = every and not twice and f"{count} done, 0 failed" in messages
    return record


def _markdown(about: dict[str, Any], results: dict[str, Any]) -> str:
    runs, killed = results["runs"], dict(results["killed"])
    messages = killed.pop("messages")
    rows = []
    for key, text in (
        ("start_s", "seconds until the first photo"),
        ("photo_s", "seconds for each further one"),
        ("start_cpu_s", "processor seconds until the first photo"),
        ("photo_cpu_s", "processor seconds for each further one"),
        ("all_s", "seconds in all"),
    ):
        local, ray = ([run[key] for run in runs[how]] for how in ("local", "ray"))
        ratio = statistics.median(b / a for a, b in zip(local, ray, strict=True))
        rows.append([text, *(", ".join(f"{s:.3g}" for s in each) for each in (local, ray))])
        rows[-1].append(f"{ratio:.2f}")
    return (
        head("Ray", about)
        + f"{results['photos']} raws of {SHAPE[1]} x {SHAPE[0]} pixels; `--ray local` with a "
        f"worker of {CPUS} CPU against a plain run, in turns. Aim: a ratio of {1 + AIM:g} at most "
        f"for each further photo. The same bytes: {results['same']}.\n\n"
        + table(["", "local", "Ray", "median of ratios"], rows)
        + "\nTwo nodes of one CPU, one of them killed when a third of the photos was done:\n\n"
        + table(["", ""], [[name.replace("_", " "), str(v)] for name, v in killed.items()])
        + "\n```\n"
        + "\n".join(messages)
        + "\n```\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
