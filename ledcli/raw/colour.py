"""Colour of a shot: the DNG tags for it, checked before they are trusted, and the way to sRGB."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ledcli.metadata.carried import Fields
from ledcli.metadata.tiff import Directory, Field, FieldType
from ledcli.raw.libraw import XYZ_FROM_SRGB
from ledcli.raw.reader import RawPhoto

BASELINE_EXPOSURE = 50730
_NEUTRAL, _WHITE_XY = 50728, 50729
_ILLUMINANTS = (50778, 50779)
_D65 = 21
_LARGEST_ILLUMINANT = 24
"""EXIF LightSource: 1 to 24 have a colour; 255, "other", would need a tag that says which."""
_PPM = 1_000_000
_LARGEST_NUMBER = 100.0
_MOST_STOPS = 20.0

# Colour, calibration and forward matrix: of the first, of the second illuminant.
_MATRICES = ((50721, 50723, 50964), (50722, 50724, 50965))
_ANALOG_BALANCE = 50727
_STOPS_OFFSET, _TONE_CURVE, _SECOND_MAP = 51109, 50940, 50939
_SHARPNESS, _RESPONSE_LIMIT, _SHADOW_SCALE = 50732, 50734, 50739
_PROFILE: tuple[int, ...] = (50931, 50932, 50934, 50936, 50937, 50938, _SECOND_MAP, 50941, 50942)
_PROFILE += (50981, 50982, 51107, 51108, 51110)
"""Names, signatures, tables of hues and looks, switches: `read_carried` has checked these."""


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


def put_colour(root: Directory, photo: RawPhoto, headroom: float = 1.0) -> None:
    """Put matrices, neutral and baseline exposure into a DNG's first directory.

    The source's own tags go before what LibRaw knows of its camera. Without any the camera's
    colours are taken for sRGB, as LibRaw shows such files, and daylight for the shot's light:
    a DNG without a matrix and a neutral is refused by some programs.

    Parameters
    ----------
    root : Directory
    photo : RawPhoto
    headroom : float
        How far above the brightness asked for the file's white lies; the exposure makes up for it.
    """
    theirs = photo.carried.image
    if not _put_matrices(root, theirs):
        matrix = photo.colour_matrix
        if matrix is None:
            matrix = np.linalg.inv(XYZ_FROM_SRGB)
        root.set(50721, FieldType.SRATIONAL, _millionths(matrix))
        root.set(_ILLUMINANTS[0], FieldType.SHORT, _D65)
    # A DNG has one of the two.
    if not _copy(root, theirs, _NEUTRAL, _positive(3)) and not _copy(
        root, theirs, _WHITE_XY, _is_white_xy
    ):
        root.set(_NEUTRAL, FieldType.RATIONAL, _millionths(1 / shot_wb(photo)))
    own = _values(theirs.get(BASELINE_EXPOSURE))
    stops = float(own[0]) if own is not None and _is_stops(own) else 0.0
    stops += float(np.log2(headroom))
    root.set(BASELINE_EXPOSURE, FieldType.SRATIONAL, _millionths(stops))
    for tag in (_SHARPNESS, _SHADOW_SCALE):
        _copy(root, theirs, tag, _positive(1))
    _copy(root, theirs, _RESPONSE_LIMIT, _positive(1, most=1.0))


def shot_wb(photo: RawPhoto) -> NDArray[np.float64]:
    """Multipliers (3,) for R, G, B that make white white: as shot, else daylight, else none."""
    for wb in (photo.as_shot_wb, photo.daylight_wb):
        if wb is not None:
            return wb
    return np.ones(3)


def srgb_from_camera(photo: RawPhoto) -> NDArray[np.float64]:
    """Matrix (3, 3) from white-balanced camera colours to linear sRGB, as LibRaw makes it.

    sRGB to XYZ to camera, each row scaled so that white stays white, and inverted.
    """
    if photo.colour_matrix is None:
        return np.eye(3)
    camera = photo.colour_matrix @ XYZ_FROM_SRGB
    sums = camera.sum(axis=1, keepdims=True)
    if (sums <= 1e-5).any():
        return np.eye(3)
    return np.linalg.inv(camera / sums)


def _put_matrices(root: Directory, theirs: Fields) -> bool:
    """Copy the source's matrices and what belongs to them; whether there was one to trust."""
    sets = [
        (matrices, illuminant)
        for matrices, illuminant in zip(_MATRICES, _ILLUMINANTS, strict=True)
        if _is_matrix(_values(theirs.get(matrices[0])))
    ]
    if not sets or sets[0][0] is not _MATRICES[0]:
        return False
    lights = [_illuminant(theirs.get(tag)) for _, tag in sets]
    if len(sets) == 2 and (None in lights or lights[0] == lights[1]):
        # Two matrices are for two lights that are known.
        sets.pop()
    for (matrices, tag), light in zip(sets, lights, strict=False):
        if light is not None:
            root.set(tag, FieldType.SHORT, light)
        for matrix in matrices:
            _copy(root, theirs, matrix, _is_matrix)
    # Forward matrices come for every light or for none.
    if len(sets) == 2 and len(root.fields.keys() & {50964, 50965}) == 1:
        root.fields.pop(50964, None)
        root.fields.pop(50965, None)
    _copy(root, theirs, _ANALOG_BALANCE, _positive(3))
    for tag in _PROFILE:
        if tag in theirs and (tag != _SECOND_MAP or len(sets) == 2):
            root.fields[tag] = theirs[tag]
    _copy(root, theirs, _STOPS_OFFSET, _is_stops)
    _copy(root, theirs, _TONE_CURVE, _is_curve)
    return True


