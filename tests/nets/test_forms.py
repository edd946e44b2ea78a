import pytest
import torch
from torch import nn

from ledcli.nets.forms import StabilisedForm, form_of


class Recorder(nn.Module):
    """Returns the first planes of its input, and keeps the input."""

    def forward(self, x):
        self.seen = x
        return x[:, :4]


class Zero(nn.Module):
    def forward(self, x):
        self.seen = x
        return x.new_zeros(len(x), 4, *x.shape[2:])


def line(*values):
    return torch.tensor(values)


def photo(seed=0):
    """Two frames with values under zero, and over one when multiplied by the ratio."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 4, 16, 24, generator=generator) * 0.9 - 0.05


def test_the_gain_form_is_the_clipped_frame_times_the_ratio():
    x, net = photo(), Recorder()
    ratio = line(1.0, 100.0)
    out = form_of("gain")(net, x, ratio, line(1e-3, 1e-3), line(1e-6, 1e-6))
    expected = torch.minimum(x * ratio.reshape(2, 1, 1, 1), torch.tensor(1.0))
    assert torch.equal(net.seen, expected) and torch.equal(out, expected)
    assert net.seen.min() < 0  # the noise's mean survives
    assert net.seen.shape[1] == form_of("gain").in_planes


@pytest.mark.parametrize("ratio", [1.0, 300.0])
@pytest.mark.parametrize("gain,variance", [(1e-3, 1e-6), (1e-5, 1e-9), (0.0, 1e-4), (6e-4, 0.0)])
def test_the_stabilised_form_with_a_silent_network_is_the_identity(ratio, gain, variance):
    x, net = photo(), Zero()
    out = form_of("stabilised")(
        net, x, line(ratio, ratio), line(gain, gain), line(variance, variance)
    )
    assert out.dtype == torch.float32
    # float32 has seven digits of the electrons plus the read noise's offset.
    largest = ratio * max(1.0, variance / max(gain, 1e-4))
    torch.testing.assert_close(out, x * ratio, atol=2e-6 * largest, rtol=2e-6)


def test_nothing_under_zero_or_over_white_is_cut():
    x = torch.linspace(-2, 3, 4 * 16 * 16).reshape(1, 4, 16, 16)
    out = form_of("stabilised")(Zero(), x, line(1.0), line(1e-3), line(1e-6))
    torch.testing.assert_close(out, x, atol=1e-5, rtol=1e-5)


def test_the_network_is_given_planes_that_bfloat16_can_hold():
    """Detail in deviations of noise, softly limited; the size itself compressed; read noise."""
    x, net = photo(), Zero()
    gain, variance = 1e-4, 1e-8
    form_of("stabilised")(net, x, line(1.0, 1.0), line(gain, gain), line(variance, variance))
    assert net.seen.shape[1] == form_of("stabilised").in_planes == 9
    detail, mean, read = net.seen[:, :4], net.seen[:, 4:8], net.seen[:, 8:]
    assert detail.abs().max() <= 8
    assert mean.abs().max() < 10
    assert (read == read[0, 0, 0, 0]).all()


def test_each_photo_of_a_batch_has_its_own_ratio_and_noise():
    x = photo()
    both = form_of("stabilised")(
        Recorder(), x, line(1.0, 100.0), line(1e-3, 1e-4), line(1e-6, 1e-7)
    )
    for i, (r, g, v) in enumerate(((1.0, 1e-3, 1e-6), (100.0, 1e-4, 1e-7))):
        alone = form_of("stabilised")(Recorder(), x[i : i + 1], line(r), line(g), line(v))
        torch.testing.assert_close(both[i : i + 1], alone)


def test_a_flat_frame_stays_at_its_level():
    """The inverse adds no darkening and no colour cast: with nothing to remove, nothing moves."""
    x = torch.tensor([0.001, 0.002, 0.0005, 0.002]).reshape(1, 4, 1, 1).expand(1, 4, 32, 32)
    out = form_of("stabilised")(Zero(), x, line(300.0), line(6e-4), line(2e-7))
    torch.testing.assert_close(out, x * 300, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "takes"), [("gain", 9), ("stabilised", 19)])
def test_a_form_of_nine_planes_takes_what_follows_from_their_number(name, takes):
    class Nine(nn.Module):
        def forward(self, x):
            self.seen = x
            return x[:, :9] if name == "gain" else x.new_zeros(len(x), 9, *x.shape[2:])

    x = torch.rand(1, 9, 16, 16, generator=torch.Generator().manual_seed(0)) / 10
    form, net = form_of(name, planes=9), Nine()
    out = form(net, x, line(10.0), line(1e-3), line(1e-6))
    assert form.in_planes == takes == net.seen.shape[1]
    torch.testing.assert_close(out, x * 10, atol=1e-5, rtol=1e-5)


def test_a_network_with_twice_the_outputs_chooses_between_full_and_limited_detail():
    form, x = StabilisedForm(), torch.full((1, 4, 16, 16), 0.01)
    x[0, 1, 8, 8] = 0.5
    settings = (torch.ones(1), torch.tensor([1e-4]), torch.tensor([1e-8]))

    class Constant(nn.Module):
        def __init__(self, logit):
            super().__init__()
            self.logit = logit

        def forward(self, planes):
            residual = torch.zeros_like(planes[:, :4])
            return torch.cat((residual, residual + self.logit), 1)

    full, limited = (form(Constant(logit), x, *settings) for logit in (-40.0, 40.0))
    torch.testing.assert_close(full, x, rtol=1e-4, atol=1e-6)
    assert float(limited[0, 1, 8, 8]) < 0.1
    torch.testing.assert_close(limited[:, 0], x[:, 0], rtol=1e-4, atol=1e-6)
