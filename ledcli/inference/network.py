"""A model's network, loaded and ready to run on whole frames."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ledcli.errors import LedError, ModelError
from ledcli.inference.backends import choose_backend, load_backend
from ledcli.inference.backends.torch import is_out_of_memory
from ledcli.inference.tiles import FADE, MIN_TILE, check_tile, tiled
from ledcli.nets.forms import form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import Network
from ledcli.nets.registry import tile_note
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import NoiseProfile
from ledcli.raw.exif import Exif
from ledcli.reporting import OnProgress
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.selection import is_camera


class ReadyNetwork:
    """A model file's network, folded and on its device.

    Parameters
    ----------
    model : Path
        A model file, or one that was exported to ONNX.
    csa_set : str
        The CSA set to fold; ignored by a model that has none.
    device, precision, backend : str
        ``auto``, or as in inference/backends.
    tile, halo : int, optional
        Sides in plane pixels; a tile of 0 is the whole frame. The defaults are the architecture's.

    Raises
    ------
    ModelError
        The file is not a model, or has no such CSA set.
    UsageError
        The device, precision or backend does not exist, or they do not go together.
    """

    def __init__(
        self,
        model: Path,
        csa_set: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        halo: int | None = None,
        backend: str = "auto",
    ) -> None:
        check_tile(tile)
        self.backend = choose_backend(backend, model)
        self._backend = load_backend(self.backend)
        self.device, self.precision = self._backend.resolve(device, precision)
        self.spec, net, runnable = self._backend.load(model)
        self.sha256 = file_sha256(model)
        self.name, self.csa_set = self.spec.name, ""
        if self.spec.csa_sets:
            if csa_set not in self.spec.csa_sets:
                names = ", ".join(self.spec.csa_sets)
                raise ModelError(f"{model} has no CSA set '{csa_set}': choose one of {names}")
            self.name, self.csa_set = f"{self.spec.name}/{csa_set}", csa_set
            net = deploy(net, csa_set)
        self._modulated = net if isinstance(net, ModulatedNet) else None
        self._folded_for: tuple[str | None, float | None] = (None, None)
        plain = net.folded(None, None) if isinstance(net, ModulatedNet) else net
        architecture = plain.architecture
        self.tile = architecture.tile if tile is None else tile
        self.halo = architecture.halo if halo is None else halo
        self.fade = FADE if architecture.global_operations else 0
        self.multiple = architecture.size_multiple
        self.form = form_of(self.spec.input_form, self.spec.output, self.spec.planes)
        self.net = runnable or self._prepare(plain)

    def _prepare(self, plain: Network) -> nn.Module:
        try:
            return self._backend.prepare(self.spec, plain, self.device, self.precision)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error

    def set_shot(self, exif: Exif | None) -> None:
        """Fold a modulated network (ADL) for a photo's camera and ISO; others stay as they are.

        A camera that the network does not know gets it without modulation.
        """
        if self._modulated is None:
            return
        key: tuple[str | None, float | None] = (None, None)
        if exif is not None:
            known = (n for n in self._modulated.sensors if is_camera(exif.camera, exif.make, [n]))
            key = (next(known, None), exif.iso)
        if key != self._folded_for:
            self.net = self._prepare(self._modulated.folded(*key))
            self._folded_for = key

    def tile_note(self, planes: NDArray[np.float32]) -> str:
        """Return a line on what tiles change in a photo; empty if they change nothing."""
        whole = not self.tile or max(planes.shape[1:]) <= self.tile
        return "" if whole else tile_note(self.spec.architecture)

    def run(
        self,
        frame: Tensor,
        ratio: float,
        noise: NoiseProfile,
        progress: OnProgress | None = None,
    ) -> Tensor:
        """Run a frame through the network in tiles, smaller ones if the memory is full.

        `frame` is ``(planes, h, w)``, normalised, not multiplied by the ratio; the result is
        ``(output planes, h, w)`` as the input form gives it. `progress` is called after each tile.
        Raises LedError if the device's memory does not hold the smallest tile.
        """
        furthest = 0.0

        def further(share: float) -> None:
            nonlocal furthest
            furthest = max(furthest, share)  # smaller tiles begin again
            if progress is not None:
                progress(furthest)

        tile = self.tile or max(frame.shape) + self.multiple
        while True:
            try:
                return self._run_in_tiles(frame, ratio, noise, tile, further)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if tile // 2 < MIN_TILE:
                raise LedError(
                    f"the memory of {self.device} does not hold a tile of {tile} pixels: "
                    "close other programs, or use --device cpu"
                )
            tile //= 2
            self.tile = tile  # for the next photos too

    def _run_in_tiles(
        self, frame: Tensor, ratio: float, noise: NoiseProfile, tile: int, progress: OnProgress
    ) -> Tensor:
        arguments = [torch.tensor([float(v)], device=self.device) for v in (ratio, *noise)]

        def denoise(window: Tensor) -> Tensor:
            return self.form(self.net, window.to(self.device), *arguments)

        # TF32 would round the layers that are float32 for a reason to ten bits. By default these
        # flags turn cuDNN off.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return tiled(
                denoise,
                frame,
                tile=tile,
                halo=self.halo,
                multiple=self.multiple,
                fade=self.fade,
                progress=progress,
            )
