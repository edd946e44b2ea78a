"""Photon transfer: known lines come back from made-up pairs."""

import numpy as np
import pytest
import torch

from ledcli.errors import PairError
from ledcli.noise.camera_profile import DarkShading
from ledcli.noise.cameras import Camera, LogLinear
from ledcli.noise.photon_transfer import fit_camera_profile, measure_exposure, measure_transfer
from ledcli.noise.physics import add_noise

WHITE = 15871.0
CAMERA = Camera(
    name="test",
    gain_range=(0.1, 32.0),
    read=LogLinear(0.6, 0.5, 0.0),
    row=LogLinear(0.6, 0.0, 0.0),
    tukey_lambdas=[0.1],
    colour_bias=[[0.0] * 4],
)
FLAT = DarkShading(100.0, np.zeros((4, 1, 1), np.float32))


def scene(side=256):
    rows, cols = np.mgrid[:side, :side] / side
    light = 0.05 + 0.8 * cols * (0.3 + 0.7 * rows) + 0.1 * np.sin(40 * rows)
    planes = light * np.array([0.5, 1.0, 0.6, 1.0])[:, None, None]
    return planes.clip(0, 1).astype(np.float32)


def shoot(clean, iso, ratio, seed=0):
    noise = CAMERA.sample(1, gain=iso / 400, spread=False, colour_bias=False)
    signal = torch.from_numpy(clean)[None] * (WHITE / ratio)
    dn = add_noise(signal, noise, torch.Generator().manual_seed(seed))[0]
    return (dn / WHITE).clamp_max(1).numpy()


def pair(iso, ratio, seed=0):
    clean = scene()
    return shoot(clean, iso, ratio, seed), shoot(clean, 100.0, 1.0, seed + 1)


def true_line(iso):
    noise = CAMERA.sample(1, gain=iso / 400, spread=False, colour_bias=False)
    return float(noise.gain) / WHITE, float(noise.pixel_variance()) / WHITE**2


def measured(iso, ratio, seed=0):
    short, long = pair(iso, ratio, seed)
    exposure = measure_exposure(short, long, ratio)
    return measure_transfer(short, long, ratio, exposure, 100.0 / iso)


def test_two_isos_determine_the_profile_between_them():
    lines = fit_camera_profile(
        {400.0: [measured(400.0, 100)], 6400.0: [measured(6400.0, 100)]}, [FLAT], (256, 256)
    )
    for iso in (400.0, 1600.0, 6400.0):
        gain, variance = true_line(iso)
        found = lines.at(iso).profile
        assert found.gain == pytest.approx(gain, rel=0.15)
        assert found.read_variance == pytest.approx(variance, rel=0.08)


def test_outside_the_isos_of_the_pairs_the_noise_is_unknown():
    lines = fit_camera_profile(
        {400.0: [measured(400.0, 100)], 6400.0: [measured(6400.0, 100)]}, [FLAT], (256, 256)
    )
    assert lines.at(399.0) is None and lines.at(6401.0) is None and lines.at(None) is None


def test_one_iso_holds_for_itself_alone():
    lines = fit_camera_profile({1600.0: [measured(1600.0, 100)]}, [FLAT], (256, 256))
    assert lines.at(1600.0).profile.gain == pytest.approx(true_line(1600.0)[0], rel=0.15)
    assert lines.at(1500.0) is None


def test_pairs_of_one_iso_are_taken_together():
    parts = [measured(6400.0, ratio, seed) for seed, ratio in enumerate((30, 100, 300))]
    gain, variance = true_line(6400.0)
    found = fit_camera_profile({6400.0: parts}, [FLAT], (256, 256)).at(6400.0).profile
    assert found.gain == pytest.approx(gain, rel=0.08)
    assert found.read_variance == pytest.approx(variance, rel=0.06)


def test_the_long_frames_own_noise_is_not_counted_at_small_ratios():
    short, long = pair(400.0, 4.0)
    exposure = measure_exposure(short, long, 4.0)
    transfer = measure_transfer(short, long, 4.0, exposure, 100.0 / 400.0)
    found = fit_camera_profile({400.0: [transfer]}, [FLAT], (256, 256)).at(400.0).profile
    assert found.gain == pytest.approx(true_line(400.0)[0], rel=0.1)


def test_errors_of_shutter_and_black_are_separated():
    short, long = pair(1600.0, 50.0)
    offset = np.array([3e-4, -2e-4, 0, 5e-4], np.float32)
    found = measure_exposure(short * np.float32(1.04) + offset[:, None, None], long, 50.0)
    assert found.scale == pytest.approx(1.04, abs=0.01)
    assert found.offset == pytest.approx(offset, abs=1e-4)


def test_a_scene_without_contrast_keeps_the_nominal_exposure():
    clean = np.full((4, 128, 128), 0.3, np.float32)
    short, long = shoot(clean, 1600.0, 100.0), shoot(clean, 100.0, 1.0, 9)
    assert measure_exposure(short, long, 100.0).scale == pytest.approx(1, abs=0.1)


def test_hot_pixels_do_not_raise_the_line():
    short, long = pair(1600.0, 100.0)
    hot = np.random.default_rng(3).random(short.shape) < 1 / 5000
    spoilt = short + hot * np.float32(0.05)
    exposure = measure_exposure(spoilt, long, 100.0)
    transfer = measure_transfer(spoilt, long, 100.0, exposure, 1 / 16)
    found = fit_camera_profile({1600.0: [transfer]}, [FLAT], (256, 256)).at(1600.0).profile
    assert found.read_variance == pytest.approx(true_line(1600.0)[1], rel=0.1)


def test_a_long_frame_that_is_clipped_everywhere_is_refused():
    short, _ = pair(1600.0, 100.0)
    with pytest.raises(PairError, match="clipped"):
        measure_exposure(short, np.ones_like(short), 100.0)
