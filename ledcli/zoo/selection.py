"""Choose the model for each photo of a run. No torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from ledcli.errors import ModelError, UsageError
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.raw.exif import Exif, is_camera
from ledcli.sensor.layout import LAYOUTS
from ledcli.zoo.model_file import file_sha256, read_spec
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import (
    FAST,
    ChosenModel,
    find_bundled,
    find_model,
    installed_models,
    read_registry,
)

RATIO_MARGIN = 2 ** (1 / 3)
"""A ratio range is extended by a third of a stop at both ends, one step of a camera's dials."""
ISO_BELOW, ISO_ABOVE = 2 ** (1 / 3), 4.0
"""A tuned model is used from a third of a stop below the ISOs of its pairs to two stops above.
Measured at ratio 100 on an unusual camera tuned at ISO 400 to 6400: one stop below, it loses 0.4 dB
against the bundled model; two stops above, it gains 3.6 dB. Tuned at ISO 6400 alone, it loses
2.5 dB at ISO 400.
"""
FAST_INT8 = "only fast models have int8: use --quality fast or leave out --precision"
FAST_CHOOSES = "--quality fast chooses the model: leave it out, or leave out {}"
"""Error for a model that is named beside it, by the option or argument that is filled in."""
NO_STEPS = (
    "{} refinement steps: leave out --steps, or use a model made by "
    "'led finetune --method exposure'"
)
"""Error message for several steps of another model."""


class NamedModel:
    """Choose the model that the user named, for every photo; raises as `zoo.store.find_model`.

    Its `ratio_range` bounds an estimated ratio.
    """

    def __init__(self, name: str | Path) -> None:
        found = find_model(name)
        self.name, self.spec = str(name), read_spec(found.path)
        self.ratio_range = self.spec.ratio_range
        self.chosen = replace(found, sha256=file_sha256(found.path))

    def check_steps(self, steps: int | None) -> None:
        """Raise UsageError if the model has not so many refinement steps."""
        if steps and steps > 1 and not self.spec.refines:
            raise UsageError(NO_STEPS.format(f"{self.chosen.name} has no"))

    def choose(self, exif: Exif, ratio: float, cfa: str = "bayer") -> ChosenModel:
        """Return the named model; raises ModelError for another kind of sensor."""
        if self.spec.cfa != cfa:
            raise ModelError(
                f"the model {self.chosen.name} is for {LAYOUTS[self.spec.cfa].title} sensors, and "
                f"this photo is {LAYOUTS[cfa].title}: leave out --model, or name another"
            )
        cameras = self.spec.cameras
        if cameras and not is_camera(exif.camera, exif.make, cameras):
            reason = f"named, but tuned to another camera: {', '.join(cameras)}"
            return replace(self.chosen, reason=reason)
        return self.chosen

    def skip(self, path: Path, error: ModelError) -> str:
        """Raise the error: there is no other model."""
        raise error

    def has_faster(self, chosen: ChosenModel | None) -> bool:
        """Return False: the user wants this one."""
        return False


