"""The one explicit list of architectures."""

from typing import Any

from torch import nn

from ledcli.errors import ModelError
from ledcli.nets.nafnet import NAFNet
from ledcli.nets.restormer import Restormer
from ledcli.nets.resunet import ResUNet
from ledcli.nets.unet import UNet

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "resunet": ResUNet,
    "nafnet": NAFNet,
    "restormer": Restormer,
}


def sized(architecture: str, channels: int | None) -> dict[str, Any]:
    """Return the arguments of an architecture with so many channels at the top; None: its own."""
    if channels is None:
        return {}
    if architecture == "resunet":
        return {"channels": [channels, 4 * channels, 8 * channels, 16 * channels]}
    return {"channels" if architecture == "unet" else "width": channels}


def build(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a plain network by name; raises ModelError for a name or arguments not known."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"unknown architecture '{architecture}': this version knows {known}")
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise ModelError(f"architecture '{architecture}' does not take {arguments}") from error
