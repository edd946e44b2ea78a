"""Taking a pretrained network's weights over into one with other planes."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from ledcli.nets.repnr import deploy
from ledcli.nets.table import build
from ledcli.zoo.modelfile import ModelSpec


class Adopted(NamedTuple):
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
    net: nn.Module
    anew: tuple[str, ...]
    taken: int

    def __str__(self) -> str:
        """Say it in a line."""
        if not self.taken:
            return "every weight starts anew"
        layers = dict.fromkeys(name.rpartition(".")[0] for name in self.anew)
        new = f"; {', '.join(layers)} start anew" if layers else ""
        return f"{self.taken} of {self.taken + len(self.anew)} tensors are taken over{new}"


def adopt(
    spec: ModelSpec, net: nn.Module | None, branch: str, *, seed: int = 0, **arguments: int
) -> Adopted:
    """Build the plain network of a description with other arguments and take over what fits.

    Parameters
    ----------
    spec, net
        As `load_model` gives them; without a network every weight starts anew.
    branch : str
        The CSA set that is folded first.
    seed : int
        Of the weights that start anew.
    **arguments
        Of the architecture, such as ``in_planes`` and ``out_planes``.
    """
    torch.manual_seed(seed)
    changed = replace(
        spec, arguments={**spec.arguments, **arguments}, branches=(), omnr=False, noise_lines=None
    )
    new = build(spec.architecture, dict(changed.arguments))
    own = new.state_dict()
    given = {} if net is None else (deploy(net, branch) if spec.branches else net).state_dict()
    fitting = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    new.load_state_dict({**own, **fitting})
    anew = tuple(name for name in own if name not in fitting)
    return Adopted(changed, new, anew, len(fitting))
