"""Which model denoises each photo of a run, and the denoisers that are kept ready for it."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ledcli.errors import ModelError
from ledcli.inference.device import choose_device, choose_precision
from ledcli.inference.engine import Denoiser
from ledcli.inference.tiles import TILE, check_tile
from ledcli.noise.lines import CameraNoise
from ledcli.photo.exif import Exif
from ledcli.zoo.modelfile import ModelSpec
from ledcli.zoo.pick import is_camera, passed_over, pick_model

KEPT = 2
"""Denoisers that are held in memory at a time: photos of two cameras may well alternate."""


@dataclass(frozen=True)
class Choice:
    """What denoised a photo, for people and for the record.

    Attributes
    ----------
    model : str
        The model's name, as `led models list` has it.
    file : str
        Name of its file, without the folder.
    branch : str
        The CSA set; empty for a plain network.
    sha256 : str
        Hash of the model's file.
    reason : str
        Why this model.
    """

    model: str
    file: str
    branch: str
    sha256: str
    reason: str

    def record(self) -> dict[str, str]:
        """Return what `--json` and the note inside an output say of it."""
        return {
            "model": self.model,
            "model_file": self.file,
            "set": self.branch,
            "sha256": self.sha256,
            "choice": self.reason,
        }


class Chosen(NamedTuple):
    """A denoiser for a photo; `warnings` are what choosing it brought to light."""

    denoiser: Denoiser
    choice: Choice
    warnings: tuple[str, ...] = ()


class Chooser(Protocol):
    """Says what denoises a photo."""

    def choose(self, exif: Exif, ratio: float) -> Chosen:
        """Choose for a photo of these tags at this ratio; raises ModelError."""


class Named:
    """One denoiser for every photo: of the model that the user named.

    Parameters
    ----------
    denoiser
        The one.
    name, file : str
        For the record, as in `Choice`; without them the model's own name, and no file.
    """

    def __init__(self, denoiser: Denoiser, name: str = "", file: str = "") -> None:
        self.denoiser = denoiser
        self.name, self.file = name or denoiser.name, file

    def choose(self, exif: Exif, ratio: float) -> Chosen:
        """Choose the one, whatever the photo."""
        reason, cameras = "named", self.denoiser.spec.cameras
        if cameras and not is_camera(exif.camera, exif.make, cameras):
            reason = f"named, but tuned to another camera: {', '.join(cameras)}"
        return Chosen(self.denoiser, _choice(self.denoiser, self.name, self.file, reason))


class PerPhoto:
    """The best model at hand for each photo, as `zoo.pick.pick_model` has it.

    A model is loaded when the first photo needs it. A tuned one that is damaged is passed over,
    with a warning, for what else there is.

    Parameters
    ----------
    device, precision, tile
        As for `Denoiser`.

    Raises
    ------
    UsageError
        A device or precision that is not there, or a tile too small.
    """

    def __init__(self, *, device: str = "auto", precision: str = "auto", tile: int = TILE) -> None:
        check_tile(tile)
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.tile = tile
        self._ready: OrderedDict[tuple[Path, str], Denoiser] = OrderedDict()
        self._bad: set[Path] = set()
        self._warned: set[str] = set()

    def choose(self, exif: Exif, ratio: float) -> Chosen:
        """Choose by the photo's camera, ratio and ISO; each warning comes once in a run."""
        warnings: list[str] = []
        while True:
            picked = pick_model(exif.camera, exif.make, ratio, exif.iso, without=self._bad)
            try:
                denoiser = self._denoiser(picked.path, picked.branch)
                break
            except ModelError as error:
                if not picked.tuned:
                    raise
                # Its header was good. Without it, there is one tuned model less to pick.
                self._bad.add(picked.path)
                warnings.append(passed_over(error))
        new = [w for w in [*warnings, *picked.warnings] if w not in self._warned]
        self._warned.update(new)
        choice = _choice(denoiser, picked.name, picked.path.name, picked.reason)
        return Chosen(denoiser, choice, tuple(new))

    def _denoiser(self, path: Path, branch: str) -> Denoiser:
        key = (path, branch)
        if key not in self._ready:
            while len(self._ready) >= KEPT:
                self._ready.popitem(last=False)
            self._ready[key] = Denoiser(
                path,
                branch,
                device=str(self.device),
                precision=self.precision,
                tile=self.tile,
            )
        self._ready.move_to_end(key)
        return self._ready[key]


def camera_noise(spec: ModelSpec, exif: Exif) -> CameraNoise | None:
    """Return what a model's own noise lines say of a photo.

    None where it has none, where the photo's ISO is outside them, and for another camera.
    """
    if spec.noise_lines is None:
        return None
    if spec.cameras and not is_camera(exif.camera, exif.make, spec.cameras):
        return None
    return spec.noise_lines.at(exif.iso)


def _choice(denoiser: Denoiser, name: str, file: str, reason: str) -> Choice:
    return Choice(name, file, denoiser.branch, denoiser.sha256, reason)
