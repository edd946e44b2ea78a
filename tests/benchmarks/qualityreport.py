"""The quality report in markdown: means first, every cell last."""

from collections.abc import Callable, Sequence
from typing import Any

from facts import BM3D, PMRID, TRIALS, Fact, Result, largest_bias, twelve
from report import head, table

Figures = dict[str, Any]


def _shown(show: Callable[[Figures], str], figures: Figures) -> str:
    """Show a measure, or a dash where it is not known."""
    try:
        return show(figures)
    except KeyError:
        return "-"


MEASURES: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "PSNR / SSIM": ("dB, of the planes", lambda f: f"{f['psnr']:.2f}/{f['ssim']:.3f}"),
    "most detailed tenth": ("PSNR in dB", lambda f: f"{f['detail']:.2f}"),
    "deltaE2000": ("mean over the rendered picture", lambda f: f"{f['delta_e']:.2f}"),
    "bias": (
        "largest of the planes' mean errors, and of the mean sizes of each photo's, % of white",
        lambda f: (
            f"{100 * abs(largest_bias(f)):.3f} / {100 * largest_bias(f, 'absolute_bias'):.3f}"
        ),
    ),
}


def methods_of(results: Sequence[Result]) -> list[str]:
    """Return the methods in order: noisy, BM3D, then the models."""
    return list(results[0]["figures"])


def common(results: Sequence[Result]) -> list[dict[str, Figures]]:
    """Figures by method of the cells in which all methods are known that are known anywhere."""
    known = [m for m in methods_of(results) if any(r["figures"][m] for r in results)]
    return [
        {m: r["figures"][m] for m in known} for r in results if all(r["figures"][m] for m in known)
    ]


def mean_figures(results: Sequence[Result]) -> dict[str, Figures]:
    """Mean figures by method over those cells; empty where there is none."""
    cells = common(results)
    return {m: _mean([figures[m] for figures in cells]) for m in cells[0]} if cells else {}


def _mean(figures: Sequence[Figures]) -> Figures:
    means: Figures = {}
    for name, value in figures[0].items():
        if not all(name in f for f in figures):
            continue
        if isinstance(value, list):
            columns = zip(*(f[name] for f in figures), strict=True)
            # Errors of opposite sign in two cells do not make one good cell.
            means[name] = [round(sum(map(abs, c)) / len(figures), 6) for c in columns]
        else:
            means[name] = round(sum(f[name] for f in figures) / len(figures), 4)
    return means


def markdown(about: dict[str, Any], results: Sequence[Result], facts: dict[str, list[Fact]]) -> str:
    """Write the report."""
    parts = [
        head("Quality", about) + _introduction(about, results),
        _facts_table(facts),
        _means_table(results),
        _by_ratio(results),
    ]
    if not about["crop"]:
        parts.append(_elsewhere(results))
    parts.append(_every_cell(results))
    return "\n".join(part for part in parts if part)


def _introduction(about: dict[str, Any], results: Sequence[Result]) -> str:
    models = "".join(
        f"- {m['name']}: sha256 {m['sha256'][:12]}, {m['precision']} on {m['device']}\n"
        for m in about["models"]
    )
    bm3d = f"BM3D {about['bm3d']}" if about["bm3d"] else "BM3D"
    lacking = sum(not r["figures"][BM3D] for r in results)
    missing = f" It is not known in {lacking} of {len(results)} cells." if lacking else ""
    return (
        f"{models}\n{len(results)} cells (camera, gain, ratio), {len(about['photos'])} photographs"
        f"{' cropped for a smoke run' if about['crop'] else ''}: {', '.join(about['photos'])}.\n"
        f"{bm3d} works under a generalised Anscombe transform with the true parameters (oracle); "
        "a blind model estimates them from the frame, as `led denoise` does."
        f"{missing}\nCells of the lower gain (K = 0.75 and 2.5) take the photographs at half their "
        "size: their own grain and 8-bit steps are as strong as the noise of K = 3.\n"
    )


