"""PSNR on the parts of the pairs that are never trained on: of a model, and before any tuning."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ledcli.errors import ModelError
from ledcli.nets.forms import form_of
from ledcli.nets.network import Network
from ledcli.nets.registry import build
from ledcli.nets.repnr import deploy, select
from ledcli.training.data.pairs import CameraPairs
from ledcli.training.data.sampler import Batch
from ledcli.training.loop import Method
from ledcli.training.schedule import Schedule
from ledcli.zoo.folding import Proof
from ledcli.zoo.model_file import ModelSpec


class Pretrained(NamedTuple):
    """The model that a tuning starts from.

    Attributes
    ----------
    spec : ModelSpec
        With ``--pretrained none``, of a network without weights yet.
    net : nn.Module or None
    csa_set : str
        The CSA set; empty for a plain network.
    sha256 : str
        Of its file; empty without one.
    """

    spec: ModelSpec
    net: nn.Module | None
    csa_set: str
    sha256: str


class Start(NamedTuple):
    """A network ready to be trained.

    Attributes
    ----------
    spec, net
        The network and its description.
    groups : mapping of str to parameters, or None
        What the schedule's phases name; None trains all.
    note : str
        What became of the pretrained weights, for people; may be empty.
    muon : bool
        Whether kernels are trained by Muon.
    workers : int
        Parts of a batch that are computed side by side.
    """

    spec: ModelSpec
    net: nn.Module
    groups: Mapping[str, list[nn.Parameter]] | None = None
    note: str = ""
    muon: bool = False
    workers: int = 1


class Finished(NamedTuple):
    """What is installed: a plain network, and the proof that it is the trained one if it folds."""

    spec: ModelSpec
    net: nn.Module
    proof: Proof | None = None


class FinetuneMethod(Method, Protocol):
    """A method of fine-tuning; the loop asks it for losses, `Finetuning` for the rest.

    Attributes
    ----------
    name : str
        What ``--method`` calls it.
    recipe : dataclass
        Has ``iterations`` and ``seed``; all of it goes into the model file.
    """

    name: str
    recipe: Any
    shots: CameraPairs
    device: torch.device

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR in dB that the held crops have without this tuning; raises ModelError.

        Called before `begin`; ``bf16`` is whether to compute in bfloat16.
        """

    def begin(self, pretrained: Pretrained) -> Start:
        """Make the network that is trained; raises ModelError."""

    def schedule(self) -> Schedule:
        """Return how long and how fast."""

    def psnr(self, net: nn.Module) -> float:
        """Return the PSNR of the held crops in dB."""

    def record(self) -> dict[str, Any]:
        """Return what happened on the way, for the model file; JSON values."""

    def finish(self, spec: ModelSpec, net: nn.Module) -> Finished:
        """Make of the trained network what is installed; raises TrainingError."""


class Transferred(NamedTuple):
    """A network and where its weights come from.

    Attributes
    ----------
    spec, net
        A plain network, with its description.
    anew : tuple of str
        Tensors that start anew, because there are none of their name and shape.
    taken : int
        How many were taken over.
    """

    spec: ModelSpec
    net: Network
    anew: tuple[str, ...]
    taken: int

    def __str__(self) -> str:
        """Say it in a line."""
        if not self.taken:
            return "every weight starts anew"
        layers = dict.fromkeys(name.rpartition(".")[0] for name in self.anew)
        new = f"; {', '.join(layers)} start anew" if layers else ""
        return f"{self.taken} of {self.taken + len(self.anew)} tensors are taken over{new}"


def transfer_weights(
    spec: ModelSpec, net: nn.Module | None, csa_set: str, *, seed: int = 0, **arguments: int
) -> Transferred:
    """Build the plain network of a description with other arguments and take over what fits.

    Parameters
    ----------
    spec, net
        As `load_model` gives them; without a network every weight starts anew.
    csa_set : str
        The CSA set that is folded first.
    seed : int
        Of the weights that start anew.
    **arguments
        Of the architecture, such as ``in_planes`` and ``out_planes``.
    """
    torch.manual_seed(seed)
    changed = replace(
        spec, arguments={**spec.arguments, **arguments}, csa_sets=(), omnr=False, noise_profile=None
    )
    new = build(spec.architecture, dict(changed.arguments))
    own = new.state_dict()
    given = {} if net is None else (deploy(net, csa_set) if spec.csa_sets else net).state_dict()
    fitting = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    new.load_state_dict({**own, **fitting})
    anew = tuple(name for name in own if name not in fitting)
    return Transferred(changed, new, anew, len(fitting))


def validation_psnr(
    denoise: Callable[[Batch], Tensor],
    shots: CameraPairs,
    device: torch.device,
    *,
    blind: bool = False,
) -> float:
    """Return the mean PSNR of the held crops over the pairs, in dB.

    Parameters
    ----------
    denoise : callable
        Makes clean planes ``(N, 4, h, w)`` times the ratio of a batch.
    shots : CameraPairs
    device : torch.device
        Where the batch is handed over.
    blind : bool
        As an un-tuned model sees them: black as the file has it, the noise estimated; otherwise
        with what the pairs say of the camera.
    """
    values = []
    for batch in shots.validation_batches(blind=blind):
        there = Batch(*(part.to(device) for part in batch))
        values.append(psnr_of(denoise(there), there.clean))
    return sum(values) / len(values)


def psnr_before(
    pretrained: Pretrained, shots: CameraPairs, device: torch.device, *, bf16: bool
) -> float:
    """Return the PSNR of the held crops in dB before tuning.

    Of the pretrained model, blind; without one, of the input times the ratio.

    Raises
    ------
    ModelError
        The model makes pictures and no planes.
    """
    spec, net, csa_set, _ = pretrained
    if spec.makes_pictures:
        raise ModelError(
            f"{spec.name} makes pictures and no planes: name another with --pretrained, or go on "
            "with it by --method sid"
        )
    if net is None:
        return validation_psnr(
            lambda b: b.x * b.ratio.reshape(-1, 1, 1, 1), shots, device, blind=True
        )
    if spec.csa_sets:
        select(net, csa_set)
    form, net = form_of(spec.input_form, spec.output, spec.planes), net.to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return validation_psnr(lambda batch: form(net, *batch[1:]), shots, device, blind=True)


def psnr_of(result: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB of a result that is cut to 0..1."""
    error = (result.detach().clamp(0, 1) - truth).square().mean()
    return float(-10 * error.clamp_min(1e-12).log10())
