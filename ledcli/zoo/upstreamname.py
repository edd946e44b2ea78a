"""What the name of a published LED checkpoint says: method, phase, camera, setting, ratios."""

from __future__ import annotations

import re
from typing import NamedTuple

from ledcli.errors import UsageError
from ledcli.zoo.rules import LONGEST_NAME, MAX_RATIO

EXAMPLE = "LED_Deploy_SID_SonyA7S2_CVPR20_Setting_Ratio100-300.pth"

AS_PHOTOS_SAY = {
    "sonya7s2": "Sony ILCE-7SM2",
    "nikond850": "NIKON D850",
    "canoneos70d": "Canon EOS 70D",
    "canoneos700d": "Canon EOS 700D",
}
"""Cameras of the datasets SID and ELD, as their own photos name them."""

_NUMBER = r"\d{1,7}(?:\.\d{1,6})?"
_NAME = re.compile(
    r"(?P<method>[^_]+)_(?P<phase>[^_]+)_(?P<dataset>[^_]+)_(?P<camera>[^_]+)_(?P<setting>.+)"
    rf"_Setting_Ratio(?P<low>{_NUMBER})(?:-(?P<high>{_NUMBER}))?",
    re.IGNORECASE,
)


class UpstreamName(NamedTuple):
    """The parts of a published file's name; `camera` and `dataset` are empty for `None`."""

    method: str
    phase: str
    dataset: str
    camera: str
    setting: str
    ratio_range: tuple[float, float]


def parse_name(stem: str) -> UpstreamName | None:
    """Take a file's name (without its suffix) apart; None when it has not the published form.

    Examples
    --------
    >>> parse_name("LED_Pretrain_None_None_CVPR20_Setting_Ratio100-300").ratio_range
    (100.0, 300.0)
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    method, phase, dataset, camera, setting, low, high = match.groups()
    ends = float(low), float(high or low)
    if not 0 < ends[0] <= ends[1] <= MAX_RATIO:
        return None
    dataset, camera = ("" if part.lower() == "none" else part for part in (dataset, camera))
    return UpstreamName(method, phase, dataset, camera, setting, ends)


def model_name(stem: str) -> str:
    """Make the name of a model from that of a file: lower case, with dashes.

    Raises
    ------
    UsageError
        When no letter or digit is left.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", stem.lower())[:LONGEST_NAME].strip("-.")
    if not name:
        raise UsageError(f"'{stem}' gives no name for the model: name it with --name")
    return name


def photo_camera(camera: str) -> str:
    """Return a camera's name as its photos say it, where it is known; else as it is."""
    return AS_PHOTOS_SAY.get(re.sub(r"[^a-z0-9]", "", camera.lower()), camera)
