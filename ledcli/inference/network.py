"""A model's network, loaded and ready to run on whole frames."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ledcli.errors import DeviceError, LedError, ModelError
from ledcli.inference.agreement import STRIP_ROWS, Agreement, Verdict, compare, failed, results_of
from ledcli.inference.backends import Target, choose_backend, load_backend
from ledcli.inference.backends.torch import does_not_hold, full_float32, is_out_of_memory
from ledcli.inference.strips import MIN_ROWS, StripNetwork, StripRun, rows_of
from ledcli.inference.tiles import FADE, MIN_TILE, check_tile, mirrored_to, tiled
from ledcli.nets.forms import FrameParameters, form_of
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import Network, StagedNetwork
from ledcli.nets.registry import tile_note
from ledcli.nets.repnr import deploy
from ledcli.noise.estimate import NoiseProfile
from ledcli.raw.exif import Exif, is_camera
from ledcli.reporting import OnProgress
from ledcli.zoo.model_file import file_sha256, is_onnx
from ledcli.zoo.store import find_model


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
    tile : int, optional
        Side in plane pixels; 0 is the whole frame. The default is the architecture's.
    check : bool
        Compare the device with the reference before it is used (`inference.agreement`).

    Raises
    ------
    ModelError
        The file is not a model, or has no such CSA set.
    UsageError
        The device, precision or backend does not exist, or they do not go together; as DeviceError
        if the device that was asked for computes wrong pictures.
    """

    def __init__(
        self,
        model: Path,
        csa_set: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        backend: str = "auto",
        check: bool = True,
    ) -> None:
        check_tile(tile)
        self.backend = choose_backend(backend, model)
        self._backend = load_backend(self.backend)
        self._given_tile = tile
        self.notes: list[str] = []
        """Devices that ``auto`` does not use, and why."""
        targets = self._backend.targets(device, precision)
        for target, following in zip(targets, [*targets[1:], None], strict=True):
            if not target.identity or not check:
                self._load(model, csa_set, target)
                break
            if not (problem := self._agreement(model, csa_set, target).problem):
                break
            wrong = f"{self.backend} on {target.name} in {target.precision} {problem}"
            if following is None:
                raise DeviceError(f"{wrong}: leave out --device and --precision, or see led doctor")
            self.notes.append(f"{wrong}: using {following.name} in {following.precision}")

    def _agreement(self, model: Path, csa_set: str, target: Target) -> Agreement:
        """Load the network for a target, and compare it with the reference unless that was done."""
        try:
            self._load(model, csa_set, target)
        except (RuntimeError, DeviceError) as error:
            return failed(target.precision, error)
        if (agreement := self.verdict.read()) is None:
            backend = "onnx" if is_onnx(model) else "torch"
            reference = ReadyNetwork(
                model, csa_set, device="cpu", precision="float32", backend=backend
            )
            with torch.inference_mode():
                expected = results_of(reference.run, self.spec.planes)
            agreement = self.compared(expected)
            self.verdict.keep(agreement)
        return agreement

    @property
    def verdict(self) -> Verdict:
        """What is kept of the comparison with the reference."""
        return Verdict(self.target, self.sha256, self.csa_set)

    @torch.inference_mode()
    def compared(self, expected: list[Tensor]) -> Agreement:
        """Compare with the reference's results of the synthetic frames, in low strips if in any."""
        run = partial(self.run, rows=STRIP_ROWS)
        return compare(run, expected, self.spec.planes, self.precision)

    def _load(self, model: Path, csa_set: str, target: Target) -> None:
        self.target, self.device, self.precision = target, target.tensors, target.precision
        self.spec, net, runnable = self._backend.load(model, target)
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
        architecture, tile = plain.architecture, self._given_tile
        wide = architecture.tile if architecture.global_operations else self._backend.min_tile
        self.tile = max(architecture.tile, wide) if tile is None else tile
        self.halo = architecture.halo
        self.fade = FADE if architecture.global_operations else 0
        self.multiple = architecture.size_multiple
        self.form = form_of(self.spec.input_form, self.spec.output, self.spec.planes)
        self._pixels: int | None = None
        self._use(runnable or self._prepare(plain))

    def _prepare(self, plain: Network) -> nn.Module:
        try:
            return self._backend.prepare(self.spec, plain, self.target)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error

    def _use(self, net: nn.Module) -> None:
        self.net = net
        self._strips = StripNetwork.of(net) if isinstance(net, StagedNetwork) else None

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
            self._use(self._prepare(self._modulated.folded(*key)))
            self._folded_for = key

    def tile_note(self, planes: NDArray[np.float32]) -> str:
        """Return a line on what tiles change in a photo; empty if they change nothing."""
        if self._strips is not None:
            note = f"{self.spec.architecture} runs in strips of the whole frame, not in tiles"
            return f"{note}: --tile has no effect" if self._given_tile is not None else ""
        whole = not self.tile or max(planes.shape[1:]) <= self.tile
        return "" if whole else tile_note(self.spec.architecture)

    def run(
        self,
        frame: Tensor,
        ratio: float,
        noise: NoiseProfile,
        progress: OnProgress | None = None,
        rows: int = 0,
    ) -> Tensor:
        """Run a frame through the network in strips or tiles, smaller ones if the memory is full.

        `frame` is ``(planes, h, w)``, normalised, not multiplied by the ratio; the result is
        ``(output planes, h, w)`` as the input form gives it. `progress` is called after each strip
        or tile. `rows` is the height of a strip; by default it is chosen for speed. Raises LedError
        if the device's memory does not hold the smallest.
        """
        furthest = 0.0

        def further(share: float) -> None:
            nonlocal furthest
            furthest = max(furthest, share)  # smaller ones begin again
            if progress is not None:
                progress(furthest)

        parameters = FrameParameters(
            *(torch.tensor([float(v)], device=self.device) for v in (ratio, *noise))
        )
        if self._strips is None:
            run, smallest, what = self._run_in_tiles, MIN_TILE, "a tile of {} pixels"
            size = self.tile or max(frame.shape) + self.multiple
        else:
            run, smallest, what = self._run_in_strips, MIN_ROWS, "a strip of {} rows"
            size = rows or rows_of(frame.shape[2], self.device, self._pixels)
        while True:
            try:
                with full_float32():
                    return run(frame, parameters, size, further)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if size // 2 < smallest:
                raise LedError(does_not_hold(what.format(size), self.target.name))
            size //= 2
            # For the next photos too.
            if self._strips is None:
                self.tile = size
            else:
                self._pixels = size * frame.shape[2]

    def _run_in_strips(
        self, frame: Tensor, parameters: FrameParameters, size: int, progress: OnProgress
    ) -> Tensor:
        assert self._strips is not None
        _, height, width = frame.shape
        mirrored = mirrored_to(self.multiple, frame)
        run = StripRun(self._strips, self.form, mirrored, parameters, size)
        return run.run(progress)[:, :height, :width]

    def _run_in_tiles(
        self, frame: Tensor, parameters: FrameParameters, size: int, progress: OnProgress
    ) -> Tensor:
        def denoise(window: Tensor) -> Tensor:
            return self.form(self.net, window.to(self.device), *parameters)

        return tiled(
            denoise,
            frame,
            tile=size,
            halo=self.halo,
            multiple=self.multiple,
            fade=self.fade,
            progress=progress,
        )


def training_target(device: str, precision: str) -> tuple[Target, list[str]]:
    """Return where torch trains, and as notes the devices that ``auto`` leaves out.

    A device is compared with the reference on the bundled model. Raises UsageError.
    """
    target = load_backend("torch").targets(device, precision)[0]
    if not target.identity:
        return target, []
    model = find_model()
    ready = ReadyNetwork(
        model.path, model.csa_set, device=device, precision=precision, backend="torch"
    )
    return ready.target, ready.notes
