import pytest
import torch

from ledcli.inference.postprocess import CHECKERBOARD_BAND as BAND
from ledcli.inference.postprocess import remove_checkerboard
from ledcli.noise.estimate import NoiseProfile
from ledcli.sensor.layout import XTRANS

NOISE, RATIO = NoiseProfile(1e-3, 1e-6), 100.0
DEVIATION = RATIO * (0.4 / RATIO * NOISE.gain + NOISE.read_variance) ** 0.5
"""Standard deviation of the noise at 0.4 of white."""


def grey(rows=BAND + 70, cols=197):
    return torch.full((4, rows, cols), 0.4)


def patterns(rows, cols):
    i, j = torch.arange(rows)[:, None], torch.arange(cols)
    return (-1.0) ** j + 0 * i, (-1.0) ** i + 0 * j, (-1.0) ** (i + j)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("shape", [(BAND + 70, 197), (33, 16)])
def test_each_pattern_of_period_two_is_removed(which, shape):
    amplitude = 0.05 * DEVIATION
    given = grey(*shape) + amplitude * patterns(*shape)[which]
    left = remove_checkerboard(given.clone(), RATIO, NOISE) - 0.4
    assert float(left.abs().max()) < 0.1 * amplitude


def test_a_pattern_that_changes_over_the_frame_is_followed():
    rows, cols = 256, 512
    amplitude = 0.05 * DEVIATION * torch.linspace(-1, 1, cols)
    given = grey(rows, cols) + amplitude * patterns(rows, cols)[2]
    left = remove_checkerboard(given.clone(), RATIO, NOISE) - 0.4
    assert float(left.square().mean()) < 0.02 * float((given - 0.4).square().mean())


def test_a_slope_and_a_smooth_photo_stay_as_they_are():
    slope = torch.linspace(0.1, 0.9, 200).expand(4, 150, 200).clone()
    slope += torch.linspace(0, 0.2, 150)[:, None]
    change = remove_checkerboard(slope.clone(), RATIO, NOISE) - slope
    assert float(change.abs().max()) < 1e-4


def test_strong_detail_of_the_finest_size_stays():
    stripes = grey() + 0.5 * DEVIATION * patterns(*grey().shape[1:])[0]
    assert torch.equal(remove_checkerboard(stripes.clone(), RATIO, NOISE), stripes)


@pytest.mark.parametrize("height", [0.8, 1.3, 3.0])
def test_bright_samples_at_all_phases_alike_are_no_pattern(height):
    """What noise leaves behind: some, but not all, responses to a sample are counted as detail."""
    given = grey(272, 340)
    given[:, 8::17, 8::17] += height * DEVIATION
    change = remove_checkerboard(given.clone(), RATIO, NOISE) - given
    phases = [change[:, i::2, j::2].mean() for i in (0, 1) for j in (0, 1)]
    assert max(map(abs, phases)) < 2e-4 * DEVIATION


def test_a_photo_at_a_low_ratio_is_unchanged():
    given = grey() + 1e-3 * patterns(*grey().shape[1:])[0]
    assert torch.equal(remove_checkerboard(given.clone(), 1.0, NOISE), given)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (3, 2)])
def test_tiny_frames_pass(shape):
    assert torch.isfinite(remove_checkerboard(grey(*shape), RATIO, NOISE)).all()


def test_the_checkerboard_of_an_x_trans_s_red_and_blue_stays_and_no_other_pattern():
    rows, cols = 128, 192
    for which, pattern in enumerate(patterns(rows, cols)):
        given = torch.full((9, rows, cols), 0.4) + 0.05 * DEVIATION * pattern
        left = (remove_checkerboard(given.clone(), RATIO, NOISE) - 0.4).abs().amax((1, 2))
        for plane, most in enumerate(left.tolist()):
            kept = which == 2 and plane not in XTRANS.regular
            assert most == pytest.approx(0.05 * DEVIATION) if kept else most < 0.005 * DEVIATION
