"""How `led denoise`, `led evaluate` and `led finetune` print their results."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ledcli.cli.console import Output, printable
from ledcli.errors import OutputError

if TYPE_CHECKING:
    from ledcli.batch.settings import Result
    from ledcli.evaluation.evaluate import MeasuredFrame
    from ledcli.evaluation.results import Evaluation
    from ledcli.training.finetune import FinetuneResult

METRIC_HEADINGS = ("PSNR", "SSIM", "sRGB PSNR", "sRGB SSIM")
"""Of `results.METRICS`, without the illuminance correction."""


def show_model(output: Output, result: "Result", shown: str | None) -> str | None:
    """Print which model denoised a photo, unless `shown` already says so; return what is shown."""
    model = result.model
    if model is None or result.noise_from is None:
        return shown
    noise = {
        "given": "noise as given",
        "profile": "noise profile of the camera",
        "blind": "noise estimated from the photo",
        "unused": "straight to sRGB",
    }[result.noise_from]
    text = f"model {model.name} ({model.reason}), {noise}"
    text = f"{text}; {result.tile_note}" if result.tile_note else text
    if text != shown:
        output.info(text)
    return text


def show_result(output: Output, result: "Result", *, dry_run: bool = False) -> None:
    """Print what became of one photo; the skipped ones only as JSON, or in a dry run."""
    for warning in result.warnings:
        output.warn(warning)
    record: dict[str, object] = {"file": result.source, "status": result.status}
    if result.error is not None:
        output.failed(result.source, result.error, outputs=result.outputs)
        if result.outputs and not output.json:
            written = ", ".join(map(str, result.outputs))
            output.info(f"{result.source}: written nevertheless: {written}")
        return
    if result.why:
        text = _line(result.source, result.outputs)
        if result.undone is None:
            text = f"{printable(result.source)}: {result.why}"
        if output.json or dry_run:
            output.result({**record, "why": result.why, "outputs": result.outputs}, text)
        return
    if result.undone:
        return
    model, noise = result.model, result.noise
    record |= {
        "outputs": result.outputs,
        "ratio": result.ratio,
        "headroom": result.headroom,
        **(model.record() if model else {}),
        "noise": result.noise_from,
        "gain": noise.gain if noise else None,
        "read_variance": noise.read_variance if noise else None,
        "noise_note": result.noise_note,
        "dark": result.dark_note,
        "seconds": {part: round(s, 4) for part, s in result.seconds.items()},
    }
    notes = []
    if result.ratio is not None and result.ratio != 1:
        notes.append(f"x {result.ratio:g}")
    if result.headroom > 1:
        stops = math.log2(result.headroom)
        notes.append(f"highlights kept: {stops:.1f} stops above white")
    if result.noise_note:
        notes.append(result.noise_note)
    if result.dark_note:
        notes.append(result.dark_note)
    text = f" ({', '.join(notes)})" if notes else ""
    output.result(record, _line(result.source, result.outputs) + text)
    if result.suggestion and not output.json:
        output.hint(result.suggestion)


def _line(source: Path | None, outputs: Sequence[Path]) -> str:
    return f"{printable(source)} -> {', '.join(map(printable, outputs))}"


def show_frame(output: Output, measured: "MeasuredFrame") -> None:
    """Print the figures of a frame as JSON, or why it, or a line of a list, was not measured."""
    case = measured.case
    record: dict[str, object] = {}
    if measured.error is not None:
        output.error(f"{case.name}: {measured.error}" if case else measured.error)
        record = {"status": "failed", "error": str(measured.error)}
    elif case:
        record = {"camera": case.camera, "iso": case.iso, "ratio": case.ratio}
        record["metrics"] = {result.model: result.metrics for result in measured.results}
    if output.json:
        output.result({"frame": case and case.name, **record})


def show_means(output: Output, evaluation: "Evaluation") -> None:
    """Print the means of all frames, then by ratio, ISO and camera."""
    from ledcli.evaluation.results import KEYS, METRICS, NOISY, format_metric, format_value

    means = evaluation.means()
    if output.json:
        output.result(
            {
                "source": evaluation.source,
                "frames": means[0].frames,
                "skipped": evaluation.skipped,
                "means": {group.model: group.metrics for group in means},
                "groups": {key: evaluation.groups(key) for key in KEYS},
            }
        )
        return
    headings = ["mean of all", *METRIC_HEADINGS, *("corr. " + h for h in METRIC_HEADINGS)]
    rows = [[g.model, *(format_metric(m, g.metrics.get(m)) for m in METRICS)] for g in means]
    output.table(headings, rows, right=headings[1:])
    # Planes, unless a model has none.
    kind = "" if all("psnr" in group.metrics for group in means) else "_srgb"
    shown = (f"psnr{kind}", f"ssim{kind}")
    for key in KEYS:
        found = evaluation.by_value(key)
        if [value for value, _ in found] == [None]:
            continue
        rows = []
        for value, groups in found:
            metrics = [groups[model].metrics for model in evaluation.models]
            cells = ["/".join(format_metric(m, of.get(m)) for m in shown) for of in metrics]
            rows.append([format_value(value), str(groups[NOISY].frames), *cells])
        headings = [key, "frames", *evaluation.models]
        output.result("")
        output.table(headings, rows, right=headings[1:])


def write_files(
    output: Output, evaluation: "Evaluation", csv: Path | None, report: Path | None
) -> bool:
    """Write the CSV file and the report that were asked for; a failed one does not stop both."""
    from ledcli.evaluation.report import write_report
    from ledcli.evaluation.results import write_csv

    written = True
    for path, write in ((csv, write_csv), (report, write_report)):
        try:
            if path is not None:
                output.info(f"wrote {write(path, evaluation)}")
        except OutputError as error:
            output.error(error)
            written = False
    return written


def show_finetuned(output: Output, done: "FinetuneResult") -> None:
    """Print how the fine-tuning ended."""
    if done.status == "stopped":
        output.info("stopped; continue with the same command and --resume")
        return
    if done.tuned is None:
        output.result({"model": done.name, "status": "planned", "pairs": done.pairs}, done.name)
        return
    tuned, better = done.tuned, done.tuned.improvement
    record = {"psnr_before": tuned.before, "psnr_after": tuned.after, "improvement_db": better}
    if done.path is None:
        output.error(
            f"the tuned model is no better on validation crops ({better:+.2f} dB) and was not "
            "installed: check the pairs and shoot more, or install it with --resume --force"
        )
        output.result({"model": None, "status": done.status, **record}, "not installed")
        return
    output.result(
        {"model": done.name, "status": done.status, "file": done.path, **record},
        f"{done.name}: {better:+.2f} dB over {done.method.baseline} on validation crops "
        f"({tuned.before:.2f} to {tuned.after:.2f} dB); installed as {printable(done.path)}",
    )
    if done.method.hint:
        output.hint(done.method.hint.format(name=done.name))
