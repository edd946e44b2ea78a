"""How `led denoise` shows what became of each photo."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.cli.console import Output
from ledcli.cli.terminal import printable

if TYPE_CHECKING:
    from ledcli.batch.plan import PlannedPhoto
    from ledcli.batch.settings import Job, Result


def how_denoised(result: "Result") -> str | None:
    """Say what denoised a photo; None where it came to nothing before."""
    model = result.model
    if model is None or result.noise_from is None:
        return None
    how = {
        "profile": "the camera's own noise",
        "blind": "noise estimated from the photo",
        "unused": "straight to sRGB",
    }
    said = f"model {model.name} ({model.reason}), {how[result.noise_from]}"
    return f"{said}; {result.tile_note}" if result.tile_note else said


def show_result(output: Output, result: "Result") -> None:
    """Report one photo."""
    for warning in result.warnings:
        output.warn(warning)
    record: dict[str, object] = {"file": result.source, "status": result.status}
    if result.error is not None:
        show_failed(output, result.source, result.error, result.outputs)
        return
    if result.why:
        if output.json:
            output.result({**record, "why": result.why, "outputs": result.outputs})
        return
    model, noise = result.model, result.noise
    output.result(
        {
            **record,
            "outputs": result.outputs,
            "ratio": result.ratio,
            "headroom": result.headroom,
            **(model.record() if model else {}),
            "noise": result.noise_from,
            "gain": noise.gain if noise else None,
            "read_variance": noise.read_variance if noise else None,
            "seconds": {part: round(s, 4) for part, s in result.seconds.items()},
        },
        _line(result.source, result.outputs) + _brightness(result),
    )


def show_plan(output: Output, job: "Job", todo: "PlannedPhoto") -> str:
    """Report what would become of a photo, and return it in a word."""
    if todo.error is not None:
        show_failed(output, job.source, todo.error, todo.kept)
        return "failed"
    outputs = [job.outputs[name] for name in todo.make]
    status = "planned" if outputs else "skipped"
    output.result(
        {"file": job.source, "status": status, "why": todo.why, "outputs": outputs or todo.kept},
        _line(job.source, outputs) if outputs else f"{printable(job.source)}: {todo.why}",
    )
    return status


def show_failed(
    output: Output, source: Path | None, error: Exception, outputs: Iterable[Path] = ()
) -> None:
    """Report what came to nothing; `outputs` are there all the same."""
    output.error(error)
    there = list(outputs)
    if output.json:
        record = {"file": source, "status": "failed", "error": str(error), "outputs": there}
        output.result(record)
    elif there:
        output.info(f"{source}: written all the same: {', '.join(str(path) for path in there)}")


def _line(source: Path, outputs: Iterable[Path]) -> str:
    return f"{printable(source)} -> {', '.join(printable(path) for path in outputs)}"


def _brightness(result: "Result") -> str:
    parts = []
    if result.ratio is not None and result.ratio != 1:
        parts.append(f"x {result.ratio:g}")
    if result.headroom > 1:
        parts.append(f"highlights kept: {math.log2(result.headroom):.1f} stops above white")
    return f" ({', '.join(parts)})" if parts else ""
