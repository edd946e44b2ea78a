"""Exposure diffusion: its loss, its way through the exposures, and that it learns."""

import numpy as np
import pytest
import torch

from ledcli.nets.forms import AdaptiveForm
from ledcli.nets.network import build
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.exposure import (
    ExposureMethod,
    ExposureRecipe,
    darkness_of,
    divergence,
)
from ledcli.training.methods.start import Pretrained, no_model, transfer_weights
from ledcli.zoo.spec import ModelSpec
from tests.training.cameras import shots

CPU = torch.device("cpu")
TINY = {"in_planes": 9, "channels": 4}


@pytest.fixture(scope="module")
def shot_pairs():
    return shots()


def spec(**how):
    values = {
        "name": "tiny",
        "architecture": "unet",
        "arguments": TINY,
        "input_form": "stabilised",
        "csa_sets": (),
        "ratio_range": (1.0, 300.0),
        "method": "pretrain",
        "licence": "CC0-1.0",
        "source": "tests",
    }
    return ModelSpec(**(values | how))


def planes(value):
    return torch.full((1, 4, 8, 8), value)


def test_the_divergence_is_that_of_two_poisson_distributions():
    one, everywhere = torch.zeros(1, 1, 1, 1), torch.ones(1, 4, 8, 8)
    expected = 0.5 * np.log(0.5 / 0.2) + 0.2 - 0.5
    assert float(divergence(planes(0.5), planes(0.2), one, everywhere)) == pytest.approx(expected)
    assert float(divergence(planes(0.2), planes(0.2), one, everywhere)) == pytest.approx(0)


def test_black_is_safe(shot_pairs):
    batch = shot_pairs.batch(np.random.default_rng(0), 4, 32)
    darkness, everywhere = darkness_of(batch), torch.ones_like(batch.clean)
    black = torch.zeros_like(batch.clean, requires_grad=True)
    loss = divergence(black, torch.zeros_like(batch.clean), darkness, everywhere)
    loss.backward()
    assert loss == 0 and black.grad.isfinite().all()
    # The read noise's light: its variance in electrons, in units of the gained signal.
    read = batch.read_variance / batch.gain**2 * batch.gain * batch.ratio
    assert torch.allclose(darkness.flatten(), read + 1e-3)


def test_pixels_that_do_not_count_do_not_count():
    some = torch.ones(1, 4, 8, 8)
    some[..., :4] = 0
    truth = planes(0.2)
    truth[..., :4] = 0.9
    zero = torch.zeros(1, 1, 1, 1)
    assert float(divergence(planes(0.2), truth, zero, some)) == pytest.approx(0)


class Watched(torch.nn.Module):
    """A network that remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        self.seen.append(x)
        mask = torch.full_like(x[:, :1], -50.0)
        return torch.cat((x * 0, x * self.weight, mask), 1)


def test_every_crop_is_seen_at_exposures_from_the_short_frames_to_the_references(shot_pairs):
    recipe = ExposureRecipe(batch=4, side=32, steps=2)
    net = Watched()
    loss = ExposureMethod(recipe, MethodInputs(shot_pairs, CPU)).loss(
        net, 0.0, torch.Generator().manual_seed(0), range(4)
    )
    assert len(net.seen) == 3 and loss.isfinite()
    # More light, less noise: what differs between neighbours shrinks from step to step.
    roughness = [float((s[..., 1:] - s[..., :-1]).abs().mean().detach()) for s in net.seen]
    assert roughness[0] > roughness[1] > roughness[2]
    loss.backward()
    assert net.weight.grad is not None


def trained(shot_pairs, pretrained, iterations):
    recipe = ExposureRecipe(iterations=iterations, batch=4, side=32, learning_rate=3e-2)
    method = ExposureMethod(recipe, MethodInputs(shot_pairs, CPU))
    start = method.begin(pretrained)
    trainer = Trainer(start.net, method, method.schedule(), CPU, bf16=False, muon=method.muon)
    before = method.psnr(start.net)
    list(trainer.run())
    with trainer.averaged(), torch.inference_mode():
        return before, method.psnr(start.net)


def test_it_learns(shot_pairs):
    torch.manual_seed(0)
    pretrained = Pretrained(spec(), build("unet", TINY))
    before, after = trained(shot_pairs, pretrained, 150)
    assert after > before + 1


def test_weights_that_fit_are_taken_over_and_the_others_named():
    net = build("unet", TINY)
    adopted = transfer_weights(Pretrained(spec(), net), form=AdaptiveForm())
    assert set(adopted.new) == {"conv1_1.weight", "conv10_1.weight", "conv10_1.bias"}
    new = adopted.net.state_dict()
    for name, value in net.state_dict().items():
        assert name in adopted.new or torch.equal(new[name], value)
    assert "conv1_1, conv10_1 are initialised" in adopted.note
    assert adopted.spec.arguments == {**TINY, "in_planes": 4, "out_planes": 9}


def test_the_model_says_what_it_is(shot_pairs):
    method = ExposureMethod(ExposureRecipe(), MethodInputs(shot_pairs, CPU))
    start = method.begin(Pretrained(spec(), build("unet", TINY)))
    assert (start.spec.input_form, start.spec.output) == ("gain", "adaptive")
    assert start.spec == ModelSpec.from_header(start.spec.to_header())
    x = torch.rand(1, 4, 32, 32)
    line = torch.ones(1), torch.tensor([1e-4]), torch.tensor([1e-6])
    assert AdaptiveForm()(start.net, x, *line).shape == x.shape


def test_without_a_pretrained_model_every_weight_is_initialised(shot_pairs):
    start = ExposureMethod(ExposureRecipe(), MethodInputs(shot_pairs, CPU)).begin(no_model())
    assert start.note == "every weight is initialised"
