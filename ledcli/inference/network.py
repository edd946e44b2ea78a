"""A model's network, ready to run: loaded, folded, on its device in its precision, in tiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ledcli.errors import LedError, ModelError
from ledcli.inference.backend import choose_backend
from ledcli.inference.device import Precision, choose_place, fast_in_bf16, is_out_of_memory
from ledcli.inference.pictures import PICTURES
from ledcli.inference.tiles import SMALLEST_TILE, check_tile, tiled, tiling_of
from ledcli.nets import resunet
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.notes import about_tiles
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import NoiseProfile
from ledcli.raw.exif import Exif
from ledcli.zoo.model_file import file_sha256, load_model
from ledcli.zoo.onnx import load_onnx, to_onnx
from ledcli.zoo.onnx_file import is_onnx
from ledcli.zoo.selection import is_camera


class ActivatedConv(nn.Module):
    """A plain convolution followed by a leaky ReLU, computed together."""

    activates = True

    def __init__(self, plain: nn.Conv2d, slope: float) -> None:
        super().__init__()
        self.plain, self.slope = plain, slope

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` and activate."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, *_arguments(self.plain), "leaky_relu", [self.slope], ""
        )
        return result


class FusedBlock(nn.Module):
    """A residual block of two plain convolutions: activation and sum inside them."""

    def __init__(self, block: resunet.ResidualBlock) -> None:
        super().__init__()
        assert isinstance(block.first, nn.Conv2d) and isinstance(block.second, nn.Conv2d)
        self.first = ActivatedConv(block.first, resunet.NEGATIVE_SLOPE)
        self.second = block.second

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape, in place: nothing else needs a block's input."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            x, self.first(x), *_arguments(self.second), "add", 1.0, None, [], None
        )
        return result


def fuse(net: nn.Module) -> None:
    """Fuse, in place, residual blocks and the convolutions that the network says are activated.

    Does nothing where this build of torch lacks the operation: the result is the same, slower.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    ):
        return
    for name, module in list(net.named_modules()):
        if isinstance(module, resunet.ResidualBlock):
            parent, _, child = name.rpartition(".")
            setattr(net.get_submodule(parent), child, FusedBlock(module))
    left_alone = getattr(net, "plain_layers", ())
    slope = getattr(net, "negative_slope", None)
    if slope is None:
        return
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Conv2d) and name not in left_alone:
            setattr(net, name, ActivatedConv(layer, slope))


def _arguments(conv: nn.Conv2d) -> tuple[Any, ...]:
    return (
        conv.weight,
        conv.bias,
        list(conv.padding),
        list(conv.stride),
        list(conv.dilation),
        conv.groups,
    )


class FoldedByShot:
    """Folds a modulated network for a shot, and keeps the last: a run has few ISOs.

    Parameters
    ----------
    modulated : ModulatedNet
    prepared : callable
        Makes a plain network ready to run.
    """

    def __init__(self, modulated: ModulatedNet, prepared: Callable[[nn.Module], nn.Module]) -> None:
        self.modulated, self.prepared = modulated, prepared
        self._known: tuple[str | None, float | None] | None = None
        self._net: nn.Module | None = None

    def net(self, exif: Exif | None) -> nn.Module:
        """Return the network for a shot; of a sensor that it does not know, without modulation."""
        known: tuple[str | None, float | None] = (None, None)
        if exif is not None:
            names = (n for n in self.modulated.sensors if is_camera(exif.camera, exif.make, [n]))
            known = (next(names, None), exif.iso)
        if self._net is None or known != self._known:
            self._net, self._known = self.prepared(self.modulated.folded(*known)), known
        return self._net


class ReadyNetwork:
    """A model file's network, ready to run.

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
        if isinstance(net, ModulatedNet):
            self.by_shot = FoldedByShot(net, self._prepared)
            self.net = self.by_shot.net(None)
        else:
            self.net = exported or self._prepared(net)
        self.form = form_of(self.spec.input_form, self.spec.output, self.spec.planes)
        plain = net.net if isinstance(net, ModulatedNet) else net
        self.tile, self.halo, self.fade = tiling_of(plain, tile, halo)
        self.multiple = int(getattr(net, "size_multiple", 1))

    def _prepared(self, net: nn.Module) -> nn.Module:
        if self.backend == "onnx":
            try:
                return to_onnx(self.spec, net).net
            except ModelError as error:
                raise ModelError(f"{self.name}: {error}") from error
        return prepared(net, self.device, self.precision)

    @property
    def makes_pictures(self) -> bool:
        """Whether it makes pictures of photos, by `develop`, and not planes."""
        return self.spec.output == PICTURES

    def turn_to(self, exif: Exif | None) -> None:
        """Fold a modulated network for the camera and ISO of a shot; others stay as they are."""
        if self.by_shot is not None:
            self.net = self.by_shot.net(exif)

    def about_tiles(self, planes: NDArray[np.float32]) -> str:
        """Say in a line what tiles mean to a photo; empty where it comes out as in one piece."""
        whole = not self.tile or max(planes.shape[1:]) <= self.tile
        return "" if whole else about_tiles(self.spec.architecture)

    def through(self, frame: Tensor, ratio: float, noise: NoiseProfile) -> Tensor:
        """Take a frame through the network, tile by tile.

        Parameters
        ----------
        frame : Tensor ``(planes, h, w)``
            Normalised, not gained.
        ratio, noise
            What the input form is told.

        Returns
        -------
        Tensor ``(output planes, h, w)``
            As the form gives it.

        Raises
        ------
        LedError
            The device's memory does not hold the smallest tile.
        """
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

    def _tiled(self, frame: Tensor, ratio: float, noise: NoiseProfile, tile: int) -> Tensor:
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
