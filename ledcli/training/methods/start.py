"""What a fine-tuning starts from: the pretrained model, and the network made of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from ledcli.errors import ModelError
from ledcli.nets.forms import AdaptiveForm, SrgbForm
from ledcli.nets.modulation import ModulatedNet
from ledcli.nets.network import build
from ledcli.nets.repnr import deploy
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.zoo.model_file import file_sha256, load_model
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import ChosenModel

NO_MODEL = "none"
"""``--pretrained none``: every weight is initialised."""


class Pretrained(NamedTuple):
    """The model that a fine-tuning starts from.

    ``net`` is None with ``--pretrained none``, ``csa_set`` empty for a plain network, ``sha256`` of
    its file empty without one.
    """

    spec: ModelSpec
    net: nn.Module | None
    csa_set: str = ""
    sha256: str = ""

    def record(self) -> dict[str, str]:
        """Return what the tuned model's file says of it."""
        return {"name": self.spec.name, "csa_set": self.csa_set, "sha256": self.sha256}


def pretrained_model(start: ChosenModel, cfa: str = "bayer") -> Pretrained:
    """Load the model to start from for a kind of sensor, without modulation; raises ModelError."""
    spec, net = load_model(start.path)
    if isinstance(net, ModulatedNet):
        spec, net = replace(spec, modulation=()), net.folded(None, None)
    if spec.cfa != cfa:
        raise ModelError(
            f"{start.path}: is for {LAYOUTS[spec.cfa].title} sensors and the pairs are "
            f"{LAYOUTS[cfa].title}: name another with --pretrained"
        )
    return Pretrained(spec, net, start.csa_set, file_sha256(start.path))


def no_model() -> Pretrained:
    """Return what stands for ``--pretrained none``: led's own architecture without weights."""
    recipe = PretrainRecipe()
    spec = ModelSpec(
        name=NO_MODEL,
        architecture=recipe.architecture,
        arguments=dict(recipe.arguments),
        input_form="gain",
        csa_sets=(),
        ratio_range=(1.0, 1.0),
        method=NO_MODEL,
        licence="its owner's",
        source="led finetune",
    )
    return Pretrained(spec, None)


class Start(NamedTuple):
    """A network ready for training.

    ``groups`` of parameters are named by the schedule's phases; None trains all. ``note`` says what
    became of the pretrained weights, for people; ``new`` names the tensors that are initialised.
    """

    spec: ModelSpec
    net: nn.Module
    groups: Mapping[str, list[nn.Parameter]] | None = None
    note: str = ""
    new: tuple[str, ...] = ()


def transfer_weights(
    pretrained: Pretrained, *, seed: int = 0, form: AdaptiveForm | SrgbForm | None = None
) -> Start:
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
        return Start(changed, new, note="every weight is initialised", new=initialised)
    note = f"{len(fitting)} of {len(own)} tensors are transferred"
    if initialised:
        layers = dict.fromkeys(name.rpartition(".")[0] for name in initialised)
        note += f"; {', '.join(layers)} are initialised"
    return Start(changed, new, note=note, new=initialised)
