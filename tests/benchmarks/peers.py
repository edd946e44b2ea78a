"""What ours is measured against: BM3D, told the true noise.

Fills the cache of quality.py, hours on one core; what is there already is not done again::

    python tests/benchmarks/peers.py
    python tests/benchmarks/peers.py --cells D850
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figures, figures
from numpy.typing import NDArray
from protocol import Planes, Shot, cells, photos, photos_of
from report import RESULTS, SHARED, parser_of

from ledcli.noise.cameras import CALIBRATED_WHITE

CACHE = RESULTS / "bm3d.json"
TOLERANCE = 0.002
"""What PSNR and SSIM may differ by from what the cache holds, dB and 1."""


class Bm3d:
    """BM3D under a generalised Anscombe transform, told the true noise; results are kept.

    The cache has figures by photo and cell, so that only what is new is computed; None keeps
    nothing. Without ``compute`` there is only what it holds.
    """

    def __init__(self, cache: Path | None, compute: bool = True) -> None:
        self.path, self.compute = cache, compute
        self.known: dict[str, dict[str, Any]] = {}
        self._read()

    def figures(self, shot: Shot) -> dict[str, Any]:
        """Return the figures of a shot; what is not known and not to be computed is left out."""
        known = self.known.get(shot.key, {})
        if not set(Figures._fields) <= known.keys() and self.compute:
            known = self._agreeing(shot.key, figures(bm3d_oracle(shot), shot.photo).as_json())
            self._read()  # another run may have written meanwhile
            self.known[shot.key] = known
            self._save()
        return known

    def _agreeing(self, key: str, new: dict[str, Any]) -> dict[str, Any]:
        """Return new figures; those that were known already stay as they are."""
        old = self.known.get(key, {})
        for name, value in old.items():
            if name != "bias" and abs(new[name] - value) > TOLERANCE:
                raise SystemExit(
                    f"{key}: BM3D's {name} is {new[name]} now and was {value}: the frame or the "
                    f"package has changed; remove {self.path} to measure everything anew"
                )
        return new | old

    def _read(self) -> None:
        if self.path and self.path.is_file():
            self.known |= json.loads(self.path.read_text())

    def _save(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{json.dumps(key)}: {json.dumps(self.known[key])}" for key in sorted(self.known)]
        temporary = self.path.with_suffix(".part")
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")
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


def main() -> None:
    """Compute what the cache lacks."""
    parser = parser_of(__doc__)
    parser.add_argument("--cells", help="parts of cell names, by commas: A7S2, D850-100")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    options = parser.parse_args()
    bm3d = Bm3d(CACHE)
    pictures = photos(options.photos)
    for cell in cells(options.cells):
        for picture in photos_of(cell, pictures):
            found = bm3d.figures(Shot(picture, cell))
            print(f"{cell.name} {picture.path.name}: {found}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
