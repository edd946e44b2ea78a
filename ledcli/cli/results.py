"""How `led denoise` prints the result of each photo."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.cli.console import Output
from ledcli.cli.terminal import printable

if TYPE_CHECKING:
    from ledcli.batch.plan import PlannedPhoto
    from ledcli.batch.settings import Job, Result


def show_model(output: Output, result: "Result", shown: str | None) -> str | None:
    """Print which model denoised a photo, unless `shown` already says so; return what is shown."""
    model = result.model
    if model is None or result.noise_from is None:
        return shown
    noise = {
        "profile": "noise profile of the camera",
        "blind": "noise estimated from the photo",
        "unused": "straight to sRGB",
    }[result.noise_from]
    text = f"model {model.name} ({model.reason}), {noise}"
    text = f"{text}; {result.tile_note}" if result.tile_note else text
    if text != shown:
        output.info(text)
    return text


def show_result(output: Output, result: "Result") -> None:
    """Print what became of one photo."""
    for warning in result.warnings:
        output.warn(warning)
    record: dict[str, object] = {"file": result.source, "status": result.status}
    if result.error is not None:
        _show_failed(output, result.source, result.error, result.outputs)
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


def show_plan(output: Output, job: "Job", planned: "PlannedPhoto") -> str:
    """Print what would become of a photo, and return its status."""
    if planned.error is not None:
        _show_failed(output, job.source, planned.error, planned.kept)
        return "failed"
    outputs = [job.outputs[name] for name in planned.make]
    status = "planned" if outputs else "skipped"
    output.result(
        {
            "file": job.source,
            "status": status,
            "why": planned.why,
            "outputs": outputs or planned.kept,
        },
        _line(job.source, outputs) if outputs else f"{printable(job.source)}: {planned.why}",
    )
    return status


def _show_failed(
    output: Output, source: Path | None, error: Exception, outputs: Iterable[Path] = ()
) -> None:
    """Print why a photo failed, and which of its outputs exist nevertheless."""
    output.error(error)
    written = list(outputs)
    if output.json:
        record = {"file": source, "status": "failed", "error": str(error), "outputs": written}
        output.result(record)
    elif written:
        output.info(f"{source}: written nevertheless: {', '.join(str(path) for path in written)}")


def _line(source: Path | None, outputs: Iterable[Path]) -> str:
    return f"{printable(source)} -> {', '.join(printable(path) for path in outputs)}"


def _brightness(result: "Result") -> str:
    parts = []
    if result.ratio is not None and result.ratio != 1:
        parts.append(f"x {result.ratio:g}")
    if result.headroom > 1:
        parts.append(f"highlights kept: {math.log2(result.headroom):.1f} stops above white")
    return f" ({', '.join(parts)})" if parts else ""
