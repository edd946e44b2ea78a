"""Models that make pictures and no DNGs: what may be asked of them. No torch."""

from collections.abc import Sequence

from ledcli.batch.settings import Settings
from ledcli.errors import UsageError

PICTURES = "srgb"
"""What their header says of the output."""
DEFAULT_FORMAT = "png"


def picture_formats(name: str, settings: Settings, asked: Sequence[str]) -> list[str]:
    """Return the formats that such a model's results are written in.

    Parameters
    ----------
    name : str
        The model's.
    settings : Settings
    asked : sequence of str
        Empty takes PNG.

    Raises
    ------
    UsageError
        Something is asked for that only a DNG, or a network that makes planes, can give.
    """
    if "dng" in asked:
        raise UsageError(
            f"{name} goes from the raw straight to a picture, so a DNG is not possible: take "
            "--format png or tiff, or another --model"
        )
    check_settings(name, settings)
    return list(asked) or [DEFAULT_FORMAT]


def check_settings(name: str, settings: Settings) -> None:
    """Refuse settings that such a model has no use for; raises UsageError."""
    makes = f"{name} goes from the raw straight to a picture"
    if settings.linear:
        raise UsageError(f"--linear is about DNGs, and {makes}: leave it out")
    if settings.highlights == "keep":
        raise UsageError(f"--highlights keep is about DNGs, and {makes}: leave it out")
    if settings.strength < 1:
        raise UsageError(f"--strength mixes planes, and {makes}: leave it out")
    if settings.quality != "fast":
        raise UsageError(f"--quality best is for planes, and {makes}: leave it out")
    if settings.steps is not None and settings.steps > 1:
        raise UsageError(f"--steps is for exposure diffusion, and {makes}: leave it out")
