"""Denoising one photo with one model, and a cache of loaded models."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ledcli.errors import ModelError
from ledcli.inference.backends import choose_backend, load_backend
from ledcli.inference.blending import leave_grain
from ledcli.inference.network import ReadyNetwork
from ledcli.inference.postprocess import (
    BIAS_SATURATED,
    correct_bias,
    equilibrate_greens,
    remove_checkerboard,
)
from ledcli.inference.tiles import check_tile
from ledcli.nets.forms import default_steps, refine, subpixel
from ledcli.noise.blocks import Planes
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.noise.outliers import remove_outliers
from ledcli.noise.photo_noise import PhotoNoise, estimate_photo_noise
from ledcli.raw.colour import white_balance_of
from ledcli.raw.decoder import decoders
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from ledcli.reporting import OnProgress
from ledcli.sensor.cfa import STANDARD_PHASE, AnyPhase, to_standard_phase
from ledcli.sensor.layout import LAYOUTS, layout_of
from ledcli.sensor.symmetry import MIRRORS, mirrored, mirrored_back, standard_axes
from ledcli.zoo.selection import NO_STEPS


def self_ensemble(
    denoise: Callable[[Tensor, float], Tensor], frame: Tensor, ratio: float
) -> Tensor:
    """Average the results of ``denoise(frame, ratio)`` for a frame and its mirror images.

    `frame` is ``(4, h, w)`` at the standard phase, not multiplied by the ratio; the result is clean
    planes times the ratio. Raises ModelError for an X-Trans frame, whose mirror image has other
    planes.
    """
    if layout_of(len(frame)).fixed_cells:
        raise ModelError("--quality best is for Bayer sensors; leave it out")
    total = torch.zeros_like(frame)
    for mirror in MIRRORS:
        total += mirrored_back(denoise(mirrored(frame, mirror), ratio), mirror)
    return total.div_(len(MIRRORS))


class Denoiser(ReadyNetwork):
    """A model that is ready to denoise; constructed like `ReadyNetwork`."""

    @torch.inference_mode()
    def denoise(
        self,
        planes: Planes | str | Path,
        ratio: float = 1.0,
        *,
        phase: AnyPhase | None = None,
        noise: NoiseProfile | NoiseAtIso | PhotoNoise | None = None,
        strength: float = 1.0,
        luma: float | None = None,
        chroma: float | None = None,
        white_balance: Sequence[float] = (1.0, 1.0, 1.0),
        steps: int | None = None,
        ensemble: bool = False,
        exif: Exif | None = None,
        progress: OnProgress | None = None,
    ) -> Planes:
        """Denoise one photo.

        Parameters
        ----------
        planes : float32 ``(4, h, w)`` or ``(9, h, w)``, or path
            Normalised planes, (DN - black) / (white - black), of the model's sensor type, not
            multiplied by the ratio; or a raw file, which has its own phase and EXIF.
        ratio : float
            Digital gain of the result.
        phase : Phase or XTransPhase, optional
            Of the mosaic that the planes are packed from; the standard phase by default.
        noise : NoiseProfile, NoiseAtIso or PhotoNoise, optional
            The photo's noise; the camera's own at its ISO, black included; or an estimate with what
            the camera did to the photo, which models of the stabilised form are spared. The default
            is the blind estimate.
        strength : float
            0 gives the input times the ratio, 1 the denoised planes; linear between them.
        luma, chroma : float, optional
            The same for noise in brightness and in colour alone (inference/blending.py);
            `strength` by default.
        white_balance : sequence of float
            Multipliers of R, G and B, by which brightness and colour are told apart; a raw file has
            its own.
        steps : int, optional
            Refinement steps of an exposure-diffusion model. The default is two from ratio 200 on.
        ensemble : bool
            Average four mirrored passes (self-ensemble); four times slower.
        exif : Exif, optional
            Camera and ISO, for models with modulation (ADL).
        progress : callable, optional
            Receives the share of the network's work that is done, of all passes together.

        Returns
        -------
        float32 ``(planes, h, w)``
            Clean planes times the ratio; not clipped.

        Raises
        ------
        LedError
            The raw cannot be read, the device's memory does not hold the smallest tile, the model
            is for other sensors, has no refinement steps or no self-ensemble, or makes pictures.
        """
        if isinstance(planes, str | Path):
            photo = decoders.run(read_raw, Path(planes))
            planes, phase, exif = photo.planes(), photo.phase, photo.exif
            white_balance = white_balance_of(photo).tolist()
            noise = photo.estimate_noise(planes) if noise is None else noise
        if self.spec.makes_pictures:
            raise ModelError(f"{self.name} makes pictures, not raw planes; use another model")
        self._check_sensor(planes)
        if steps is None:
            steps = default_steps(ratio) if self.spec.refines else 1
        if steps > 1 and not self.spec.refines:
            raise ModelError(NO_STEPS.format(f"{self.name} has no"))
        phase = phase or STANDARD_PHASE[self.spec.cfa]
        self.set_shot(exif)
        given, stabilised = planes, self.spec.input_form == "stabilised"
        noise = estimate_photo_noise(planes) if noise is None else noise
        profile = noise if isinstance(noise, NoiseProfile) else noise.profile
        saturated = None
        in_camera = noise if isinstance(noise, PhotoNoise) and stabilised else None
        if isinstance(noise, NoiseAtIso):
            planes = noise.correct_black(planes)
        elif in_camera is not None:
            planes = in_camera.undo(planes)
            white = np.full((1, *planes.shape[1:]), BIAS_SATURATED, np.float32)
            # Smoothing leaves an even plane as it is.
            saturated = _tensor(in_camera._replace(smoothing=None).undo(white))
        # Bias is corrected by the photo as it is: the tails that are removed are not symmetrical.
        frame, repaired = _tensor(planes), _tensor(remove_outliers(planes, profile, phase))
        passes = (steps if ratio > 1 else 1) * (len(MIRRORS) if ensemble else 1)
        earlier = count()

        def one_pass(frame: Tensor, ratio: float) -> Tensor:
            before = next(earlier)
            part = progress and (lambda share: progress((before + share) / passes))
            return self.run(frame, ratio, profile, part)

        evaluate = partial(self_ensemble, one_pass) if ensemble else one_pass
        # Networks know where the samples of the standard phase lie between one another.
        axes = standard_axes(phase)
        clean = refine(evaluate, repaired.flip(axes), ratio, profile, steps).flip(axes)
        if stabilised:
            clean = correct_bias(frame, clean, ratio, profile, saturated)
            clean = equilibrate_greens(clean, ratio, profile, phase)
            clean = remove_checkerboard(clean, ratio, profile)
        if in_camera is not None:
            clean = _tensor(in_camera.redo(clean.numpy(), ratio))
        luma, chroma = (strength if each is None else each for each in (luma, chroma))
        if min(luma, chroma) < 1:
            noisy = _tensor(given) * ratio
            clean = leave_grain(clean, noisy, luma, chroma, phase, white_balance)
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
        progress: OnProgress | None = None,
    ) -> Planes:
        """Make a picture of a photo with SID's network, from raw straight to sRGB.

        `shape` is the mosaic's; `noise` the camera's own; the rest as for `denoise`.
        Returns float32 ``(H, W, 3)``, 0 to 1, in the sensor's orientation. Raises LedError if the
        device's memory does not hold the smallest tile, or the model makes raw planes.
        """
        if not self.spec.makes_pictures:
            raise ModelError(f"{self.name} makes raw planes, not pictures; use another model")
        self._check_sensor(planes)
        if noise is not None:
            planes = noise.correct_black(planes)
        profile = noise.profile if noise else estimate_noise(planes)
        planes = to_standard_phase(remove_outliers(planes, profile, phase), phase)
        picture = subpixel(self.run(_tensor(planes), ratio, profile, progress))
        shown = picture[:, phase.row :, phase.col :][:, : shape[0], : shape[1]].clamp_(0, 1)
        return shown.permute(1, 2, 0).contiguous().numpy()

    def _check_sensor(self, planes: Planes) -> None:
        if len(planes) != self.spec.planes:
            raise ModelError(
                f"{self.name} is for {LAYOUTS[self.spec.cfa].title} sensors, not for photos with "
                f"{len(planes)} planes: use another model"
            )


def _tensor(planes: Planes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))


class DenoiserCache:
    """Loads a model when the first photo needs it, and keeps those used last.

    Parameters are those of `ReadyNetwork`; raises UsageError for wrong ones.
    """

    SIZE = 2
    """Models in memory: the photos of two cameras often alternate."""

    def __init__(
        self,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        backend: str = "auto",
    ) -> None:
        check_tile(tile)
        chosen = load_backend(choose_backend(backend))
        target = chosen.targets(device, precision)[0]
        # What "auto" means may differ for a model's file, so this is for messages only.
        self.description = f"{target.name}, {target.precision}{chosen.label}"
        self.slow = target.name == "cpu" and target.precision == "float32"
        self._load = partial(
            Denoiser, device=device, precision=precision, tile=tile, backend=backend
        )
        self._denoisers: OrderedDict[tuple[Path, str, str], Denoiser] = OrderedDict()

    def get(self, path: Path, csa_set: str, sha256: str = "") -> Denoiser:
        """Return the denoiser of a model file and one of its CSA sets; raises ModelError.

        A file that was replaced, which its hash tells, is loaded again.
        """
        key = (path, csa_set, sha256)
        if key not in self._denoisers:
            while len(self._denoisers) >= self.SIZE:
                self._denoisers.popitem(last=False)
            self._denoisers[key] = self._load(path, csa_set)
        self._denoisers.move_to_end(key)
        return self._denoisers[key]
