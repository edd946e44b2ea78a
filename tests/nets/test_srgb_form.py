"""SID's form: how many planes it makes, and where each of them goes in the picture."""

import pytest
import torch

from ledcli.nets.forms import SrgbForm, form_of, subpixel


@pytest.mark.parametrize("side", [2, 3])
def test_every_plane_goes_to_its_position_in_the_cell(side):
    picture = torch.rand(3, 4 * side, 5 * side)
    planes = torch.stack(
        [
            picture[colour, row::side, col::side]
            for colour in range(3)
            for row in range(side)
            for col in range(side)
        ]
    )
    assert torch.equal(subpixel(planes), picture)
    assert torch.equal(subpixel(planes[None]), picture[None])


@pytest.mark.parametrize("planes,made", [(4, 12), (9, 27)])
def test_the_network_sees_the_clipped_planes_times_the_ratio(planes, made):
    seen = []

    def net(x):
        seen.append(x)
        return x.repeat(1, 3, 1, 1)

    form = form_of("gain", "srgb", planes)
    assert isinstance(form, SrgbForm)
    x = torch.full((2, planes, 8, 8), 0.01)
    x[1] = -0.02
    out = form(net, x, torch.tensor([50.0, 10.0]), torch.ones(2), torch.ones(2))
    assert out.shape == (2, made, 8, 8)
    assert seen[0][0].unique() == pytest.approx(0.5) and seen[0][1].unique() == pytest.approx(-0.2)
    form(net, x, torch.tensor([500.0, 10.0]), torch.ones(2), torch.ones(2))
    assert seen[1][0].unique() == 1
