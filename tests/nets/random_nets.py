"""Small NAFNets and Restormers in which every parameter does something, as after a training."""

import torch

from ledcli.nets.network import build
from ledcli.nets.repnr import convert
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec

SMALL = {
    "nafnet": {"width": 8, "encoder": (1, 1), "middle": 1, "decoder": (1, 1)},
    "restormer": {"width": 8, "blocks": (1, 1, 1, 1), "refinement": 1},
}


def random_net(name, planes=4, sets=("a", "b"), omnr=False, seed=0):
    """Return a network; `sets` none: a plain one."""
    torch.manual_seed(seed)
    net = build(name, {"in_planes": planes, **SMALL[name]})
    if sets:
        convert(net, sets, omnr)
    with torch.no_grad():
        for parameter, weight in net.named_parameters():
            if parameter.endswith(("beta", "gamma")) or ".align_" in parameter:
                weight.add_(0.3 * torch.randn_like(weight))
            elif ".aux_" in parameter or parameter.endswith("main_bias"):
                weight.add_(0.1 * torch.randn_like(weight))
    return net.requires_grad_(False).eval()


def spec(name, planes=4, **changes):
    return ModelSpec(**{
        "name": "tiny", "architecture": name, "arguments": {"in_planes": planes, **SMALL[name]},
        "input_form": "gain", "csa_sets": ("a", "b"), "ratio_range": (1.0, 300.0),
        "method": "none", "licence": "Apache-2.0", "source": "tests",
    } | changes)  # fmt: skip


def write_random(path, name, **changes):
    """Write a model file of such a network."""
    net = random_net(name)
    save_model(path, spec(name, **changes), net.state_dict())
    return path
