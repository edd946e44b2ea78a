"""SID (Chen et al., Learning to See in the Dark, 2018): from the short raw to the long's picture.

The network does all that a raw developer does, and is trained end to end by the L1 between its
picture and the long frame as LibRaw develops it (section 4.2). The ratio, which its input is
multiplied by, sets the brightness. Every weight is trained, on one camera's pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from ledcli.errors import PairError
from ledcli.nets.forms import SrgbForm, subpixel
from ledcli.nets.registry import architecture_of
from ledcli.noise.camera_profile import CameraNoiseProfile, NoiseAtIso
from ledcli.noise.outliers import remove_outliers
from ledcli.output.render import develop_mosaic
from ledcli.raw.libraw import LIBRAW_VERSION
from ledcli.raw.reader import RawPhoto
from ledcli.sensor.cfa import STANDARD_PHASE, AnyPhase, colour_map, pack, standard_start, unpack
from ledcli.sensor.symmetry import Flip
from ledcli.training.data.pairs import MAX_PIXELS, MIN_SIDE, Half, spread, validation_side
from ledcli.training.data.sampler import Batch
from ledcli.training.methods.base import FinetuneMethod, FinetuneRecipe, MethodInputs, psnr_of
from ledcli.training.methods.start import Pretrained, Start, transfer_weights

WHITE = 65535
NO_FLIP = Flip()

Picture = NDArray[np.uint16]


@dataclass(frozen=True)
class SrgbPair:
    """A pair for SID.

    A mosaic that is mirrored, transposed and cropped anywhere has another phase: its crop starts at
    the next cell of the standard phase (sensor/cfa.py), so that every colour and every pixel of the
    picture keeps its position in the cell.
    """

    mosaic: Half
    """The short frame ``(H, W)``, normalised, not multiplied by the ratio."""
    phase: AnyPhase
    """Of its first pixel."""
    picture: Picture
    """The long frame ``(h, W, 3)`` as LibRaw develops it, from the mosaic's row ``top`` on."""
    noisy: Picture
    """The last rows of the short frame times the ratio, developed alike; never trained on."""
    ratio: float
    top: int = 0

    @property
    def cell(self) -> int:
        """Pixels along a side of a cell."""
        return self.phase.layout.side

    @property
    def slack(self) -> int:
        """Extra pixels that a crop needs to start at the standard phase."""
        return self.phase.layout.period - 1

    @property
    def validation_side(self) -> int:
        """Side in cells of the windows that are never trained on."""
        return (len(self.noisy) - self.slack) // self.cell

    @property
    def side(self) -> int:
        """The largest side in cells that a drawn crop may have."""
        height, width = self.picture.shape[:2]
        return (min(height - len(self.noisy), width) - self.slack) // self.cell

    def corrected(self, noise: NoiseAtIso | None) -> "SrgbPair":
        """Correct black and remove outliers, both of the whole frame; keep the picture's rows."""
        height, width = self.mosaic.shape
        planes = pack(self.mosaic, self.phase).astype(np.float32)
        if noise is not None:
            planes = remove_outliers(noise.correct_black(planes), noise.profile, self.phase)
        mosaic = unpack(planes.astype(np.float16), self.phase, (height, width))
        kept = mosaic[self.top : self.top + len(self.picture)].copy()
        return replace(self, mosaic=kept, phase=self.phase.shifted(self.top, 0), top=0)

    def cut(self, row: int, col: int, side: int, flip: Flip = NO_FLIP) -> tuple[Half, Picture]:
        """Cut planes ``(4 or 9, side, side)`` at the standard phase near a pixel of the picture.

        The picture that goes with them is ``(cell * side, cell * side, 3)``.
        """
        down, right = self._start(row, col, side, flip)
        reach, pixels = self.cell * side + self.slack, self.cell * side
        crop = np.s_[down : down + pixels, right : right + pixels]
        mosaic = self.mosaic[self.top + row :, col:][:reach, :reach]
        planes = pack(flip.image(mosaic)[crop], STANDARD_PHASE[self.phase.layout.name])
        return planes, flip.image(self.picture[row : row + reach, col : col + reach])[crop]

    def draw(self, rng: np.random.Generator, side: int) -> tuple[Half, Picture]:
        """Draw a crop of what is trained on, mirrored and transposed at random (section 4.2)."""
        height, width = self.picture.shape[:2]
        reach = self.cell * side + self.slack
        row = int(rng.integers(height - len(self.noisy) - reach + 1))
        col = int(rng.integers(width - reach + 1))
        return self.cut(row, col, side, Flip.random(rng))

    def validation_windows(self) -> list[tuple[Half, Picture, Picture]]:
        """Return the windows that are never trained on: planes, picture, noisy picture."""
        height, width = self.picture.shape[:2]
        side, top = self.validation_side, height - len(self.noisy)
        pixels = self.cell * side
        found = []
        for col in spread(width, pixels, width - pixels - self.slack):
            down, right = self._start(top, col, side, NO_FLIP)
            noisy = self.noisy[down : down + pixels, col + right : col + right + pixels]
            found.append((*self.cut(top, col, side), noisy))
        return found

    def _start(self, row: int, col: int, side: int, flip: Flip) -> tuple[int, int]:
        """Return where the standard phase starts in a flipped window."""
        reach = self.cell * side + self.slack
        colours = colour_map(self.phase.shifted(self.top + row, col), (reach, reach))
        return standard_start(flip.image(colours), self.phase.layout)


