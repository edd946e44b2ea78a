"""Exposure diffusion against the plain network of the same size.

    python tests/benchmarks/exposure.py --crops runs/crops.npy --json OUT

From scratch, in the gain form, on one camera's calibrated noise at ratios 100 to 300: a network
trained by L1, two trained by exposure diffusion for the same iterations (T = 2 as in the paper, and
T = 1, whose way is that of two looks), and the first one again for as much processor time as T = 2
takes. Judged on the NikonD850 of the quality protocol; exposure diffusion with several numbers of
looks.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from protocol import Cell, Shot, photos
from report import SHARED, context, finish, head, parser_of, table
from torch import Tensor, nn

from ledcli.evaluation.metrics import psnr, ssim
from ledcli.nets.forms import AdaptiveForm, InputForm, form_of, refine
from ledcli.nets.network import build
from ledcli.noise.cameras import calibrated_cameras
from ledcli.noise.estimate import estimate_noise
from ledcli.training.data.crops import load_crops
from ledcli.training.data.sampler import Batch, PretrainRecipe, Sampler, short_frames
from ledcli.training.loop import Method, Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.exposure import ExposureMethod, ExposureRecipe
from ledcli.training.methods.led import form_loss
from ledcli.training.optim import Schedule

CPU = torch.device("cpu")
CAMERA, GAIN, RATIOS, LOOKS = "NikonD850", 10.0, (100.0, 300.0), (1, 2, 3, 5)
SMALL, WHOLE = [12, 24, 48, 64], [16, 64, 128, 256]
LEARNING_RATE = 2e-3


def main() -> None:
    """Train, judge, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--whole", action="store_true", help="a network of the bundled one's size")
    parser.add_argument("--side", type=int, default=64, help="of a crop, plane pixels")
    parser.add_argument("--l1", type=float, default=ExposureRecipe().l1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-plain", action="store_true", help="exposure diffusion alone")
    parser.add_argument("--crops", type=Path, required=True, help="crop file of led pretrain")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = ExposureRecipe(
        iterations=options.iterations,
        side=options.side,
        l1=options.l1,
        learning_rate=LEARNING_RATE,
        seed=options.seed,
    )
    channels = WHOLE if options.whole else SMALL
    shots = OneCamera(options.crops)
    pictures = photos(options.photos)

    exposing = {}
    for steps in (2, 1):
        method = ExposureMethod(replace(recipe, steps=steps), MethodInputs(shots, CPU))
        exposing[steps] = trained(method, recipe, recipe.iterations, channels)
    results = {}
    if not options.no_plain:
        gain, seconds = form_of("gain"), exposing[2][1]
        net, plain_seconds = trained(Plain(shots, recipe), recipe, recipe.iterations, channels)
        results["plain"] = judged(net, gain, 1, pictures) | _cost(recipe.iterations, plain_seconds)
        longer = round(recipe.iterations * seconds / plain_seconds)
        net, seconds = trained(Plain(shots, recipe), recipe, longer, channels)
        cost = _cost(longer, seconds)
        results["plain, the same compute"] = judged(net, gain, 1, pictures) | cost
    for steps, (net, seconds) in exposing.items():
        for looks in LOOKS:
            figures = judged(net, AdaptiveForm(), looks, pictures)
            name = f"exposure diffusion, T = {steps}, N = {looks}"
            results[name] = figures | _cost(recipe.iterations, seconds)
    rows = [
        [name, str(row["iterations"]), f"{row['minutes']:.1f}"]
        + [f"{row[f'{ratio:g}'][0]:.2f}/{row[f'{ratio:g}'][1]:.3f}" for ratio in RATIOS]
        for name, row in results.items()
    ]
    about = context() | {
        "camera": CAMERA,
        "gain": GAIN,
        "channels": channels,
        "recipe": vars(recipe),
    }
    columns = ["network", "iterations", "minutes of a core", *(f"ratio {r:g}" for r in RATIOS)]
    markdown = head("Exposure diffusion", about) + (
        f"{CAMERA}, K = {GAIN:g}; PSNR in dB and SSIM of the planes, {len(pictures)} photographs. "
        f"ResUNet of {channels} channels. "
        f"Crops of {recipe.side} plane pixels, {recipe.batch} an iteration, "
        f"L1 at {recipe.l1:g}, seed {recipe.seed}. "
        "N counts the evaluations of the network.\n\n" + table(columns, rows)
    )
    finish(options.json, about | {"results": results}, markdown)


class OneCamera:
    """Short frames of one camera over clean crops, drawn as pairs are."""

    def __init__(self, crops: Path) -> None:
        recipe = PretrainRecipe(ratio_range=(RATIOS[0], RATIOS[-1]), makers=False, virtual=0)
        self.sampler = Sampler(recipe, load_crops(crops), CPU)
        self.side = self.sampler.crops.shape[-1]

    def batch(self, rng: np.random.Generator, count: int, side: int) -> Batch:
        """Draw crops ``(count, 4, side, side)``."""
        sampler = self.sampler.seeded(int(rng.integers(2**31)))
        noise = calibrated_cameras()[CAMERA].sample(
            count, sampler.generator, gain=GAIN, colour_bias=False
        )
        return short_frames(
            sampler.scenes(count, side), sampler.ratios(count), noise, sampler.generator
        )

    def validation_batches(self, *, blind: bool = False) -> list[Batch]:
        """Return the same few crops every time, for the log."""
        return [self.batch(np.random.default_rng(0), 4, 128)]


class Plain(Method):
    """The published way: L1 between the network's output and the clean planes."""

    def __init__(self, shots: OneCamera, recipe: ExposureRecipe) -> None:
        self.shots, self.recipe, self.form = shots, recipe, form_of("gain")

    def loss(
        self, net: nn.Module, progress: float, generator: torch.Generator, part: range
    ) -> Tensor:
        """Return the loss of the next batch."""
        seed = int(torch.randint(2**31, (), generator=generator))
        batch = self.shots.batch(np.random.default_rng(seed), self.recipe.batch, self.recipe.side)
        return form_loss(self.form, net, batch)

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return nothing: judged at the end."""
        return {}


def trained(
    method: Plain | ExposureMethod,
    recipe: ExposureRecipe,
    iterations: int,
    channels: list[int],
) -> tuple[nn.Module, float]:
    """Train a network from scratch; return it and the processor seconds it took."""
    torch.manual_seed(recipe.seed)
    planes = method.form.out_planes if isinstance(method.form, AdaptiveForm) else 4
    net = build("resunet", {"in_planes": 4, "out_planes": planes, "channels": channels})
    schedule = Schedule(iterations, learning_rate=recipe.learning_rate, warm_up=50, ema=0.99)
    trainer = Trainer(net, method, schedule, CPU, bf16=True, seed=recipe.seed, muon=True)
    begun = time.process_time()
    for line in trainer.run(log_every=100):
        print(type(method).__name__, line.as_json(), flush=True)
    trainer.swap_average()
    return trainer.net.eval(), time.process_time() - begun


def judged(net: nn.Module, form: InputForm, looks: int, pictures: list) -> dict[str, list[float]]:
    """Return PSNR and SSIM at each ratio, the means over the photographs."""
    found = {}
    for ratio in RATIOS:
        values = []
        for picture in pictures:
            short = Shot(picture, Cell(CAMERA, GAIN, ratio)).short
            noise = estimate_noise(short)
            line = [torch.tensor([v]) for v in noise]

            def clean(x: Tensor, at: float, line: list[Tensor] = line) -> Tensor:
                return form(net, x[None], torch.tensor([at]), *line)[0].float()

            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                out = refine(clean, torch.from_numpy(short), ratio, noise, looks)
            shown = out.clamp(0, 1).double().numpy()
            values.append((psnr(shown, picture.planes), ssim(shown, picture.planes)))
        found[f"{ratio:g}"] = np.mean(values, 0).round(4).tolist()
    return found


def _cost(iterations: int, seconds: float) -> dict[str, float]:
    return {"iterations": iterations, "minutes": round(seconds / 60, 2)}


if __name__ == "__main__":
    main()
