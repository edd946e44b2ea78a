"""The engine: one photo's planes through a model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.errors import ModelError
from ledcli.inference.anchor import anchored
from ledcli.inference.developing import picture_of
from ledcli.inference.greens import even_greens
from ledcli.inference.grid import without_grid
from ledcli.inference.network import ReadyNetwork
from ledcli.inference.sides import from_four_sides
from ledcli.nets.refine import refined, usual_steps
from ledcli.noise.estimate import NoiseLine, estimate_noise
from ledcli.noise.lines import CameraNoise
from ledcli.photo.cfa import AnyPhase, Phase
from ledcli.photo.exif import Exif

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
        noise: NoiseLine | CameraNoise | None = None,
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
        noise : NoiseLine or CameraNoise, optional
            The photo's noise, or what the camera's own lines say of it, black included; otherwise
            the blind estimate.
        strength : float
            0 gives the input times the ratio, 1 the denoised planes, between them a linear blend.
        steps : int, optional
            Evaluations of a network that exposure diffusion trained (nets/refine.py);
            without it, two from ratio 200 on.
        best : bool
            Look at the photo from four sides, in four times the time (inference/sides.py).
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
            steps = usual_steps(ratio) if looks_again else 1
        if steps > 1 and not looks_again:
            raise ModelError(
                f"{self.name} makes one step: leave out --steps, or name a model that "
                "'led finetune --method exposure' made"
            )
        self.turn_to(exif)
        given = planes
        if isinstance(noise, CameraNoise):
            planes, noise = noise.corrected(planes), noise.line
        noise = noise or estimate_noise(planes)
        frame = _tensor(planes)

        def look(x: Tensor, at: float) -> Tensor:
            return self.through(x, at, noise)

        def looks(x: Tensor, at: float) -> Tensor:
            return from_four_sides(look, x, at) if best else look(x, at)

        clean = refined(looks, frame, ratio, noise, steps)
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
        noise: CameraNoise | None = None,
    ) -> NDArray[np.float32]:
        """Make a picture of a photo, by SID's network.

        Parameters
        ----------
        planes, ratio, phase
            As for `denoise`.
        shape : (H, W)
            Of the mosaic.
        noise : CameraNoise, optional
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
            planes = noise.corrected(planes)
        unused = NoiseLine(0.0, 0.0)
        return picture_of(lambda x: self.through(x, ratio, unused), planes, phase, shape)


def _tensor(planes: Planes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))
