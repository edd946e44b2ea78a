"""What dark frames give a camera that nobody has tuned a model to: `led denoise --dark`.

    python tests/benchmarks/dark.py

The un-tuned model on made-up cameras at high ratios: without dark frames, with one, with eight, and
with the camera's true pattern subtracted, which no number of frames can surpass. Frames are the
middle of photographs; a camera's have ten times as many rows and columns, by which its columns,
rows and shading are known three times as well.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from protocol import Planes, photos, score
from report import RESULTS, SHARED, context, head, keep, parser_of, table

from ledcli.evaluation.datasets.photographs import noise_of, seed_of
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.dark import DarkMeasurement
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.noise.physics import add_noise
from ledcli.sensor.cfa import Phase
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.store import find_model

RATIOS = (100.0, 300.0)
FRAMES = (1, 8)
COUNT = 2
"""Photographs of a cell."""
MODEL = "generic"
NOISE = ("CanonEOS700D", 10.0)
"""Calibrated camera and system gain K of the random noise."""
DN = 1 / CALIBRATED_WHITE


@dataclass(frozen=True)
class PatternCamera:
    """A camera whose black has a fixed pattern, in DN; its random noise is a calibrated one's."""

    name: str
    offsets: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    shading: float = 0.0
    """Standard deviations: over the frame, of columns, of rows, of single pixels."""
    columns: float = 0.0
    rows: float = 0.0
    pixels: float = 0.0
    hot: float = 0.0
    """Share of hot pixels, 100 to 10,000 DN too bright."""

    @cached_property
    def pattern(self) -> Planes:
        """The fixed pattern (4, h, w) in DN."""
        rng = np.random.default_rng(seed_of(self.name))
        _, height, width = shape = SHAPE
        nodes = torch.from_numpy(rng.normal(0, 1, (1, 4, 4, 4)))
        smooth = F.interpolate(nodes, shape[1:], mode="bicubic", align_corners=True)[0].numpy()
        total = np.array(self.offsets)[:, None, None] + self.shading * smooth / smooth.std()
        total = total + self.columns * rng.normal(0, 1, (4, 1, width))
        total = total + self.rows * rng.normal(0, 1, (4, height, 1))
        total = total + self.pixels * rng.normal(0, 1, shape)
        hot = rng.random(shape) < self.hot
        return (total + hot * 10 ** rng.uniform(2, 4, shape)).astype(np.float32)

    def frame(self, clean: Planes, ratio: float, key: str) -> Planes:
        """Photograph clean planes (4, h, w) in 0..1, too dark by the ratio; normalised."""
        signal = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
        generator = torch.Generator().manual_seed(seed_of(f"{self.name} {ratio:g} {key}"))
        dn = add_noise(signal, noise_of(*NOISE), generator)[0].numpy() + self.pattern
        return (dn.round() * np.float32(DN)).clip(max=1)


SHAPE = (4, 192, 192)
CAMERAS = (
    PatternCamera("strong", (-3.0, 1.0, 0.5, 4.0), 6.0, 5.0, 1.0, 5.0, 1 / 5000),
    PatternCamera("black off by 1 to 2 DN", (-1.0, 1.0, 1.5, 2.0)),
    PatternCamera("no pattern"),
)


def main() -> None:
    """Run, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--json", type=Path, default=RESULTS / "dark.json")
    options = parser.parse_args()
    clean = [photo.planes for photo in photos(options.photos, SHAPE[1], COUNT)]
    model = find_model(MODEL).path
    denoiser, before = Denoiser(model, MODEL), time.monotonic()
    found: dict[str, Any] = {}
    for camera in CAMERAS:
        for ratio in RATIOS:
            key = f"{camera.name}, ratio {ratio:g}"
            found[key] = _cells(camera, ratio, clean, denoiser)
            print(key, found[key], file=sys.stderr, flush=True)
    about = context() | {"model_sha256": file_sha256(model), "seconds": time.monotonic() - before}
    keep(options.json, about | {"psnr": found}, _markdown(about, found))
    print(options.json.with_suffix(".md").read_text())


Correct = Callable[[Planes], float | None]
"""Corrects a frame in place, and returns the read variance if it is known."""


def _cells(
    camera: PatternCamera, ratio: float, clean: list[Planes], denoiser: Denoiser
) -> dict[str, float]:
    def nothing(planes: Planes) -> None:
        return None

    def truth(planes: Planes) -> None:
        planes -= camera.pattern * np.float32(DN)

    ways: dict[str, Correct] = {"without": nothing}
    for frames in FRAMES:
        measurement = DarkMeasurement(Phase.RGGB, (2 * SHAPE[1], 2 * SHAPE[2]), DN)
        for number in range(frames):
            dark = camera.frame(np.zeros(SHAPE, np.float32), 1.0, f"dark {number}")
            if why := measurement.add(dark):
                raise SystemExit(f"{camera.name}: {why}")
        pattern = measurement.result()

        def with_frames(planes: Planes, pattern: Any = pattern) -> float:
            pattern.correct(planes)
            return float(pattern.read_variance)

        ways[str(frames)] = with_frames
    ways["true pattern"] = truth
    values: dict[str, list[float]] = {"noisy": [], **{way: [] for way in ways}}
    for number, photo in enumerate(clean):
        short = camera.frame(photo, ratio, f"photo {number}")
        values["noisy"].append(score(np.minimum(short * np.float32(ratio), 1), photo).psnr)
        for way, correct in ways.items():
            planes = short.copy()
            read = correct(planes)
            noise = estimate_photo_noise(planes, DN, None, read)
            result = denoiser.denoise(planes, ratio, phase=Phase.RGGB, noise=noise)
            values[way].append(score(result, photo).psnr)
    return {way: round(float(np.mean(each)), 2) for way, each in values.items()}


def _markdown(about: dict[str, Any], found: dict[str, dict[str, float]]) -> str:
    rows = [[key, *(f"{value:.2f}" for value in cells.values())] for key, cells in found.items()]
    titles = {"without": "no dark frame", "1": "one dark frame", "8": "eight dark frames"}
    columns = [titles.get(way, way) for way in next(iter(found.values()))]
    strong = CAMERAS[0]
    return (
        head("Dark frames", about)
        + f"Bundled model {MODEL}, sha256 {about['model_sha256'][:12]}, un-tuned, blind. PSNR "
        f"in dB of the raw planes, mean of {COUNT} Kodak photographs; {about['seconds']:.0f} s in "
        f"all. Random noise of the calibrated {NOISE[0]} at K = {NOISE[1]:g}. The strong pattern: "
        f"{strong.offsets} DN by colour, shading {strong.shading:g}, columns {strong.columns:g}, "
        f"rows {strong.rows:g}, pixels {strong.pixels:g} DN (standard deviations), one hot pixel "
        f"in {1 / strong.hot:.0f}.\n\n" + table(["camera", *columns], rows)
    )


if __name__ == "__main__":
    main()
