"""Corrections that a DNG leaves to its reader: gain maps, and functions of the samples.

Gain maps are the lens shading that a phone leaves to its raw developer.
Its reader multiplies the samples of the mosaic (OpcodeList2) or of the demosaiced image
(OpcodeList3) by a smooth map for each colour. Smooth as it is, either can be applied to the mosaic.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.carried import Carried
from ledcli.metadata.dng_mosaic import Area, read_opcodes
from ledcli.noise.camera_profile import interpolate
from ledcli.sensor.cfa import AnyPhase, colour_pattern

MOSAIC_LIST, IMAGE_LIST = 51009, 51022
"""OpcodeList2, OpcodeList3."""
_MAP_TABLE, _MAP_POLYNOMIAL, _GAIN_MAP, _DELTA_PER_ROW, _DELTA_PER_COLUMN = range(7, 12)
_AREA_BYTES, _TABLE_SIZE = 32, 1 << 16
"""Of the area that a correction is for, before its numbers; entries of the largest MapTable."""
_HEADER = struct.Struct(">10I4dI")
MAX_GAIN, MAX_POINTS, MAX_PLANES = 1000.0, 1024, 4
"""Of a map: its gains, its points on a side and its colours; real maps have a few dozen points."""
MAX_MAPS = 32
"""Of a list: more are not applied; real lists have one for each colour."""
_BAND = 256
"""Rows multiplied at a time."""

Mosaic = NDArray[np.float32]


class GainMap(NamedTuple):
    """One GainMap opcode."""

    area: Area
    """The samples that it applies to, in every `pitch` rows and columns."""
    planes: tuple[int, int]
    """First and end of the colours that it applies to."""
    pitch: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    """Of the points, vertical and horizontal, as shares of the image's height and width."""
    points: NDArray[np.float32]
    """Gains (rows, columns, planes); the last plane is that of all further colours too."""


def apply_gain_maps(
    x: Mosaic, phase: AnyPhase, carried: Carried, lists: tuple[int, ...] = (MOSAIC_LIST, IMAGE_LIST)
) -> Mosaic:
    """Return the mosaic (H, W) multiplied by the gain maps of some opcode lists, in their order.

    A new array, or `x` itself if there are none. Other opcodes are left to raw developers.
    """
    result = x
    for tag in lists:
        data = carried.raw[tag].data if tag in carried.raw else b""
        for gain_map in islice(read_gain_maps(data), MAX_MAPS):
            result = x.copy() if result is x else result
            _multiply(result, gain_map, None if tag == MOSAIC_LIST else colour_pattern(phase))
    return result


def missing_corrections(carried: Carried, lists: tuple[int, ...], *, gain_maps: bool) -> str:
    """Return the numbers of required opcodes; `gain_maps` says whether those have been applied."""
    fields = [carried.raw[tag] for tag in lists if tag in carried.raw]
    asked = [opcode for field in fields for opcode in read_opcodes(field.data)]
    numbers = dict.fromkeys(
        each.number
        for each in asked
        if (not gain_maps if each.number == _GAIN_MAP else not each.optional)
    )
    return ", ".join(map(str, numbers))


def scaled_corrections(carried: Carried, gain: float) -> Carried:
    """Return the tags with corrections for samples that have been multiplied by a gain.

    Those that put a sample x to f(x), by a table or a polynomial or by adding a constant, put it to
    ``gain * f(x / gain)``; the others are factors or move samples.
    """
    raw = dict(carried.raw)
    for tag in raw.keys() & {MOSAIC_LIST, IMAGE_LIST} if gain != 1 else ():
        opcodes = [*read_opcodes(raw[tag].data)]
        parts = [struct.pack(">I", len(opcodes))]
        for number, version, flags, body in opcodes:
            body = _scaled(number, body, gain)
            parts += [struct.pack(">4I", number, version, flags, len(body)), body]
        raw[tag] = replace(raw[tag], data=b"".join(parts))
    return replace(carried, raw=raw)


