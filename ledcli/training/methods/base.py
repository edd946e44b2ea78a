"""What a method of fine-tuning is: one class each, listed in `ledcli.training.methods`."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from statistics import fmean
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from ledcli.batch.settings import converted
from ledcli.errors import ModelError, TrainingError, UsageError
from ledcli.inference.backends.torch import full_float32
from ledcli.nets.forms import form_of
from ledcli.nets.repnr import select
from ledcli.noise.physics import column
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.pair_files import Take
from ledcli.training.data.pairs import CameraPairs
from ledcli.training.data.sampler import MULTIPLE, Batch
from ledcli.training.data.sources import SourceDomain
from ledcli.training.loop import Method, Trainer
from ledcli.training.methods.start import Pretrained, Start
from ledcli.training.optim import Schedule
from ledcli.zoo.folding import Proof
from ledcli.zoo.spec import ModelSpec


class Finished(NamedTuple):
    """What is installed: a plain network, with the proof that folding changed nothing."""

    spec: ModelSpec
    net: nn.Module
    proof: Proof | None = None


@dataclass(frozen=True)
class FinetuneRecipe:
    """What decides a fine-tuning besides the pairs and the pretrained model.

    ``batch`` crops per iteration have ``side`` plane pixels a side. A method adds fields for its
    own options. The recipe is written into the model file.
    """

    iterations: int = 1500
    batch: int = 16
    side: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"iterations": 1, "batch": 1, "side": MULTIPLE, "best": 1}
        for name, field in self.__dataclass_fields__.items():
            if field.type not in (int, float):
                continue
            kind, takes = (index, "a whole number") if field.type is int else (float, "a number")
            number = converted(kind, getattr(self, name), name, takes)
            if not least.get(name, 0) <= number < math.inf:
                raise UsageError(f"{name} must be {least.get(name, 0)} or more, not {number:g}")
            object.__setattr__(self, name, number)


@dataclass(frozen=True)
class MethodInputs:
    """What a method trains on."""

    camera_pairs: CameraPairs
    device: torch.device
    camera: str = ""
    """Its name."""
    input_form: str = "stabilised"
    """Of the pretrained model."""
    sources: Sequence[SourceDomain] = ()
    """Other cameras' shots, for a method with `takes_sources`."""
    collector: Take | None = None
    """What received the photos of the pairs, for a method that has one."""
    workers: int = 1
    """Parts of a batch that are computed in parallel, by a method with `parallel`."""