def _copy(
    root: Directory,
    theirs: Fields,
    tag: int,
    fits: Callable[[NDArray[np.float64] | None], bool],
) -> bool:
    field = theirs.get(tag)
    if field is None or not fits(_values(field)):
        return False
    root.fields[tag] = field
    return True


def _values(field: Field | None) -> NDArray[np.float64] | None:
    """Return the numbers of a field; None if it has none that are finite."""
    numbers = np.array(field.numbers() if field else [], np.float64)
    return numbers if numbers.size and np.isfinite(numbers).all() else None


def _is_matrix(values: NDArray[np.float64] | None) -> bool:
    return (
        values is not None
        and values.size == 9
        and bool(np.abs(values).max() < _LARGEST_NUMBER)
        and abs(float(np.linalg.det(values.reshape(3, 3)))) > 1e-6
    )


def _positive(
    count: int, most: float = _LARGEST_NUMBER
) -> Callable[[NDArray[np.float64] | None], bool]:
    return lambda values: (
        values is not None
        and values.size == count
        and bool((values >= 1 / _LARGEST_NUMBER).all() and (values <= most).all())
    )


def _is_white_xy(values: NDArray[np.float64] | None) -> bool:
    return (
        values is not None
        and values.size == 2
        and bool((values > 0.05).all())
        and bool(values.sum() < 1)
    )


def _is_stops(values: NDArray[np.float64] | None) -> bool:
    return values is not None and values.size == 1 and bool(abs(values[0]) <= _MOST_STOPS)


def _is_curve(values: NDArray[np.float64] | None) -> bool:
    """Points (input, output), inputs rising from 0 to 1."""
    if values is None or values.size < 4 or values.size % 2 or values.size > 2 * 65536:
        return False
    inputs, outputs = values[::2], values[1::2]
    ends = inputs[0] == 0 and inputs[-1] == 1
    return bool(ends and (np.diff(inputs) > 0).all() and (np.abs(outputs - 0.5) <= 0.5).all())


def _illuminant(field: Field | None) -> int | None:
    light = int(field.words()[0]) if field else 0
    return light if 1 <= light <= _LARGEST_ILLUMINANT else None


def _millionths(values: ArrayLike) -> list[Fraction]:
    return [Fraction(round(float(value) * _PPM), _PPM) for value in np.ravel(values)]
