"""A camera's noise profile and shading: values, limits, and the way through JSON."""

import json

import numpy as np
import pytest

from ledcli.noise.camera_profile import (
    CameraNoiseProfile,
    DarkShading,
    interpolate_shading,
    measure_dark_shading,
    shading_from_pairs,
    upsample,
)


def flat(iso, value):
    return DarkShading(iso, np.full((4, 1, 1), value, np.float32))


def lines():
    shading = (flat(400.0, 1e-4), flat(6400.0, 5e-4))
    return CameraNoiseProfile((400.0, 6400.0), (1.0, -16.0), (1.2, -22.0), shading, (20, 30))


def test_gain_and_read_variance_are_straight_lines_in_logarithms():
    low, middle, high = (lines().at(iso).profile for iso in (400.0, 1600.0, 6400.0))
    assert middle.gain == pytest.approx((low.gain * high.gain) ** 0.5)
    assert high.gain / low.gain == pytest.approx(16.0)
    assert high.read_variance / low.read_variance == pytest.approx(16**1.2)


def test_the_way_through_json_changes_nothing():
    there = CameraNoiseProfile.from_json(json.loads(json.dumps(lines().to_json())))
    for iso in (400.0, 1000.0, 6400.0):
        assert there.at(iso).profile == lines().at(iso).profile
        assert np.allclose(there.at(iso).offsets, lines().at(iso).offsets, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"isos": []},
        {"isos": [6400.0, 400.0]},
        {"isos": [0.0, 400.0]},
        {"isos": [400.0, float("inf")]},
        {"isos": "400"},
        {"isos": [10**400]},
        {"gain": [1.0]},
        {"gain": [1.0, "x"]},
        {"variance": [1.0, float("nan")]},
        {"variance": [True, 1.0]},
        {"shading": []},
        {"shading": [{"iso": 400.0}]},
        {"shading": [{"iso": 400.0, "grid": [[[0.0]]]}]},
        {"shading": [{"iso": 400.0, "grid": [[[7.0]], [[0.0]], [[0.0]], [[0.0]]]}]},
        {"shading": 3},
        {"frame": [20]},
        {"frame": [0, 30]},
        {"frame": None},
        {"more": 1},
    ],
)
def test_a_damaged_profile_is_refused(change):
    with pytest.raises(ValueError, match=r"noise profile|shading"):
        CameraNoiseProfile.from_json(lines().to_json() | change)


@pytest.mark.parametrize("values", [None, [], "lines", 3])
def test_other_json_values_are_refused(values):
    with pytest.raises(ValueError, match="need"):
        CameraNoiseProfile.from_json(values)


def test_the_error_of_black_is_removed():
    planes = np.zeros((4, 20, 30), np.float32)
    assert np.allclose(lines().at(6400.0).correct_black(planes), -5e-4)


def test_a_frame_of_another_size_gets_the_mean_of_the_shading():
    grid = np.zeros((4, 2, 2), np.float32)
    grid[:, 0] = 4e-4
    own = CameraNoiseProfile(
        (400.0,), (1.0, -16.0), (1.2, -22.0), (DarkShading(400.0, grid),), (20, 30)
    )
    whole = own.at(400.0).correct_black(np.zeros((4, 20, 30), np.float32))
    other = own.at(400.0).correct_black(np.zeros((4, 18, 30), np.float32))
    assert whole[0, 0, 0] == pytest.approx(-4e-4) and whole[0, -1, 0] == 0
    assert np.allclose(other, -2e-4)


def test_a_quiet_camera_that_steps_in_whole_dn_keeps_its_shading():
    rng = np.random.default_rng(0)
    step = 1 / 4095
    level = np.repeat([0.3, 0.0], 96)[:, None] * np.ones((4, 1, 128))
    frames = [
        (np.rint(level + rng.normal(0, 0.5, level.shape)) * step).astype(np.float32)
        for _ in range(2)
    ]
    grid = measure_dark_shading(100.0, frames).offsets
    assert grid[:, 0].mean() == pytest.approx(0.3 * step, rel=0.1)


def test_shading_between_two_isos_follows_the_iso():
    grids = (flat(400.0, 0.0), flat(1600.0, 3e-4))
    assert interpolate_shading(grids, 800.0)[0, 0, 0] == pytest.approx(1e-4)
    assert interpolate_shading(grids, 100.0)[0, 0, 0] == 0
    assert interpolate_shading(grids, 6400.0)[0, 0, 0] == pytest.approx(3e-4)
    assert interpolate_shading(grids[1:], 100.0)[0, 0, 0] == pytest.approx(3e-4)


def test_dark_frames_show_a_smooth_pattern_through_noise_and_hot_pixels():
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:192, :256] / 200
    pattern = (1e-3 * np.sin(3 * rows) * cols * np.ones((4, 1, 1))).astype(np.float32)
    frames = []
    for _ in range(4):
        noise = rng.normal(0, 1e-3, pattern.shape)
        hot = (rng.random(pattern.shape) < 1e-4) * 0.5
        frames.append((pattern + noise + hot).astype(np.float32))
    found = upsample(measure_dark_shading(1600.0, frames).offsets, pattern.shape[1:])
    assert np.abs(found - pattern)[:, 8:-8, 8:-8].max() < 2e-4
    assert (found - pattern).std() < 0.15 * pattern.std()


def test_offsets_spread_over_a_frame_keeps_its_mean_and_its_slope():
    grid = np.broadcast_to(np.linspace(0, 1, 8, dtype=np.float32), (4, 6, 8))
    whole = upsample(grid, (60, 80))
    assert whole.shape == (4, 60, 80)
    assert whole.mean() == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(whole[0, 0]) >= 0).all()


def test_an_offset_that_may_be_chance_is_shrunk():
    sure = shading_from_pairs(400.0, [((1e-3, 0, 0, 0), (1e-5,) * 4)])
    chance = shading_from_pairs(400.0, [((1e-3, 0, 0, 0), (5e-4,) * 4)])
    assert sure.offsets[0, 0, 0] == pytest.approx(1e-3, rel=1e-2)
    assert (chance.offsets == 0).all()