@dataclass(frozen=True)
class SrgbPairs:
    """The pairs of one camera as SID takes them.

    Their batches hold the sRGB pictures ``(N, 3, H, W)``, 0 to 1, as the truth, and a noise profile
    of zeros, which SID does not use.
    """

    pairs: tuple[SrgbPair, ...]

    @property
    def side(self) -> int:
        """The largest side in cells that a crop of every pair may have."""
        return min(pair.side for pair in self.pairs)

    def mean(self) -> Tensor:
        """Return the mean colour ``(3,)`` of what is trained on, 0 to 1."""
        trained = [pair.picture[: -len(pair.noisy)] for pair in self.pairs]
        means = np.mean([picture.mean((0, 1), dtype=np.float64) for picture in trained], 0)
        return torch.from_numpy((means / WHITE).astype(np.float32))

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw so many crops, of every pair as often."""
        chosen = [self.pairs[i] for i in rng.integers(len(self.pairs), size=count)]
        return _batch([pair.draw(rng, side) for pair in chosen], [p.ratio for p in chosen])

    def validation_batches(self) -> list[tuple[Batch, Tensor]]:
        """Return the validation crops, one batch per pair, each with the noisy picture."""
        batches = []
        for pair in self.pairs:
            windows = pair.validation_windows()
            batch = _batch([window[:2] for window in windows], [pair.ratio] * len(windows))
            batches.append((batch, _tensor([noisy for _, _, noisy in windows])))
        return batches


class SrgbCollector:
    """Develops up to ``count`` pairs as they are read, and makes `SrgbPairs` of them."""

    def __init__(self, count: int) -> None:
        self._max_pixels = MAX_PIXELS // max(count, 1)
        self._taken: list[tuple[SrgbPair, float]] = []

    def __call__(self, short: RawPhoto, long: RawPhoto, ratio: float, iso: float) -> None:
        """Develop a pair and keep what is trained on: the middle rows of a large frame.

        Raises PairError if the frames are too small or monochrome, and what `develop_mosaic`
        raises.
        """
        if short.monochrome:
            raise PairError(
                f"{short.path}: is monochrome, and --method sid makes colour pictures: use another "
                "method"
            )
        x = short.normalised()
        cell, slack = short.phase.layout.side, short.phase.layout.period - 1
        height, width = x.shape
        smallest = MIN_SIDE * cell
        rows = min(height, max(smallest, self._max_pixels // width))
        if min(rows, width) < smallest:
            raise PairError(f"{short.path}: {width}x{height} pixels are too few to tune")
        side, top = validation_side(rows // cell, width // cell), (height - rows) // 2
        bottom = slice(top + rows - cell * side - slack, top + rows)
        picture = develop_mosaic(long, long.normalised())[top : top + rows].copy()
        noisy = develop_mosaic(short, x * np.float32(ratio))[bottom].copy()
        pair = SrgbPair(x.astype(np.float16), short.phase, picture, noisy, ratio, top)
        self._taken.append((pair, iso))

    def pairs(self, profile: CameraNoiseProfile) -> SrgbPairs:
        """Return the pairs with the black of a camera's profile, as `led denoise` corrects it."""
        return SrgbPairs(tuple(pair.corrected(profile.at(iso)) for pair, iso in self._taken))


