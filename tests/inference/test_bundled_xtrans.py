"""What the bundled X-Trans model must do, whatever its training."""

import numpy as np
import pytest
import torch

from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import estimate_noise
from ledcli.sensor.cfa import XTransPhase
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import make_scene
from ledcli.zoo.store import find_model
from tests.inference.models import psnr, run_in_tiles, shoot

PHASE = XTransPhase(0, 0)
# As a sensor sees it: red and blue get less of the light.
GREY = np.float32([0.25, 0.5, 0.3])


@pytest.fixture(scope="module")
def denoiser():
    found = find_model("xtrans")
    return Denoiser(found.path, found.csa_set, device="cpu", precision="float32")


def test_a_dark_scene_gains_6_decibels(denoiser):
    clean = pack_rgb(make_scene(768, np.random.default_rng(3)), "xtrans")
    short = shoot(clean, 100)
    denoised = denoiser.denoise(short, 100)  # at the standard phase
    assert psnr(denoised, clean) > psnr(short * 100, clean) + 6


def test_a_good_photo_is_not_spoilt(denoiser):
    clean = pack_rgb(make_scene(768, np.random.default_rng(4)), "xtrans")
    short = shoot(clean, 1, camera="SonyA7S2", gain=0.2)
    assert psnr(denoiser.denoise(short, 1, phase=PHASE), clean) > psnr(short, clean) - 0.1


def test_a_flat_grey_comes_back_at_its_mean(denoiser):
    clean = pack_rgb(np.broadcast_to(GREY, (768, 768, 3)).copy(), "xtrans")
    denoised = denoiser.denoise(shoot(clean, 300), 300, phase=PHASE)
    np.testing.assert_allclose(denoised.mean((1, 2)), clean.mean((1, 2)), rtol=0.01)


def test_tiles_give_what_the_whole_frame_gives(denoiser):
    clean = pack_rgb(make_scene(1536, np.random.default_rng(5)), "xtrans")
    short = shoot(clean, 100)
    noise = estimate_noise(short)
    tiled = run_in_tiles(denoiser, short, 100, noise, 288)
    difference = tiled - denoiser.run(torch.from_numpy(short), 100, noise).numpy()
    assert float(np.sqrt(np.square(difference).mean())) < 1e-4
    assert float(np.abs(difference).max()) < 1e-3
