"""Reading a photo of a run: decoded in a process of its own, packed for the network. No torch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ledcli.batch.darks import UNFIT
from ledcli.batch.journal import Stamp
from ledcli.batch.settings import Job, Result, Settings
from ledcli.errors import DeviceError, LedError, RawError, as_led_error
from ledcli.raw.decoder import decode_file, decoders
from ledcli.raw.exif import read_exif

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ledcli.noise.dark import DarkPattern
    from ledcli.noise.photo_noise import PhotoNoise
    from ledcli.raw.reader import RawPhoto


class DecodedFrame(NamedTuple):
    """A decoded photo; its planes (planes, h, w) are normalised, not multiplied by the ratio."""

    photo: RawPhoto
    planes: NDArray[np.float32]
    noise: PhotoNoise
    auto_ratio: float
    dark: DarkPattern | None = None
    """Subtracted from the planes."""


def read_photo(job: Job, settings: Settings) -> tuple[Result, DecodedFrame | None]:
    """Decode a photo and pack it for the network."""
    result, frame, dark, why = Result(job.source), None, None, ""
    with capture_errors(result):
        with suppress(OSError, ValueError):  # the decoder says why
            result.source_stamp = Stamp.of(os.stat(job.source))
        with timed(result, "decode"):
            darks: list[DarkPattern] = []
            if settings.dark is not None:
                darks, why = settings.dark.patterns_for(decoders.run(read_exif, job.source))
            how = partial(decode_file, force=settings.force_read, darks=darks)
            decoded = decoders.run(how, job.source)
        if decoded.note and not settings.again:
            # A preview, which has no outputs, has no --again.
            advice = "use --again to repeat" if job.outputs else "name the camera's raw"
            raise RawError(
                f"{job.source}: already denoised by led {decoded.note.get('version', '')} "
                f"(model {decoded.note.get('model', 'unknown')}); {advice}"
            )
        photo = decoded.photo
        if darks:
            from ledcli.noise.dark import fitting

            dark = fitting(darks, photo.phase, photo.mosaic.shape)
            why = "" if dark else "they differ from it in size"
        result.dark_note = dark.describe(photo.span) if dark else ""
        result.warnings += [UNFIT.format(job.source, why)] if why else []
        with timed(result, "pack"):
            planes = photo.planes(dark)
        result.warnings += photo.warnings
        frame = DecodedFrame(photo, planes, decoded.noise, decoded.auto_ratio, dark)
    return result, frame


@contextmanager
def timed(result: Result, part: str) -> Iterator[None]:
    """Add the seconds that a block takes to a part of a result's times."""
    before = time.perf_counter()
    try:
        yield
    finally:
        spent = time.perf_counter() - before
        result.seconds[part] = result.seconds.get(part, 0.0) + spent


@contextmanager
def capture_errors(result: Result) -> Iterator[None]:
    """Catch a photo's error into its result, so that the next ones are still done."""
    try:
        yield
    except DeviceError:
        raise  # the next ones would fail as well
    except (LedError, MemoryError) as error:
        result.error = as_led_error(error, result.source)
    except Exception as error:  # of any library
        result.error = LedError(f"{result.source}: {type(error).__name__}: {error}")
        result.error.__cause__ = error
