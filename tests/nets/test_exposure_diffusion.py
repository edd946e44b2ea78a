"""The adaptive residual layer, and frames that are exposed on."""

import pytest
import torch

from ledcli.nets.forms import MASK_START, AdaptiveForm, add_photons, exposure_schedule

LINE = torch.tensor([1e-4]), torch.tensor([1e-6])


class Parts(torch.nn.Module):
    """Gives an image, a residual and a mask whatever its input."""

    def __init__(self, image, residual, mask):
        super().__init__()
        self.values = image, residual, mask

    def forward(self, x):
        image, residual, mask = (torch.full_like(x[:, :1], v) for v in self.values)
        planes = x.shape[1]
        return torch.cat([image] * planes + [residual] * planes + [mask], 1)


def output(image, residual, mask, x=0.004, ratio=100.0):
    planes = torch.full((1, 4, 4, 4), x)
    return AdaptiveForm()(Parts(image, residual, mask), planes, torch.tensor([ratio]), *LINE)


def test_the_mask_chooses_between_image_and_residual():
    assert output(0.7, 0.1, 50.0).allclose(torch.tensor(0.7))
    assert output(0.7, 0.1, -50.0).allclose(torch.tensor(0.5))
    assert output(0.7, 0.1, -MASK_START).allclose(torch.tensor(0.6))


def test_an_untrained_mask_favours_the_image():
    assert output(0.7, 0.1, 0.0).allclose(torch.tensor(0.69), atol=1e-3)


def test_both_are_clipped_before_they_are_mixed():
    assert output(3.0, -5.0, -MASK_START).allclose(torch.tensor(0.5))
    # The input is cut for the network only: what is past white can be brought back.
    assert output(0.0, -0.5, -50.0, x=0.012).allclose(torch.tensor(0.7))


def test_clipping_lets_the_gradient_pass():
    x = torch.full((1, 4, 4, 4), -1.0)
    weight = torch.nn.Parameter(torch.ones(9, 4, 1, 1))
    net = torch.nn.Conv2d(4, 9, 1, bias=False)
    net.weight = weight
    AdaptiveForm()(net, x, torch.ones(1), *LINE).sum().backward()
    assert weight.grad[:8].abs().min() > 0


def test_exposures_go_from_the_short_frames_to_the_references_in_equal_factors():
    assert exposure_schedule(100, 1) == [0.01]
    assert exposure_schedule(100, 3) == pytest.approx([0.01, 0.1, 1])
    assert exposure_schedule(1, 2) == [1, 1]


def test_added_photons_have_their_mean_and_noise():
    clean = torch.full((2, 4, 64, 64), 0.5)
    x = clean / 100
    now, then = torch.tensor([0.01, 0.01]), torch.tensor([0.1, 1.0])
    gain = torch.tensor([1e-4, 1e-3])
    frame = add_photons(x, clean, now, then, gain, torch.Generator().manual_seed(0))
    light = 0.5 * (then - now)
    assert torch.allclose(frame.mean((1, 2, 3)), light + 0.005, rtol=2e-2)
    assert torch.allclose(frame.var((1, 2, 3)), light * gain, rtol=5e-2)
    # Whole electrons.
    electrons = ((frame - x)[0] / gain[0]).double()
    assert torch.allclose(electrons, electrons.round(), atol=1e-2)


def test_no_light_no_change():
    x = torch.randn(1, 4, 8, 8)
    one = torch.ones(1)
    assert torch.equal(
        add_photons(x, torch.rand(1, 4, 8, 8), one, one, 1e-3 * one, torch.Generator()), x
    )
