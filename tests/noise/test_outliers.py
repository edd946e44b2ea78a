"""Specks: what is taken for one, and what is not."""

import torch

from ledcli.nets.forms import LOCAL_MEAN, local_mean
from ledcli.noise.vst import remove_outliers


def cleaned(s):
    result, mean = remove_outliers(s, local_mean(s), LOCAL_MEAN)
    assert torch.allclose(mean, local_mean(result), atol=1e-4)
    return result


def dark(side=24):
    return torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)


def test_a_lone_bright_sample_in_the_dark_is_replaced_by_the_mean_around_it():
    for row, col in ((12, 12), (0, 0), (0, 11), (23, 22)):
        s = dark()
        s[0, 1, row, col] = 20.0
        rows, cols = (slice(max(n - 2, 0), n + 3) for n in (row, col))
        window = s[0, 1, rows, cols]
        expected = (window.sum() - 20) / (window.numel() - 1)
        result = cleaned(s)
        assert torch.allclose(result[0, 1, row, col], expected, atol=1e-4)
        result[0, 1, row, col] = 20.0
        assert torch.equal(result, s)


def test_a_lone_dark_sample_is_replaced_too():
    s = dark()
    s[0, 2, 5, 5] = -15.0
    assert cleaned(s)[0, 2, 5, 5].abs() < 2


def test_a_star_that_reaches_its_neighbours_is_kept():
    for plane, row, col in ((1, 12, 13), (3, 12, 12), (0, 11, 11)):
        s = dark()
        s[0, 1, 12, 12] = 20.0
        s[0, plane, row, col] = 8.0
        if (plane, row, col) != (1, 12, 12):
            assert torch.equal(cleaned(s), s)


def test_in_the_light_it_is_kept_as_texture():
    s = dark() + 10
    s[0, 1, 12, 12] = 30.0
    assert torch.equal(cleaned(s), s)


def test_plain_noise_is_kept():
    s = torch.randn(1, 4, 200, 200, generator=torch.Generator().manual_seed(1))
    assert (cleaned(s) != s).float().mean() < 1e-5
