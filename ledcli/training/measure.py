"""From pairs as they were shot to pairs ready for training, and the camera's noise on the way."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import PairError
from ledcli.noise.estimate import estimate_noise
from ledcli.noise.places import layout_of
from ledcli.noise.shading import Shading, dark_shading, enlarged, interpolated, pair_shading
from ledcli.noise.transfer import (
    ExposureFit,
    Transfer,
    camera_lines,
    measure_exposure,
    measure_transfer,
)
from ledcli.pairs.structure import clipping_level
from ledcli.training.fewshot import (
    HELD_SIDE,
    MULTIPLE,
    FewShot,
    RawPair,
    TrainingPair,
    held_columns,
)
from ledcli.training.turning import even_start

SMALLEST_SIDE = 64
"""Plane pixels a side below which a frame is no use."""
MOST_PIXELS = 1 << 28
"""Plane pixels of all pairs that are kept in memory, 4.3 GB; of more pairs less of each frame."""

Planes = NDArray[np.float32]


def few_shot(
    pairs: Iterable[RawPair],
    darks: Mapping[float, Iterable[Planes]] | None = None,
    *,
    most_pixels: int = MOST_PIXELS,
) -> FewShot:
    """Measure a camera's noise on its pairs and make them ready for training.

    Parameters
    ----------
    pairs : iterable of RawPair
        Of one camera; taken one by one, so that few are in memory in full.
    darks : mapping of ISO to planes ``(4, h, w)``, optional
        Lens-cap frames, which show the dark shading; what black is still off by, and without
        them all of it, is measured on the pairs, one offset a colour and ISO.
    most_pixels : int
        Plane pixels of a pair that are kept: the middle rows of a larger frame.

    Raises
    ------
    PairError
        There is no pair, a long frame is clipped, or the frames are too small.
    """
    dark = [dark_shading(iso, planes) for iso, planes in sorted((darks or {}).items())]
    kept: list[TrainingPair] = []
    fits: dict[float, list[ExposureFit]] = {}
    transfers: dict[float, list[Transfer]] = {}
    frame: tuple[int, ...] = (0, 0)
    for pair in pairs:
        frame = pair.short.shape[1:]
        if min(frame) < SMALLEST_SIDE:
            cell = layout_of(len(pair.short)).side
            size = f"{cell * frame[1]}x{cell * frame[0]}"
            raise PairError(f"{pair.name}: {size} pixels are too few to tune")
        corrected = pair
        if dark:
            grid = interpolated(dark, pair.iso)
            corrected = pair._replace(short=pair.short - enlarged(grid, pair.short.shape[1:]))
        fit, transfer = _measured(corrected)
        fits.setdefault(pair.iso, []).append(fit)
        transfers.setdefault(pair.iso, []).append(transfer)
        kept.append(_training_pair(pair, corrected, fit, most_pixels))
    if not kept:
        raise PairError("no pair is left to tune with: shoot two for each ratio")
    offsets = [
        pair_shading(iso, [(fit.offset, fit.error) for fit in found])
        for iso, found in sorted(fits.items())
    ]
    for each in kept:
        each.short[:] -= interpolated(offsets, each.iso).astype(np.float16)
    lines = camera_lines(transfers, _together(dark, offsets), (frame[0], frame[1]))
    return FewShot(tuple(kept), lines)


def _together(dark: Sequence[Shading], offsets: Sequence[Shading]) -> list[Shading]:
    """Add the pairs' offsets to the dark shading, at every ISO that either knows."""
    if not dark:
        return list(offsets)
    isos = sorted({shading.iso for shading in (*dark, *offsets)})
    return [Shading(iso, interpolated(dark, iso) + interpolated(offsets, iso)) for iso in isos]


def _measured(pair: RawPair) -> tuple[ExposureFit, Transfer]:
    try:
        fit = measure_exposure(pair.short, pair.long, pair.ratio)
        own = pair.long_iso / pair.iso
        return fit, measure_transfer(pair.short, pair.long, pair.ratio, fit, own)
    except PairError as error:
        raise PairError(f"{pair.name}: {error}: shoot this pair again") from error


def _training_pair(
    raw: RawPair, corrected: RawPair, fit: ExposureFit, most_pixels: int
) -> TrainingPair:
    _, height, width = raw.short.shape
    rows = min(height, max(SMALLEST_SIDE, most_pixels // width))
    top, _ = even_start(len(raw.short), (height - rows) // 2, 0)
    middle = slice(top, top + rows)
    side = min(HELD_SIDE, rows // 4, width // 4) // MULTIPLE * MULTIPLE
    # Scaled first, what is clipped would pass for a grey that is known.
    clipped = raw.long >= clipping_level(raw.long)
    clean = np.where(clipped, 1, (raw.long * np.float32(fit.scale)).clip(None, 1))
    held = np.s_[:, middle.stop - side : middle.stop]
    return TrainingPair(
        short=corrected.short[:, middle].astype(np.float16),
        clean=clean[:, middle].astype(np.float16),
        ratio=raw.ratio,
        iso=raw.iso,
        blind=estimate_noise(raw.short),
        held_side=side,
        untouched=tuple(
            raw.short[held][..., col : col + side].astype(np.float16)
            for col in held_columns((len(raw.short), rows, width), side)
        ),
    )
