"""How `led evaluate` shows what it measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ledcli.cli.console import Output

if TYPE_CHECKING:
    from ledcli.evaluation.evaluate import MeasuredFrame
    from ledcli.evaluation.results import Evaluation, Group

_HEADINGS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_srgb": "sRGB PSNR",
    "ssim_srgb": "sRGB SSIM",
}


def show_frame(output: Output, measured: "MeasuredFrame") -> None:
    """Show a frame's metrics: a line of JSON, or nothing but the bar where people read."""
    case = measured.case
    if measured.error is not None:
        show_skipped(output, case.name, str(measured.error))
    elif output.json:
        output.result(
            {
                "frame": case.name,
                "camera": case.camera,
                "iso": case.iso,
                "ratio": case.ratio,
                "metrics": {result.model: result.metrics for result in measured.results},
            }
        )


def show_skipped(output: Output, name: str | None, error: str) -> None:
    """Show why a frame, or a line of a list, could not be measured."""
    output.error(f"{name}: {error}" if name else error)
    if output.json:
        output.result({"frame": name, "status": "failed", "error": error})


def show_means(output: Output, evaluation: "Evaluation") -> None:
    """Show the means: of all frames by metric, then by ratio, ISO and camera."""
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
    headings = ["mean of all", *_HEADINGS.values(), *("corr. " + h for h in _HEADINGS.values())]
    rows = [[g.model, *(format_metric(m, g.metrics.get(m)) for m in METRICS)] for g in means]
    _table(output, headings, rows)
    # Planes, unless a model has none.
    kind = "" if all("psnr" in group.metrics for group in means) else "_srgb"
    for key in KEYS:
        found = evaluation.by_value(key)
        if [value for value, _ in found] == [None]:
            continue
        rows = [
            [
                format_value(value),
                str(groups[NOISY].frames),
                *(_both(groups[model], kind) for model in evaluation.models),
            ]
            for value, groups in found
        ]
        output.result("")
        _table(output, [key, "frames", *evaluation.models], rows)


def _table(output: Output, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    output.table(headings, rows, right=headings[1:])


def _both(group: "Group", kind: str) -> str:
    from ledcli.evaluation.results import format_metric

    metrics = (f"psnr{kind}", f"ssim{kind}")
    return "/".join(format_metric(metric, group.metrics.get(metric)) for metric in metrics)
