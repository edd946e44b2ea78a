import pytest
import torch

from ledcli.inference.postprocess import correct_bias
from ledcli.noise.estimate import NoiseProfile

NOISE = NoiseProfile(gain=1e-3, read_variance=1e-4)


def noisy_grey(level, shape=(4, 256, 320), seed=0):
    generator = torch.Generator().manual_seed(seed)
    deviation = (NOISE.gain * level + NOISE.read_variance) ** 0.5
    return level + deviation * torch.randn(shape, generator=generator)


@pytest.mark.parametrize("ratio", [1.0, 100.0])
def test_a_tint_of_the_network_is_corrected(ratio):
    noisy = noisy_grey(0.05)
    tinted = torch.tensor([0.9, 1.0, 1.1, 1.0])[:, None, None] * torch.full_like(noisy, 0.05)
    result = correct_bias(noisy, tinted * ratio, ratio, NOISE) / ratio
    torch.testing.assert_close(result.mean((1, 2)), noisy.mean((1, 2)), rtol=1e-3, atol=0)


def test_a_shift_of_one_half_stays_in_that_half():
    noisy = noisy_grey(0.05, (4, 256, 512))
    clean = torch.full_like(noisy, 0.05)
    clean[:, :, 256:] = 0.04
    result = correct_bias(noisy, clean, 1.0, NOISE)
    assert result[:, :, :128].mean() == pytest.approx(0.05, rel=0.02)
    assert result[:, :, -128:].mean() == pytest.approx(0.05, rel=0.02)


def test_a_result_that_needs_nothing_stays_smooth():
    noisy = noisy_grey(0.05)
    result = correct_bias(noisy, torch.full_like(noisy, 0.05), 1.0, NOISE)
    deviation = (NOISE.gain * 0.05 + NOISE.read_variance) ** 0.5
    assert result.std() < deviation / 100


def test_hot_pixels_do_not_come_back_as_light():
    noisy = noisy_grey(0.05)
    noisy[:, 40:200:40, 40:300:40] = 0.8
    result = correct_bias(noisy, torch.full_like(noisy, 0.05), 1.0, NOISE)
    assert result.max() < 0.0505


def test_clipped_light_does_not_darken():
    noisy = noisy_grey(1.0).clamp_max(1.0)
    result = correct_bias(noisy, torch.ones_like(noisy), 1.0, NOISE)
    assert result.min() == 1.0


def test_light_that_was_clipped_before_a_gain_was_undone_does_not_darken():
    gain = torch.full((1, 256, 320), 4.0)
    noisy = (4 * noisy_grey(0.25)).clamp_max(1.0) / gain
    clean = torch.full_like(noisy, 0.25)
    assert correct_bias(noisy, clean.clone(), 1.0, NOISE).mean() < 0.249
    assert correct_bias(noisy, clean, 1.0, NOISE, 0.9 / gain).min() == 0.25


def test_any_size_keeps_its_size():
    for shape in ((4, 1, 1), (4, 17, 65), (4, 64, 16)):
        noisy = noisy_grey(0.05, shape)
        assert correct_bias(noisy, noisy.clone(), 3.0, NOISE).shape == shape
