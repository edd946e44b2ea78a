"""Networks trained in published manners against led's recipe, for the same compute.

    python tests/benchmarks/rivals.py --crops runs/crops.npy

Four trainings of the same processor time, judged on the NikonD850 of the quality protocol at the
ratios that the published ones were made for:

- LED's pretraining as published: SID's UNet on gained planes, L1, Adam, five virtual cameras with
  a CSA each; judged with the mean of the CSAs, as before any tuning;
- ELD: the same network from scratch on the camera's own calibrated noise;
- ELD from LED's pretraining: what the first training gives, trained on as the second is;
- led: the bundled model's recipe, which has not seen this camera's noise alone.
"""

import copy
import math
import time
from pathlib import Path

import torch
from figures import figures, summary
from protocol import Cell, Shot, photos
from report import SHARED, context, finish, head, parser_of, table
from torch import nn

from ledcli.nets.repnr import blocks, deploy
from ledcli.noise.cameras import calibrated_cameras
from ledcli.noise.estimate import estimate_noise
from ledcli.training.data.crops import load_crops
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.loop import Trainer
from ledcli.training.optim import Schedule
from ledcli.training.pretrain import LEARNING_RATES, PretrainMethod

CAMERA, GAIN, RATIOS = "NikonD850", 10.0, (100.0, 200.0, 300.0)
CPU = torch.device("cpu")
UNTIMED, TIMED = 2, 4
WARM_UP = 0.05
"""Share of the iterations; a longer one would be most of so short a training."""
LED = PretrainRecipe(
    form="gain",
    architecture="unet",
    ratio_range=(100.0, 300.0),
    makers=False,
    generic=0.0,
    optimiser="adam",
    stages=((1.0, 8, 128),),
)
ELD = PretrainRecipe(**{**vars(LED), "virtual": 1})
OURS = PretrainRecipe()


def main() -> None:
    """Train, judge, print and keep."""
    parser = parser_of(__doc__)
    parser.add_argument("--iterations", type=int, default=1200, help="of the published ones")
    parser.add_argument("--crops", type=Path, required=True, help="crop file of led pretrain")
    parser.add_argument("--photos", type=Path, default=SHARED / "clean" / "eval" / "kodak")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    torch.set_num_threads(1)

    led = Rival(LED, options.crops)
    led.train(options.iterations)
    scratch, tuned = Rival(ELD, options.crops), Rival(ELD, options.crops)
    tuned.start_from(led)
    for rival in (scratch, tuned):
        rival.draws_only(CAMERA)
        rival.train(options.iterations)
    ours = Rival(OURS, options.crops)
    ours.train(max(1, round(options.iterations * led.seconds / ours.seconds)))
    rivals = {
        "LED's pretraining": led,
        "ELD from scratch": scratch,
        "ELD from LED's pretraining": tuned,
        "led's recipe": ours,
    }
    pictures = photos(options.photos)
    results = {
        name: {f"{ratio:g}": rival.judged(Cell(CAMERA, GAIN, ratio), pictures) for ratio in RATIOS}
        | {"iterations": rival.done}
        for name, rival in rivals.items()
    }
    about = context() | {"camera": CAMERA, "gain": GAIN}
    rows = [
        [name, str(row["iterations"]), *(_figure(row[f"{ratio:g}"]) for ratio in RATIOS)]
        for name, row in results.items()
    ]
    markdown = head("Rivals of equal compute", about) + table(
        ["training", "iterations", *(f"{CAMERA} K={GAIN:g}, {r:g}" for r in RATIOS)], rows
    )
    finish(options.json, about | {"rivals": results}, markdown)


class Rival:
    """A network in training on one core, and its place among the others."""

    def __init__(self, recipe: PretrainRecipe, crops: Path) -> None:
        torch.manual_seed(0)
        self.method = PretrainMethod(recipe, load_crops(crops), CPU)
        self.net: nn.Module = self.method.network()
        self.recipe, self.done = recipe, 0
        self.seconds = self._seconds_a_step()

    def _trainer(self, iterations: int) -> Trainer:
        rate, warm_up = LEARNING_RATES[self.recipe.optimiser], math.ceil(WARM_UP * iterations)
        schedule = Schedule(iterations, learning_rate=rate, warm_up=warm_up)
        muon = self.recipe.optimiser == "muon"
        return Trainer(self.net, self.method, schedule, CPU, bf16=True, muon=muon)

    def _seconds_a_step(self) -> float:
        """Processor time of a step, the mean over the recipe's stages, without changing much."""
        before = {name: value.clone() for name, value in self.net.state_dict().items()}
        trainer, total, begun = self._trainer(10**9), 0.0, 0.0
        for until, _, _ in self.recipe.stages:
            for step in range(UNTIMED + TIMED):
                if step == UNTIMED:
                    at = time.process_time()
                trainer.one_step((begun + until) / 2)
            # The stages share the iterations by their parts of the progress.
            total += (time.process_time() - at) / TIMED * (until - begun)
            begun = until
        self.net.load_state_dict(before)
        return total

    def draws_only(self, camera: str) -> None:
        """Train on one camera's calibrated noise alone."""
        (name,) = self.method.sampler.sets
        self.method.sampler.sets = {name: [calibrated_cameras()[camera]]}

    def start_from(self, other: "Rival") -> None:
        """Take over the weights of another, its CSAs' mean in place of the own one."""
        for ours, theirs in zip(blocks(self.net), blocks(other.net), strict=True):
            with torch.no_grad():
                for mine, those in (
                    (ours.align_weights, theirs.align_weights),
                    (ours.align_biases, theirs.align_biases),
                ):
                    (own,) = mine.values()
                    own.copy_(torch.stack(list(those.values())).mean(0))
        shared = {n: v for n, v in other.net.state_dict().items() if ".align_" not in n}
        self.net.load_state_dict(shared, strict=False)

    def train(self, iterations: int) -> None:
        """Train to the end of a schedule; the network keeps the averaged weights."""
        trainer = self._trainer(iterations)
        for line in trainer.run(log_every=100):
            print(line.as_json(), flush=True)
        trainer.swap_average()
        self.done = iterations

    def judged(self, cell: Cell, pictures: list) -> dict[str, float]:
        """Return the figures of a cell, by the mean of the CSAs or the generic set."""
        sets = list(self.method.sampler.sets)
        plain = deploy(
            self._averaged() if len(sets) > 1 and "generic" not in sets else self.net, sets[0]
        )
        plain = plain.to(memory_format=torch.channels_last).eval()
        found = []
        for picture in pictures:
            shot = Shot(picture, cell)
            line = [torch.tensor([v]) for v in (cell.ratio, *estimate_noise(shot.short))]
            # Kodak's planes are a multiple of what the networks take.
            planes = torch.from_numpy(shot.short)[None]
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                clean = self.method.form(plain, planes, *line)[0]
            found.append(figures(clean.float().numpy(), picture).as_json())
        return summary(found)

    def _averaged(self) -> nn.Module:
        """Return the network with every CSA at the mean of all."""
        net = copy.deepcopy(self.net)
        with torch.no_grad():
            for block in blocks(net):
                for aligned in (block.align_weights, block.align_biases):
                    mean = torch.stack(list(aligned.values())).mean(0)
                    for value in aligned.values():
                        value.copy_(mean)
        return net


def _figure(row: dict[str, float]) -> str:
    return f"{row['psnr']:.2f}/{row['ssim']:.3f}"


if __name__ == "__main__":
    main()
