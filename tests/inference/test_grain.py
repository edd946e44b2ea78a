import numpy as np
import pytest
import torch

from ledcli.batch.settings import Settings
from ledcli.inference.blending import LUMINANCE, leave_grain
from ledcli.sensor.cfa import STANDARD_PHASE, MonoPhase, Phase
from ledcli.sensor.layout import LAYOUTS, layout_of

BALANCE = (2.0, 1.0, 1.6)


def frames(planes, rows=300, cols=20):
    """Return denoised and noisy planes; more rows than a band has."""
    generator = torch.Generator().manual_seed(planes)
    clean = torch.rand(planes, rows, cols, generator=generator)
    return clean, clean + 0.1 * torch.randn(clean.shape, generator=generator)


def blended(clean, noisy, luma, chroma, balance=BALANCE, phase=None):
    phase = phase or STANDARD_PHASE[layout_of(len(clean)).name]
    return leave_grain(clean.clone(), noisy.clone(), luma, chroma, phase, balance)


def means(planes):
    """Return the white-balanced mean of each colour ``(3, h, w)``."""
    colours = np.array(layout_of(len(planes)).colours)
    each = [planes[colours == c].mean(0) * BALANCE[c] for c in range(3)]
    return torch.stack(each)


def luminance(planes):
    return (means(planes) * torch.tensor(LUMINANCE)[:, None, None]).sum(0)


def colour(planes):
    """Return the differences of red and blue to the luminance, and of red's and blue's planes."""
    balanced = planes * torch.tensor(BALANCE)[list(layout_of(len(planes)).colours)][:, None, None]
    others = [n for n, c in enumerate(layout_of(len(planes)).colours) if c != 1]
    return balanced[others] - luminance(planes)


@pytest.mark.parametrize("planes", [layout.planes for layout in LAYOUTS.values()])
def test_the_ends_are_exact_and_equal_shares_are_a_strength(planes):
    clean, noisy = frames(planes)
    assert torch.equal(blended(clean, noisy, 1, 1), clean)
    assert torch.equal(blended(clean, noisy, 0, 0), noisy)
    assert torch.equal(blended(clean, noisy, 0.3, 0.3), torch.lerp(noisy, clean, 0.3))


@pytest.mark.parametrize("planes", [layout.planes for layout in LAYOUTS.values()])
def test_luma_and_chroma_are_left_alone_by_the_other(planes):
    clean, noisy = frames(planes)
    grain, blotches = blended(clean, noisy, 0, 1), blended(clean, noisy, 1, 0)
    near = {"rtol": 0, "atol": 2e-6}
    # Grain: the brightness of the noisy planes, the colours of the denoised ones.
    torch.testing.assert_close(luminance(grain), luminance(noisy), **near)
    torch.testing.assert_close(colour(grain), colour(clean), **near)
    # Blotches: the other way round.
    torch.testing.assert_close(luminance(blotches), luminance(clean), **near)
    torch.testing.assert_close(colour(blotches), colour(noisy), **near)
    # Both parts together are all of the noise, and a half is half of it.
    torch.testing.assert_close(grain + blotches - clean, noisy, **near)
    half = blended(clean, noisy, 0.5, 1)
    torch.testing.assert_close(half, (grain + clean) / 2, **near)


def test_grain_is_grey_but_for_the_difference_of_the_greens():
    clean, noisy = frames(4)
    added = blended(clean, noisy, 0, 1) - clean
    red, green, blue = means(added)
    torch.testing.assert_close(red, green, rtol=0, atol=2e-6)
    torch.testing.assert_close(blue, green, rtol=0, atol=2e-6)
    apart = (noisy - clean)[1] - (noisy - clean)[3]
    torch.testing.assert_close(added[1] - added[3], apart, rtol=0, atol=2e-6)


def test_a_monochrome_photo_has_luma_only():
    clean, noisy = frames(4)
    result = blended(clean, noisy, 0.4, 1, phase=MonoPhase.MONO)
    assert torch.equal(result, torch.lerp(noisy, clean, 0.4))


def test_the_white_balance_decides_what_is_grey():
    clean, noisy = torch.zeros(4, 2, 2), torch.tensor([0.05, 0.1, 0.0625, 0.1]).expand(2, 2, 4)
    noisy = noisy.permute(2, 0, 1).contiguous()
    result = blended(clean, noisy, 1, 0, phase=Phase.GBRG)
    assert float(result.abs().max()) < 1e-7  # grey under this light: nothing of it is colour
    assert float(blended(clean, noisy, 1, 0, balance=(1, 1, 1)).abs().max()) > 0.01


def test_the_record_names_luma_and_chroma_only_where_they_differ():
    plain = Settings(strength=0.5).processing()
    assert Settings(luma=0.5, chroma=0.5).processing() == plain
    assert Settings(strength=0.5, luma=0.5).processing() == plain
    assert plain["strength"] == 0.5 and "luma" not in plain
    apart = Settings(strength=0.5, luma=0.2).processing()
    assert (apart["luma"], apart["chroma"]) == (0.2, 0.5) and "strength" not in apart