def _facts_table(facts: dict[str, list[Fact]]) -> str:
    rows = [
        [several[0].name, several[0].wanted or "-", *(fact.reached for fact in several)]
        for several in zip(*facts.values(), strict=True)
    ]
    return "## What the bundled model must show\n\n" + table(["figure", "wanted", *facts], rows)


def _means_table(results: Sequence[Result]) -> str:
    means = mean_figures(results)
    if not means:
        return ""
    count = len(common(results))
    rows = [
        [method, *(_shown(show, f) for _, show in MEASURES.values())] for method, f in means.items()
    ]
    legend = "; ".join(f"{name}: {what}" for name, (what, _) in MEASURES.items())
    return (
        f"## Means over the {count} cells that every method is known in\n\n"
        + table(["method", *MEASURES], rows)
        + f"\n{legend}. Over cells the sizes of the biases are averaged.\n"
    )


def _by_ratio(results: Sequence[Result]) -> str:
    ratios = sorted({r["ratio"] for r in results})
    means = {ratio: mean_figures([r for r in results if r["ratio"] == ratio]) for ratio in ratios}
    if not any(means.values()):
        return ""
    text = "## Means by ratio\n"
    for name, (what, show) in MEASURES.items():
        rows = [
            [method, *(_shown(show, f.get(method, {})) for f in means.values())]
            for method in methods_of(results)
        ]
        text += f"\n**{name}** ({what})\n\n"
        text += table(["method", *(f"{ratio:g}" for ratio in ratios)], rows)
    return text


def _elsewhere(results: Sequence[Result]) -> str:
    by_name = {r["cell"]: r["figures"] for r in results}
    cells = [cell for cell in twelve() if cell.name in by_name]
    if not cells:
        return ""
    own = methods_of(results)
    rows = []
    for cell in cells:
        named = [row.scores.get(cell.name) for row in (PMRID, *TRIALS)]
        other = [f"{s.psnr:.2f}/{s.ssim:.3f}" if s else "-" for s in named]
        shown = [_psnr_ssim(by_name[cell.name][method]) for method in own]
        rows.append([f"{cell.camera} K={cell.gain:g}, {cell.ratio:g}", *shown, *other])
    text = "## The twelve cells measured elsewhere\n\n"
    if len(cells) == len(twelve()):
        chosen = [r for r in results if r["cell"] in {cell.name for cell in cells}]
        means = mean_figures(chosen)
        shown = [_psnr_ssim(means.get(method)) for method in own]
        others = []
        for row in (PMRID, *TRIALS):
            pairs = list(zip(*row.scores.values(), strict=True))
            whole = len(row.scores) == len(cells)
            psnr, ssim = (sum(column) / len(column) for column in pairs)
            others.append(f"{psnr:.2f}/{ssim:.3f}" if whole else "-")
        rows.append(["**mean**", *shown, *others])
    text += table(["camera, ratio", *own, PMRID.title, *(t.title for t in TRIALS)], rows)
    return text + "\n" + "".join(f"{row.title}: {row.source}.\n" for row in (PMRID, *TRIALS))


def _every_cell(results: Sequence[Result]) -> str:
    text = "## Every cell, PSNR / SSIM\n"
    methods = methods_of(results)
    for ratio in sorted({r["ratio"] for r in results}):
        chosen = [r for r in results if r["ratio"] == ratio]
        rows = [
            [f"{r['camera']} K={r['gain']:g}", *(_psnr_ssim(r["figures"][m]) for m in methods)]
            for r in chosen
        ]
        text += f"\nRatio {ratio:g}\n\n" + table(["camera", *methods], rows)
    return text


def _psnr_ssim(figures: Figures | None) -> str:
    return f"{figures['psnr']:.2f}/{figures['ssim']:.3f}" if figures else "-"
