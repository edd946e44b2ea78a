"""Colour: the sRGB curve, a shot's way to sRGB, and the colour tags of its DNG."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ledcli.metadata.carried import Fields
from ledcli.metadata.tags import Place, tags_in
from ledcli.metadata.tiff import Directory, Field, FieldType
from ledcli.raw.libraw import XYZ_FROM_SRGB, usable_matrix
from ledcli.raw.reader import RawPhoto

_MATRIX_1, _ILLUMINANT_1, _FORWARD_1 = 50721, 50778, 50964
_MATRIX_2, _ILLUMINANT_2, _FORWARD_2 = 50722, 50779, 50965
_SECOND_SET = {_MATRIX_2, _ILLUMINANT_2, _FORWARD_2, 50724, 50939}
"""With CameraCalibration2 and ProfileHueSatMapData2: what belongs to the second illuminant."""
_NEUTRAL, _WHITE_XY, _BASELINE_EXPOSURE = 50728, 50729, 50730
_OF_THE_SHOT = {_NEUTRAL, _WHITE_XY, _BASELINE_EXPOSURE, 50732, 50734, 50739}
"""With BaselineSharpness, LinearResponseLimit, ShadowScale: these hold without a colour matrix."""
_D65 = 21
_MAX_ILLUMINANT = 24
"""EXIF LightSource: 1 to 24 have a colour; 255, "other", would need another tag."""
_PPM = 1_000_000
_MAX_NUMBER, _MAX_STOPS = 100.0, 20.0


def srgb_from_linear(linear: ArrayLike) -> NDArray[Any]:
    """Apply the sRGB curve (IEC 61966-2-1), 0 to 1, in the input's precision; any shape."""
    linear = np.asarray(linear)
    above = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, above).astype(linear.dtype)


def linear_from_srgb(coded: ArrayLike) -> NDArray[Any]:
    """Undo the sRGB curve (IEC 61966-2-1), 0 to 1, in the input's precision; any shape."""
    coded = np.asarray(coded)
    above = (np.maximum(coded, 0.04045) + 0.055) / 1.055
    return np.where(coded <= 0.04045, coded / 12.92, above**2.4).astype(coded.dtype)


def shot_wb(photo: RawPhoto) -> NDArray[np.float64]:
    """Return white balance multipliers (3,) for R, G, B: as shot, else daylight, else ones."""
    for wb in (photo.as_shot_wb, photo.daylight_wb):
        if wb is not None:
            return wb
    return np.ones(3)


def srgb_from_camera(photo: RawPhoto) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from white-balanced camera colours to linear sRGB, as in LibRaw.

    It is the inverse of sRGB to XYZ to camera, with rows scaled so that white stays white.
    """
    if photo.colour_matrix is None:
        return np.eye(3)
    camera = photo.colour_matrix @ XYZ_FROM_SRGB
    sums = camera.sum(axis=1, keepdims=True)
    if (sums <= 1e-5).any():
        return np.eye(3)
    return np.linalg.inv(camera / sums)


def put_colour(root: Directory, photo: RawPhoto, headroom: float = 1.0) -> None:
    """Put matrices, neutral and baseline exposure into a DNG's first directory.

    The source's own tags come first, then LibRaw's matrix and white balance. Without any, the
    camera's colours are taken for sRGB and the light for D65, as some programs refuse a DNG
    without a matrix and a neutral.

    Parameters
    ----------
    root : Directory
    photo : RawPhoto
    headroom : float
        The file's white over the wanted white; BaselineExposure makes up for it.
    """
    own = _trusted(photo.carried.image)
    profile = _profile({tag: field for tag, field in own.items() if tag not in _OF_THE_SHOT})
    root.fields.update(profile)
    if not profile:
        matrix = photo.colour_matrix
        if matrix is None:
            matrix = np.linalg.inv(XYZ_FROM_SRGB)
        root.set(_MATRIX_1, FieldType.SRATIONAL, _millionths(matrix))
        root.set(_ILLUMINANT_1, FieldType.SHORT, _D65)
    root.fields.update({tag: own[tag] for tag in _OF_THE_SHOT if tag in own})
    # A DNG has one of the two.
    if _NEUTRAL in own:
        root.fields.pop(_WHITE_XY, None)
    elif _WHITE_XY not in own:
        root.set(_NEUTRAL, FieldType.RATIONAL, _millionths(1 / shot_wb(photo)))
    stops = own[_BASELINE_EXPOSURE].numbers()[0] if _BASELINE_EXPOSURE in own else 0.0
    stops += float(np.log2(headroom))
    root.set(_BASELINE_EXPOSURE, FieldType.SRATIONAL, _millionths(stops))


def _trusted(image: Fields) -> dict[int, Field]:
    """Return a source's colour tags whose values are possible."""
    trusted = {}
    for number, tag in tags_in(Place.COLOUR).items():
        field, check = image.get(number), _CHECKS.get(number)
        if field is None or (isinstance(tag.count, int) and field.count != tag.count):
            continue
        values = np.array(field.numbers(), np.float64)
        if check is None or (values.size and np.isfinite(values).all() and check(values)):
            trusted[number] = field
    return trusted


def _profile(own: dict[int, Field]) -> dict[int, Field]:
    """Return the part of a source's colour profile that is consistent; empty without a matrix."""
    if _MATRIX_1 not in own:
        return {}
    drop: set[int] = set()
    lights = own.get(_ILLUMINANT_1), own.get(_ILLUMINANT_2)
    if _MATRIX_2 not in own or None in lights or lights[0] == lights[1]:
        # Two matrices need two known lights.
        drop = _SECOND_SET
    elif len(own.keys() & {_FORWARD_1, _FORWARD_2}) == 1:
        drop = {_FORWARD_1, _FORWARD_2}
    return {tag: field for tag, field in own.items() if tag not in drop}


Values = NDArray[np.float64]


def _is_matrix(values: Values) -> bool:
    return usable_matrix(values.reshape(3, 3))


def _is_positive(values: Values) -> bool:
    return bool((values >= 1 / _MAX_NUMBER).all() and (values <= _MAX_NUMBER).all())


def _is_curve(values: Values) -> bool:
    """Return True for points (input, output), inputs rising from 0 to 1."""
    if values.size < 4 or values.size % 2:
        return False
    inputs, outputs = values[::2], values[1::2]
    ends = inputs[0] == 0 and inputs[-1] == 1
    return bool(ends and (np.diff(inputs) > 0).all() and (np.abs(outputs - 0.5) <= 0.5).all())


_CHECKS: dict[int, Callable[[Values], bool]] = {
    **dict.fromkeys((_MATRIX_1, _MATRIX_2, 50723, 50724, _FORWARD_1, _FORWARD_2), _is_matrix),
    **dict.fromkeys((50727, _NEUTRAL, 50732, 50739), _is_positive),
    **dict.fromkeys((_ILLUMINANT_1, _ILLUMINANT_2), lambda v: bool(1 <= v[0] <= _MAX_ILLUMINANT)),
    **dict.fromkeys((_BASELINE_EXPOSURE, 51109), lambda v: bool(abs(v[0]) <= _MAX_STOPS)),
    _WHITE_XY: lambda v: bool((v > 0.05).all() and v.sum() < 1),
    50734: lambda v: _is_positive(v) and v[0] <= 1,
    50940: _is_curve,
}
"""By tag; `read_carried` has checked the others."""


def _millionths(values: ArrayLike) -> list[Fraction]:
    return [Fraction(round(float(value) * _PPM), _PPM) for value in np.ravel(values)]
