"""One photo's way: its brightness, its model, the network, the files' bytes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ledcli import __version__
from ledcli.batch.settings import MAX_RATIO, Highlights, Quality, Result, Settings
from ledcli.errors import MetadataError, ModelError, OutputError
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.inference.highlights import headroom_of, keep_highlights
from ledcli.metadata.xmp import now
from ledcli.noise.estimate import NoiseProfile
from ledcli.output.dng import dng_bytes
from ledcli.output.levels import WHITE
from ledcli.output.render import check_square, png_bytes, render_rgb16, tiff_bytes, upright
from ledcli.raw.decoder import Decoded
from ledcli.raw.exif import require_exposure_level
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import unpack
from ledcli.zoo.selection import Chooser, camera_noise, covers
from ledcli.zoo.store import ChosenModel

SOFTWARE = f"led {__version__}"
Planes = NDArray[np.float32]


@dataclass
class Frame:
    """A photo between decoding and network.

    Attributes
    ----------
    planes : float32 array (planes, h, w)
        Normalised, not gained.
    noise : NoiseProfile
        The blind estimate.
    auto_ratio : float
        The ratio that would give a normal brightness.
    """

    photo: RawPhoto
    planes: Planes
    noise: NoiseProfile
    auto_ratio: float


@dataclass
class Clean:
    """A photo between network and disk.

    Attributes
    ----------
    planes : float32 array (planes, h, w)
        Clean, times the ratio.
    headroom : float
        The brightest value that the DNG shall hold; white is 1.
    note : mapping
        What was done, for the record in the files.
    """

    photo: RawPhoto
    planes: Planes
    headroom: float
    note: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def mosaic(self) -> NDArray[np.float32]:
        """The clean mosaic (H, W), white at 1."""
        return unpack(self.planes, self.photo.phase, self.photo.mosaic.shape)

    @cached_property
    def picture(self) -> NDArray[np.uint16]:
        """The developed photo (h, w, 3), sRGB, upright."""
        plain = dng_bytes(self.photo, self.mosaic, software=SOFTWARE, compression="none")
        return render_rgb16(plain)


@dataclass
class Picture:
    """A photo that a network developed, on its way to disk.

    Attributes
    ----------
    picture : uint16 array (h, w, 3)
        sRGB, upright.
    note : mapping
        What was done, for the record in the files.
    """

    photo: RawPhoto
    picture: NDArray[np.uint16]
    note: Mapping[str, object] = field(default_factory=dict)


def framed(decoded: Decoded) -> Frame:
    """Pack a decoded photo for the network."""
    photo = decoded.photo
    return Frame(photo, photo.planes(), decoded.noise, decoded.auto_ratio)


def ratio_of(frame: Frame, settings: Settings, bounds: tuple[float, float]) -> float:
    """Return a photo's ratio.

    Parameters
    ----------
    frame, settings
    bounds : (float, float)
        Of an inferred ratio.

    Raises
    ------
    MetadataError
        An exposure is asked for, and a tag that it takes is missing or nonsense.
    """
    if settings.exposure is not None:
        ratio = settings.exposure / require_exposure_level(frame.photo.path, frame.photo.exif)
        if ratio > MAX_RATIO:
            raise MetadataError(
                f"{frame.photo.path}: its ISO and exposure time ask for a ratio of {ratio:.3g}: "
                "check them, or give --ratio"
            )
        # A brighter photo is not darkened: its clipped highlights would come out tinted.
        return max(ratio, 1.0)
    if settings.ratio is None:
        lowest, highest = bounds
        # Two digits are more than a histogram tells, and read better in a record.
        return min(max(float(f"{frame.auto_ratio:.2g}"), lowest, 1.0), highest)
    return settings.ratio


def denoised(
    frame: Frame, settings: Settings, chooser: Chooser, denoisers: DenoiserCache, result: Result
) -> Clean | Picture:
    """Take a photo through the network; what was done is written into `result`."""
    photo = frame.photo
    ratio = result.ratio = ratio_of(frame, settings, chooser.ratio_range)
    with timed(result, "model"):
        denoiser, result.model = _model(frame, ratio, chooser, denoisers, result.warnings)
    result.warnings += _warnings(denoiser, photo, ratio, settings)
    result.tile_note = denoiser.tile_note(frame.planes)
    own = camera_noise(denoiser.spec, photo.exif)
    if denoiser.spec.makes_pictures:
        settings.check_for_pictures(denoiser.name)
        check_square(photo)
        result.noise_from = "unused"
        height, width = photo.mosaic.shape
        with timed(result, "network"):
            picture = denoiser.develop(
                frame.planes, ratio, phase=photo.phase, shape=(height, width), noise=own
            )
        shown = upright(np.rint(picture * np.float32(WHITE)).astype(np.uint16), photo.orientation)
        return Picture(photo, shown, _note(result, settings))
    result.noise, result.noise_from = (own.profile, "profile") if own else (frame.noise, "blind")
    with timed(result, "network"):
        planes = denoiser.denoise(
            frame.planes,
            ratio,
            phase=photo.phase,
            noise=own or frame.noise,
            strength=settings.strength,
            steps=settings.steps,
            ensemble=settings.quality == Quality.BEST,
            exif=photo.exif,
        )
    if settings.highlights == Highlights.KEEP:
        reliable_to = ratio if denoiser.form.unclipped_input else 1.0
        planes = keep_highlights(planes, frame.planes, ratio, reliable_to=reliable_to)
        result.headroom = min(headroom_of(planes), ratio)
    return Clean(photo, planes, result.headroom, _note(result, settings))


def encoded(clean: Clean | Picture, name: str, settings: Settings) -> bytes:
    """Make the bytes of a file.

    Parameters
    ----------
    clean
    name : str
        The format: ``dng``, ``png`` or ``tiff``.
    settings

    Raises
    ------
    OutputError
        A DNG of what a network developed.
    """
    photo, note = clean.photo, clean.note
    if name == "dng" and isinstance(clean, Picture):
        raise OutputError(f"{photo.path}: the model makes pictures: take --format png or tiff")
    if name == "dng" and isinstance(clean, Clean):
        return dng_bytes(
            photo,
            clean.mosaic,
            software=SOFTWARE,
            note=note,
            compression=settings.compression,
            linear=settings.linear,
            headroom=clean.headroom,
        )
    encode = {"png": png_bytes, "tiff": tiff_bytes}[name]
    return encode(clean.picture, photo=photo, software=SOFTWARE, note=note)


@contextmanager
def timed(result: Result, part: str) -> Iterator[None]:
    """Add the seconds that a block takes to a part of a result's times."""
    before = time.perf_counter()
    try:
        yield
    finally:
        spent = time.perf_counter() - before
        result.seconds[part] = result.seconds.get(part, 0.0) + spent


