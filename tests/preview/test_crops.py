"""Which crops are chosen: detail, a shadow and a highlight, apart from one another."""

import numpy as np
import pytest

from ledcli.noise.estimate import NoiseProfile
from ledcli.preview.crops import KINDS, Area, choose_crops

NOISE = NoiseProfile(1e-4, 1e-6)
SHAPE = (320, 480)
WHOLE = Area(0, 0, *SHAPE)
DETAIL, SHADOW = Area(64, 64, 144, 144), Area(64, 320, 144, 400)
BRIGHT, CLIPPED = Area(192, 64, 272, 144), Area(192, 320, 272, 400)


def photo(*, bright=0.7, ratio=1.0):
    """Planes of an even grey with a grating, a dark grating, a bright and a clipped square."""
    light = np.full(SHAPE, 0.2)
    wave = np.sin(np.arange(SHAPE[1]) / 2) + np.sin(np.arange(SHAPE[0]) / 3)[:, None]
    for area, level, contrast in ((DETAIL, 0.2, 0.5), (SHADOW, 0.01, 0.2)):
        light[area.rows, area.cols] = level * (1 + contrast * wave[area.rows, area.cols])
    light[BRIGHT.rows, BRIGHT.cols] = bright
    light[CLIPPED.rows, CLIPPED.cols] = 1.0
    planes = np.broadcast_to(light / ratio, (4, *SHAPE))
    noise = np.random.default_rng(0).normal(size=planes.shape) * np.sqrt(NOISE.variance(planes))
    return np.minimum(planes + noise, 1 / ratio).astype(np.float32)


def inside(area, other):
    corners = (area.top, area.left), (area.bottom, area.right)
    return all(
        other.top <= row <= other.bottom and other.left <= col <= other.right
        for row, col in corners
    )


@pytest.mark.parametrize("ratio", [1.0, 20.0])
def test_the_crops_show_detail_a_shadow_and_a_highlight(ratio):
    found = choose_crops(photo(ratio=ratio), NOISE, ratio, WHOLE, 64)
    assert [crop.kind for crop in found] == list(KINDS)
    expected = (DETAIL, SHADOW, BRIGHT)
    assert [inside(crop.area, area) for crop, area in zip(found, expected, strict=True)] == [
        True
    ] * 3


def test_the_same_photo_gives_the_same_crops():
    first, second = (choose_crops(photo(), NOISE, 1, WHOLE, 64) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_an_even_photo_gets_three_crops_too(level):
    planes = np.full((4, 160, 240), level, np.float32)
    found = choose_crops(planes, NOISE, 1, Area(0, 0, 160, 240), 160)
    assert [crop.kind for crop in found] == list(KINDS)


@pytest.mark.parametrize("shape", [(48, 80), (96, 96), (96, 300), (500, 260)])
def test_crops_do_not_overlap_and_stay_in_the_part_that_is_shown(shape):
    planes = np.random.default_rng(1).random((4, *shape), np.float32)
    shown = Area(3, 5, shape[0] - 4, shape[1] - 1)
    found = choose_crops(planes, NOISE, 1, shown, 160)
    areas = [crop.area for crop in found]
    covered = np.zeros(shape, int)
    for area in areas:
        covered[area.rows, area.cols] += 1
        assert shown.top <= area.top < area.bottom <= shown.bottom
        assert shown.left <= area.left < area.right <= shown.right
        assert area.bottom - area.top == area.right - area.left
    assert covered.max() == 1


def test_a_tiny_photo_is_shown_whole():
    shown = Area(0, 0, 12, 40)
    found = choose_crops(np.zeros((4, 12, 40), np.float32), NOISE, 1, shown, 160)
    assert [crop.area for crop in found] == [shown]
