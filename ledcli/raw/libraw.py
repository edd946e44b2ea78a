"""LibRaw at arm's length: open a file quietly, and say in a photographer's words what is wrong."""

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rawpy

from ledcli.errors import RawError
from ledcli.metadata.containers import truncated

LIBRAW_VERSION = ".".join(str(part) for part in rawpy.libraw_version)
_CHATTER = (b"Unexpected end of file", b"data corrupted at")
_RAW_MAGIC = (
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),
    (4, b"ftypcrx "),
    (6, b"HEAPCCDR"),
    (0, b"FUJIFILM"),
    (0, b"\0MRM"),
    (0, b"FOVb"),
    (0, b"IIII"),
    (0, b"MMMM"),
    (0, b"PWAD"),
    (0, b"qktk"),
    (0, b"qktn"),
    (0, b"DSC-Image"),
    (0, b"XPDS"),
    (0, b"SDPX"),
    (0, b"RED1"),
    (0, b"ARRI"),
)
_JPEG_MAGIC = b"\xff\xd8\xff"
_SMALLEST_HEADER = 1024
_SMALLEST_RAW = 1 << 16
"""Bytes; what begins like a raw file and is smaller has lost its picture."""


_SMALLEST_MARKESTEIJN = 512
"""Pixels a side below which LibRaw does not demosaic an X-Trans in its own way."""


def demosaic_algorithm(raw: rawpy.RawPy) -> rawpy.DemosaicAlgorithm:
    """Return how an open mosaic is demosaiced: AHD, which is Markesteijn's way of an X-Trans."""
    pattern = raw.raw_pattern
    small = min(raw.sizes.height, raw.sizes.width) < _SMALLEST_MARKESTEIJN
    is_xtrans = pattern is not None and pattern.shape == (6, 6)
    return rawpy.DemosaicAlgorithm.VNG if small and is_xtrans else rawpy.DemosaicAlgorithm.AHD


class Opened:
    """A raw file that LibRaw has decoded.

    Attributes
    ----------
    raw : rawpy.RawPy
    size : int
        Bytes in the file.
    """

    def __init__(self, raw: rawpy.RawPy, size: int) -> None:
        self.raw = raw
        self.size = size

    def shot(self) -> dict[str, Any]:
        """Return what LibRaw knows of the shot, by the field names of `Exif`; 0 is "not known"."""
        known: dict[str, Any] = {}
        # A senseless date raises and takes the whole record with it.
        with contextlib.suppress(ValueError, OverflowError, OSError):
            other = self.raw.other
            known = {
                "iso": other.iso_speed,
                "exposure_time": other.shutter_speed,
                "aperture": other.aperture,
                "focal_length": other.focal_length,
                "artist": other.artist,
            }
            if other.timestamp.timestamp() > 0:
                known["datetime"] = other.timestamp.strftime("%Y:%m:%d %H:%M:%S")
        known["lens"] = self.raw.lens.model
        return known


@contextlib.contextmanager
def open_raw(path: Path) -> Iterator[Opened]:
    """Open and decode a raw file.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Opened

    Raises
    ------
    RawError
        The file is missing, not a raw file, damaged, or not supported by LibRaw.
    """
    path = Path(path)
    if path.is_dir():
        raise RawError(f"{path}: is a folder, not a raw file")
    try:
        if path.exists() and not path.is_file():
            raise RawError(f"{path}: is not a regular file")
        # Through memory: LibRaw cannot open every name that a file system allows.
        data = path.read_bytes()
    except OSError as error:
        raise RawError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    raw = rawpy.RawPy()
    try:
        try:
            if truncated(data):
                # LibRaw may decode what is left and whatever memory held before.
                raise RawError(f"{path}: {_what_is_wrong(data, None)}")
            with quiet():
                raw.open_buffer(io.BytesIO(data))
                raw.unpack()
            if not _begins_like_raw(data) and not data.startswith(_JPEG_MAGIC):
                # LibRaw takes such a file for one of a list of phones by its size alone.
                raise RawError(
                    f"{path}: has no header: nothing in it says what camera, size and colours it "
                    "has, and they are not guessed"
                )
        except (rawpy.LibRawError, rawpy.NotSupportedError, OSError, ValueError) as error:
            raise RawError(f"{path}: {_what_is_wrong(data, error)}") from None
        size = len(data)
        del data
        yield Opened(raw, size)
    finally:
        raw.close()


def _what_is_wrong(data: bytes, error: Exception | None) -> str:
    damaged = "is damaged or truncated: copy it from the card again"
    if not data:
        return "is empty: copy it from the card again"
    if isinstance(error, rawpy.LibRawTooBigError):
        return "is larger than LibRaw allows (2 GB of decoded picture)"
    if isinstance(error, rawpy.LibRawUnsufficientMemoryError):
        return "needs more memory than there is: close other programs and try again"
    if not _begins_like_raw(data):
        if data.startswith(_JPEG_MAGIC):
            return "is a JPEG picture, not a raw file (or a raw file whose raw part is gone)"
        return "is not a raw file"
    if len(data) < _SMALLEST_HEADER:
        return f"is not a raw file: it has {len(data)} bytes and no picture in it"
    whole = len(data) >= _SMALLEST_RAW and not truncated(data)
    if whole and isinstance(error, rawpy.LibRawFileUnsupportedError):
        return (
            f"is not supported by this LibRaw ({LIBRAW_VERSION}): convert it to DNG with the "
            "maker's or Adobe's converter first"
        )
    return damaged


def _begins_like_raw(data: bytes) -> bool:
    return any(data[at : at + len(word)] == word for at, word in _RAW_MAGIC)


class _Quiet:
    """File descriptor 2 turned aside while any thread is inside; what is not LibRaw's comes back.

    LibRaw reports a file's damage with fprintf, past Python's sys.stderr, and rawpy has no way to
    tell it not to. The exception says the same again, so the line is dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved = -1
        self._aside: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            try:
                if sys.stderr is not None:
                    sys.stderr.flush()
                self._aside = tempfile.TemporaryFile()
                self._saved = os.dup(2)
                os.dup2(self._aside.fileno(), 2)
            except (OSError, ValueError):
                # No standard error, or nowhere to put it: being quiet is not worth failing for.
                self._give_up()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside or self._saved < 0:
                return
            os.dup2(self._saved, 2)
            self._aside.seek(0)
            for line in self._aside:
                if not any(word in line for word in _CHATTER):
                    with contextlib.suppress(OSError):
                        os.write(2, line)
            self._give_up()

    def _give_up(self) -> None:
        if self._saved >= 0:
            os.close(self._saved)
        if self._aside is not None:
            self._aside.close()
        self._saved, self._aside = -1, None


_QUIET = _Quiet()


def quiet() -> contextlib.AbstractContextManager[None]:
    """Keep LibRaw's remarks off standard error; usable from several threads at once."""
    return _QUIET
