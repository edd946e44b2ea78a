"""The denoisers that a run keeps ready."""

from collections import OrderedDict
from pathlib import Path

from ledcli.inference.device import choose_place
from ledcli.inference.engine import Denoiser
from ledcli.inference.tiles import check_tile

KEPT = 2
"""Denoisers that are held in memory at a time: photos of two cameras may well alternate."""


class Ready:
    """Loads a model when the first photo needs it, and keeps the latest.

    Parameters
    ----------
    device, precision, tile, backend
        As for `Denoiser`; None is the default tile.

    Raises
    ------
    UsageError
        A device, precision or backend that is not there, or a tile too small.
    """

    def __init__(
        self,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        backend: str = "auto",
    ) -> None:
        check_tile(tile)
        self.tile = tile
        self.backend, self._asked = backend, (device, precision)
        self.device, self.precision = choose_place(backend, device, precision)
        self._ready: OrderedDict[tuple[Path, str], Denoiser] = OrderedDict()

    def denoiser(self, path: Path, branch: str) -> Denoiser:
        """Return the denoiser of a model file and one of its CSA sets; raises ModelError."""
        key = (path, branch)
        if key not in self._ready:
            while len(self._ready) >= KEPT:
                self._ready.popitem(last=False)
            self._ready[key] = Denoiser(
                path,
                branch,
                # As they were asked for: what is best depends on the backend, and that on the file.
                device=self._asked[0],
                precision=self._asked[1],
                tile=self.tile,
                backend=self.backend,
            )
        self._ready.move_to_end(key)
        return self._ready[key]
