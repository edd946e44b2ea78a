"""The output formats: one table for planning, encoding and writing.

To add a format, write the function that makes its bytes and add a line to `FORMATS`. The encoders
are imported when they are called, so that the command line reads this table without NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ledcli.errors import UsageError

if TYPE_CHECKING:
    from ledcli.output.render import DenoisedPhoto


class Size(NamedTuple):
    """Bytes of a result per byte of its source, at least and typically."""

    least: float
    usual: float


@dataclass(frozen=True)
class Format:
    """One output format."""

    name: str
    """In ``--format`` and in the manifest."""
    suffix: str
    """Of the file name, with the dot."""
    encode: Callable[..., bytes]
    """Makes the file's bytes of a `DenoisedPhoto` and its `options`; raises OutputError."""
    size: Callable[..., Size]
    """Estimates the size of the file, by its options, for the check of free disk space."""
    raw: bool = False
    """Holds camera colours, with headroom above white, for a raw developer; otherwise a developed
    sRGB picture."""
    maker_notes: bool = False
    """The source's maker notes are copied into it."""
    settings: tuple[str, ...] = ()
    """The attributes of `batch.settings.Settings` that change its files."""

    def options(self, settings: object) -> dict[str, Any]:
        """Return what `encode` and `size` need to know of a run's settings."""
        return {name: getattr(settings, name) for name in self.settings}


def find_formats(names: Iterable[str]) -> list[Format]:
    """Return formats by name; raises UsageError for an unknown one."""
    names = list(names)
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"no format '{name}': choose {', '.join(FORMATS)}")
    return [FORMATS[name] for name in names]


def _encode_dng(photo: DenoisedPhoto, **options: Any) -> bytes:  # noqa: ANN401
    from ledcli.output.dng import dng_bytes

    return dng_bytes(photo.photo, photo.mosaic, note=photo.note, headroom=photo.headroom, **options)


def _encode_png(photo: DenoisedPhoto) -> bytes:
    from ledcli.output.render import png_bytes

    return png_bytes(photo.picture, photo=photo.photo, note=photo.note)


def _encode_tiff(photo: DenoisedPhoto) -> bytes:
    from ledcli.output.render import tiff_bytes

    return tiff_bytes(photo.picture, photo=photo.photo, note=photo.note)


# Cameras store 12 to 14 bits a pixel in 0.7 (lossy) to 2 bytes (uncompressed), typically in 1.25.
# A denoised pixel takes 1.36 bytes in lossless JPEG (measured at 24 MP), 2 uncompressed, three
# times as much demosaiced; PNG and TIFF compress that to about 0.8.
_DNG_SIZES = {
    # linear, compression
    (False, "ljpeg"): Size(0.5, 1.1),
    (False, "none"): Size(1.0, 1.6),
    (True, "ljpeg"): Size(1.5, 3.3),
    (True, "none"): Size(3.0, 4.8),
}
_PICTURE_SIZE = Size(1.5, 3.8)

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format(
            "dng",
            ".dng",
            _encode_dng,
            lambda linear, compression: _DNG_SIZES[linear, compression],
            raw=True,
            maker_notes=True,
            settings=("compression", "linear"),
        ),
        Format("png", ".png", _encode_png, lambda: _PICTURE_SIZE),
        Format("tiff", ".tif", _encode_tiff, lambda: _PICTURE_SIZE),
    )
}
DEFAULT_FORMAT, DEFAULT_PICTURE_FORMAT = "dng", "png"
"""For models that denoise raws, and for those that make pictures."""
