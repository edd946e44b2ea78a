"""Making a preview: only three crops of each photo, with their surroundings, are denoised.

The noise, the ratio and the model are those of the whole photo. A crop therefore equals the same
crop of the result of `led denoise`, as far as its surroundings hold all that the network sees. The
bias correction (inference/postprocess.py) is the exception: it knows the mean of the surroundings,
and not that of the photo.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ledcli.batch.photo import choose_model, choose_noise, choose_ratio, own_noise
from ledcli.batch.reading import DecodedFrame, capture_errors, read_photo, timed
from ledcli.batch.settings import Job, Quality, Result, Settings
from ledcli.errors import ModelError
from ledcli.inference.blending import leave_grain
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.noise.blocks import Planes
from ledcli.noise.outliers import remove_outliers
from ledcli.output.tags import with_less_baseline_exposure
from ledcli.preview.crops import (
    PIXELS,
    STEP,
    Area,
    Crop,
    Picture,
    PreviewedPhoto,
    Tiles,
    choose_crops,
    develop,
    gains_of,
    noise_of_part,
    shown_area,
)
from ledcli.preview.variants import Variant
from ledcli.raw.colour import white_balance_of
from ledcli.raw.decoder import decoders
from ledcli.raw.reader import RawPhoto
from ledcli.zoo.selection import Chooser

DEMOSAIC_MARGIN = STEP
"""Plane pixels around a crop that are rendered too: demosaicing sees beyond it."""
READERS = 2
"""Photos decoded at a time."""


@dataclass
class Previewer:
    """Makes previews of photos in several variants, each with what chooses its model."""

    settings: Settings
    variants: Sequence[Variant]
    choosers: Sequence[Chooser]
    denoisers: DenoiserCache

    def run(self, photos: Sequence[Path]) -> Iterator[PreviewedPhoto]:
        """Yield the preview of each photo, in order; one that fails does not stop the others."""
        jobs = (Job(photo, {}, photo.parent) for photo in photos)
        read = partial(read_photo, settings=self.settings)
        for result, frame in decoders.in_parallel(read, jobs, READERS):
            previewed = PreviewedPhoto(result)
            with capture_errors(result):
                if frame is not None:
                    self._preview(frame, previewed)
            if result.error is not None:
                previewed.tiles.clear()
            yield previewed

    def _preview(self, frame: DecodedFrame, previewed: PreviewedPhoto) -> None:
        result = previewed.result
        bounds = self.choosers[0].ratio_range
        ratio = result.ratio = choose_ratio(frame, self.settings, bounds)
        photo = frame.photo
        if self.settings.ratio is None and self.settings.exposure is None:
            photo = with_less_baseline_exposure(photo, ratio)
        strengths = (variant.settings.strengths for variant in self.variants)
        if photo.monochrome and any(luma != chroma for luma, chroma in strengths):
            result.warnings.append(f"{photo.path}: is monochrome: --chroma has no effect")
        with timed(result, "crops"):
            repaired = remove_outliers(frame.planes, frame.noise.profile, photo.phase)
            shown = shown_area(photo, frame.planes.shape[1:])
            side = max(PIXELS // photo.phase.layout.side // STEP, 1) * STEP
            crops = choose_crops(repaired, frame.noise.profile, ratio, shown, side)
            del repaired
        rendering = _Rendering(photo, frame.planes, ratio)
        with timed(result, "render"):
            previewed.tiles = [Tiles(crop, rendering.noisy(crop)) for crop in crops]
        clean: dict[tuple[object, ...], list[Planes]] = {}
        for variant, chooser in zip(self.variants, self.choosers, strict=True):
            try:
                with timed(result, "model"):
                    denoiser, chosen = choose_model(
                        frame, ratio, chooser, self.denoisers, result.warnings
                    )
                best = variant.settings.quality == Quality.BEST
                key = (chosen.path, chosen.csa_set, best)
                if key not in clean:
                    result.model = chosen
                    result.warnings += denoiser.notes
                    clean[key] = self._denoise(frame, denoiser, best, crops, result)
            except ModelError as error:
                previewed.failed[variant.number] = str(error)
                continue
            with timed(result, "render"):
                for tiles, planes in zip(previewed.tiles, clean[key], strict=True):
                    tiles.variants[variant.number] = rendering.denoised(
                        tiles.crop, planes, variant.settings
                    )
        if len(previewed.failed) == len(self.variants):
            raise ModelError(next(iter(previewed.failed.values())))

    def _denoise(
        self,
        frame: DecodedFrame,
        denoiser: Denoiser,
        best: bool,
        crops: Sequence[Crop],
        result: Result,
    ) -> list[Planes]:
        """Return the denoised planes of each crop with the margin that rendering takes."""
        photo, (height, width) = frame.photo, frame.planes.shape[1:]
        if denoiser.spec.makes_pictures:
            raise ModelError(
                f"{denoiser.name} makes pictures straight from the raw, and a preview compares raw "
                "planes: name another model"
            )
        noise = choose_noise(frame, own_noise(frame, denoiser), self.settings, result)
        parts = []
        for crop in crops:
            inner = crop.area.grown(DEMOSAIC_MARGIN, (height, width))
            around = crop.area.grown(denoiser.halo, (height, width))
            with timed(result, "network"):
                planes = denoiser.denoise(
                    around.of(frame.planes),
                    result.ratio or 1.0,
                    phase=photo.phase,
                    noise=noise_of_part(noise, (height, width), around),
                    steps=self.settings.steps,
                    ensemble=best,
                    exif=photo.exif,
                )
            parts.append(inner.within(around).of(planes))
        return parts


class _Rendering:
    """Renders the crops of one photo."""

    def __init__(self, photo: RawPhoto, planes: Planes, ratio: float) -> None:
        self._photo, self._planes, self._ratio = photo, planes, ratio
        self._gains = gains_of(photo)
        self._balance = white_balance_of(photo).tolist()

    def noisy(self, crop: Crop) -> Picture:
        """Render a crop as it is, times the ratio."""
        return self._render(crop, self._noisy(crop))

    def denoised(self, crop: Crop, clean: Planes, settings: Settings) -> Picture:
        """Render a crop with some of its noise; `clean` has none, and the margin around."""
        noisy = torch.from_numpy(self._noisy(crop))
        blended = torch.from_numpy(clean.copy())
        phase = self._photo.phase
        blended = leave_grain(blended, noisy, *settings.strengths, phase, self._balance)
        return self._render(crop, blended.numpy())

    def _noisy(self, crop: Crop) -> Planes:
        noisy: Planes = self._around(crop).of(self._planes)
        noisy *= self._ratio
        return noisy

    def _around(self, crop: Crop) -> Area:
        return crop.area.grown(DEMOSAIC_MARGIN, self._planes.shape[1:])

    def _render(self, crop: Crop, planes: Planes) -> Picture:
        around = self._around(crop)
        if self._gains is not None:
            planes = planes * around.of(self._gains)
        return develop(self._photo, planes, around, crop.area)
