"""Which model denoises each photo of a run. No torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from ledcli.errors import ModelError
from ledcli.noise.profile import CameraNoiseProfile, NoiseAtIso
from ledcli.raw.exif import Exif
from ledcli.zoo.model_file import ModelSpec, file_sha256, read_spec
from ledcli.zoo.store import (
    FoundModel,
    find_bundled,
    find_model,
    installed_models,
    listed_name,
    read_registry,
)

RATIO_MARGIN = 2 ** (1 / 3)
"""A ratio range reaches a third of a stop beyond its ends, the step of a camera's dials."""
ISO_BELOW, ISO_ABOVE = 2 ** (1 / 3), 4.0
"""A tuned model reaches a third of a stop below the ISOs of its pairs and two stops above. Measured
at ratio 100 on an odd camera tuned at ISO 400 to 6400: a stop below it loses 0.4 dB to the bundled
model, two stops above it gains 3.6; one tuned at ISO 6400 alone loses 2.5 dB at ISO 400.
"""

SENSORS = {"bayer": "Bayer", "xtrans": "X-Trans"}
"""Kinds of sensors as people call them."""


class Picked(NamedTuple):
    """A model for a photo, and why it is the one.

    Attributes
    ----------
    path, csa_set
        The file, and the CSA set of it (empty for a plain network).
    name : str
        As `led models list` has it.
    reason : str
        For people.
    tuned : bool
        Whether it is an installed model that is tuned to the camera.
    warnings : tuple of str
        One for each installed model that was passed over because it is damaged.
    """

    path: Path
    csa_set: str
    name: str
    reason: str
    tuned: bool
    warnings: tuple[str, ...] = ()


class _Tuned(NamedTuple):
    date: datetime
    name: str
    path: Path
    spec: ModelSpec


def pick_model(
    camera: str | None,
    make: str | None,
    ratio: float,
    iso: float | None,
    *,
    cfa: str = "bayer",
    without: Collection[Path] = (),
) -> Picked:
    """Pick the model for a photo, of those for its kind of sensor.

    The newest installed model that is tuned to the camera and covers the ratio and the ISO; else
    the bundled CSA set of the camera's maker; else the bundled default.

    Parameters
    ----------
    camera, make : str or None
        `Exif.camera` and `Exif.make` of the photo.
    ratio : float
        Of the photo.
    iso : float or None
        Of the photo; an unknown one rules no model out.
    cfa : str
        The photo's: ``bayer`` or ``xtrans``.
    without : collection of Path
        Installed models to pass over.

    Raises
    ------
    ModelError
        When the bundled models are missing or damaged, or none is for such a sensor.
    """
    warnings: list[str] = []
    tuned = [m for m in _tuned(warnings, without) if m.spec.cfa == cfa]
    own = [m for m in tuned if is_camera(camera, make, m.spec.cameras)]
    # The nearest; of those one that knows the camera's noise, as `led finetune` makes them and
    # published ones do not; of those the newest.
    best = max(
        own,
        key=lambda m: (-len(misses(m.spec, ratio, iso)), m.spec.noise_profile is not None, m),
        default=None,
    )
    missed = misses(best.spec, ratio, iso) if best else ()
    if best and not missed:
        csa_sets = best.spec.csa_sets
        when = f" on {best.date.date().isoformat()}" if "date" in best.spec.training else ""
        reason = f"tuned to {camera}{when}"
        csa_set = csa_sets[0] if csa_sets else ""
        return Picked(best.path, csa_set, best.name, reason, True, tuple(warnings))
    registry = read_registry()
    name, reason = default_name(cfa), "the bundled default"
    maker = (make or "").casefold().split()[:1]
    if maker and maker[0] in registry.names:
        # A registry of this led may stand beside an older file of models.
        path, csa_set = registry.names[maker[0]]
        spec = read_spec(path) if path.is_file() else None
        if spec and spec.cfa == cfa and csa_set in spec.csa_sets:
            name, reason = maker[0], "the bundled set of the camera's maker"
    if best:
        reason += f"; {best.name} is tuned to this camera, but for {' and '.join(missed)}"
    return Picked(*find_bundled(name), name, reason, False, tuple(warnings))


def default_name(cfa: str, option: str = "--model") -> str:
    """Return the name of the bundled model for a kind of sensor.

    Parameters
    ----------
    cfa : str
    option : str
        How the user would name another.

    Raises
    ------
    ModelError
        There is none.
    """
    defaults = read_registry().defaults
    if cfa not in defaults:
        raise ModelError(
            f"no model for {SENSORS[cfa]} sensors is at hand: train one with 'led pretrain --cfa "
            f"{cfa}', and name it with {option}"
        )
    return defaults[cfa]


