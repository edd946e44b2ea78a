"""One photo's way after it is read: choose its model, denoise, encode and write."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ledcli import __version__
from ledcli.batch.output_writer import OutputWriter
from ledcli.batch.reading import DecodedFrame, capture_errors, timed
from ledcli.batch.settings import MAX_RATIO, Highlights, Job, Quality, Result, Settings
from ledcli.errors import LedError, MetadataError, ModelError
from ledcli.inference.blending import headroom_of, keep_highlights
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.metadata.xmp import now
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.output.gain_maps import scaled_corrections
from ledcli.output.pixels import WHITE
from ledcli.output.render import DenoisedPhoto, check_square, cropped, upright
from ledcli.output.tags import with_less_baseline_exposure
from ledcli.raw.colour import wb_note, white_balance_of
from ledcli.raw.exif import require_exposure_level
from ledcli.raw.reader import RawPhoto
from ledcli.reporting import OnProgress
from ledcli.zoo.selection import Chooser, camera_noise, covers
from ledcli.zoo.store import ChosenModel

_DARKEST, _DARK_STEP = 0.002, 4
"""Quantile of a plane that counts as its darkest part, above dead pixels; step between samples."""
_FOG = 0.15
"""Share of white: a result whose darkest part is brighter is foggy."""


@dataclass
class PhotoStages:
    """A photo's way once it is read: `denoise` and `write`, each called in a thread of its own.

    An error goes into the photo's result; `write` then does nothing.
    """

    settings: Settings
    chooser: Chooser
    denoisers: DenoiserCache
    writer: OutputWriter

    def denoise(
        self, frame: DecodedFrame | None, result: Result, progress: OnProgress
    ) -> DenoisedPhoto | None:
        """Choose a photo's ratio and model, and run the network; `result` says what was done."""
        with capture_errors(result):
            if frame is not None:
                return self._denoise(frame, result, progress)
        return None

    def write(self, job: Job, denoised: DenoisedPhoto | None, result: Result) -> Result:
        """Encode and write a photo in all formats."""
        if denoised is not None:
            with capture_errors(result), timed(result, "encode"):
                self.writer.write(job, denoised, result)
        return result

    def _denoise(self, frame: DecodedFrame, result: Result, progress: OnProgress) -> DenoisedPhoto:
        photo, settings = frame.photo, self.settings
        ratio = result.ratio = choose_ratio(frame, settings, self.chooser.ratio_range)
        if settings.ratio is None and settings.exposure is None:
            photo = with_less_baseline_exposure(photo, ratio)
        with timed(result, "model"):
            denoiser, result.model = choose_model(
                frame, ratio, self.chooser, self.denoisers, result.warnings
            )
        balance = wb_note(photo)
        result.warnings += denoiser.notes
        warnings = (
            _warning(denoiser, photo, ratio, settings),
            _black_warning(frame, ratio),
            balance and f"{photo.path}: {balance}",
        )
        result.warnings += [warning for warning in warnings if warning]
        result.tile_note = denoiser.tile_note(frame.planes)
        own, phase = own_noise(frame, denoiser), photo.phase
        if denoiser.spec.makes_pictures:
            settings.check_for_pictures(denoiser.name)
            check_square(photo)
            if photo.monochrome:
                raise ModelError(
                    f"{photo.path}: is monochrome, and {denoiser.name} makes colour pictures: use "
                    "another model"
                )
            result.noise_from = "unused"
            height, width = photo.mosaic.shape
            with _about(photo), timed(result, "network"):
                picture = denoiser.develop(
                    frame.planes,
                    ratio,
                    phase=phase,
                    shape=(height, width),
                    noise=own,
                    progress=progress,
                )
            picture16 = np.rint(picture * np.float32(WHITE)).astype(np.uint16)
            developed = upright(cropped(picture16, photo), photo.orientation)
            return DenoisedPhoto(photo, _note(result, settings), developed=developed)
        noise = choose_noise(frame, own, settings, result)
        with _about(photo), timed(result, "network"):
            planes = denoiser.denoise(
                frame.planes,
                ratio,
                phase=phase,
                noise=noise,
                luma=settings.strengths[0],
                chroma=settings.strengths[1],
                white_balance=white_balance_of(photo).tolist(),
                steps=settings.steps,
                ensemble=settings.quality == Quality.BEST,
                exif=photo.exif,
                progress=progress,
            )
        if settings.highlights == Highlights.KEEP:
            reliable_to = ratio if denoiser.form.unclipped_input else 1.0
            planes = keep_highlights(planes, frame.planes, ratio, reliable_to=reliable_to)
            result.headroom = min(headroom_of(planes), ratio)
        photo = replace(photo, carried=scaled_corrections(photo.carried, ratio / result.headroom))
        return DenoisedPhoto(photo, _note(result, settings), planes, result.headroom)


