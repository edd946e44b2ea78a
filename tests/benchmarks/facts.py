"""What a model must show, and the figures it reached: no judgement, no exit status."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from elsewhere import PMRID

BM3D, NOISY = "BM3D, oracle", "noisy"

Result = dict[str, Any]
"""A cell as quality.py keeps it: its name, camera, gain, ratio, and figures by method."""


class Fact(NamedTuple):
    """One figure.

    Attributes
    ----------
    name : str
        What it is the figure of.
    wanted : str
        What is asked of the bundled model; empty where nothing is.
    reached : str
        The figure for readers; ``-`` where it is not known.
    value : float or None
        The same as a number.
    """

    name: str
    wanted: str
    reached: str
    value: float | None


class Difference(NamedTuple):
    """How far a method is above another in a cell."""

    value: float
    cell: str


def differences(
    results: Sequence[Result], method: str, other: str, measure: str = "psnr"
) -> list[Difference]:
    """Compare two methods in the cells where both are known."""
    known = [r for r in results if all(measure in r["figures"].get(m, {}) for m in (method, other))]
    return [
        Difference(r["figures"][method][measure] - r["figures"][other][measure], r["cell"])
        for r in known
    ]


def facts_of(
    results: Sequence[Result], method: str, standard: str, whole: bool = True
) -> list[Fact]:
    """Collect the facts of one model, compared with the method ``standard``.

    PMRID's rows are of whole photographs only.
    """
    good = [r for r in results if r["ratio"] == 1]
    noisy, bm3d = differences(results, method, NOISY), differences(results, method, BM3D)
    pmrid = _over_pmrid(results, method) if whole else []
    good_noisy = differences(good, method, NOISY)
    good_ssim = differences(good, method, NOISY, "ssim")
    detail = differences(results, method, BM3D, "detail")
    apart = differences(results, method, standard) if method != standard else []
    return [
        _least("least over the noisy input", "above 0", noisy, _decibels),
        _mean("mean over BM3D", "+1 dB; fast: above 0", bm3d, _decibels),
        _mean(f"mean over {standard}", "fast: -0.35 dB", apart, _decibels),
        _least("least over BM3D", "above 0 (reach)", bm3d, _decibels),
        _mean("mean over PMRID, the twelve cells", "+1 dB", pmrid, _decibels),
        _least("least over PMRID", "above 0 (reach)", pmrid, _decibels),
        _mean("ratio 1: mean over the noisy input", "+1 dB", good_noisy, _decibels),
        _least("ratio 1: least over the noisy input", "+0.3 dB", good_noisy, _decibels),
        _mean("ratio 1: SSIM over the noisy input, mean", "up", good_ssim, _plain),
        _least("ratio 1: SSIM over the noisy input, least", "up", good_ssim, _plain),
        *_bias_facts(results, method),
        *_over_bm3d_by_ratio(results, method),
        _mean("most detailed tenth: mean over BM3D", "above 0", detail, _decibels),
        _least("most detailed tenth: least over BM3D", "", detail, _decibels),
        _mean("deltaE2000: mean over BM3D (lower is better)", "",
              differences(results, method, BM3D, "delta_e"), _plain),
    ]  # fmt: skip


def largest_bias(figures: dict[str, Any], measure: str = "bias") -> float:
    """Return the error of the plane that is furthest off, with its sign, a share of white."""
    return float(max(figures[measure], key=abs))


def _over_pmrid(results: Sequence[Result], method: str) -> list[Difference]:
    return [
        Difference(r["figures"][method]["psnr"] - PMRID.scores[r["cell"]].psnr, r["cell"])
        for r in results
        if r["cell"] in PMRID.scores
    ]


def _over_bm3d_by_ratio(results: Sequence[Result], method: str) -> list[Fact]:
    return [
        _mean(
            f"ratio {ratio:g}: mean over BM3D",
            "",
            differences([r for r in results if r["ratio"] == ratio], method, BM3D),
            _decibels,
        )
        for ratio in sorted({r["ratio"] for r in results})
    ]


def _bias_facts(results: Sequence[Result], method: str) -> list[Fact]:
    at_100 = [r for r in results if r["ratio"] == 100]
    facts = []
    for name, measure in (("mean", "bias"), ("mean size of the", "absolute_bias")):
        title = f"ratio 100: {name} error of a plane, worst plane and cell"
        errors = [Difference(largest_bias(r["figures"][method], measure), r["cell"])
                  for r in at_100]  # fmt: skip
        worst = max(errors, key=lambda e: abs(e.value), default=None)
        reached = f"{worst.value:+.3%} ({worst.cell})" if worst else "-"
        facts.append(Fact(title, "under 0.2 % of white", reached, worst.value if worst else None))
    return facts


def _mean(
    name: str, wanted: str, found: Sequence[Difference], show: Callable[[float], str]
) -> Fact:
    if not found:
        return Fact(name, wanted, "-", None)
    mean = sum(d.value for d in found) / len(found)
    return Fact(name, wanted, f"{show(mean)} ({len(found)} cells)", round(mean, 4))


def _least(
    name: str, wanted: str, found: Sequence[Difference], show: Callable[[float], str]
) -> Fact:
    if not found:
        return Fact(name, wanted, "-", None)
    least = min(found)
    under = sum(d.value <= 0 for d in found)
    reached = f"{show(least.value)} ({least.cell}); under 0 in {under} of {len(found)} cells"
    return Fact(name, wanted, reached, round(least.value, 4))


def _decibels(value: float) -> str:
    return f"{value:+.2f} dB"


def _plain(value: float) -> str:
    return f"{value:+.4f}"