class BestModel:
    """Choose the best model at hand for each photo, by `best_model`; raises ModelError.

    Its `ratio_range`, of the bundled default, bounds an estimated ratio.
    """

    def __init__(self, fast: bool = False) -> None:
        self.fast = fast
        # A missing bundled model is one error, not one per photo.
        self.ratio_range = read_spec(find_bundled().path).ratio_range
        self._damaged: set[Path] = set()
        self._sha256 = cache(file_sha256)
        self._chosen: dict[tuple[object, ...], ChosenModel] = {}

    def check_steps(self, steps: int | None) -> None:
        """Raise UsageError if no model that may be chosen has so many refinement steps."""
        if steps and steps > 1 and not any(spec.refines for *_, spec in _tuned_models([], ())):
            raise UsageError(NO_STEPS.format("no model tuned to a camera has"))

    def choose(self, exif: Exif, ratio: float, cfa: str = "bayer") -> ChosenModel:
        """Choose by the photo's camera, ratio, ISO and kind of sensor; raises ModelError."""
        key = (exif.camera, exif.make, ratio, exif.iso, cfa)
        skipped: list[str] = []
        while True:
            chosen = self._chosen.get(key)
            if chosen is None:
                chosen = self._chosen[key] = best_model(
                    exif, ratio, cfa=cfa, fast=self.fast, without=self._damaged
                )
            try:
                sha256 = self._sha256(chosen.path)
            except ModelError as error:
                skipped.append(self.skip(chosen.path, error))
            else:
                return replace(chosen, sha256=sha256, warnings=(*skipped, *chosen.warnings))

    def skip(self, path: Path, error: ModelError) -> str:
        """Skip a damaged tuned model from now on and return a warning, or raise the error."""
        if not any(chosen.path == path and chosen.tuned for chosen in self._chosen.values()):
            raise error
        self._damaged.add(path)
        self._chosen.clear()
        return _skipped(error)

    def has_faster(self, chosen: ChosenModel | None) -> bool:
        """Return True if ``--quality fast`` has another model where a bundled one was chosen."""
        if self.fast or chosen is None or chosen.tuned:
            return False
        return read_spec(chosen.path).cfa in read_registry().fast


Chooser = NamedModel | BestModel
"""What chooses the model for a photo: `choose` returns it, `skip` excludes a damaged one."""


def chooser_of(model: str | Path | None, fast: bool) -> Chooser:
    """Return what chooses the model that is named, or the best for each photo."""
    return BestModel(fast) if model is None else NamedModel(model)


def best_model(
    exif: Exif,
    ratio: float,
    *,
    cfa: str = "bayer",
    fast: bool = False,
    without: Collection[Path] = (),
) -> ChosenModel:
    """Choose the best model for a photo among those for its kind of sensor.

    That is the newest installed model that is tuned to the camera and covers the ratio and the
    ISO; else the bundled CSA set of the camera's maker; else the bundled default. A standard one
    goes before a `fast` one, which is better than none that is tuned. Who asks for fast models gets
    no others, so that the photos do take less time; only a kind of sensor without a fast model gets
    the standard ones, with a warning.

    An unknown ISO excludes no model. Installed models in `without` are skipped. Raises ModelError
    when the bundled models are missing or damaged, or none is for such a sensor.
    """
    warnings: list[str] = []
    if fast and cfa not in read_registry().fast:
        warnings.append(no_fast_model(cfa) + ": the standard one is used")
        fast = False
    tuned = [
        model
        for model in _tuned_models(warnings, without)
        if model[-1].cfa == cfa and is_camera(exif.camera, exif.make, model[-1].cameras)
    ]
    own = [model for model in tuned if is_fast(model[-1])] if fast else tuned

    def rank(model: tuple[datetime, str, Path, ModelSpec]) -> tuple[object, ...]:
        # Nearest first; then models with the camera's noise profile, which published ones lack;
        # then standard networks; then the newest.
        date, name, _, spec = model
        profile = spec.noise_profile is not None
        return -len(misses(spec, ratio, exif.iso)), profile, not is_fast(spec), date, name

    beyond = ""
    if own:
        date, name, path, spec = max(own, key=rank)
        missed = misses(spec, ratio, exif.iso)
        if not missed:
            reason = f"tuned to {exif.camera}"
            if "date" in spec.training:
                reason += f" on {date.date()}"
            if is_fast(spec):
                reason += ", fast"
            csa_set = next(iter(spec.csa_sets), "")
            return ChosenModel(path, csa_set, name, "", reason, True, tuple(warnings))
        beyond = f"; {name} is tuned to this camera, but for {' and '.join(missed)}"
    elif tuned:
        names = ", ".join(name for _, name, _, _ in tuned)
        beyond = f"; {names}: tuned to this camera, but not with --quality fast"
    name, reason = _bundled_name(exif.make, cfa, fast)
    return replace(find_bundled(name), reason=reason + beyond, warnings=tuple(warnings))


