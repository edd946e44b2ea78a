"""The engine: one photo's planes through a model, on one device in one precision."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ledcli.errors import LedError, ModelError
from ledcli.inference.anchor import anchored
from ledcli.inference.backend import choose_backend
from ledcli.inference.developing import picture_of
from ledcli.inference.device import Precision, choose_place, fast_in_bf16, is_out_of_memory
from ledcli.inference.fused import fuse
from ledcli.inference.greens import even_greens
from ledcli.inference.grid import without_grid
from ledcli.inference.modulated import FoldedByShot
from ledcli.inference.pictures import PICTURES
from ledcli.inference.refine import refined
from ledcli.inference.sides import from_four_sides
from ledcli.inference.tiles import SMALLEST_TILE, check_tile, tiled, tiling_of
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import Modulated
from ledcli.nets.notes import about_tiles
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import NoiseLine, estimate_noise
from ledcli.noise.lines import CameraNoise
from ledcli.photo.cfa import AnyPhase, Phase
from ledcli.photo.exif import Exif
from ledcli.zoo.modelfile import file_sha256, load_model
from ledcli.zoo.onnxfile import to_onnx
from ledcli.zoo.onnxheader import is_onnx
from ledcli.zoo.onnxnet import load_onnx

Planes = NDArray[np.float32]


class Denoiser:
    """A model that is ready to denoise.

    Parameters
    ----------
    model : Path
        A model file, or one that was exported to ONNX.
    branch : str
        The CSA set to fold; ignored by a model that has none.
    device, precision : str
        ``auto``, or as in inference/device.py.
    tile : int, optional
        Side of a tile in plane pixels; the halo comes on top. 0 takes the whole frame at once.
        Both are the architecture's own unless given.
    backend : str
        What computes the network: ``auto``, or as in inference/backend.py.

    Raises
    ------
    ModelError
        The file is no model, or has no such CSA set.
    UsageError
        A device, precision or backend that is not there, or that do not go together.
    """

    def __init__(
        self,
        model: Path,
        branch: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        halo: int | None = None,
        backend: str = "auto",
    ) -> None:
        self.backend = choose_backend(backend, model)
        self.device, self.precision = choose_place(self.backend, device, precision)
        exported: nn.Module | None = None
        if is_onnx(model):
            self.spec, net, exported = load_onnx(model)
        else:
            self.spec, net = load_model(model)
        self.sha256 = file_sha256(model)
        self.name = f"{self.spec.name}/{branch}" if self.spec.branches else self.spec.name
        self.branch = branch if self.spec.branches else ""
        if self.spec.branches:
            if branch not in self.spec.branches:
                names = ", ".join(self.spec.branches)
                raise ModelError(f"{model} has no CSA set '{branch}': choose one of {names}")
            net = deploy(net, branch)
        check_tile(tile)
        self.by_shot: FoldedByShot | None = None
        if isinstance(net, Modulated):
            self.by_shot = FoldedByShot(net, self._prepared)
            self.net = self.by_shot.net(None)
        else:
            self.net = exported or self._prepared(net)
        self.form = form_of(self.spec.input_form, self.spec.output, self.spec.planes)
        plain = net.net if isinstance(net, Modulated) else net
        self.tile, self.halo, self.fade = tiling_of(plain, tile, halo)
        self.multiple = int(getattr(net, "size_multiple", 1))

    def _prepared(self, net: nn.Module) -> nn.Module:
        if self.backend == "onnx":
            try:
                return to_onnx(self.spec, net).net
            except ModelError as error:
                raise ModelError(f"{self.name}: {error}") from error
        return prepared(net, self.device, self.precision)

    @torch.inference_mode()
    def denoise(
        self,
        planes: Planes,
        ratio: float = 1.0,
        *,
        phase: AnyPhase = Phase.RGGB,
        noise: NoiseLine | CameraNoise | None = None,
        strength: float = 1.0,
        steps: int = 1,
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
        steps : int
            Evaluations of a network that exposure diffusion trained (inference/refine.py).
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
        if steps > 1 and self.spec.output != "adaptive":
            raise ModelError(
                f"{self.name} makes one step: leave out --steps, or name a model that "
                "'led finetune --method exposure' made"
            )
        if self.by_shot is not None:
            self.net = self.by_shot.net(exif)
        given = planes
        if isinstance(noise, CameraNoise):
            planes, noise = noise.corrected(planes), noise.line
        noise = noise or estimate_noise(planes)
        frame = _tensor(planes)

        def look(x: Tensor, at: float) -> Tensor:
            return self._clean(x, at, noise)

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

    @property
    def makes_pictures(self) -> bool:
        """Whether it makes pictures of photos, by `develop`, and not planes."""
        return self.spec.output == PICTURES

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
        return picture_of(lambda x: self._clean(x, ratio, unused), planes, phase, shape)

    def about_tiles(self, planes: Planes) -> str:
        """Say in a line what tiles mean to a photo; empty where it comes out as in one piece."""
        whole = not self.tile or max(planes.shape[1:]) <= self.tile
        return "" if whole else about_tiles(self.spec.architecture)

    def _clean(self, frame: Tensor, ratio: float, noise: NoiseLine) -> Tensor:
        tile = self.tile or max(frame.shape) + self.multiple
        while True:
            try:
                return self._tiled(frame, ratio, noise, tile)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if tile // 2 < SMALLEST_TILE:
                raise LedError(
                    f"the memory of {self.device} does not hold a tile of {tile} pixels: "
                    "close other programs, or use --device cpu"
                )
            tile //= 2
            self.tile = tile  # for the photos to come as well

    def _tiled(self, frame: Tensor, ratio: float, noise: NoiseLine, tile: int) -> Tensor:
        line = [torch.tensor([v], device=self.device) for v in (ratio, *noise)]

        def denoise(window: Tensor) -> Tensor:
            return self.form(self.net, window.to(self.device), *line)

        # TF32 would round the layers that are float32 for a reason to ten bits.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return tiled(
                denoise,
                frame,
                tile=tile,
                halo=self.halo,
                multiple=self.multiple,
                fade=self.fade,
            )


def _tensor(planes: Planes) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(planes, np.float32))


def prepared(net: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """Move a plain network to a device; its inner layers to the precision, the others float32."""
    # torch's type stubs do not know this argument of Module.to.
    net = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.eval().requires_grad_(False)
    if precision == "bf16":
        exact = getattr(net, "float32_layers", ())
        for name, layer in net.named_children():
            if name not in exact:
                layer.to(torch.bfloat16)
        if device.type == "cpu" and fast_in_bf16(device):
            fuse(net)
    return net
