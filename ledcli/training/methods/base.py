"""What a method of fine-tuning is: one class each, listed in `ledcli.training.methods`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets.forms import AdaptiveForm, SrgbForm, form_of
from ledcli.nets.network import Network, build
from ledcli.nets.repnr import deploy, select
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.pairs import MULTIPLE, CameraPairs
from ledcli.training.data.sampler import Batch
from ledcli.training.data.srgb_pairs import SrgbPairs
from ledcli.training.methods.adl_sources import Source
from ledcli.training.optim import Schedule
from ledcli.zoo.folding import Proof
from ledcli.zoo.spec import ModelSpec


class Pretrained(NamedTuple):
    """The model that a fine-tuning starts from.

    ``net`` is None with ``--pretrained none``, ``csa_set`` empty for a plain network, ``sha256`` of
    its file empty without one.
    """

    spec: ModelSpec
    net: nn.Module | None
    csa_set: str = ""
    sha256: str = ""


class Start(NamedTuple):
    """A network ready for training.

    ``groups`` of parameters are named by the schedule's phases; None trains all. ``note`` says what
    became of the pretrained weights, for people; it may be empty.
    """

    spec: ModelSpec
    net: nn.Module
    groups: Mapping[str, list[nn.Parameter]] | None = None
    note: str = ""


class Finished(NamedTuple):
    """What is installed: a plain network, with the proof that folding changed nothing."""

    spec: ModelSpec
    net: nn.Module
    proof: Proof | None = None


@dataclass(frozen=True)
class FinetuneRecipe:
    """What decides a fine-tuning besides the pairs and the pretrained model.

    A method adds fields for its own options. The recipe is written into the model file.

    ``batch`` crops per iteration have ``side`` plane pixels a side.
    """

    iterations: int = 1500
    batch: int = 16
    side: int = 128
    seed: int = 0


@dataclass(frozen=True)
class MethodInputs:
    """What a method trains on.

    Attributes
    ----------
    camera_pairs : CameraPairs
    device : torch.device
    camera : str
        Its name.
    input_form : str
        Of the pretrained model.
    sources : sequence of Source
        Other cameras' shots, for a method with `takes_sources`.
    srgb_pairs : SrgbPairs, optional
        The same pairs with developed long frames, for a method with `trains_on_srgb`.
    workers : int
        Parts of a batch that are computed in parallel, by a method with `parallel`.
    """

    camera_pairs: CameraPairs
    device: torch.device
    camera: str = ""
    input_form: str = "stabilised"
    sources: Sequence[Source] = ()
    srgb_pairs: SrgbPairs | None = None
    workers: int = 1


class FinetuneMethod(ABC):
    """A method of fine-tuning. The loop asks it for losses, `Finetuning` for the rest.

    A subclass states what is special about it in class attributes, and its options as the fields
    of its recipe.
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
    trains_on_srgb: ClassVar[bool] = False
    """Whether it needs the long frames developed to sRGB."""
    baseline: ClassVar[str] = "the un-tuned model"
    """What the tuned model is compared with, for messages."""
    name_suffix: ClassVar[str] = ""
    """Added to the camera's name to name the model."""
    hint: ClassVar[str] = ""
    """What to tell the user once the model ``{name}`` is installed."""
    muon: ClassVar[bool] = False
    """Whether Muon trains the kernels."""
    warm_up: ClassVar[int] = 20
    """Iterations over which the learning rate rises."""
    parallel: ClassVar[bool] = False
    """Whether a batch is computed in parts, by several workers."""

    recipe: Any
    form: Any
    """The input form of the tuned network."""

    def __init__(self, recipe: FinetuneRecipe, inputs: MethodInputs) -> None:
        self.recipe = recipe
        self.camera_pairs, self.device = inputs.camera_pairs, inputs.device
        self.workers = min(inputs.workers, recipe.batch) if self.parallel else 1
        self.side = min(recipe.side, self.max_side()) // MULTIPLE * MULTIPLE

    def max_side(self) -> int:
        """Return the largest side in plane pixels that a crop may have."""
        return self.camera_pairs.side

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR of the validation crops in dB before tuning; raises ModelError.

        Called before `begin`; ``bf16`` is whether to compute in bfloat16.
        """
        return psnr_before(pretrained, self.camera_pairs, self.device, bf16=bf16)

    @abstractmethod
    def begin(self, pretrained: Pretrained) -> Start:
        """Make the network that is trained; raises ModelError."""

    def schedule(self) -> Schedule:
        """Return how long and how fast to train."""
        recipe = self.recipe
        return Schedule(
            recipe.iterations,
            learning_rate=recipe.learning_rate,
            warm_up=self.warm_up,
            ema=0.99,
        )

    @abstractmethod
    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw crops and return their loss, as `ledcli.training.loop.Method` wants it."""

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of the validation crops."""
        return {"psnr": self.psnr(net)}

    def psnr(self, net: nn.Module) -> float:
        """Return the mean PSNR of the validation crops over the pairs, in dB."""
        return fmean(self.batch_psnr(net, batch) for batch in self.validation_batches())

    def batch_psnr(self, net: nn.Module, batch: Batch) -> float:
        """Return the PSNR of a batch in dB."""
        batch = batch.to(self.device)
        return psnr_of(self.denoise(net, batch), batch.clean)

    def denoise(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return what the network makes of a batch, as it is compared with the truth."""
        result: Tensor = self.form(net, *batch[1:])
        return result

    def validation_batches(self) -> list[Batch]:
        """Return the validation crops, one batch per pair."""
        return self.camera_pairs.validation_batches()

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

    def workers_share(self, generator: torch.Generator) -> tuple[np.random.Generator, int, int]:
        """Return what a worker draws its crops with: a generator, their number and their side."""
        seed = int(torch.randint(2**31, (), generator=generator, device=self.device))
        return np.random.default_rng(seed), max(1, self.recipe.batch // self.workers), self.side


class Transferred(NamedTuple):
    """A plain network with its description, and where its weights come from.

    ``new`` names the tensors that are initialised; ``note`` says it in a line.
    """

    spec: ModelSpec
    net: Network
    new: tuple[str, ...]
    note: str


def transfer_weights(
    pretrained: Pretrained, *, seed: int = 0, form: AdaptiveForm | SrgbForm | None = None
) -> Transferred:
    """Build the plain network of a model, for another form, and transfer the weights that fit.

    The CSA set is folded first. What does not fit, or all without a network, is initialised by the
    seed.
    """
    spec, net, csa_set, _ = pretrained
    torch.manual_seed(seed)
    planes = {"in_planes": form.in_planes, "out_planes": form.out_planes} if form else {}
    changed = replace(
        spec, arguments={**spec.arguments, **planes}, csa_sets=(), omnr=False, noise_profile=None
    )
    new = build(spec.architecture, dict(changed.arguments))
    own = new.state_dict()
    given = {} if net is None else (deploy(net, csa_set) if spec.csa_sets else net).state_dict()
    fitting = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    new.load_state_dict({**own, **fitting})
    initialised = tuple(name for name in own if name not in fitting)
    if not fitting:
        return Transferred(changed, new, initialised, "every weight is initialised")
    note = f"{len(fitting)} of {len(own)} tensors are transferred"
    if initialised:
        layers = dict.fromkeys(name.rpartition(".")[0] for name in initialised)
        note += f"; {', '.join(layers)} are initialised"
    return Transferred(changed, new, initialised, note)


def psnr_before(
    pretrained: Pretrained, camera_pairs: CameraPairs, device: torch.device, *, bf16: bool
) -> float:
    """Return the PSNR of the validation crops in dB before tuning; raises ModelError.

    Of the pretrained model, blind; without one, of the input times the ratio.
    """
    spec, net, csa_set, _ = pretrained
    if spec.output == "srgb":
        raise ModelError(
            f"{spec.name} makes pictures, not planes: name another with --pretrained, or tune it "
            "with --method sid"
        )
    batches = [batch.to(device) for batch in camera_pairs.validation_batches(blind=True)]
    if net is None:
        return fmean(psnr_of(b.x * b.ratio.reshape(-1, 1, 1, 1), b.clean) for b in batches)
    if spec.csa_sets:
        select(net, csa_set)
    form, net = form_of(spec.input_form, spec.output, spec.planes), net.to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return fmean(psnr_of(form(net, *batch[1:]), batch.clean) for batch in batches)


def psnr_of(result: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of a result that is clipped to 0..1."""
    error = (result.detach().clamp(0, 1) - truth).square().mean()
    return float(-10 * error.clamp_min(1e-12).log10())
