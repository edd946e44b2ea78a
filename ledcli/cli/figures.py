"""How `led evaluate` shows what it measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ledcli.cli.console import Output

if TYPE_CHECKING:
    from ledcli.evaluation.evaluate import Measured
    from ledcli.evaluation.results import Evaluation, Group

_HEADINGS = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_srgb": "sRGB PSNR",
    "ssim_srgb": "SSIM",
}


def show_frame(output: Output, measured: "Measured") -> None:
    """Show a frame's figures: a line of JSON, or nothing but the bar where people read."""
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
                "figures": {result.model: result.figures for result in measured.results},
            }
        )


def show_skipped(output: Output, name: str | None, error: str) -> None:
    """Show why a frame, or a line of a list, could not be measured."""
    output.error(f"{name}: {error}" if name else error)
    if output.json:
        output.result({"frame": name, "status": "failed", "error": error})


def show_means(output: Output, evaluation: "Evaluation") -> None:
    """Show the means: of all frames by measure, then by ratio, ISO and camera."""
    from ledcli.evaluation.results import KEYS, MEASURES

    means = evaluation.means()
    if output.json:
        output.result(
            {
                "source": evaluation.source,
                "frames": means[0].frames,
                "skipped": evaluation.skipped,
                "means": {group.model: group.figures for group in means},
                "groups": {key: evaluation.groups(key) for key in KEYS},
            }
        )
        return
    headings = ["mean of all", *_HEADINGS.values(), *("corr. " + h for h in _HEADINGS.values())]
    rows = [[g.model, *(_figure(g, measure) for measure in MEASURES)] for g in means]
    _table(output, headings, rows)
    for key in KEYS:
        groups = evaluation.groups(key)
        values = list(dict.fromkeys(group.value for group in groups))
        if values == [None]:
            continue
        by_place = {(group.value, group.model): group for group in groups}
        columns = [key, "frames", *evaluation.models]
        rows = []
        for value in values:
            here = [by_place[value, model] for model in evaluation.models]
            label = f"{value:g}" if isinstance(value, float) else value or "unknown"
            rows.append([label, str(here[0].frames), *map(_both, here)])
        output.result("")
        _table(output, columns, rows)


def _table(output: Output, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    output.table(headings, rows, right=headings[1:])


def _both(group: "Group") -> str:
    return f"{_figure(group, 'psnr')}/{_figure(group, 'ssim')}"


def _figure(group: "Group", measure: str) -> str:
    value = group.figures.get(measure)
    return "-" if value is None else f"{value:.2f}" if "psnr" in measure else f"{value:.4f}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 frame``, ``2 frames``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
