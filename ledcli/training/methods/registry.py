"""The methods of fine-tuning by name, and their recipes from what the user asked for."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch

from ledcli.errors import UsageError
from ledcli.nets.registry import build
from ledcli.sensor.layout import BAYER
from ledcli.training.data.pairs import CameraPairs
from ledcli.training.data.sampler import Recipe as PretrainingRecipe
from ledcli.training.data.srgb_pairs import SrgbPairs
from ledcli.training.methods import led as finetune
from ledcli.training.methods.adl import AdlMethod, AdlRecipe
from ledcli.training.methods.adl_sources import Source
from ledcli.training.methods.base import FinetuneMethod, Pretrained
from ledcli.training.methods.exposure import ExposureMethod, ExposureRecipe
from ledcli.training.methods.led import LedMethod, schedule_of
from ledcli.training.methods.sid import SidMethod, SidRecipe
from ledcli.training.workers import worker_count
from ledcli.zoo.model_file import ModelSpec

NONE = "none"
"""``--pretrained none``: every weight starts anew."""


@dataclass(frozen=True)
class MethodOptions:
    """What the user asked for; None leaves it to the method.

    Attributes
    ----------
    iterations, batch : int, optional
        Of the training, and crops of an iteration.
    seed : int, optional
    schedule : str, optional
        LED's, a name of `finetune.SCHEDULES`.
    shot_noise : float, optional
        LED's share of crops that get more light.
    l1 : float, optional
        Exposure diffusion's weight of the mean absolute error.
    """

    iterations: int | None = None
    batch: int | None = None
    seed: int | None = None
    schedule: str | None = None
    shot_noise: float | None = None
    l1: float | None = None


class MethodInputs(NamedTuple):
    """What a method is made of besides its recipe; SID alone takes the pictures."""

    pretrained: Pretrained
    camera: str
    shots: CameraPairs
    sources: Sequence[Source]
    device: torch.device
    pictures: SrgbPairs | None = None


def _led(options: dict[str, Any], given: MethodInputs) -> FinetuneMethod:
    form = given.pretrained.spec.input_form
    return LedMethod(form, finetune.Recipe(**options), given.shots, given.device)


def _adl(options: dict[str, Any], given: MethodInputs) -> FinetuneMethod:
    recipe = AdlRecipe(**options)
    return AdlMethod(recipe, given.camera, given.shots, given.sources, given.device)


def _exposure(options: dict[str, Any], given: MethodInputs) -> FinetuneMethod:
    recipe = ExposureRecipe(**options)
    return ExposureMethod(recipe, given.shots, given.device, worker_count(given.device))


def _sid(options: dict[str, Any], given: MethodInputs) -> FinetuneMethod:
    if given.pictures is None:
        raise ValueError("SID trains on pictures")
    recipe = SidRecipe(**options)
    return SidMethod(recipe, given.shots, given.pictures, given.device, worker_count(given.device))


Recipe = finetune.Recipe | AdlRecipe | ExposureRecipe | SidRecipe
METHODS: dict[
    str, tuple[Callable[[dict[str, Any], MethodInputs], FinetuneMethod], type[Recipe]]
] = {
    "led": (_led, finetune.Recipe),
    "adl": (_adl, AdlRecipe),
    "exposure": (_exposure, ExposureRecipe),
    "sid": (_sid, SidRecipe),
}


def iterations_of(name: str, options: MethodOptions, *, anew: bool = False) -> int:
    """Return how long a method trains, ``anew`` without a pretrained model.

    Raises
    ------
    UsageError
        There is no such method or schedule, a wish is for another method, or LED has no model to
        tune.
    """
    if name not in METHODS:
        raise UsageError(f"no method '{name}': choose {' or '.join(METHODS)}")
    if anew and name == "led":
        raise UsageError("LED tunes a pretrained model: name one with --pretrained")
    owners = {n: {f.name for f in fields(recipe)} for n, (_, recipe) in METHODS.items()}
    for wish in _given(options):
        if wish not in owners[name]:
            others = " or ".join(n for n, known in owners.items() if wish in known)
            option = wish.replace("_", "-")
            raise UsageError(f"--{option} is for --method {others}: leave it out")
    if options.schedule is not None:
        schedule_of(options.schedule)
    return METHODS[name][1](**_given(options)).iterations


def method_of(name: str, options: MethodOptions, given: MethodInputs) -> FinetuneMethod:
    """Make a method of these pairs; name and options are as `iterations_of` lets pass.

    Raises
    ------
    UsageError
        The method knows no such sensor.
    """
    if name not in ("led", "sid") and given.shots.planes != len(BAYER.colours):
        raise UsageError(f"--method {name} knows Bayer sensors only: leave it out")
    return METHODS[name][0](_given(options), given)


def no_model() -> Pretrained:
    """Return what stands for ``--pretrained none``: led's own architecture without weights."""
    recipe = PretrainingRecipe()
    build(recipe.architecture, recipe.arguments)
    spec = ModelSpec(
        name=NONE,
        architecture=recipe.architecture,
        arguments=dict(recipe.arguments),
        input_form="gain",
        csa_sets=(),
        ratio_range=(1.0, 1.0),
        method=NONE,
        licence="its owner's",
        source="led finetune",
    )
    return Pretrained(spec, None, "", "")


def _given(options: MethodOptions) -> dict[str, Any]:
    return {name: value for name, value in asdict(options).items() if value is not None}
