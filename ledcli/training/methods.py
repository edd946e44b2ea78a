"""What a method of fine-tuning is to the evening's work: where it starts, what it leaves."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from ledcli.training.fewshot import FewShot
from ledcli.training.loop import Method
from ledcli.training.schedule import Schedule
from ledcli.zoo.fold import Proof
from ledcli.zoo.modelfile import ModelSpec


class Pretrained(NamedTuple):
    """The model that a tuning starts from.

    Attributes
    ----------
    spec : ModelSpec
        With ``--pretrained none``, of a network without weights yet.
    net : nn.Module or None
    branch : str
        The CSA set; empty for a plain network.
    sha256 : str
        Of its file; empty without one.
    """

    spec: ModelSpec
    net: nn.Module | None
    branch: str
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
    lanes : int
        Parts of a batch that are computed side by side.
    """

    spec: ModelSpec
    net: nn.Module
    groups: Mapping[str, list[nn.Parameter]] | None = None
    note: str = ""
    muon: bool = False
    lanes: int = 1


class Finished(NamedTuple):
    """What is installed: a plain network, and the proof that it is the trained one if it folds."""

    spec: ModelSpec
    net: nn.Module
    proof: Proof | None = None


class TuningMethod(Method, Protocol):
    """A method of fine-tuning; the loop asks it for losses, `Tuning` for the rest.

    Attributes
    ----------
    name : str
        What ``--method`` calls it.
    recipe : dataclass
        Has ``iterations`` and ``seed``; all of it goes into the model file.
    """

    name: str
    recipe: Any
    shots: FewShot
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