def choose_ratio(frame: DecodedFrame, settings: Settings, bounds: tuple[float, float]) -> float:
    """Return a photo's ratio; an inferred one lies within the bounds.

    Raises MetadataError if the photo's own exposure level is needed and unknown or implausible.
    """
    if settings.exposure is not None:
        ratio = settings.exposure / require_exposure_level(frame.photo.path, frame.photo.exif)
        if ratio > MAX_RATIO:
            raise MetadataError(
                f"{frame.photo.path}: its ISO and exposure time give a ratio of {ratio:.3g}: "
                "check them, or use --ratio"
            )
        # A brighter photo is not darkened: its clipped highlights would take on a tint.
        return max(ratio, 1.0)
    if settings.ratio is None:
        lowest, highest = bounds
        # A histogram is not more accurate than two digits, which are easier to read in a record.
        return min(max(float(f"{frame.auto_ratio:.2g}"), lowest, 1.0), highest)
    return settings.ratio


def own_noise(frame: DecodedFrame, denoiser: Denoiser) -> NoiseAtIso | None:
    """Return the noise that a model has measured of a photo's camera, if any."""
    own = camera_noise(denoiser.spec, frame.photo.exif)
    if own is None or frame.dark is None:
        return own
    # Dark frames have corrected the error of black already.
    return own._replace(offsets=np.zeros_like(own.offsets))


def choose_noise(
    frame: DecodedFrame, own: NoiseAtIso | None, settings: Settings, result: Result
) -> NoiseProfile | NoiseAtIso | PhotoNoise:
    """Return a photo's noise: as given, the camera's own or the estimate; `result` says which."""
    if settings.noise is not None:
        gain, read = (value / frame.photo.span for value in settings.noise)
        given = result.noise = NoiseProfile(gain, read**2)
        result.noise_from = "given"
        return own._replace(profile=given) if own else given
    if own is not None:
        result.noise, result.noise_from = own.profile, "profile"
        return own
    result.noise, result.noise_from = frame.noise.profile, "blind"
    result.noise_note = frame.noise.describe(frame.photo.span)
    if frame.noise.correlated:
        result.warnings.append(
            f"{frame.photo.path}: neighbouring pixels share noise, as if smoothed in the camera: "
            "some may remain; try --noise with a larger gain and read noise"
        )
    return frame.noise


def choose_model(
    frame: DecodedFrame,
    ratio: float,
    chooser: Chooser,
    denoisers: DenoiserCache,
    warnings: list[str],
) -> tuple[Denoiser, ChosenModel]:
    """Choose and load a photo's model; a damaged one is skipped if there is another."""
    while True:
        with _about(frame.photo):
            chosen = chooser.choose(frame.photo.exif, ratio, frame.photo.cfa)
        warnings += chosen.warnings
        try:
            return denoisers.get(chosen.path, chosen.csa_set, chosen.sha256), chosen
        except ModelError as error:
            warnings.append(chooser.skip(chosen.path, error))


@contextmanager
def _about(photo: RawPhoto) -> Iterator[None]:
    """Name a photo in the errors of what knows its samples only."""
    try:
        yield
    except LedError as error:
        raise type(error)(f"{photo.path}: {error}") from error


def _warning(denoiser: Denoiser, photo: RawPhoto, ratio: float, settings: Settings) -> str:
    lowest, highest = bounds = denoiser.spec.ratio_range
    if not covers(bounds, ratio):
        ratios = f"ratios {lowest:g} to {highest:g}" if lowest < highest else f"ratio {lowest:g}"
        return f"{photo.path}: the model was trained for {ratios}, not {ratio:.3g}"
    if settings.exposure is not None and ratio == 1:
        return f"{photo.path}: already as bright as the exposure level asked for; not brightened"
    return ""


def _black_warning(frame: DecodedFrame, ratio: float) -> str:
    """Warn if all samples lie so far above black that the result will look foggy."""
    samples = frame.planes[:, ::_DARK_STEP, ::_DARK_STEP]
    dark = np.quantile(samples.reshape(len(samples), -1), _DARKEST, axis=1)
    if ratio == 1 or dark.min() * ratio < _FOG:
        return ""
    photo = frame.photo
    above = float((dark * (photo.white - photo.black)).min())
    return (
        f"{photo.path}: even its darkest parts are {above:.0f} DN above its black level of "
        f"{photo.black.mean():.5g} DN, and will be bright: that level or the ratio may be wrong"
    )


def _note(result: Result, settings: Settings) -> dict[str, object]:
    return {
        **(result.model.record() if result.model else {}),
        "noise": result.noise_from,
        **({"noise_note": result.noise_note} if result.noise_note else {}),
        **({"dark": result.dark_note} if result.dark_note else {}),
        "ratio": result.ratio,
        **settings.processing(),
        "headroom": result.headroom,
        "version": __version__,
        "when": now(),
    }