def _scaled(number: int, body: bytes, gain: float) -> bytes:
    kind = {_MAP_TABLE: ">u2", _MAP_POLYNOMIAL: ">f8"}.get(number, ">f4")
    head, count = body[:_AREA_BYTES], body[_AREA_BYTES : _AREA_BYTES + 4]
    stored = body[_AREA_BYTES + 4 :]
    values = np.frombuffer(stored, kind, len(stored) // np.dtype(kind).itemsize).astype(np.float64)
    with np.errstate(all="ignore"):
        if number in (_DELTA_PER_ROW, _DELTA_PER_COLUMN):
            values = gain * values
        elif number == _MAP_POLYNOMIAL:
            values = values * gain ** (1.0 - np.arange(len(values)))
        elif number == _MAP_TABLE and len(values):
            # After its last entry the table stays the same.
            inputs = np.arange(_TABLE_SIZE) / gain
            values = np.rint(gain * np.interp(inputs, np.arange(len(values)), values))
            values, count = values.clip(0, _TABLE_SIZE - 1), struct.pack(">I", _TABLE_SIZE)
        else:
            return body
        return head + count + values.astype(kind).tobytes()


def read_gain_maps(data: bytes) -> Iterator[GainMap]:
    """Yield the gain maps of an opcode list; a damaged one is left out."""
    for number, *_, body in read_opcodes(data):
        if number != _GAIN_MAP or len(body) < _HEADER.size:
            continue
        top, left, bottom, right, plane, planes, *rest = _HEADER.unpack_from(body)
        row_pitch, col_pitch, rows, cols, *place, depth = rest
        count = rows * cols * depth
        sized = 0 < rows <= MAX_POINTS and 0 < cols <= MAX_POINTS and 0 < depth <= MAX_PLANES
        if not sized or len(body) < _HEADER.size + 4 * count or not row_pitch or not col_pitch:
            continue
        points = np.frombuffer(body, ">f4", count, _HEADER.size).astype(np.float32)
        known = np.isfinite(points).all() and points.min() >= 0 and points.max() <= MAX_GAIN
        if not known or not np.isfinite(place).all() or min(place[:2]) <= 0:
            continue
        area, pitch = (top, left, bottom, right), (row_pitch, col_pitch)
        spacing, origin = (place[0], place[1]), (place[2], place[3])
        points = points.reshape(rows, cols, depth)
        yield GainMap(area, (plane, plane + planes), pitch, spacing, origin, points)


def _multiply(x: Mosaic, gain_map: GainMap, colours: NDArray[np.intp] | None) -> None:
    """Multiply a mosaic in place; `colours` of its first period, or None if it is one plane."""
    top, left, bottom, right = gain_map.area
    rows = np.arange(top, min(bottom, x.shape[0]), gain_map.pitch[0])
    cols = np.arange(left, min(right, x.shape[1]), gain_map.pitch[1])
    first, end = gain_map.planes
    for start in range(0, len(rows), _BAND) if len(cols) else ():
        band = rows[start : start + _BAND]
        gains = _interpolated(gain_map, band, cols, x.shape)
        if colours is None:
            gain = gains[..., 0] if first == 0 < end else np.float32(1)
        else:
            colour = colours[band % len(colours)][:, cols % len(colours)]
            plane = np.clip(colour - first, 0, gains.shape[2] - 1)
            gain = np.take_along_axis(gains, plane[..., None], 2)[..., 0]
            gain = np.where((colour >= first) & (colour < end), gain, np.float32(1))
        here = slice(band[0], band[-1] + 1, gain_map.pitch[0])
        x[here, left : cols[-1] + 1 : gain_map.pitch[1]] *= gain


def _interpolated(
    gain_map: GainMap, rows: NDArray[np.intp], cols: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Interpolate linearly at the middles of pixels: (rows, columns, planes)."""
    gains = gain_map.points
    for axis, at in enumerate((rows, cols)):
        share = (at + 0.5) / shape[axis]
        position = (share - gain_map.origin[axis]) / gain_map.spacing[axis]
        gains = interpolate(gains, axis, position)
    return gains
