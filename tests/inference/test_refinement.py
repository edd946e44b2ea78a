"""Refinement: how often the network looks, and at what."""

from itertools import pairwise

import pytest
import torch

from ledcli.errors import ModelError
from ledcli.inference import network
from ledcli.inference.denoiser import Denoiser
from ledcli.nets.forms import refine
from ledcli.nets.network import build
from ledcli.noise.estimate import NoiseProfile
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec

NOISE = NoiseProfile(1e-4, 1e-6)


class Watched:
    """Guesses a mid grey and remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, x, ratio):
        self.seen.append((x, ratio))
        return torch.full_like(x, 0.5)


def shown(ratio, steps):
    net, frame = Watched(), torch.full((4, 32, 32), 0.5 / ratio)
    refine(net, frame, ratio, NOISE, steps)
    return net.seen


def test_each_step_has_a_brighter_frame_and_a_smaller_ratio():
    looks = shown(100.0, 3)
    assert [ratio for _, ratio in looks] == pytest.approx([100, 10, 1])
    assert [float(x.mean()) for x, _ in looks] == pytest.approx([0.005, 0.05, 0.5], rel=1e-2)


def test_one_step_is_the_plain_pass_and_so_is_a_photo_that_is_not_too_dark():
    assert [ratio for _, ratio in shown(100.0, 1)] == pytest.approx([100])
    assert [ratio for _, ratio in shown(1.0, 4)] == [1.0]


def test_the_same_frame_gives_the_same_result():
    first, second = shown(100.0, 2), shown(100.0, 2)
    assert torch.equal(first[1][0], second[1][0])


def model(path, output):
    torch.manual_seed(0)
    arguments = {"in_planes": 4, "out_planes": 9 if output == "adaptive" else 4, "channels": 4}
    spec = ModelSpec(
        name="tiny",
        architecture="unet",
        arguments=arguments,
        input_form="gain",
        output=output,
        csa_sets=(),
        ratio_range=(1.0, 300.0),
        method="exposure",
        licence="CC0-1.0",
        source="tests",
    )
    save_model(path, spec, build("unet", arguments).state_dict())
    return Denoiser(path, "", device="cpu", precision="float32")


def test_the_model_file_says_that_its_network_can_refine(tmp_path):
    denoiser = model(tmp_path / "m.safetensors", "adaptive")
    planes = torch.rand(4, 48, 48).numpy() / 100
    once = denoiser.denoise(planes, 100.0, noise=NOISE, steps=1)
    twice = denoiser.denoise(planes, 100.0, noise=NOISE, steps=2)
    assert once.shape == planes.shape and abs(once - twice).max() > 1e-4
    # Unless it is told: once up to where a second look helps, then twice.
    assert (denoiser.denoise(planes, 100.0, noise=NOISE) == once).all()
    deep = denoiser.denoise(planes, 300.0, noise=NOISE, steps=2)
    assert (denoiser.denoise(planes, 300.0, noise=NOISE) == deep).all()


def test_another_network_is_refused(tmp_path):
    denoiser = model(tmp_path / "m.safetensors", "planes")
    planes = torch.rand(4, 48, 48).numpy() / 100
    with pytest.raises(ModelError, match="leave out --steps"):
        denoiser.denoise(planes, 100.0, noise=NOISE, steps=2)


@pytest.mark.parametrize(
    ("ratio", "how"), [(100.0, {}), (100.0, {"steps": 2, "ensemble": True}), (1.0, {"steps": 2})]
)
def test_progress_rises_to_one_over_strips_passes_and_steps(tmp_path, monkeypatch, ratio, how):
    denoiser = model(tmp_path / "m.safetensors", "adaptive")
    shares, planes = [], torch.rand(4, 128, 96).numpy() / 100
    monkeypatch.setattr(network, "rows_of", lambda *_: 32)
    denoiser.denoise(planes, ratio, noise=NOISE, progress=shares.append, **how)
    passes = 8 if ratio > 1 and how else 1
    for done in range(passes):
        assert any(share == pytest.approx((done + 1) / passes) for share in shares)
    assert all(before < after for before, after in pairwise(shares))