class FinetuneMethod(Method):
    """A method of fine-tuning. The loop asks it for losses, `finetune` for the rest.

    Class attributes state what is special about it; the fields of its recipe are its options.
    """

    name: ClassVar[str]
    """The value of ``--method``."""
    recipe_type: ClassVar[type[FinetuneRecipe]]
    """Its fields are the options that the method takes."""
    cfas: ClassVar[tuple[str, ...]] = tuple(LAYOUTS)
    """Kinds of sensor that it can be tuned to."""
    needs_pretrained: ClassVar[bool] = False
    """Whether it cannot start from ``--pretrained none``."""
    takes_sources: ClassVar[bool] = False
    """Whether it trains on other cameras' shots too (``--source``)."""
    baseline: ClassVar[str] = "the un-tuned model"
    """What the tuned model is compared with, for messages."""
    name_suffix: ClassVar[str] = ""
    """Added to the camera's name to name the model."""
    hint: ClassVar[str] = ""
    """What to tell the user once the model ``{name}`` is installed."""
    muon: bool = False
    """Whether Muon trains the kernels."""
    warm_up: ClassVar[int] = 20
    """Iterations over which the learning rate rises."""
    parallel: ClassVar[bool] = False
    """Whether several workers compute a batch in parts."""

    recipe: Any
    form: Any
    """The input form of the tuned network."""

    def __init__(self, recipe: FinetuneRecipe, inputs: MethodInputs) -> None:
        self.recipe = recipe
        self.camera_pairs, self.device = inputs.camera_pairs, inputs.device
        self.workers = min(inputs.workers, recipe.batch) if self.parallel else 1
        self.side = min(recipe.side, self.max_side()) // MULTIPLE * MULTIPLE

    @classmethod
    def collector(cls, count: int) -> Take | None:
        """Return what receives the photos of so many pairs while they are read, if it needs any."""
        return None

    def max_side(self) -> int:
        """Return the largest side in plane pixels that a crop may have."""
        return self.camera_pairs.side

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR of the validation crops in dB before tuning; raises ModelError.

        Of the pretrained model, blind: with the black and the noise that `led denoise` finds, and
        what the camera did undone and redone, but without the corrections of the result. Without a
        model, of the input times the ratio. Called before `begin`; ``bf16`` is whether to compute
        in bfloat16.
        """
        spec, net, csa_set, _ = pretrained
        if spec.output == "srgb":
            raise ModelError(
                f"{spec.name} makes pictures, not planes: name another with --pretrained, or tune "
                "it with --method sid"
            )
        undone = net is not None and spec.input_form == "stabilised"
        crops = self.camera_pairs.validation_batches(blind=True, undone=undone)
        batches = [batch.to(self.device) for batch in crops]
        if net is None:
            return mean_psnr(psnr_of(b.x * column(b.ratio), b.clean) for b in batches)
        if spec.csa_sets:
            select(net, csa_set)
        form, net = form_of(spec.input_form, spec.output, spec.planes), net.to(self.device)
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        with full_float32(), torch.inference_mode(), precision:
            results = [form(net, *batch[1:]) for batch in batches]
        if undone:
            pairs = zip(self.camera_pairs.pairs, results, strict=True)
            results = [pair.redo(result) for pair, result in pairs]
        return mean_psnr(psnr_of(r, b.clean) for r, b in zip(results, batches, strict=True))

    @classmethod
    def check_start(cls, spec: ModelSpec) -> None:
        """Raise ModelError for a pretrained model that the method cannot start from."""

    @abstractmethod
    def begin(self, pretrained: Pretrained) -> Start:
        """Make the network that is trained; raises ModelError."""

    def schedule(self) -> Schedule:
        """Return how long and how fast to train."""
        rate, iterations = self.recipe.learning_rate, self.recipe.iterations
        return Schedule(iterations, learning_rate=rate, warm_up=self.warm_up, ema=0.99)

    def trainer(self, start: Start, *, bf16: bool) -> Trainer:
        """Return the loop that trains the network."""
        return Trainer(
            start.net,
            self,
            self.schedule(),
            self.device,
            bf16=bf16,
            seed=self.recipe.seed,
            groups=start.groups,
            workers=self.workers,
            muon=self.muon,
        )

    def batch_size(self, progress: float) -> int:
        """Return the crops of an iteration."""
        return int(self.recipe.batch)

    @abstractmethod
    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw crops and return their loss."""

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the validation crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the mean PSNR of the validation crops over the pairs, in dB."""
        return mean_psnr(self.batch_psnr(net, batch) for batch in self.validation_batches())

    def batch_psnr(self, net: nn.Module, batch: Batch) -> float:
        """Return the PSNR of a batch in dB."""
        batch = batch.to(self.device)
        return psnr_of(self.denoise(net, batch), batch.clean)

    def denoise(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return what the network makes of a batch, as it is compared with the truth."""
        return self.form(net, *batch[1:])

    def validation_batches(self) -> list[Batch]:
        """Return the validation crops, one batch per pair."""
        return self.camera_pairs.validation_batches()

    def settle(self, net: nn.Module) -> None:
        """Change the averaged weights once the training is over, in place."""

    def record(self) -> dict[str, Any]:
        """Return what happened during training, for the model file; JSON values."""
        return {}

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Make the network that is installed from the trained one; raises TrainingError."""
        return Finished(spec, net)

    def rng_of(self, progress: float) -> np.random.Generator:
        """Return the generator of an iteration: the same after a resumption, on every device."""
        step = round(progress * self.recipe.iterations)
        return np.random.default_rng([self.recipe.seed, step])

    def workers_rng(self, generator: Generator) -> np.random.Generator:
        """Return what a worker draws its crops with, unlike the others."""
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        return np.random.default_rng(seed)


def psnr_of(result: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of a result that is clipped to 0..1, where the truth is known.

    NaN where none of it is.
    """
    known = truth <= 1
    error = (result.detach().clamp(0, 1) - truth).square()[known].mean()
    return float(-10 * error.clamp_min(1e-12).log10())


def mean_psnr(values: Iterable[float]) -> float:
    """Return the mean of values in dB, without those of crops whose truth is unknown.

    Raises TrainingError if none is left: then the network's results are no numbers.
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        raise TrainingError(
            "what the network makes of the validation crops is not a number: look for photos that "
            "are damaged, or start from another model"
        )
    return fmean(known)