def _model(
    frame: Frame, ratio: float, chooser: Chooser, denoisers: DenoiserCache, warnings: list[str]
) -> tuple[Denoiser, ChosenModel]:
    """Choose a photo's model and load it; a damaged one is skipped if there is another."""
    while True:
        try:
            chosen = chooser.choose(frame.photo.exif, ratio, frame.photo.cfa)
        except ModelError as error:
            raise ModelError(f"{frame.photo.path}: {error}") from error
        warnings += chosen.warnings
        try:
            return denoisers.get(chosen.path, chosen.csa_set), chosen
        except ModelError as error:
            warnings.append(chooser.skip(chosen.path, error))


def _warnings(
    denoiser: Denoiser, photo: RawPhoto, ratio: float, settings: Settings
) -> Iterator[str]:
    lowest, highest = denoiser.spec.ratio_range
    if not covers(denoiser.spec.ratio_range, ratio):
        yield (
            f"{photo.path}: the model was trained for ratios {lowest:g} to {highest:g}, "
            f"not {ratio:.3g}"
        )
    elif settings.exposure is not None and ratio == 1:
        yield (
            f"{photo.path}: is as bright as the exposure asked for already: it keeps its brightness"
        )


def _note(result: Result, settings: Settings) -> dict[str, object]:
    return {
        **(result.model.record() if result.model else {}),
        "noise": result.noise_from,
        "ratio": result.ratio,
        **settings.processing(),
        "headroom": result.headroom,
        "version": __version__,
        "when": now(),
    }
