"""Each component of the noise against its closed form (ELD, equations 1 to 9)."""

import math

import numpy as np
import pytest
import torch

from ledcli.noise.physics import (
    MIN_LAMBDA,
    NoiseParameters,
    add_noise,
    on_sensor_lines,
    quantisation_noise,
    read_noise,
    row_noise,
    shot_noise,
    tukey_quantile,
    tukey_variance,
)
from ledcli.sensor.cfa import XTransPhase, unpack
from ledcli.sensor.layout import XTRANS

LAMBDAS = (-0.45, -0.2429, -0.1, -0.01, 0.0, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters(n=1, **values):
    """Noise of n frames that has only what is named."""
    silent = {"gain": 1.0, "tukey_lambda": 0.1, "read": 0.0, "row": 0.0, "step": 0.0} | values
    bias = silent.pop("colour_bias", torch.zeros(n, 4))
    columns = {k: torch.as_tensor(v, dtype=torch.float32).expand(n) for k, v in silent.items()}
    return NoiseParameters(colour_bias=bias, **columns)


def integral_of_square(lam):
    """Variance of a quantile function of mean zero: the integral of Q(p)^2 over 0..1."""
    # p = u^8 crowds the points where the quantile runs away; the two halves are alike.
    u = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000 * 0.5 ** (1 / 8)
    step = 0.5 ** (1 / 8) / 400_000
    q = tukey_quantile(u**8, torch.full_like(u, lam))
    return float(2 * (q.square() * 8 * u**7).sum() * step)


@pytest.mark.parametrize("gain", [0.1, 1.0, 10.0, 30.0])
@pytest.mark.parametrize("clean", [5.0, 500.0])
@pytest.mark.parametrize("drawn_on", ["device", "cpu"])
def test_shot_noise_has_the_mean_of_the_signal_and_gain_times_its_variance(
    gain, clean, drawn_on, monkeypatch
):
    if drawn_on == "cpu":
        monkeypatch.setattr("ledcli.noise.physics.NO_POISSON", ("cpu",))
    drawn = shot_noise(torch.full((1, 4, 256, 256), clean), torch.tensor([gain]), generator())
    error = math.sqrt(gain * clean / drawn.numel())
    assert abs(float(drawn.mean()) - clean) < 5 * error
    assert float(drawn.var()) == pytest.approx(gain * clean, rel=0.05)
    # Photons are counted: every value is a whole number of gains.
    counts = drawn / gain
    assert torch.allclose(counts, counts.round(), atol=1e-3)


class OnAppleGpu(torch.Tensor):
    """A tensor on a device that has no float64."""

    def double(self):
        raise TypeError("the MPS framework doesn't support float64")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_the_variance_of_read_noise_needs_no_float64_on_the_device():
    shapes = torch.tensor(LAMBDAS)
    assert torch.equal(tukey_variance(shapes.as_subclass(OnAppleGpu)), tukey_variance(shapes))


def test_no_light_has_no_shot_noise():
    assert not shot_noise(torch.zeros(1, 4, 8, 8), torch.tensor([3.0]), generator()).any()


@pytest.mark.parametrize("lam", LAMBDAS)
def test_tukey_variance_is_that_of_the_quantile_function(lam):
    closed = float(tukey_variance(torch.tensor(lam, dtype=torch.float64)))
    # Near -1/2, where the variance is infinite, the integral itself converges slowly.
    assert closed == pytest.approx(integral_of_square(lam), rel=0.03 if lam < -0.4 else 1e-3)


def test_tukey_variances_in_the_books():
    known = {0.0: math.pi**2 / 3, 1.0: 1 / 3, 2.0: 1 / 12}
    for lam, variance in known.items():
        assert float(tukey_variance(torch.tensor(lam))) == pytest.approx(variance, rel=1e-5)
    assert float(tukey_variance(torch.tensor(-0.5))) == math.inf


@pytest.mark.parametrize("lam", [-0.15, -0.05, 0.0, 0.05, 0.2, 1.0])
def test_read_noise_has_its_closed_variance_and_mean_zero(lam):
    like = torch.zeros(1, 4, 512, 512)
    drawn = read_noise(like, torch.tensor([lam]), torch.tensor([3.0]), generator()).double()
    variance = 9 * float(tukey_variance(torch.tensor(lam)))
    assert drawn.isfinite().all()
    assert abs(float(drawn.mean())) < 5 * math.sqrt(variance / drawn.numel())
    assert float(drawn.var()) == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("sign", [-1, 1])
def test_nothing_jumps_where_lambda_passes_zero(sign):
    # The formula is used from here on, the limit (the logistic) below.
    beside = torch.tensor(sign * MIN_LAMBDA * 1.001)
    zero = torch.tensor(0.0)
    assert float(tukey_variance(beside)) == pytest.approx(float(tukey_variance(zero)), rel=0.01)
    p = torch.tensor([1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999])
    torch.testing.assert_close(
        tukey_quantile(p, beside.expand(6)), torch.logit(p), rtol=0.01, atol=1e-3
    )


def test_a_sensor_row_shares_one_value_and_its_two_colours_share_the_row():
    rows = row_noise(torch.zeros(2, 4, 20_000, 3), torch.tensor([2.0, 5.0]), generator())
    assert rows.shape == (2, 4, 20_000, 1)
    red, green1, blue, green2 = rows.unbind(1)
    assert torch.equal(red, green1) and torch.equal(blue, green2)
    together = torch.corrcoef(torch.stack((red[0, :, 0], blue[0, :, 0])))
    assert abs(float(together[0, 1])) < 0.03
    for frame, scale in zip(rows, (2.0, 5.0), strict=True):
        assert float(frame[[0, 2]].var()) == pytest.approx(scale**2, rel=0.05)


@pytest.mark.parametrize("step", [1.0, 4.0, 16.0])
def test_quantisation_noise_is_uniform_one_step_wide(step):
    drawn = quantisation_noise(torch.zeros(1, 4, 256, 256), torch.tensor([step]), generator())
    assert float(drawn.var()) == pytest.approx(step**2 / 12, rel=0.02)
    assert float(drawn.abs().max()) <= step / 2
    assert abs(float(drawn.mean())) < 0.01 * step


def test_colour_bias_moves_each_plane_by_its_own_value():
    bias = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    noisy = add_noise(torch.zeros(1, 4, 8, 8), parameters(colour_bias=bias), generator())
    assert torch.equal(noisy, bias[:, :, None, None].expand_as(noisy))


def test_the_components_add_up():
    bias = torch.tensor([[2.0, -1.0, 0.0, 4.0]])
    noise = parameters(gain=4.0, tukey_lambda=0.1, read=6.0, row=3.0, step=2.0, colour_bias=bias)
    noisy = add_noise(torch.full((1, 4, 400, 2000), 50.0), noise, generator()).double()
    torch.testing.assert_close(
        noisy.mean((2, 3))[0], 50 + bias[0].double(), atol=5 * 3 / math.sqrt(400), rtol=0
    )
    row_means = noisy.mean(3, keepdim=True)
    pixel = float(noise.pixel_variance())
    assert pixel == pytest.approx(36 * float(tukey_variance(torch.tensor(0.1))) + 4 / 12)
    assert float((noisy - row_means).var()) == pytest.approx(4 * 50 + pixel, rel=0.01)
    of_rows = float((row_means[0] - noisy.mean((2, 3))[0, :, None, None]).var())
    assert of_rows == pytest.approx(9, rel=0.2)


def test_every_frame_of_a_batch_has_its_own_noise():
    noise = parameters(2, gain=torch.tensor([1.0, 16.0]))
    noisy = add_noise(torch.full((2, 4, 128, 128), 100.0), noise, generator())
    dim, coarse = noisy.var((1, 2, 3)).tolist()
    assert dim == pytest.approx(100, rel=0.05) and coarse == pytest.approx(1600, rel=0.05)


def test_noise_goes_below_black():
    assert add_noise(torch.zeros(1, 4, 32, 32), parameters(read=5.0), generator()).min() < 0


def test_the_same_generator_makes_the_same_noise():
    noise = parameters(gain=2.0, read=3.0, row=1.0, step=1.0)
    clean = torch.rand(1, 4, 32, 32) * 100
    first, again, other = (add_noise(clean, noise, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_samples_of_an_x_trans_share_the_lines_that_they_lie_on(axis):
    lines = on_sensor_lines(torch.zeros(1, 9, 8, 10), axis, generator())[0].numpy()
    mosaic = unpack(np.broadcast_to(lines, (9, 8, 10)), XTransPhase(0, 0), (24, 30))
    mosaic = mosaic if axis == 0 else mosaic.T
    assert (mosaic == mosaic[:, :1]).all()
    assert len(np.unique(mosaic)) == len(mosaic)


def test_the_colour_bias_of_an_x_trans_is_that_of_its_colours():
    bias = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    noisy = add_noise(torch.zeros(1, 9, 6, 6), parameters(colour_bias=bias), generator())
    expected = torch.tensor([1.0, -2.0, 3.0])[list(XTRANS.colours)]
    assert torch.equal(noisy, expected[None, :, None, None].expand_as(noisy))
