import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ledcli.noise.physics import MAX_READ_VARIANCE, electron_scale, stabilise, unstabilise

OFFSETS = st.floats(1, 1e4)
"""t0: read variance in electrons squared, and 3/8."""


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def there_and_back(electrons, t0):
    return unstabilise(stabilise(electrons, t0), t0)


@given(t0=OFFSETS, share=st.floats(-3, 3), more=st.floats(0, 1e6))
def test_the_inverse_is_exact_above_and_below_zero_electrons(t0, share, more):
    e = double(share * t0 + more)
    assert float(there_and_back(e, double(t0))) == pytest.approx(
        float(e), rel=1e-12, abs=1e-12 * t0
    )


@given(t0=OFFSETS, share=st.floats(-3, 3), more=st.floats(0, 1e6))
def test_the_inverse_keeps_float32_s_digits(t0, share, more):
    e, offset = torch.tensor(share * t0 + more), torch.tensor(t0)
    assert abs(float(there_and_back(e, offset) - e)) <= 1e-6 * (abs(float(e)) + t0)


@given(t0=OFFSETS)
def test_no_light_is_zero(t0):
    assert float(stabilise(double(0.0), double(t0))) == pytest.approx(0, abs=1e-12)


@given(t0=OFFSETS)
def test_the_line_below_one_electron_meets_the_root_in_value_and_slope(t0):
    offset, h = double(t0), 1e-6
    joint = 1 - t0  # electrons at which t = 1
    before, at, after = (float(stabilise(double(joint + d), offset)) for d in (-h, 0.0, h))
    assert at == pytest.approx(2 - 2 * t0**0.5, abs=1e-8)
    assert (at - before) / h == pytest.approx(1, abs=1e-3)
    assert (after - at) / h == pytest.approx(1, abs=1e-3)


@given(t0=OFFSETS)
def test_more_light_is_always_more(t0):
    e = torch.linspace(-2 * t0, 3 * t0 + 100, 1000, dtype=torch.float64)
    assert (stabilise(e, double(t0)).diff() > 0).all()


# Under four electrons squared of noise the root is too bent for that.
UNIT_VARIANCE = [
    (light, variance)
    for light in (0.0, 1.0, 5.0, 30.0, 300.0, 3000.0)
    for variance in (0.0, 4.0, 10.0, 100.0, 3000.0)
    if light + variance >= 4
]


@pytest.mark.parametrize("light,variance", UNIT_VARIANCE)
@pytest.mark.parametrize("gain", [1e-4, 1e-2])
def test_the_noise_has_unit_variance_at_every_signal_and_read_noise(light, variance, gain):
    generator = torch.Generator().manual_seed(0)
    photons = torch.poisson(torch.full((200_000,), light), generator)
    read = variance**0.5 * torch.randn(200_000, generator=generator)
    k, t0 = electron_scale(torch.tensor(gain), torch.tensor(variance * gain**2))
    stabilised = stabilise((photons + read) * gain / k, t0)
    assert float(stabilised.var()) == pytest.approx(1, abs=0.05 if light + variance > 20 else 0.17)


@given(gain=st.floats(0, 0.01), variance=st.floats(0, 1), x=st.floats(-0.1, 1))
def test_any_noise_profile_gives_a_sane_scale(gain, variance, x):
    k, t0 = electron_scale(torch.tensor(gain), torch.tensor(variance))
    assert float(k) >= gain * 0.999 and float(k) > 0
    assert 1 <= float(t0) <= MAX_READ_VARIANCE * 1.001 + 1
    assert stabilise(torch.tensor(x) / k, t0).isfinite()


@given(deviation=st.floats(1e-5, 0.1), gain_share=st.floats(0, 1), x_share=st.floats(0, 1))
def test_in_the_dark_a_raised_gain_hardly_changes_the_variance(deviation, gain_share, x_share):
    """Where photon noise is lost in read noise, K is raised; up to one deviation of light."""
    variance, x = deviation**2, x_share * deviation
    gain = gain_share * deviation / MAX_READ_VARIANCE**0.5
    k, t0 = electron_scale(double(gain), double(variance))
    assumed = float(k**2 * (t0 - 3 / 8) + k * x)
    assert assumed == pytest.approx(gain * x + variance, rel=0.0101)
