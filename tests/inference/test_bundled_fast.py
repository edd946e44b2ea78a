"""What the bundled fast model must do, whatever its training."""

import numpy as np
import pytest

from ledcli.inference.denoiser import Denoiser
from ledcli.zoo.model_file import read_header
from ledcli.zoo.selection import default_name, is_fast
from ledcli.zoo.store import bundled_dir, find_model
from tests.inference.models import psnr, scene, shoot

GREY = np.float32((0.25, 0.5, 0.3, 0.5))[:, None, None]


@pytest.fixture(scope="module")
def denoiser():
    found = find_model(default_name("bayer", fast=True))
    return Denoiser(found.path, found.csa_set, device="cpu", precision="float32")


def test_it_has_the_standard_model_s_sets_and_is_small():
    fast, standard = (
        read_header(find_model(default_name("bayer", fast=which)).path) for which in (True, False)
    )
    assert is_fast(fast.spec) and not is_fast(standard.spec)
    assert fast.spec.csa_sets == standard.spec.csa_sets
    assert find_model("generic-fast").path.stat().st_size < 3e6
    assert sum(path.stat().st_size for path in bundled_dir().glob("*.safetensors")) < 24e6


def test_a_dark_scene_gains_6_decibels(denoiser):
    clean = scene(384, 512)
    short = shoot(clean, 100)
    assert psnr(denoiser.denoise(short, 100), clean) > psnr(short * 100, clean) + 6


def test_a_good_photo_is_not_spoilt(denoiser):
    clean = scene(256, 256)
    short = shoot(clean, 1, camera="SonyA7S2", gain=0.2)
    assert psnr(denoiser.denoise(short, 1), clean) > psnr(short, clean) - 0.1


@pytest.mark.parametrize("ratio,allowed", [(100, 0.002), (300, 0.005)])
def test_a_flat_grey_comes_back_at_its_mean(denoiser, ratio, allowed):
    clean = GREY * np.ones((1, 384, 512), np.float32)
    denoised = denoiser.denoise(shoot(clean, ratio), ratio)
    np.testing.assert_allclose(denoised.mean((1, 2)), GREY.ravel(), atol=allowed)


@pytest.mark.parametrize("ratio", [1, 100])
def test_a_flat_grey_shows_no_checkerboard(denoiser, ratio):
    clean = np.full((4, 384, 384), 0.4, np.float32)
    denoised = denoiser.denoise(shoot(clean, ratio), ratio)[:, 32:-32, 32:-32]
    for period, most in ((2, 0.001), (8, 0.003)):
        phases = denoised.reshape(4, 320 // period, period, 320 // period, period).mean((0, 1, 3))
        assert np.ptp(phases) < most * 0.4


def test_the_parts_of_a_frame_give_what_the_whole_gives(denoiser):
    short = shoot(scene(448, 448), 100)
    found = find_model("generic-fast")
    whole = Denoiser(found.path, found.csa_set, device="cpu", precision="float32", tile=0)
    parts = Denoiser(found.path, found.csa_set, device="cpu", precision="float32", tile=192)
    difference = parts.denoise(short, 100) - whole.denoise(short, 100)
    assert float(np.abs(difference).max()) < 1e-3
