"""What ours is measured against: BM3D run here, PMRID as measured before."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import Planes, Score, Shot, score

from ledcli.noise.cameras import CALIBRATED_WHITE

PMRID_SOURCE = (
    "PMRID's released network (1.0 M parameters) with the true K and read variance, measured on "
    "this protocol on 2026-11-20 with other draws of the noise; its A7S2 rows on noise a shade "
    "different"
)
PMRID = {
    "SonyA7S2-1": Score(41.95, 0.983),
    "SonyA7S2-20": Score(36.37, 0.946),
    "SonyA7S2-100": Score(31.94, 0.870),
    "SonyA7S2-300": Score(27.55, 0.680),
    "NikonD850-1": Score(40.23, 0.975),
    "NikonD850-20": Score(33.47, 0.901),
    "NikonD850-100": Score(27.66, 0.676),
    "NikonD850-300": Score(20.42, 0.328),
    "CanonEOS700D-1": Score(40.14, 0.974),
    "CanonEOS700D-20": Score(32.45, 0.881),
    "CanonEOS700D-100": Score(26.17, 0.651),
    "CanonEOS700D-300": Score(18.19, 0.280),
}


class Bm3d:
    """BM3D under a generalised Anscombe transform, told the true noise; results are kept.

    Parameters
    ----------
    cache : Path or None
        Scores by photo and cell, so that only what is new is computed; None keeps nothing.
    compute : bool
        Off: only what the cache holds.
    """

    def __init__(self, cache: Path | None, compute: bool = True) -> None:
        self.path, self.compute = cache, compute
        self.known: dict[str, list[float]] = {}
        if cache and cache.is_file():
            self.known = json.loads(cache.read_text())

    def score(self, shot: Shot) -> Score | None:
        """Return the score of a shot; None when it is not known and not to be computed."""
        if shot.key not in self.known:
            if not self.compute:
                return None
            result = score(bm3d_oracle(shot), shot.photo.planes)
            self.known[shot.key] = [round(value, 5) for value in result]
            self._save()
        return Score(*self.known[shot.key])

    def _save(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(self.known, indent=0, sort_keys=True) + "\n")
        temporary.replace(self.path)


def bm3d_oracle(shot: Shot) -> Planes:
    """Denoise a shot plane by plane with BM3D, given K and the total read variance."""
    bm3d = _package()
    gain = shot.cell.gain
    # In electrons squared: read, quantisation and row noise together.
    read = float(shot.noise.pixel_variance() + shot.noise.row**2) / gain**2
    electrons = shot.short.astype(np.float64) * (CALIBRATED_WHITE / gain)
    stable = 2 * np.sqrt(np.maximum(electrons + 3 / 8 + read, 0))
    denoised = np.stack([bm3d.bm3d(plane, 1.0) for plane in stable])
    clean = unbiased_inverse(denoised, read) * (gain / CALIBRATED_WHITE * shot.cell.ratio)
    return clean.astype(np.float32)


def unbiased_inverse(stable: NDArray[np.float64], read: float) -> NDArray[np.float64]:
    """Exact unbiased inverse, closed form (Mäkitalo and Foi 2011, 2013); electrons."""
    d = np.maximum(stable, 2 * np.sqrt(3 / 8))
    root = np.sqrt(3 / 2)
    poisson = (d / 2) ** 2 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
    return np.maximum(poisson - read, 0)


def bm3d_version() -> str | None:
    """Return the version of the package, None where it is not installed."""
    try:
        return version("bm3d")
    except PackageNotFoundError:
        return None


def _package() -> Any:
    try:
        import bm3d
    except ImportError as error:
        raise SystemExit(
            "bm3d is not installed: pip install bm3d (for non-commercial use), or --no-bm3d"
        ) from error
    return bm3d
