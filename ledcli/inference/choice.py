"""Which model denoises each photo of a run. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ledcli.errors import ModelError
from ledcli.noise.lines import CameraNoise
from ledcli.photo.exif import Exif
from ledcli.zoo.bundled import FoundModel, find_bundled
from ledcli.zoo.modelfile import ModelSpec, file_sha256, read_spec
from ledcli.zoo.pick import SENSORS, Picked, is_camera, passed_over, pick_model
from ledcli.zoo.shelf import find_model, listed_name


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
    """A model file for a photo; `warnings` are what choosing it brought to light."""

    path: Path
    choice: Choice
    warnings: tuple[str, ...] = ()


class Chooser(Protocol):
    """Says what denoises a photo.

    Attributes
    ----------
    ratio_range : (float, float)
        Of the ratios that some model covers: the bounds of a ratio that is inferred.
    """

    ratio_range: tuple[float, float]

    def choose(self, exif: Exif, ratio: float, cfa: str = "bayer") -> Chosen:
        """Choose for a photo of these tags and this sensor at this ratio; raises ModelError."""

    def without(self, path: Path, error: ModelError) -> str:
        """Pass a damaged model over from now on; return the warning, or raise the error."""


class Named:
    """One model for every photo: the one that the user named.

    Parameters
    ----------
    name : str or Path
        As `zoo.shelf.find_model` takes it.
    branch : str, optional
        The CSA set, instead of the one that the name stands for.

    Raises
    ------
    ModelError
        When there is none of that name, or it is damaged.
    """

    def __init__(self, name: str | Path, branch: str | None = None) -> None:
        found = find_model(name)
        if branch is not None:
            found = FoundModel(found.path, branch)
        self.spec = read_spec(found.path)
        self.ratio_range = self.spec.ratio_range
        self.path = found.path
        self._choice = Choice(
            listed_name(found), found.path.name, found.branch, file_sha256(found.path), "named"
        )

    @property
    def name(self) -> str:
        """The model's name, as `led models list` has it."""
        return self._choice.model

    def choose(self, exif: Exif, ratio: float, cfa: str = "bayer") -> Chosen:
        """Choose the one, whatever the photo; raises ModelError for another kind of sensor."""
        if self.spec.cfa != cfa:
            raise ModelError(
                f"the model {self._choice.model} is for {SENSORS[self.spec.cfa]} sensors and not "
                f"for {SENSORS[cfa]}: leave --model out, or name another"
            )
        choice, cameras = self._choice, self.spec.cameras
        if cameras and not is_camera(exif.camera, exif.make, cameras):
            reason = f"named, but tuned to another camera: {', '.join(cameras)}"
            choice = Choice(choice.model, choice.file, choice.branch, choice.sha256, reason)
        return Chosen(self.path, choice)

    def without(self, path: Path, error: ModelError) -> str:
        """Raise the error: there is no other."""
        raise error


class PerPhoto:
    """The best model at hand for each photo, as `zoo.pick.pick_model` has it.

    Raises
    ------
    ModelError
        When the bundled models are missing.
    """

    def __init__(self) -> None:
        # If the bundled model is missing, that is one error and not one a photo.
        self.ratio_range = read_spec(find_bundled().path).ratio_range
        self._bad: set[Path] = set()
        self._hashes: dict[Path, str] = {}
        self._picked: dict[tuple[object, ...], Picked] = {}

    def choose(self, exif: Exif, ratio: float, cfa: str = "bayer") -> Chosen:
        """Choose by the photo's camera, ratio, ISO and kind of sensor."""
        key = (exif.camera, exif.make, ratio, exif.iso, cfa)
        lost: list[str] = []
        while True:
            picked = self._picked.get(key)
            if picked is None:
                picked = pick_model(
                    exif.camera, exif.make, ratio, exif.iso, cfa=cfa, without=self._bad
                )
                self._picked[key] = picked
            try:
                sha256 = self._sha256(picked.path)
                break
            except ModelError as error:
                lost.append(self.without(picked.path, error))
        choice = Choice(picked.name, picked.path.name, picked.branch, sha256, picked.reason)
        return Chosen(picked.path, choice, (*lost, *picked.warnings))

    def without(self, path: Path, error: ModelError) -> str:
        """Pass a tuned model over for what else there is; its header was good, its tensors not."""
        if not any(picked.path == path and picked.tuned for picked in self._picked.values()):
            raise error
        self._bad.add(path)
        self._picked.clear()
        return passed_over(error)

    def _sha256(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = file_sha256(path)
        return self._hashes[path]


def camera_noise(spec: ModelSpec, exif: Exif) -> CameraNoise | None:
    """Return what a model's own noise lines say of a photo.

    None where it has none, where the photo's ISO is outside them, and for another camera.
    """
    if spec.noise_lines is None:
        return None
    if spec.cameras and not is_camera(exif.camera, exif.make, spec.cameras):
        return None
    return spec.noise_lines.at(exif.iso)
