"""How results are kept: a JSON file, and beside it the same for readers."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


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


def keep(path: Path, results: dict[str, Any], markdown: str) -> None:
    """Write results to ``path`` and the markdown beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown, encoding="utf-8")
