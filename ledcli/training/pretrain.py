"""LED's pretraining (LED, section 3.2): one network over many cameras' noise.

Every iteration draws one CSA set, makes a batch of short frames with the noise of that set's
cameras, and trains that CSA and the shared weights.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ledcli import __version__
from ledcli.errors import TrainingError
from ledcli.nets.forms import FORMS, Stabilised
from ledcli.nets.repnr import convert, select
from ledcli.nets.table import build
from ledcli.noise.cameras import (
    CALIBRATED_WHITE,
    MAKERS,
    Camera,
    calibrated,
    fresh_camera,
    virtual_cameras,
)
from ledcli.noise.physics import NoiseParameters, add_noise
from ledcli.noise.stabilise import electron_scale, stabilise
from ledcli.training.crops import FULL_SCALE, load_crops
from ledcli.training.loop import LogLine, Schedule, Trainer, averaged
from ledcli.zoo.modelfile import ModelSpec, save_model

GENERIC = "generic"
CHARBONNIER = 0.5
"""Half a standard deviation of noise: a square below, an absolute value above. Closer to the mean
than to the median, so that dim light is not darkened."""
STEPS = (1.0, 1.0, 1.0, 4.0, 16.0)
"""Quantisation steps in 14-bit DN: 14-bit, 12-bit and 10-bit cameras."""


@dataclass(frozen=True)
class Recipe:
    """All that decides a pretraining but its length; written into the model file.

    Attributes
    ----------
    form : str
        Input form, ``stabilised`` or ``gain``.
    architecture, arguments
        The network, as in nets/table.py, without its planes.
    ratio_range : (float, float)
        Ratios, drawn evenly in their logarithm.
    at_one : float
        Share of frames at ratio 1 exactly, when the range begins there.
    virtual : int
        Virtual cameras by coverage, one CSA set each.
    makers : bool
        A CSA set for each maker with a calibrated camera.
    generic : float
        Share of iterations for the generic set, whose cameras are drawn afresh.
    colour_bias : bool
        Frames with a wrong black: a tuned model learns its camera's, a blind one cannot.
    stages : sequence of (until, batch, side)
        Batches and crop sides over the progress: small crops first, large ones last.
    """

    form: str = "stabilised"
    architecture: str = "unet"
    arguments: dict[str, Any] = field(default_factory=dict)
    ratio_range: tuple[float, float] = (1.0, 300.0)
    at_one: float = 0.1
    virtual: int = 5
    makers: bool = True
    generic: float = 0.5
    colour_bias: bool = False
    stages: Sequence[tuple[float, int, int]] = ((0.6, 8, 128), (0.85, 4, 192), (1.0, 2, 256))
    seed: int = 0

    def sets(self) -> dict[str, list[Camera]]:
        """Return the CSA sets and the cameras of each; the generic one draws its own as well."""
        known = calibrated()
        sets = {GENERIC: list(known.values())} if self.generic > 0 else {}
        if self.makers:
            sets |= {maker: [known[name] for name in names] for maker, names in MAKERS.items()}
        return sets | {camera.name: [camera] for camera in virtual_cameras(self.virtual, self.seed)}


class Pretraining:
    """The method that the loop trains.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    crops : uint16 ``(n, 4, S, S)``
        A crop file. The last ones are held out for validation.
    device : torch.device
        Where batches are made.
    """

    def __init__(self, recipe: Recipe, crops: NDArray[np.uint16], device: torch.device) -> None:
        if recipe.form not in FORMS:
            raise TrainingError(f"no input form '{recipe.form}': choose {' or '.join(FORMS)}")
        self.recipe, self.device, self.form = recipe, device, FORMS[recipe.form]
        held = min(8, len(crops) // 4)
        self.crops, self.held = crops[: len(crops) - held], crops[len(crops) - held :]
        self.sets = recipe.sets()
        self.rng = np.random.default_rng()
        self.draws = torch.Generator()

    def network(self) -> nn.Module:
        """Build the network with its CSA sets; the stabilised form starts as the identity."""
        torch.manual_seed(self.recipe.seed)
        arguments = {"in_planes": self.form.in_planes, **self.recipe.arguments}
        net = convert(build(self.recipe.architecture, arguments), self.sets)
        if isinstance(self.form, Stabilised):
            last = list(net.children())[-1]
            for weight in last.parameters():
                nn.init.zeros_(weight)
        return net

    def loss(self, net: nn.Module, progress: float, generator: torch.Generator) -> Tensor:
        """Draw a CSA set and a batch; return the loss in the form's own domain.

        Stabilised: Charbonnier in standard deviations of noise, so that every ratio weighs the
        same. Gain: L1 on the gained planes, as published.
        """
        # All draws follow from the loop's generator, so that a resumed training goes on alike.
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        self.draws.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        _, batch, side = next(s for s in self.recipe.stages if progress < s[0] or s[0] >= 1)
        name = self._draw_set()
        select(net, name)
        clean, ratio = self._scenes(batch, side), self._ratios(batch)
        noise = self._cameras(name, batch)
        return self._loss_on(net, clean, ratio, noise, generator)

    def _loss_on(
        self,
        net: nn.Module,
        clean: Tensor,
        ratio: Tensor,
        noise: NoiseParameters,
        generator: torch.Generator,
    ) -> Tensor:
        x, gain, variance = self._short_frames(clean, ratio, noise, generator)
        if not isinstance(self.form, Stabilised):
            return F.l1_loss(self.form(net, x, ratio, gain, variance), clean)
        gain, t0 = electron_scale(*(e.reshape(-1, 1, 1, 1) for e in self._mistaken(gain, variance)))
        denoised = self.form.denoise(net, stabilise(x / gain, t0), t0)
        target = stabilise(clean / (gain * ratio.reshape(-1, 1, 1, 1)), t0)
        return ((denoised - target).square() + CHARBONNIER**2).sqrt().mean() - CHARBONNIER

    def _mistaken(self, gain: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Make the noise line wrong as the blind estimate is, so that the network forgives it."""
        normal = torch.randn(2, len(gain), generator=self.draws).to(gain.device)
        far = torch.rand(2, len(gain), generator=self.draws).to(gain.device)
        how_far = torch.rand(2, len(gain), generator=self.draws).to(gain.device)
        # Texture makes it overrate the gain; without dark areas the read noise is a guess.
        texture = torch.where(far[0] < 0.3, how_far[0], 0.0)
        guess = torch.where(far[1] < 0.15, 5 * how_far[1] - 2, 0.0)
        return gain * (0.12 * normal[0] + texture).exp(), variance * (
            0.15 * normal[1] + guess
        ).exp()

    def _short_frames(
        self, clean: Tensor, ratio: Tensor, noise: NoiseParameters, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised short frames and their true noise line, per frame."""
        dn = add_noise(clean * CALIBRATED_WHITE / ratio.reshape(-1, 1, 1, 1), noise, generator)
        x = (dn / CALIBRATED_WHITE).clamp_max(1.0)
        return x, noise.gain / CALIBRATED_WHITE, noise.pixel_variance() / CALIBRATED_WHITE**2

    def _draw_set(self) -> str:
        others = [name for name in self.sets if name != GENERIC]
        if not others or self.rng.random() < self.recipe.generic:
            return GENERIC
        return str(self.rng.choice(others))

    def _cameras(self, name: str, batch: int) -> NoiseParameters:
        frames = []
        for _ in range(batch):
            cameras = self.sets[name]
            camera = cameras[self.rng.integers(len(cameras))]
            fresh = name == GENERIC and self.rng.random() < 0.6
            if fresh:
                camera = fresh_camera(self.draws)
            frame = camera.sample(1, self.draws, colour_bias=self.recipe.colour_bias)
            if fresh:
                frame.step.fill_(float(self.rng.choice(STEPS)))
            frames.append(frame)
        columns = zip(*(vars(f).values() for f in frames), strict=True)
        return NoiseParameters(*(torch.cat(column) for column in columns)).to(self.device)

    def _ratios(self, batch: int) -> Tensor:
        low, high = self.recipe.ratio_range
        ratios = np.exp(self.rng.uniform(np.log(low), np.log(high), batch))
        if low == 1:
            ratios[self.rng.random(batch) < self.recipe.at_one] = 1
        return torch.from_numpy(ratios.astype(np.float32)).to(self.device)

    def _scenes(self, batch: int, side: int) -> Tensor:
        """Draw clean planes: crops, turned and mirrored, under a random illuminant and exposure."""
        whole = self.crops.shape[-1]
        side = min(side, whole)
        coded = np.empty((batch, 4, side, side), np.uint16)
        for planes in coded:
            top, left = self.rng.integers(0, whole - side + 1, 2)
            crop = self.crops[self.rng.integers(len(self.crops))]
            planes[:] = self._turned(crop[:, top : top + side, left : left + side])
        linear = (torch.from_numpy(coded).to(self.device).float() / FULL_SCALE).square()
        red, blue = self.rng.uniform(1.2, 2.6, (2, batch))
        exposure = self.rng.uniform(0.4, 1.0, batch)
        over = self.rng.random(batch) < 0.1
        exposure[over] = self.rng.uniform(1.0, 2.5, int(over.sum()))
        colours = exposure[:, None] / np.stack((red, np.ones(batch), blue, np.ones(batch)), 1)
        weights = torch.from_numpy(colours.astype(np.float32)).to(self.device)
        return (linear * weights[:, :, None, None]).clamp_max(1.0)

    def _turned(self, planes: NDArray[np.uint16]) -> NDArray[np.uint16]:
        # A mirrored mosaic is one of another phase: packed by colour, the planes just mirror too,
        # and a transposed one swaps the two greens.
        flips = self.rng.random(3) < 0.5
        planes = planes[:, :: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
        return planes[[0, 3, 2, 1]].transpose(0, 2, 1) if flips[2] else planes

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return the PSNR of held-out crops at ratios 1, 20, 100 and 300: same frames each time."""
        if not len(self.held):
            return {}
        name = next(iter(self.sets))
        select(net, name)
        generator = torch.Generator(self.device).manual_seed(1)
        clean = (torch.from_numpy(self.held.astype(np.float32)).to(self.device) / FULL_SCALE) ** 2
        figures = {}
        for ratio in (1.0, 20.0, 100.0, 300.0):
            low, high = self.recipe.ratio_range
            if not low <= ratio <= high:
                continue
            gains = zip(calibrated().values(), (3.0, 10.0, 10.0, 10.0), strict=True)
            scores = [
                self._psnr(
                    net, clean, ratio, camera.sample(len(clean), gain=k, spread=False), generator
                )
                for camera, k in gains
            ]
            figures[f"psnr_{ratio:g}"] = sum(scores) / len(scores)
        return figures

    def _psnr(
        self,
        net: nn.Module,
        clean: Tensor,
        ratio: float,
        noise: NoiseParameters,
        generator: torch.Generator,
    ) -> float:
        ratios = torch.full((len(clean),), ratio, device=self.device)
        noise = noise.to(self.device)
        x, gain, variance = self._short_frames(clean, ratios, noise, generator)
        out = [
            self.form(net, *(t[i : i + 1] for t in (x, ratios, gain, variance)))
            for i in range(len(x))
        ]
        error = (torch.cat(out).clamp(0, 1) - clean).square().mean((1, 2, 3))
        return float((-10 * error.log10()).mean())


def pretrain(
    recipe: Recipe,
    crops: Path,
    out: Path,
    schedule: Schedule,
    *,
    device: torch.device,
    bf16: bool,
    resume: bool = False,
    show: Callable[[LogLine], None] = lambda _: None,
    name: str = "pretrained",
    source: str = "led pretrain",
) -> ModelSpec:
    """Train a backbone and write its model file.

    Parameters
    ----------
    recipe, schedule
        What and how long.
    crops : Path
        A crop file (training/crops.py).
    out : Path
        The model file; beside it appear ``.checkpoint`` and ``.log.jsonl`` of the same stem.
    device, bf16
        Where, and whether in bfloat16.
    resume : bool
        Go on from the checkpoint.
    show : callable
        Told of every log line.
    name, source : str
        For the model file's header.

    Raises
    ------
    TrainingError
        No crops, a checkpoint that does not fit, or a loss that is not a number.
    """
    method = Pretraining(recipe, load_crops(crops), device)
    trainer = Trainer(method.network(), method, schedule, device, bf16=bf16, seed=recipe.seed)
    checkpoint = out.with_suffix(".checkpoint")
    if resume:
        trainer.resume(checkpoint)
    with out.with_suffix(".log.jsonl").open("a" if resume else "w", encoding="utf-8") as log:
        for line in trainer.run(checkpoint):
            log.write(line.as_json() + "\n")
            log.flush()
            show(line)
    arguments = {"in_planes": method.form.in_planes, **recipe.arguments}
    spec = ModelSpec(
        name=name,
        architecture=recipe.architecture,
        arguments=arguments,
        input_form=recipe.form,
        branches=tuple(method.sets),
        ratio_range=recipe.ratio_range,
        method="led pretraining",
        training={
            "recipe": json.loads(json.dumps(asdict(recipe))),
            "iterations": trainer.step,
            "seconds": round(trainer.seconds),
            "version": __version__,
        },
        licence="Apache-2.0",
        source=source,
    )
    with averaged(trainer):
        save_model(out, spec, {k: v.detach() for k, v in trainer.net.state_dict().items()})
    return spec
