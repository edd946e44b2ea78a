"""Whether a checkpoint's RepNR network folds into the deployed network that stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ledcli.errors import ModelError
from ledcli.nets import repnr, table
from ledcli.nets.repnr import RepNRConv
from ledcli.zoo.recognise import Architecture

TOLERANCE = 1e-4
"""Largest difference between a tensor of the fold and the one that the file has of it."""


class Agreement(NamedTuple):
    """How far a fold and the deployed network beside it are apart.

    Attributes
    ----------
    largest : float
        Largest difference between two values.
    tensor : str
        The tensor that it is in.
    shifts : int
        Convolutions without a bias that dropped the shift of their alignment.
    dropped : float
        Largest value that was dropped so.
    """

    largest: float
    tensor: str
    shifts: int
    dropped: float

    def checked(self, *, force: bool) -> str:
        """Say it in a line; raises ModelError when they disagree, unless `force`."""
        dropped = ""
        if self.shifts:
            dropped = (
                f"; params_deploy lacks the bias of {self.shifts} folded convolutions (up to "
                f"{self.dropped:.1e}), which the fold keeps"
            )
        if self.largest <= TOLERANCE:
            return f"its fold equals params_deploy to {self.largest:.1e}{dropped}"
        text = (
            f"its RepNR form folds into another network than its params_deploy: they differ by "
            f"{self.largest:.1e} in '{self.tensor}'"
        )
        if not force:
            raise ModelError(f"{text}. --force takes the RepNR form all the same")
        return f"{text}; the RepNR form is taken{dropped}"


def compare_deployed(
    architecture: Architecture,
    tensors: Mapping[str, Tensor],
    csa_set: str,
    deployed: Mapping[str, Tensor],
) -> Agreement:
    """Compare the fold of a RepNR network with the deployed network that came with it.

    Upstream's fold drops the shift of an alignment where the convolution has no bias to put it
    in (all of Restormer's): such a bias is counted, not compared.

    Parameters
    ----------
    architecture : Architecture
        Of the plain network.
    tensors : mapping of str to Tensor
        Of the RepNR network under our names, float32.
    csa_set : str
        The CSA set to fold.
    deployed : mapping of str to Tensor
        The plain network of the file.

    Raises
    ------
    ModelError
        When the two are not the same network's; without the file's name.
    """
    sets = tuple(
        dict.fromkeys(name.rpartition(".")[2] for name in tensors if ".align_weights." in name)
    )
    omnr = any(name.endswith(".aux_weight") for name in tensors)
    net = table.build(architecture.name, architecture.arguments)
    without_bias = {n for n, m in net.named_modules() if getattr(m, "bias", m) is None}
    repnr.convert(net, sets, omnr=omnr)
    net.load_state_dict(dict(tensors))
    blocks = {n for n, layer in net.named_modules() if isinstance(layer, RepNRConv)}
    folded = repnr.deploy(net, csa_set).state_dict()
    worst, where, shifts, dropped = 0.0, "", 0, 0.0
    for name, tensor in folded.items():
        layer = name.removesuffix(".bias")
        if name not in deployed and layer in blocks & without_bias:
            largest = float(tensor.abs().max())
            shifts += largest > 0
            dropped = max(dropped, largest)
            continue
        other = deployed.get(name)
        if other is None or other.shape != tensor.shape:
            raise ModelError(f"its params_deploy has no tensor '{name}' of the same shape")
        differences = (tensor - other.to(torch.float32)).abs()
        difference = float(differences.nan_to_num(torch.inf).max())
        if difference > worst:
            worst, where = difference, name
    extra = [name for name in deployed if name not in folded]
    if extra:
        raise ModelError(f"its params_deploy has a tensor '{extra[0][:80]}' too many")
    return Agreement(worst, where, shifts, dropped)
