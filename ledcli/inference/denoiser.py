"""The denoisers that a run keeps ready."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.errors import ModelError
from ledcli.inference.device import choose_place
from ledcli.inference.network import ReadyNetwork
from ledcli.inference.postprocess.bias_correction import anchored
from ledcli.inference.postprocess.checkerboard import without_grid
from ledcli.inference.postprocess.green_equilibration import even_greens
from ledcli.inference.srgb import picture_of
from ledcli.inference.tiles import check_tile
from ledcli.nets.exposure_diffusion import default_steps, refine
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.noise.profile import NoiseAtIso
from ledcli.raw.exif import Exif
from ledcli.sensor.cfa import AnyPhase, Phase
from ledcli.sensor.layout import layout_of
from ledcli.sensor.symmetry import MIRRORS


def from_four_sides(
    clean_of: Callable[[Tensor, float], Tensor], frame: Tensor, ratio: float
) -> Tensor:
    """Denoise a frame and its mirror images; return their mean ``(4, h, w)``.

    Parameters
    ----------
    clean_of : callable
        Denoises planes ``(4, h, w)``, not gained, at a ratio: clean planes times it.
    frame : Tensor ``(4, h, w)``
    ratio : float

    Raises
    ------
    ModelError
        An X-Trans frame: mirrored, its planes are others.
    """
    if layout_of(len(frame)).fixed_cells:
        raise ModelError("--quality best is for Bayer sensors: leave it out")
    total = torch.zeros_like(frame)
    for mirror in MIRRORS:
        total += clean_of(frame.flip(mirror.axes), ratio).flip(mirror.axes)
    return total.div_(len(MIRRORS))


Planes = NDArray[np.float32]


class Denoiser(ReadyNetwork):
    """A model that is ready to denoise; made as `ReadyNetwork` is."""

    @torch.inference_mode()
    def denoise(
        self,
        planes: Planes,
        ratio: float = 1.0,
        *,
        phase: AnyPhase = Phase.RGGB,
        noise: NoiseProfile | NoiseAtIso | None = None,
        strength: float = 1.0,
        steps: int | None = None,
        best: bool = False,
        exif: Exif | None = None,
    ) -> Planes:
        """Denoise one photo.

        Parameters
        ----------
        planes : float32 ``(planes, h, w)``
            Normalised planes (white - black = 1), as many as the model is for, not gained.
        ratio : float
            Digital gain of the result.
        phase : Phase or XTransPhase
            Of the mosaic that the planes are packed from.
        noise : NoiseProfile or NoiseAtIso, optional
            The photo's noise, or what the camera's own lines say of it, black included; otherwise
            the blind estimate.
        strength : float
            0 gives the input times the ratio, 1 the denoised planes, between them a linear blend.
        steps : int, optional
            Evaluations of a network that exposure diffusion trained (nets/exposure_diffusion.py);
            without it, two from ratio 200 on.
        best : bool
            Look at the photo from four sides, in four times the time (inference/denoiser.py).
        exif : Exif, optional
            Camera and ISO, by which adaptive domain learning's network is modulated.

        Returns
        -------
        float32 ``(planes, h, w)``
            Clean planes times the ratio; not clipped.

        Raises
        ------
        LedError
            The device's memory does not hold the smallest tile; several steps by a network that
            makes one; a model that makes pictures.
        """
        if self.makes_pictures:
            raise ModelError(f"{self.name} makes pictures and no planes: name another model")
        looks_again = self.spec.output == "adaptive"
        if steps is None:
            steps = default_steps(ratio) if looks_again else 1
        if steps > 1 and not looks_again:
            raise ModelError(
                f"{self.name} makes one step: leave out --steps, or name a model that "
                "'led finetune --method exposure' made"
            )
        self.turn_to(exif)
        given = planes
        if isinstance(noise, NoiseAtIso):
            planes, noise = noise.correct_black(planes), noise.profile
        noise = noise or estimate_noise(planes)
        frame = _tensor(planes)

        def look(x: Tensor, at: float) -> Tensor:
            return self.through(x, at, noise)

        def looks(x: Tensor, at: float) -> Tensor:
            return from_four_sides(look, x, at) if best else look(x, at)

        clean = refine(looks, frame, ratio, noise, steps)
        if self.spec.input_form == "stabilised":
            clean = anchored(frame, clean, ratio, noise)
            clean = even_greens(clean, ratio, noise, phase)
            clean = without_grid(clean, ratio, noise)
        if strength < 1:
            clean = (_tensor(given) * ratio).lerp_(clean, strength)
        return clean.numpy()

    @torch.inference_mode()
    def develop(
        self,
        planes: Planes,
        ratio: float,
        *,
        phase: AnyPhase,
        shape: tuple[int, int],
        noise: NoiseAtIso | None = None,
    ) -> NDArray[np.float32]:
        """Make a picture of a photo, by SID's network.

        Parameters
        ----------
        planes, ratio, phase
            As for `denoise`.
        shape : (H, W)
            Of the mosaic.
        noise : NoiseAtIso, optional
            What the camera's own lines say of black.

        Returns
        -------
        float32 ``(H, W, 3)``
            sRGB, 0 to 1, in the sensor's orientation.

        Raises
        ------
        LedError
            The device's memory does not hold the smallest tile; a model that makes planes.
        """
        if not self.makes_pictures:
            raise ModelError(f"{self.name} makes planes and no pictures: name another model")
        if noise is not None:
            planes = noise.correct_black(planes)
        unused = NoiseProfile(0.0, 0.0)
        return picture_of(lambda x: self.through(x, ratio, unused), planes, phase, shape)


def _tensor(planes: Planes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))


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