def _batch(crops: Sequence[tuple[Half, Picture]], ratios: Sequence[float]) -> Batch:
    planes, pictures = zip(*crops, strict=True)
    x, ratio = torch.from_numpy(np.stack(planes)).float(), torch.tensor(ratios)
    return Batch(_tensor(pictures), x, ratio, torch.zeros_like(ratio), torch.zeros_like(ratio))


def _tensor(pictures: Sequence[Picture]) -> Tensor:
    """Return pictures ``(N, 3, H, W)``, 0 to 1."""
    coded = np.stack(pictures).astype(np.float32) / np.float32(WHITE)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(coded, 3, 1)))


@dataclass(frozen=True)
class SidRecipe(FinetuneRecipe):
    """What decides a training by SID besides the pairs and the start."""

    iterations: int = 2000
    batch: int = 8
    learning_rate: float = 1e-3
    """Peak, of Muon for the kernels; Adam's for the rest follows."""


class SidMethod(FinetuneMethod):
    """Trains all weights on pairs of a short raw and the long frame's picture."""

    name = "sid"
    recipe_type = SidRecipe
    baseline = "LibRaw's picture of the noisy frame"
    # The model stands beside the one that makes DNGs of this camera, and is not picked for it.
    name_suffix = "-sid"
    hint = "led denoise --model {name} makes pictures with it; it is never picked by itself"
    muon = True
    warm_up = 50
    parallel = True

    recipe: SidRecipe

    def __init__(self, recipe: SidRecipe, inputs: MethodInputs) -> None:
        assert isinstance(inputs.collector, SrgbCollector)
        self.srgb_pairs = inputs.collector.pairs(inputs.camera_pairs.noise_profile)
        super().__init__(recipe, inputs)
        self.form = SrgbForm(self.camera_pairs.planes)

    @classmethod
    def collector(cls, count: int) -> SrgbCollector:
        """Return what develops the pairs while they are read."""
        return SrgbCollector(count)

    def max_side(self) -> int:
        """Return the largest side in cells that a crop may have."""
        return self.srgb_pairs.side

    def before(self, pretrained: Pretrained, *, bf16: bool) -> float:
        """Return the PSNR in dB of the noisy frames as LibRaw develops them."""
        batches = self.srgb_pairs.validation_batches()
        return fmean(psnr_of(noisy, batch.clean) for batch, noisy in batches)

    def begin(self, pretrained: Pretrained) -> Start:
        """Transfer the pretrained weights that fit; the first and last layer are initialised."""
        start = transfer_weights(pretrained, seed=self.recipe.seed, form=self.form)
        last = architecture_of(start.spec.architecture).last_layer
        if any(name.startswith(f"{last}.") for name in start.new):
            self._start_at_mean(start.net.get_submodule(last))
        spec = replace(
            start.spec,
            input_form="gain",
            output="srgb",
            cfa=self.camera_pairs.cfa,
            planes=self.camera_pairs.planes,
        )
        return start._replace(spec=spec)

    def _start_at_mean(self, last: nn.Module) -> None:
        """Let a new last layer start with the pictures' mean colour everywhere.

        The colours of a picture are far from zero, and a bias moves slowly; what the layers before
        were trained to give is on another scale.
        """
        assert isinstance(last, nn.Conv2d)
        if last.bias is not None:
            colour = self.srgb_pairs.mean()
            nn.init.zeros_(last.weight)
            with torch.no_grad():
                last.bias.copy_(colour.repeat_interleave(len(last.bias) // len(colour)))

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Draw crops; return the L1 between the network's pictures and LibRaw's."""
        drawn = self.srgb_pairs.batch(self.workers_rng(generator), len(part), self.side)
        batch = drawn.to(self.device)
        return (self.denoise(net, batch) - batch.clean).abs().mean()

    def denoise(self, net: nn.Module, batch: Batch) -> Tensor:
        """Return the pictures ``(N, 3, H, W)`` that the network makes."""
        return subpixel(self.form(net, *batch[1:]))

    def validation_batches(self) -> list[Batch]:
        """Return the validation crops with their pictures."""
        return [batch for batch, _ in self.srgb_pairs.validation_batches()]

    def record(self) -> dict[str, Any]:
        """Return what the pictures are."""
        return {"pictures": f"LibRaw {LIBRAW_VERSION}, camera white balance, sRGB"}
