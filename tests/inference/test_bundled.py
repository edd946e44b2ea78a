"""What the bundled model must do, whatever its training."""

import numpy as np
import pytest
import rawpy
import torch

from ledcli.inference.backends.torch import fast_in_bf16
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import estimate_noise
from ledcli.output.dng import dng_bytes
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import unpack
from ledcli.zoo.store import find_model
from tests.inference.models import psnr, run_in_tiles, scene, shoot
from tests.shoot import make_raw

RATIOS = (1, 100, 300)
needs_bf16 = pytest.mark.skipif(
    not fast_in_bf16(torch.device("cpu")), reason="this processor has no bfloat16"
)


@pytest.fixture(scope="module")
def bundled():
    """Make a denoiser of the bundled model."""
    found = find_model(None)
    made = {}

    def denoiser(precision="float32", **how):
        key = (precision, *how.items())
        if key not in made:
            made[key] = Denoiser(
                found.path, found.csa_set, device="cpu", precision=precision, **how
            )
        return made[key]

    return denoiser


@pytest.fixture(scope="module")
def frame(bundled):
    """Clean planes of a scene, and at a ratio the short frame and its float32 result."""
    clean = scene(640, 768)
    made = {}

    def at(ratio):
        if ratio not in made:
            short = shoot(clean, ratio)
            made[ratio] = short, bundled().denoise(short, ratio)
        return clean, *made[ratio]

    return at


@pytest.mark.parametrize("ratio", RATIOS)
def test_tiles_give_what_the_whole_frame_gives(bundled, frame, ratio):
    _, short, _ = frame(ratio)
    noise = estimate_noise(short)
    tiled = run_in_tiles(bundled(), short, ratio, noise, 384)
    difference = tiled - bundled().run(torch.from_numpy(short), ratio, noise).numpy()
    assert float(np.sqrt(np.square(difference).mean())) < 1e-4
    assert float(np.abs(difference).max()) < 1e-3


@needs_bf16
@pytest.mark.parametrize("ratio", RATIOS)
def test_bf16_costs_no_quality(bundled, frame, ratio):
    clean, short, exact = frame(ratio)
    fast = bundled("bf16").denoise(short, ratio)
    assert psnr(fast, clean) == pytest.approx(psnr(exact, clean), abs=0.05)


def test_a_dark_scene_gains_6_decibels(frame):
    clean, short, denoised = frame(100)
    assert psnr(denoised, clean) > psnr(short * 100, clean) + 6


def test_a_good_photo_is_not_spoilt(bundled):
    clean = scene(256, 256)
    short = shoot(clean, 1, camera="SonyA7S2", gain=0.2)
    assert psnr(bundled().denoise(short, 1), clean) > psnr(short, clean) - 0.1


@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5, 0.5), (0.25, 0.5, 0.3, 0.5)])
def test_a_flat_grey_comes_back_at_its_mean(bundled, colour):
    """No darkening and no cast at ratio 300: 2 electrons a pixel under 5 DN of read noise."""
    clean = np.float32(colour)[:, None, None] * np.ones((1, 384, 512), np.float32)
    denoised = bundled("auto").denoise(shoot(clean, 300), 300)
    np.testing.assert_allclose(denoised.mean((1, 2)), colour, rtol=0.01)


def test_no_cast_at_ratio_100(bundled):
    clean = np.float32((0.25, 0.5, 0.3, 0.5))[:, None, None] * np.ones((1, 384, 512), np.float32)
    denoised = bundled("auto").denoise(shoot(clean, 100), 100)
    np.testing.assert_allclose(denoised.mean((1, 2)), clean.mean((1, 2)), atol=0.002)


@pytest.mark.parametrize("ratio", [1, 20, 100])
def test_a_flat_grey_shows_no_checkerboard(bundled, ratio):
    """Pixels at the same place of every 2 x 2 and 8 x 8 block: the network pools and unpools."""
    clean = np.full((4, 512, 512), 0.4, np.float32)
    denoised = bundled("auto").denoise(shoot(clean, ratio), ratio)[:, 32:-32, 32:-32]
    for period, most in ((2, 0.001), (8, 0.003)):
        phases = denoised.reshape(4, 448 // period, period, 448 // period, period).mean((0, 1, 3))
        assert np.ptp(phases) < most * 0.4


def test_a_smooth_gradient_does_not_band(bundled, tmp_path):
    light = np.linspace(0.2, 0.6, 1024)[None, :].repeat(256, 0)
    make_raw(tmp_path / "sky.ARW", light=light, gain=0.5)
    photo = read_raw(tmp_path / "sky.ARW")
    clean = bundled("auto").denoise(photo.planes(), 1)
    mosaic = unpack(clean, photo.phase, photo.mosaic.shape)
    (tmp_path / "sky.dng").write_bytes(dng_bytes(photo, mosaic, software="led test"))
    with rawpy.imread(str(tmp_path / "sky.dng")) as raw:
        levels = raw.raw_image_visible.copy()
    for row, col in ((0, 0), (0, 1), (1, 0), (1, 1)):
        plane = levels[row::2, col::2].astype(int)
        assert len(np.unique(plane)) >= 1000
        # And no steps: along a row of means the sky brightens by about as much everywhere.
        steps = np.diff(plane.mean(0)[8:-8].reshape(-1, 8).mean(1))
        assert steps.max() < 3 * steps.mean() and steps.min() > -steps.mean()