def _bundled_name(make: str | None, cfa: str, fast: bool) -> tuple[str, str]:
    """Return the name of the bundled model for a camera's maker, and why it is taken."""
    registry = read_registry()
    maker = next(iter((make or "").casefold().split()), "") + (f"-{FAST}" if fast else "")
    if maker in registry.names:
        path, csa_set = registry.names[maker]
        # The registry of this version may stand beside an older model file.
        spec = read_spec(path) if path.is_file() else None
        if spec and spec.cfa == cfa and csa_set in spec.csa_sets:
            return maker, "the bundled set of the camera's maker"
    return default_name(cfa, fast=fast), "the bundled default"


def is_fast(spec: ModelSpec) -> bool:
    """Return True for the fast model and what is tuned from it."""
    return bool(spec.training.get("quality") == FAST)


def no_fast_model(cfa: str) -> str:
    """Say that a kind of sensor has no fast model."""
    return f"there is no fast model for {LAYOUTS[cfa].title} sensors yet"


def default_name(cfa: str, option: str = "--model", *, fast: bool = False) -> str:
    """Return the name of the bundled model for a kind of sensor, the standard or the fast one.

    Raises ModelError if there is none; `option` is how the user would name another.
    """
    defaults = read_registry().defaults
    if fast:
        if cfa not in read_registry().fast:
            raise ModelError(f"{no_fast_model(cfa)}: leave out --quality fast")
        return read_registry().fast[cfa]
    if cfa not in defaults:
        raise ModelError(
            f"there is no model for {LAYOUTS[cfa].title} sensors: train one with 'led pretrain "
            f"--cfa {cfa}', and name it with {option}"
        )
    return defaults[cfa]


def covers(ratio_range: tuple[float, float], ratio: float) -> bool:
    """Return True if a ratio lies in a model's range or within a third of a stop of it."""
    lowest, highest = ratio_range
    return lowest / RATIO_MARGIN <= ratio <= highest * RATIO_MARGIN


def misses(spec: ModelSpec, ratio: float, iso: float | None) -> tuple[str, ...]:
    """Return the ranges of a model that a photo is outside of, such as "ISO 400 to 6400"."""
    missed = []
    if not covers(spec.ratio_range, ratio):
        missed.append(_range_text("ratio", "ratios", spec.ratio_range))
    # A model without a noise profile covers every ISO, and an unknown ISO may be any.
    if spec.noise_profile is not None and iso is not None:
        isos = spec.noise_profile.isos
        if not isos[0] / ISO_BELOW <= iso <= isos[-1] * ISO_ABOVE:
            missed.append(_range_text("ISO", "ISO", isos))
    return tuple(missed)


def training_date(spec: ModelSpec, path: Path) -> datetime:
    """Return when a model was made: the date in its header, else the date of its file."""
    try:
        date = datetime.fromisoformat(spec.training["date"])
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def camera_noise(spec: ModelSpec, exif: Exif) -> NoiseAtIso | None:
    """Return the noise of a photo by the model's own noise profile.

    None where the model has no profile, the photo's ISO is outside it, or the camera is another.
    """
    if spec.noise_profile is None:
        return None
    if spec.cameras and not is_camera(exif.camera, exif.make, spec.cameras):
        return None
    return spec.noise_profile.at(exif.iso)


def _tuned_models(
    warnings: list[str], without: Collection[Path]
) -> Iterator[tuple[datetime, str, Path, ModelSpec]]:
    """Yield date, name, file and description of the installed models tuned to a camera."""
    for name, path in installed_models():
        if path in without:
            continue
        try:
            spec = read_spec(path)
            # A model that makes pictures cannot make a DNG, the default output.
            if spec.cameras and not spec.makes_pictures:
                yield training_date(spec, path), name, path, spec
        except FileNotFoundError:
            continue  # removed meanwhile
        except ModelError as error:
            if os.path.lexists(path):
                warnings.append(_skipped(error))


def _skipped(error: ModelError) -> str:
    return f"an installed model was skipped: {error}"


def _range_text(one: str, several: str, values: tuple[float, ...]) -> str:
    lowest, highest = values[0], values[-1]
    if lowest == highest:
        return f"{one} {lowest:g}"
    return f"{several} {lowest:g} to {highest:g}"
