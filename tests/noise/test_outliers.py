"""Outliers: what is taken for one, by what it is replaced, and what is kept."""

import math

import numpy as np
import pytest

from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.outliers import remove_outliers
from ledcli.sensor.cfa import Phase, XTransPhase, pack, pattern, unpack

SHAPE = (60, 66)
PHASES = [Phase.RGGB, Phase.GBRG, XTransPhase(1, 2)]
NOISE = NoiseProfile(gain=2e-4, read_variance=1e-7)
DARK = 0.0
LIGHT = 0.2


def frame(level, seed=0):
    """A flat mosaic with the noise of the profile, at most 1.8 standard deviations of it."""
    normal = np.random.default_rng(seed).standard_normal(SHAPE).clip(-1.8, 1.8)
    deviation = math.sqrt(NOISE.gain * level + NOISE.read_variance)
    return (level + deviation * normal).astype(np.float32), deviation


def repaired(mosaic, phase):
    return unpack(remove_outliers(pack(mosaic, phase), NOISE, phase), phase, mosaic.shape)


def star(mosaic, at, height, fwhm, colours=(1.0, 1.0, 1.0), phase=Phase.RGGB):
    """Add a star whose brightest sample is so high, white at (1, 1, 1)."""
    sigma = fwhm / 2.355
    edges = [np.arange(size + 1) - place - 0.5 for size, place in zip(SHAPE, at, strict=True)]
    share = [np.diff([math.erf(e / sigma / math.sqrt(2)) for e in each]) for each in edges]
    light = np.outer(*share) / np.outer(*share).max() * height
    planes = np.array(colours)[list(phase.layout.colours)][pattern(phase)]
    rows, cols = (-(-size // len(planes)) for size in SHAPE)
    light *= np.tile(planes, (rows, cols))[: SHAPE[0], : SHAPE[1]]
    return (mosaic + light).astype(np.float32)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("level", [DARK, LIGHT])
def test_hot_and_dead_pixels_are_replaced_at_any_brightness(level, phase):
    clean, deviation = frame(level)
    defects = {(30, 31): level + 0.4, (0, 0): level + 0.4, (59, 20): -0.03, (12, 65): -0.03}
    defects |= {(40, 41): -0.03, (40, 43): -0.03}  # two beside each other in a plane
    mosaic = clean.copy()
    for at, value in defects.items():
        mosaic[at] = value
    result = repaired(mosaic, phase)
    for at in defects:
        assert abs(result[at] - level) < 2 * deviation
        result[at] = clean[at]
    assert np.array_equal(result, clean)


def test_a_dead_pixel_of_a_camera_without_a_pedestal_is_replaced_in_the_light():
    clean, deviation = frame(LIGHT)
    clean[30, 30] = 0
    assert abs(repaired(clean, Phase.RGGB)[30, 30] - LIGHT) < 2 * deviation


def test_a_dead_pixel_on_an_edge_becomes_like_its_own_side():
    clean, _ = frame(DARK)
    clean[:, 30:] += LIGHT
    clean[30, 30] = -0.03
    assert repaired(clean, Phase.RGGB)[30, 30] > LIGHT / 2


def test_a_black_border_beside_light_stays_black():
    mosaic, _ = frame(LIGHT)
    mosaic[-2:] = np.random.default_rng(3).normal(
        0, math.sqrt(NOISE.read_variance), mosaic[-2:].shape
    )
    mosaic[-2:, ::8] = -3 * math.sqrt(NOISE.read_variance)
    assert repaired(mosaic, Phase.RGGB)[-2:].max() < LIGHT / 20


@pytest.mark.parametrize("colours", [(1.0, 1.0, 1.0), (0.35, 1.0, 0.45)])
@pytest.mark.parametrize("fwhm", [1.0, 1.5])
def test_stars_are_kept(fwhm, colours):
    for number, height in enumerate(np.geomspace(6, 200, 30)):
        mosaic, deviation = frame(DARK, seed=number)
        for at in ((30, 31), (30, 30), (41, 40)):
            shot = star(mosaic, at, height * deviation, fwhm, colours)
            assert np.array_equal(repaired(shot, Phase.RGGB), shot)


def test_lines_and_fine_texture_are_kept():
    clean, _ = frame(LIGHT)
    clean[20] *= 0.05
    clean[:, 40] *= 4
    clean[:15, :30:2] *= 0.25
    texture = np.random.default_rng(1).standard_normal((20, 20)).clip(-3, 3)
    clean[40:, :20] *= 1 + 0.2 * texture.astype(np.float32)
    assert np.array_equal(repaired(clean, Phase.RGGB), clean)


def test_plain_noise_is_kept():
    mosaic = np.random.default_rng(2).standard_normal((400, 400)).astype(np.float32)
    planes = pack(mosaic * np.float32(math.sqrt(NOISE.read_variance)), Phase.RGGB)
    change = remove_outliers(planes, NOISE, Phase.RGGB) - planes
    assert (change < 0).mean() < 5e-4
    assert (change > 0).mean() < 1e-2
    assert change.mean() < 0.01 * math.sqrt(NOISE.read_variance)


def test_samples_a_little_below_black_are_raised():
    mosaic, deviation = np.zeros(SHAPE, np.float32), math.sqrt(NOISE.read_variance)
    mosaic[30, 30] = -3 * deviation
    assert repaired(mosaic, Phase.RGGB)[30, 30] == pytest.approx(-1.8 * deviation, rel=1e-3)
    light, deviation = frame(LIGHT)
    light[30, 30] -= 3 * deviation
    assert np.array_equal(repaired(light, Phase.RGGB), light)


def test_a_black_level_that_is_wrong_makes_no_outliers():
    mosaic, deviation = frame(DARK)
    mosaic -= np.float32(20 * deviation)
    planes = pack(mosaic, Phase.RGGB)
    assert remove_outliers(planes, NOISE, Phase.RGGB) is planes
