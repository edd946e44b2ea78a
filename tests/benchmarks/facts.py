"""What a model must show, and the figures it reached: no judgement, no exit status.

Also rows that were measured elsewhere, on the twelve cells of the protocol's first version.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from protocol import CELLS, TWELVE, Cell, Score

BM3D, NOISY = "BM3D, oracle", "noisy"

Result = dict[str, Any]
"""A cell as quality.py keeps it: its name, camera, gain, ratio, and figures by method."""


class Row(NamedTuple):
    """A rival that does not run here."""

    title: str
    """What it is."""
    source: str
    """How it was measured."""
    scores: Mapping[str, Score]
    """By cell; a cell may be missing."""


def twelve() -> tuple[Cell, ...]:
    """Return the cells measured elsewhere: three cameras at their high gain, four ratios."""
    return tuple(cell for cell in CELLS if cell.name in TWELVE)


def _row(title: str, source: str, figures: Sequence[tuple[float, float]]) -> Row:
    names = (cell.name for cell in twelve())
    return Row(title, source, {n: Score(*f) for n, f in zip(names, figures, strict=False)})


_TRIAL = "a trial of 2026-11-20, UNet of 7.76 M parameters, two cores with AMX, other noise draws"

PMRID = _row(
    "PMRID, oracle",
    "PMRID's released network (1.0 M parameters) with the true K and read variance, measured on "
    "this protocol on 2026-11-20 with other draws of the noise",
    [
        *((41.95, 0.983), (36.37, 0.946), (31.94, 0.870), (27.55, 0.680)),
        *((40.23, 0.975), (33.47, 0.901), (27.66, 0.676), (20.42, 0.328)),
        *((40.14, 0.974), (32.45, 0.881), (26.17, 0.651), (18.19, 0.280)),
    ],
)
TRIALS = (
    _row(
        "A: gained input, 27 min",
        f"LED's plain recipe (gained input, L1, no residual); {_TRIAL} a "
        "shade different, under 0.2 dB at the input; not run on the Canon",
        [
            *((32.06, 0.921), (31.31, 0.887), (29.37, 0.792), (26.53, 0.631)),
            *((31.95, 0.916), (30.30, 0.844), (27.53, 0.714), (24.69, 0.549)),
        ],
    ),
    _row(
        "C: stabilised, blind, 30 min",
        f"noise-stabilised input and a residual; {_TRIAL}",
        [
            *((45.41, 0.986), (36.19, 0.937), (31.16, 0.845), (27.19, 0.678)),
            *((41.88, 0.976), (32.98, 0.895), (28.40, 0.773), (24.80, 0.583)),
            *((41.76, 0.975), (31.65, 0.851), (24.84, 0.522), (18.30, 0.209)),
        ],
    ),
    _row(
        "D: C continued to 72 min, blind",
        f"C with values below zero kept and averaged weights; {_TRIAL}",
        [
            *((45.56, 0.986), (36.56, 0.941), (31.65, 0.856), (27.73, 0.717)),
            *((42.10, 0.977), (33.44, 0.902), (28.99, 0.799), (25.38, 0.642)),
            *((41.98, 0.976), (32.10, 0.862), (25.54, 0.589), (19.35, 0.259)),
        ],
    ),
)


class Fact(NamedTuple):
    """One figure."""

    name: str
    """What it is the figure of."""
    wanted: str
    """What is asked of the bundled model; empty where nothing is."""
    reached: str
    """The figure for readers; ``-`` where it is not known."""
    value: float | None
    """The same as a number."""


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
