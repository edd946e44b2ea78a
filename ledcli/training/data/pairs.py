"""One camera's pairs in memory, ready for training, and the noise that is measured on them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ledcli.errors import PairError
from ledcli.noise.blocks import Planes
from ledcli.noise.camera_profile import (
    CameraNoiseProfile,
    DarkShading,
    interpolate_shading,
    measure_dark_shading,
    shading_from_pairs,
    upsample,
)
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.noise.outliers import remove_outliers
from ledcli.noise.photo_noise import PhotoNoise, estimate_photo_noise
from ledcli.noise.photon_transfer import (
    ExposureFit,
    Transfer,
    fit_camera_profile,
    measure_exposure,
    measure_transfer,
)
from ledcli.pairs.similarity import clipping_level
from ledcli.sensor.cfa import AnyPhase
from ledcli.sensor.layout import layout_of
from ledcli.sensor.symmetry import Flip, cells_lost, even_start, flip_planes, standard_axes
from ledcli.training.data.sampler import MULTIPLE, UNKNOWN, Batch

VALIDATION_SIDE, VALIDATION_PER_PAIR = 128, 3
"""Side of a validation crop in plane pixels, less in small frames; and crops per pair."""
MIN_SIDE = 64
"""Cells a side below which a frame is of no use."""
MAX_PIXELS = 1 << 28
"""Pixels of all pairs that are kept in memory: of planes 4.3 GB, of mosaics and pictures 2 GB. Of
more pairs less of each frame is kept."""

Half = NDArray[np.float16]
AnyPlanes = Planes | Half


class RawPair(NamedTuple):
    """A pair as it was shot.

    The frames are float32 ``(planes, h, w)``, normalised, not multiplied by the ratio, which is the
    nominal one. ``iso`` is the short frame's, ``name`` is for messages, ``phase``
    is that of both mosaics. ``moved`` ``(h, w)`` is True where the frames show different things.
    ``noise`` is the short frame's estimate; it is made without the file if there is none.
    """

    short: Planes
    long: Planes
    ratio: float
    iso: float
    long_iso: float
    name: str
    phase: AnyPhase
    moved: NDArray[np.bool_] | None = None
    noise: PhotoNoise | None = None


@dataclass(frozen=True)
class TrainingPair:
    """A pair ready for training: ``(planes, h, w)`` in half precision, finer than the noise."""

    short: Half
    """The short frame with its black corrected, without outliers."""
    clean: Half
    """The truth: the long frame scaled to exactly ``ratio`` times the short one's exposure; 1 where
    it is clipped, `UNKNOWN` where something moved. Without outliers."""
    ratio: float
    iso: float
    """Of the short frame."""
    blind: PhotoNoise
    """What `led denoise` estimates for the short frame, for an un-tuned model."""
    validation_side: int
    """Side in plane pixels of the windows at the bottom of the frame that are never trained on."""
    uncorrected: tuple[Planes, ...]
    """These windows of the short frame with the file's black, without outliers."""
    undone: tuple[Planes, ...]
    """The same of the short frame as the sensor gave it."""
    gains: tuple[Planes, ...]
    """The gain ``(side, side)`` that was undone in them; empty if none was."""
    phase: AnyPhase
    """Of the mosaic; crops and validation crops have the standard one."""

    @property
    def trained(self) -> tuple[int, int]:
        """Height and width of what is trained on, from the top left."""
        _, height, width = self.short.shape
        return height - self.validation_side, width

    def window(self, row: int, col: int, side: int) -> tuple[Half, Half]:
        """Return a window ``(planes, side, side)`` of the short frame and of the truth."""
        window = np.s_[:, row : row + side, col : col + side]
        return self.short[window], self.clean[window]

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Half, Half]:
        """Draw a window of what is trained on, mirrored at random.

        Not transposed: row noise would become column noise.
        """
        planes = len(self.short)
        cut = side + cells_lost(planes)
        row, col = (int(rng.integers(n - cut + 1)) for n in self.trained)
        short, clean = self.window(*even_start(planes, row, col), cut)
        flip = Flip(rng.random() < 0.5, rng.random() < 0.5)
        return flip_planes(short, flip, self.phase), flip_planes(clean, flip, self.phase)

    def redo(self, clean: Tensor) -> Tensor:
        """Do to the denoised `undone` windows, times the ratio, what the camera did."""
        windows = clean.float().cpu().numpy()
        gains = [self.standard(gain[None])[0] for gain in self.gains]
        parts = zip(windows, gains or [None] * len(windows), strict=True)
        redone = [self.blind.redo(window, self.ratio, gain) for window, gain in parts]
        return torch.from_numpy(np.stack(redone)).to(clean.device)

    def validation_windows(self, short: Sequence[Planes] = ()) -> list[tuple[AnyPlanes, Half]]:
        """Return the windows that are never trained on, with `short` or the corrected frame's."""
        columns = validation_columns(self.short.shape, self.validation_side)
        windows = [self.window(self.trained[0], col, self.validation_side) for col in columns]
        given: Sequence[AnyPlanes] = short or [own for own, _ in windows]
        return [
            (self.standard(x), self.standard(clean))
            for x, (_, clean) in zip(given, windows, strict=True)
        ]

    def standard(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Mirror planes so that their mosaic has the standard phase."""
        return np.flip(planes, standard_axes(self.phase))


@dataclass(frozen=True)
class CameraPairs:
    """The pairs of one camera in memory, and its noise profile measured on them."""

    pairs: tuple[TrainingPair, ...]
    noise_profile: CameraNoiseProfile

    @property
    def ratios(self) -> list[float]:
        """The different ratios, rising."""
        return sorted({pair.ratio for pair in self.pairs})

    @property
    def side(self) -> int:
        """The largest side that a crop of every pair may have."""
        return min(min(pair.trained) for pair in self.pairs) - cells_lost(self.planes)

    @property
    def planes(self) -> int:
        """Planes of the camera's mosaic."""
        return len(self.pairs[0].short)

    @property
    def cfa(self) -> str:
        """Kind of the camera's sensor."""
        return layout_of(self.planes).name

    def profile_at(self, iso: float) -> NoiseProfile:
        """Return the measured noise profile at the ISO of a pair."""
        noise = self.noise_profile.at(iso)
        assert noise is not None, "the profile holds at the pairs' ISOs"
        return noise.profile

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw crops ``(count, planes, side, side)``, of every pair as often."""
        return self.crop(rng, self.choose(rng, count), side)

    def choose(
        self, rng: np.random.Generator, count: int, among: Sequence[TrainingPair] = ()
    ) -> list[TrainingPair]:
        """Draw pairs, of all or of those given."""
        pairs = among or self.pairs
        return [pairs[i] for i in rng.integers(len(pairs), size=count)]

    def crop(self, rng: np.random.Generator, pairs: Sequence[TrainingPair], side: int) -> Batch:
        """Draw a crop of each pair."""
        return self.batch_of([pair.draw(rng, side) for pair in pairs], pairs)

    def batch_of(
        self,
        crops: Sequence[tuple[AnyPlanes, Half]],
        pairs: Sequence[TrainingPair],
        *,
        blind: bool = False,
    ) -> Batch:
        """Stack windows, each of the pair at the same position."""
        short, clean = (torch.from_numpy(np.stack(p)).float() for p in zip(*crops, strict=True))
        profiles = [pair.blind.profile if blind else self.profile_at(pair.iso) for pair in pairs]
        return Batch(
            clean=clean,
            x=short,
            ratio=torch.tensor([pair.ratio for pair in pairs]),
            gain=torch.tensor([profile.gain for profile in profiles]),
            read_variance=torch.tensor([profile.read_variance for profile in profiles]),
        )

    def validation_batches(self, *, blind: bool = False, undone: bool = False) -> list[Batch]:
        """Return the validation crops, one batch per pair.

        ``blind`` gives what an un-tuned model sees: black as the file has it, the noise estimated;
        with ``undone``, as the sensor gave it (`TrainingPair.redo` is for the result). Otherwise
        black and noise are as measured for the camera.
        """
        batches = []
        for pair in self.pairs:
            short = (pair.undone if undone else pair.uncorrected) if blind else ()
            windows = pair.validation_windows(short)
            batches.append(self.batch_of(windows, [pair] * len(windows), blind=blind))
        return batches


def camera_pairs(
    pairs: Iterable[RawPair],
    darks: Mapping[float, Iterable[Planes]] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> CameraPairs:
    """Measure a camera's noise on its pairs and make them ready for training.

    The pairs are read one by one, so that few are in memory in full. ``darks``, lens-cap frames
    ``(planes, h, w)`` by ISO, show the dark shading. The remaining error of black, or without them
    all of it, is measured on the pairs: one offset per colour and ISO. ``max_pixels`` are the plane
    pixels of a pair that are kept: the middle rows of a larger frame. Raises PairError if there is
    no pair, a long frame is clipped, or the frames are too small.
    """
    pairs = iter(pairs)
    first = list(itertools.islice(pairs, 1))  # read first: it says which dark frames fit

    def in_turn() -> Iterator[RawPair]:
        while first:
            yield first.pop()
        yield from pairs

    measured = (measure_dark_shading(iso, frames) for iso, frames in sorted((darks or {}).items()))
    dark = [shading for shading in measured if shading is not None]
    kept: list[TrainingPair] = []
    fits: dict[float, list[ExposureFit]] = {}
    transfers: dict[float, list[Transfer]] = {}
    height = width = 0
    for pair in in_turn():
        short, long, ratio, iso, long_iso, name, _, moved, _ = pair
        planes, height, width = short.shape
        if min(height, width) < MIN_SIDE:
            cell = layout_of(planes).side
            size = f"{cell * width}x{cell * height}"
            raise PairError(f"{name}: {size} pixels are too few to tune")
        if dark:
            short = short - upsample(interpolate_shading(dark, iso), (height, width))
        if moved is not None:  # clipped parts are not measured
            long = np.where(moved, np.float32(1), long)
        try:
            fit = measure_exposure(short, long, ratio)
            transfer = measure_transfer(short, long, ratio, fit, long_iso / iso)
        except PairError as error:
            raise PairError(f"{name}: {error}: shoot this pair again") from error
        fits.setdefault(iso, []).append(fit)
        transfers.setdefault(iso, []).append(transfer)
        kept.append(_training_pair(pair, short, fit.scale, max_pixels))
    if not kept:
        raise PairError("no pair is left to tune with: shoot two for each ratio")
    if all((clean > 1).all() for pair in kept for _, clean in pair.validation_windows()):
        raise PairError(
            "something moved at the bottom of every pair, which the model is judged by: shoot one "
            "where nothing moves there"
        )
    offsets = [
        shading_from_pairs(iso, [(fit.offset, fit.error) for fit in found])
        for iso, found in sorted(fits.items())
    ]
    for each in kept:
        each.short[:] -= interpolate_shading(offsets, each.iso).astype(np.float16)
    total = offsets
    if dark:
        # At every ISO of either: the dark frames' shading and, on top, the pairs' offsets.
        total = [
            DarkShading(iso, interpolate_shading(dark, iso) + interpolate_shading(offsets, iso))
            for iso in sorted({shading.iso for shading in (*dark, *offsets)})
        ]
    return CameraPairs(tuple(kept), fit_camera_profile(transfers, total, (height, width)))


def _training_pair(raw: RawPair, corrected: Planes, scale: float, max_pixels: int) -> TrainingPair:
    planes, height, width = raw.short.shape
    rows = min(height, max(MIN_SIDE, max_pixels // width))
    top, _ = even_start(planes, (height - rows) // 2, 0)
    side = validation_side(rows, width)
    # Scaled first, what is clipped would pass for a grey that is known.
    clipped = raw.long >= clipping_level(raw.long)
    long = remove_outliers(raw.long, estimate_noise(raw.long), raw.phase)
    clean = np.where(clipped, 1, (long * np.float32(scale)).clip(None, 1))
    if raw.moved is not None:
        clean[:, raw.moved] = UNKNOWN
    short = remove_outliers(corrected, estimate_noise(raw.short), raw.phase)
    columns = validation_columns((planes, rows, width), side)

    def windows(frame: Planes) -> tuple[Planes, ...]:
        strip = frame[..., top + rows - side : top + rows, :]
        return tuple(strip[..., col : col + side].copy() for col in columns)

    blind = estimate_photo_noise(raw.short) if raw.noise is None else raw.noise
    undone = blind.undo(raw.short)
    frames = [raw.short] if undone is raw.short else [raw.short, undone]
    given = [windows(remove_outliers(frame, blind.profile, raw.phase)) for frame in frames]
    return TrainingPair(
        short=short[:, top : top + rows].astype(np.float16),
        clean=clean[:, top : top + rows].astype(np.float16),
        ratio=raw.ratio,
        iso=raw.iso,
        blind=blind,
        validation_side=side,
        uncorrected=given[0],
        undone=given[-1],
        gains=windows(blind.vignetting.over((height, width))) if blind.vignetting else (),
        phase=raw.phase,
    )


def validation_side(rows: int, cols: int) -> int:
    """Return the side of the validation windows of a frame, all in cells."""
    return min(VALIDATION_SIDE, rows // 4, cols // 4) // MULTIPLE * MULTIPLE


def validation_columns(shape: Sequence[int], side: int) -> list[int]:
    """Return the left columns of the validation windows in a frame ``(planes, h, w)``."""
    planes, height, width = shape
    return [even_start(planes, height - side, col)[1] for col in spread(width, side, width - side)]


def spread(width: int, side: int, free: int) -> list[int]:
    """Return where to cut validation windows of a side: spread over the columns that are free."""
    count = max(1, min(VALIDATION_PER_PAIR, width // side))
    return [round((number + 0.5) * free / count) for number in range(count)]