def is_camera(camera: str | None, make: str | None, names: Collection[str]) -> bool:
    """Tell whether a camera is one of those that a model names, however they are spelt.

    Upper and lower case, blanks and the make, left out or said twice, make no difference.

    Examples
    --------
    >>> is_camera("NIKON D850", "NIKON CORPORATION", ["Nikon Corporation  NIKON D850"])
    True
    """
    if not camera:
        return False
    maker = set((make or "").casefold().split())
    return _bare(camera, maker) in (_bare(name, maker) for name in names)


def covers(ratio_range: tuple[float, float], ratio: float) -> bool:
    """Tell whether a ratio lies in a model's range, or within a third of a stop of it."""
    lowest, highest = ratio_range
    return lowest / RATIO_MARGIN <= ratio <= highest * RATIO_MARGIN


def covers_iso(lines: CameraNoiseProfile | None, iso: float | None) -> bool:
    """Tell whether an ISO lies in a model's range, or near enough to it.

    A model without noise lines does not say which ISOs it is for, and an unknown ISO may be any.
    """
    if lines is None or iso is None:
        return True
    return lines.isos[0] / ISO_BELOW <= iso <= lines.isos[-1] * ISO_ABOVE


def misses(spec: ModelSpec, ratio: float, iso: float | None) -> tuple[str, ...]:
    """Say what a model is for where a photo is beyond it, such as "ISO 400 to 6400"."""
    missed = []
    if not covers(spec.ratio_range, ratio):
        missed.append(_span("ratio", "ratios", spec.ratio_range))
    if spec.noise_profile is not None and not covers_iso(spec.noise_profile, iso):
        missed.append(_span("ISO", "ISO", spec.noise_profile.isos))
    return tuple(missed)


def passed_over(error: ModelError) -> str:
    """Return the warning for an installed model that is damaged."""
    return f"an installed model is passed over: {error}"


def training_date(spec: ModelSpec, path: Path) -> datetime:
    """When a model was made: as it says itself, else when its file was written."""
    try:
        date = datetime.fromisoformat(spec.training["date"])
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _tuned(warnings: list[str], without: Collection[Path]) -> Iterator[_Tuned]:
    """Go through the installed models that are tuned to a camera."""
    for name, path in installed_models():
        if path in without:
            continue
        try:
            spec = read_spec(path)
            # What makes pictures makes no DNG, which a photo becomes when nobody says otherwise.
            if spec.cameras and not spec.makes_pictures:
                yield _Tuned(training_date(spec, path), name, path, spec)
        except FileNotFoundError:
            continue  # removed while we looked
        except ModelError as error:
            if path.is_symlink() or path.exists():
                warnings.append(passed_over(error))


def _span(one: str, several: str, values: tuple[float, ...]) -> str:
    lowest, highest = values[0], values[-1]
    if lowest == highest:
        return f"{one} {lowest:g}"
    return f"{several} {lowest:g} to {highest:g}"


def _bare(camera: str, maker: set[str]) -> list[str]:
    """Words of a camera's name without the make that it begins with."""
    words = camera.casefold().split()
    while len(words) > 1 and words[0] in maker:
        del words[0]
    return words


@dataclass(frozen=True)
class Choice:
    """What denoised a photo, for people and for the record.

    Attributes
    ----------
    model : str
        The model's name, as `led models list` has it.
    file : str
        Name of its file, without the folder.
    csa_set : str
        The CSA set; empty for a plain network.
    sha256 : str
        Hash of the model's file.
    reason : str
        Why this model.
    """

    model: str
    file: str
    csa_set: str
    sha256: str
    reason: str

    def record(self) -> dict[str, str]:
        """Return what `--json` and the note inside an output say of it."""
        return {
            "model": self.model,
            "model_file": self.file,
            "csa_set": self.csa_set,
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
    csa_set : str, optional
        The CSA set, instead of the one that the name stands for.

    Raises
    ------
    ModelError
        When there is none of that name, or it is damaged.
    """

    def __init__(self, name: str | Path, csa_set: str | None = None) -> None:
        found = find_model(name)
        if csa_set is not None:
            found = FoundModel(found.path, csa_set)
        self.spec = read_spec(found.path)
        self.ratio_range = self.spec.ratio_range
        self.path = found.path
        self._choice = Choice(
            listed_name(found), found.path.name, found.csa_set, file_sha256(found.path), "named"
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
            choice = Choice(choice.model, choice.file, choice.csa_set, choice.sha256, reason)
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
        choice = Choice(picked.name, picked.path.name, picked.csa_set, sha256, picked.reason)
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


def camera_noise(spec: ModelSpec, exif: Exif) -> NoiseAtIso | None:
    """Return what a model's own noise lines say of a photo.

    None where it has none, where the photo's ISO is outside them, and for another camera.
    """
    if spec.noise_profile is None:
        return None
    if spec.cameras and not is_camera(exif.camera, exif.make, spec.cameras):
        return None
    return spec.noise_profile.at(exif.iso)
