"""What the benchmarks share: where the checkout is, their options, and how results are kept.

Importing this makes the checkout's packages importable, installed or not. Results are a JSON file,
and beside it the same for readers.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
SHARED = ROOT.parent / "shared" / "data"
"""Photographs and calibrations that do not belong to the checkout."""

sys.path.insert(0, str(ROOT))


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a benchmark's docstring as it is."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def quick_options(doc: str | None, quick: str) -> argparse.Namespace:
    """Return the options of a benchmark of runs: ``quick`` says what --quick does."""
    parser = parser_of(doc)
    parser.add_argument("--quick", action="store_true", help=f"{quick}, to try it")
    parser.add_argument("--folder", type=Path, help="where to work; the system's otherwise")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the results go")
    return parser.parse_args()


def note(text: str) -> None:
    """Tell how far a benchmark is."""
    print(text, file=sys.stderr, flush=True)


def context() -> dict[str, Any]:
    """Say what was run, when and on what."""
    return {
        "command": "python "
        + " ".join([f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine() -> str:
    """Name the processor and its cores, and the GPU where there is one."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # not Linux, or a processor that does not say
    parts = [f"{name}, {os.cpu_count()} cores"]
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        parts.append("bfloat16 in hardware")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def head(title: str, about: dict[str, Any]) -> str:
    """Make the first lines of a markdown report."""
    return (
        f"# {title}\n\n`{about['command']}`, {about['date']}\n\n{about['machine']}; "
        f"{about['threads']} threads, torch {about['torch']}, Python {about['python']}.\n\n"
    )


def finish(path: Path | None, results: dict[str, Any], markdown: str) -> None:
    """Show the markdown; keep it and the results if there is a path."""
    print(markdown)
    if path:
        keep(path, results, markdown)
        note(f"written: {path.name}, {path.with_suffix('.md').name}")


def keep(path: Path, results: dict[str, Any], markdown: str) -> None:
    """Write results to ``path`` and the markdown beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown, encoding="utf-8")
