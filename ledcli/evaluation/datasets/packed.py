"""Frames packed by colour by research code: ``.npz`` with their levels, and ``.npy``."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.errors import RawError

SUFFIXES = (".npz", ".npy")
MIN_SIDE = 16
"""Plane pixels."""
MAX_NORMALISED = 2.0
"""Floats above are taken for DN."""
_LEVELS = ("black_level", "white_level")


class Packed(NamedTuple):
    """A packed frame; colours as in `base.FramePair`."""

    planes: NDArray[np.float32]
    """Normalised R, G1, B, G2 (4, h, w)."""
    white_balance: NDArray[np.float64] | None = None
    to_srgb: NDArray[np.float64] | None = None


def read_packed(path: Path) -> Packed:
    """Read a packed frame.

    Either ``.npz`` as LED's tools write it: `im` ``(4, h, w)`` in DN, R, G1, B, G2;
    `black_level` and `white_level` per plane; `wb` and `ccm`. Or ``.npy`` of floats ``(4, h, w)``
    or ``(h, w, 4)``, in the same order, black subtracted and white at 1. Neither has a CFA phase.
    Raises RawError if it cannot be read, or its levels or its order are unknown.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            planes = _finite(path, _four(path, loaded))
            if loaded.dtype.kind == "f" and planes.max() <= MAX_NORMALISED:
                return Packed(planes)
            raise RawError(
                f"{path}: is in DN, and an .npy has no black and white level: divide it to 0..1, "
                "or pack it as .npz with im, black_level and white_level"
            )
        with loaded:
            return _with_levels(path, dict(loaded))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RawError(f"{path}: NumPy cannot read it without pickles ({error})") from None


def _with_levels(path: Path, parts: dict[str, NDArray[Any]]) -> Packed:
    missing = [name for name in ("im", *_LEVELS) if name not in parts]
    if missing:
        raise RawError(
            f"{path}: has no '{missing[0]}': a packed frame holds im, black_level and white_level"
        )
    image = _four(path, parts["im"])
    for name in _LEVELS:
        if parts[name].size not in (1, 4) or parts[name].dtype.kind not in "uif":
            raise RawError(f"{path}: its '{name}' is not one number, nor one for each of 4 planes")
    levels = (np.broadcast_to(parts[name].ravel(), 4).astype(np.float32) for name in _LEVELS)
    black, white = levels
    if not (black < white).all():
        raise RawError(f"{path}: has a white level that is not above its black level: pack it anew")
    planes = (image.astype(np.float32) - black[:, None, None]) / (white - black)[:, None, None]
    balance, matrix = parts.get("wb"), parts.get("ccm")
    return Packed(
        _finite(path, planes),
        None if balance is None else _balance(balance),
        None if matrix is None or matrix.shape != (3, 3) else matrix.astype(np.float64),
    )


def _four(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3 and array.shape[0] != 4 and array.shape[2] == 4:
        array = np.moveaxis(array, 2, 0)
    if array.ndim != 3 or array.shape[0] != 4 or array.dtype.kind not in "uif":
        raise RawError(
            f"{path}: has shape {array.shape}, not (4, h, w): pack the mosaic by colour, as "
            "R, G1, B, G2"
        )
    if min(array.shape[1:]) < MIN_SIDE:
        raise RawError(f"{path}: is too small (the least is {MIN_SIDE} pixels of a colour)")
    return array


def _finite(path: Path, planes: NDArray[Any]) -> NDArray[np.float32]:
    if not np.isfinite(planes).all():
        raise RawError(f"{path}: holds values that are not numbers: pack it anew")
    return np.ascontiguousarray(planes, np.float32)


def _balance(values: NDArray[Any]) -> NDArray[np.float64] | None:
    flat = values.ravel()[:3].astype(np.float64)
    if flat.size < 3 or not np.isfinite(flat).all() or (flat <= 0).any():
        return None
    return np.asarray(flat / flat[1])
