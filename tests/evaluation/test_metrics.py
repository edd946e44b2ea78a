"""Figures of merit, the illuminance correction, rendered planes, the crop with most detail."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from ledcli.evaluation.metrics import (
    corrected,
    illuminance_scale,
    most_detailed,
    psnr,
    render_planes,
    ssim,
)
from ledcli.raw.colour import linear_from_srgb, srgb_from_linear


@pytest.fixture
def planes():
    return np.random.default_rng(3).uniform(0.1, 0.9, (4, 20, 24))


def test_psnr_of_an_error_of_a_hundredth_is_40_decibels(planes):
    assert psnr(planes + 0.01, planes) == pytest.approx(40, abs=1e-6)


def test_values_above_white_and_below_black_are_clipped():
    truth = np.array([[[0.0, 1.0]]])
    assert psnr(np.array([[[-0.5, 1.5]]]), truth) == psnr(truth, truth)


# One window, a part of a block, and one window more than there is in whole blocks.
@pytest.mark.parametrize("shape", [(4, 7, 7), (2, 20, 24), (1, 64 + 7, 2 * 256 + 7)])
def test_ssim_equals_its_formula_in_every_window(shape):
    rng = np.random.default_rng(4)
    truth = rng.uniform(0.1, 0.9, shape) * np.linspace(0, 1, shape[2])
    other = truth + rng.normal(0, 0.1, shape)
    x, y = (sliding_window_view(a, (7, 7), (1, 2)) for a in (other.clip(0, 1), truth))
    mx, my = (a.mean((3, 4), keepdims=True) for a in (x, y))
    x, y = x - mx, y - my
    vx, vy, cov = ((a * b).sum((3, 4)) / 48 for a, b in ((x, x), (y, y), (x, y)))
    mx, my = mx[..., 0, 0], my[..., 0, 0]
    index = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2)
    index /= (mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)
    assert ssim(other, truth) == pytest.approx(index.mean(), abs=1e-12)
    assert ssim(truth, truth) == pytest.approx(1)


def flat(*values):
    return np.tile(np.array(values, np.float32)[:, None, None], (1, 4, 6))


def test_the_curve_is_that_of_srgb():
    coded = np.linspace(0, 1, 256, dtype=np.float32)
    assert np.allclose(srgb_from_linear(linear_from_srgb(coded)), coded, atol=1e-6)


def test_a_grey_that_the_sensor_sees_coloured_is_grey():
    shown = render_planes(flat(0.1, 0.2, 0.125, 0.2), (2.0, 1.0, 1.6))
    assert shown.shape == (4, 6, 3) and shown.dtype == np.float32
    assert np.allclose(shown, srgb_from_linear(np.float32(0.2)), atol=1e-6)


def test_green_is_the_mean_of_both():
    shown = render_planes(flat(0, 0.1, 0, 0.3), (1, 1, 1))
    assert np.allclose(linear_from_srgb(shown)[0, 0], [0, 0.2, 0], atol=1e-6)


def test_clipped_is_white_and_not_magenta():
    assert np.allclose(render_planes(flat(1, 1, 1, 1), (2.0, 1.0, 1.6)), 1, atol=1e-6)


def test_the_matrix_goes_from_camera_to_srgb():
    matrix = [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    shown = linear_from_srgb(render_planes(flat(0.4, 0.2, 0.1, 0.2), (1, 1, 1), matrix))
    assert np.allclose(shown[0, 0], [0.3, 0.2, 0.1], atol=1e-6)


def test_most_detail_is_where_the_stripes_are():
    planes = np.full((4, 64, 96), 0.3, np.float32)
    planes[:, 40:56, 72:88:2] = 0.6
    rows, cols = most_detailed(planes, side=16)
    assert (rows, cols) == (slice(40, 56), slice(72, 88))


def test_a_frame_smaller_than_a_crop_is_shown_whole():
    rows, cols = most_detailed(np.random.default_rng(0).random((4, 20, 30), np.float32), side=160)
    assert (rows, cols) == (slice(0, 20), slice(0, 30))


def test_the_correction_removes_a_factor():
    truth = np.random.default_rng(0).random((4, 16, 16), np.float32) * 0.9
    assert illuminance_scale(truth * np.float32(0.8), truth) == pytest.approx(1.25, rel=1e-5)
    assert psnr(corrected(truth * np.float32(0.8), truth), truth) > 100
    assert psnr(truth * np.float32(0.8), truth) < 25


def test_the_correction_is_one_factor_for_all_planes_and_leaves_white_out():
    truth = flat(0.5, 0.25, 0.25, 1.0)
    result = flat(0.25, 0.25, 0.25, 0.1)
    # Of the three planes that are not white: (2/16 + 1/16 + 1/16) / (3/16).
    assert illuminance_scale(result, truth) == pytest.approx(4 / 3)


def test_nothing_is_corrected_by_a_black_frame():
    assert illuminance_scale(flat(0, 0, 0, 0), flat(0.5, 0.5, 0.5, 0.5)) == 1
