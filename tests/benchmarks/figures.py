"""The figures of merit of one result: signal, structure, colour, texture."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from colour_difference import bias, delta_e2000
from numpy.typing import NDArray
from protocol import Photo, Planes

from ledcli.evaluation.datasets.photographs import WHITE_BALANCE
from ledcli.evaluation.metrics import psnr, render_planes, ssim
from ledcli.noise.blocks import second_difference

BLOCK = 16
"""Side of a block of texture, plane pixels."""
DETAILED_SHARE = 0.1


class Figures(NamedTuple):
    """Of one photo's planes."""

    psnr: float
    ssim: float
    """Of the four planes clipped to 0..1; dB and mean."""
    detail: float
    """PSNR of the most detailed tenth of the photo."""
    delta_e: float
    """Mean CIEDE2000 of the rendered picture."""
    bias: tuple[float, ...]
    """Mean error of the planes R, G1, B, G2 as a share of white."""

    def as_json(self) -> dict[str, Any]:
        """Return rounded figures by name."""
        figures = {
            name: round(float(value), 5) for name, value in self._asdict().items() if name != "bias"
        }
        return figures | {"bias": [round(float(value), 7) for value in self.bias]}


def figures(planes: Planes, photo: Photo) -> Figures:
    """Compare a result ``(4, h, w)`` with its photo."""
    clean = photo.planes
    shown = planes.clip(0, 1).astype(np.float64)
    detailed = _detailed(photo)
    return Figures(
        psnr(shown, clean),
        ssim(shown, clean),
        psnr(shown[:, detailed], clean[:, detailed]),
        float(delta_e2000(render_planes(planes, WHITE_BALANCE), _rendered(photo)).mean()),
        tuple(bias(planes, clean).tolist()),
    )


def summary(of_photos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean figures over the photos of a cell, of the measures that every photo has.

    ``bias`` is the mean of the signed errors of each plane, ``absolute_bias`` of their sizes: an
    error that changes its sign from photo to photo shows only there.
    """
    known = [name for name in Figures._fields if all(name in f for f in of_photos)]
    means: dict[str, Any] = {
        name: round(float(np.mean([f[name] for f in of_photos])), 4)
        for name in known
        if name != "bias"
    }
    if "bias" not in known:
        return means
    errors = np.array([f["bias"] for f in of_photos])
    return means | {
        "bias": [round(float(value), 6) for value in errors.mean(0)],
        "absolute_bias": [round(float(value), 6) for value in np.abs(errors).mean(0)],
    }


def detailed_blocks(clean: Planes) -> NDArray[np.bool_]:
    """Mark the most detailed tenth of a photo, block by block.

    Detail is what slopes do not explain of the square root of the signal, in which photon noise
    is equally strong everywhere: the eye's scale, and what a denoiser has to tell from noise.

    Maps ``(4, h, w)``, with h and w multiples of 16, to ``(h, w)``.
    """
    rows, cols = (n // BLOCK for n in clean.shape[1:])
    energy = np.zeros((rows, cols))
    for plane in np.sqrt(clean):
        difference = np.pad(second_difference(plane), 1, mode="edge").astype(np.float64)
        energy += difference.reshape(rows, BLOCK, cols, BLOCK).var((1, 3))
    count = max(1, round(energy.size * DETAILED_SHARE))
    chosen = np.zeros(energy.size, bool)
    chosen[np.argsort(energy, axis=None, kind="stable")[-count:]] = True
    return np.kron(chosen.reshape(rows, cols), np.ones((BLOCK, BLOCK), bool))


@lru_cache
def _detailed(photo: Photo) -> NDArray[np.bool_]:
    return detailed_blocks(photo.planes)


@lru_cache
def _rendered(photo: Photo) -> NDArray[np.float32]:
    return render_planes(photo.planes, WHITE_BALANCE)
