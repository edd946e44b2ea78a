"""The one explicit list of architectures."""

from typing import Any

from torch import nn

from ledcli.errors import ModelError
from ledcli.nets.unet import UNet

ARCHITECTURES: dict[str, type[nn.Module]] = {"unet": UNet}


def build(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a plain network by name; raises ModelError for a name or arguments not known."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"unknown architecture '{architecture}': this version knows {known}")
    try:
        return ARCHITECTURES[architecture](**arguments)
    except TypeError as error:
        raise ModelError(f"architecture '{architecture}' does not take {arguments}") from error
