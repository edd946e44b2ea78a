"""Everything that a GPU can show, in under eight minutes.

    python tests/benchmarks/gpu.py
    python tests/benchmarks/gpu.py --device cpu --tiny --json /tmp/gpu.json

The parts are those of gpu_parts.py and gpu_training.py. Each runs in a process of its own, within
its share of the time that is left, so that one which fails, hangs or loses the device costs only
itself: what it had measured is kept, and its error is named. Results are kept after every part, in
results/gpu.json and gpu.md. Needs a checkout and led's dependencies, no data and no network.
--tiny tries the script with small sizes; its figures mean nothing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gpu_parts import Bench, Found, agreement, memory, photo
from gpu_training import finetune, pretrain
from report import RESULTS, context, head, keep, parser_of, table

from ledcli.errors import LedError
from ledcli.inference.backends.torch import choose_device

SECONDS = 450.0
"""For all parts together."""
GRACE = 5.0
"""Seconds before the end of its time at which a part stops by itself."""


class Part(NamedTuple):
    """A part: its title, its share of the time, and what measures it."""

    title: str
    share: float
    measure: Callable[[Bench], Found]


PARTS = {
    "agreement": Part("Agreement with the CPU in float32", 60, agreement),
    "photo": Part("A photo of 24 MP", 90, photo),
    "memory": Part("Too little memory", 40, memory),
    "pretrain": Part("Pretraining", 60, pretrain),
    "finetune": Part("Fine-tuning by LED", 200, finetune),
}
"""In the order in which they are measured: the longest last, with all the time that is left."""


def main() -> None:
    """Run the parts, print and keep."""
    options = _options()
    if options.run:
        measure(options.run, options.device, options.tiny, options.seconds, options.json)
        return
    try:
        choose_device(options.device)
    except LedError as error:
        raise SystemExit(str(error)) from error
    about = context() | {"device": options.device, "seconds": options.seconds}
    about |= {"tiny": options.tiny}
    parts: dict[str, Any] = {}
    end = time.monotonic() + options.seconds
    names = options.parts
    for number, name in enumerate(names):
        left = max(end - time.monotonic(), 0.0)
        share = PARTS[name].share / sum(PARTS[each].share for each in names[number:])
        parts[name] = in_a_process(name, options, share * left)
        print(f"{name}: {_outcome(parts[name])}", file=sys.stderr, flush=True)
        keep(options.json, about | {"parts": parts}, markdown(about, parts))
    print(options.json.with_suffix(".md").read_text(encoding="utf-8"))
    if any(map(failed, parts.values())):
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--device", default="cuda", help="as of led denoise")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of them")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--json", type=Path, default=RESULTS / "gpu.json")
    parser.add_argument("--run", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(name: str, device: str, tiny: bool, seconds: float, path: Path) -> None:
    """Measure one part in this process, and keep what is found, or the error, as JSON."""
    start = time.monotonic()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            bench = Bench(choose_device(device), tiny, start + seconds, Path(folder))
            for result in PARTS[name].measure(bench):
                found |= result
                path.write_text(json.dumps(found), encoding="utf-8")
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            found["error"] = f"{type(error).__name__}: {first}"
    found["took"] = round(time.monotonic() - start, 1)
    path.write_text(json.dumps(found), encoding="utf-8")


def in_a_process(name: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Measure a part in a process that is ended when its time is over."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.json"
        command = [sys.executable, __file__, "--run", name, "--device", options.device]
        command += ["--seconds", str(max(seconds - GRACE, 1.0)), "--json", str(path)]
        command += ["--tiny"] if options.tiny else []
        # A session of its own: what the part has started ends with it.
        process = subprocess.Popen(command, start_new_session=True, stdout=sys.stderr)
        found: dict[str, Any] = {}
        problem = ""
        try:
            status = process.wait(seconds)
            problem = f"ended with status {status}" if status else ""
        except subprocess.TimeoutExpired:
            problem = f"stopped after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
    return found | ({"error": problem} if problem else {})


def failed(found: dict[str, Any]) -> bool:
    """Return True if a part was not finished, or found what the device does not do right."""
    return "error" in found or bool(found.get("problems"))


def _outcome(found: dict[str, Any]) -> str:
    done = f"done in {found.get('took', 0):.0f} s"
    return "; ".join((str(found.get("error", done)), *found.get("problems", ())))


def markdown(about: dict[str, Any], parts: dict[str, Any]) -> str:
    """Write the report of what was found so far."""
    text = head("What a GPU shows", about)
    if about["tiny"]:
        text += "With small sizes, to try the script: the figures mean nothing.\n\n"
    text += f"On {about['device']}, in {about['seconds']:.0f} s at most.\n"
    for name, found in parts.items():
        text += f"\n## {PARTS[name].title}\n\n"
        if "error" in found:
            text += f"**Not finished: {found['error']}**\n\n"
        if found.get("rows"):
            columns = list(found["rows"][0])
            rows = [[str(row[column]) for column in columns] for row in found["rows"]]
            text += table(columns, rows) + "\n"
        text += "".join(f"{each}\n" for each in found.get("problems", ()))
        if found.get("note"):
            text += f"{found['note']}\n"
    return text


if __name__ == "__main__":
    main()
