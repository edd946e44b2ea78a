from dataclasses import replace

import numpy as np
import pytest

from ledcli.pairs.checks import check_pair
from ledcli.pairs.similarity import frame_features, is_dark
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from tests.pairs.scenes import SHAPE, pair_of, picture, shot, through
from tests.shoot import make_dark


@pytest.mark.parametrize("iso", [100, 3200])
@pytest.mark.parametrize("ratio", [100, 300])
def test_a_good_pair(tmp_path, iso, ratio):
    result = check_pair(*pair_of(tmp_path, picture(1), ratio=ratio, iso=iso), ratio)
    assert result.problems == ()
    assert np.hypot(*result.shift) < 0.2
    assert result.measured_ratio == pytest.approx(ratio, rel=0.05)
    assert result.similarity > 0.8
    assert abs(result.black_offset) < 4


@pytest.mark.parametrize("moved", [(1, 0), (-3, 2), (0, 9)])
def test_a_moved_tripod_is_reported_with_its_shift(tmp_path, moved):
    short, long = pair_of(tmp_path, picture(1), iso=3200, moved=moved)
    result = check_pair(short, long, 100)
    assert result.shifted
    np.testing.assert_allclose(result.shift, (-moved[0], -moved[1]), atol=0.3)
    [problem] = result.problems
    assert problem == f"shifted by {np.hypot(*result.shift):.1f} pixels"
    assert result.problems_if(keep_shifted=True) == ()


def test_half_a_pixel_is_found_at_ratio_100(tmp_path):
    # Twice as fine a picture, binned: one of its pixels is half a pixel of the frame.
    fine = picture(2, shape=(512, 640))

    def half(down):
        seen = through(fine, down)
        return seen.reshape(256, 2, 320, 2).mean((1, 3))

    short = read_raw(shot(tmp_path / "s.ARW", half(1), 3200, 1 / 320))
    long = read_raw(shot(tmp_path / "l.ARW", half(0), 100, 10))
    result = check_pair(short, long, 100)
    assert result.shifted
    assert np.hypot(*result.shift) == pytest.approx(0.5, abs=0.15)


def test_a_rotated_frame_counts_as_shifted(tmp_path):
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:256, :320]
    lamps = [(rng.uniform(0, 256), rng.uniform(0, 320), rng.uniform(2, 5)) for _ in range(80)]

    def frame(angle):
        r = 128 + (rows - 128) * np.cos(angle) - (cols - 160) * np.sin(angle)
        c = 160 + (rows - 128) * np.sin(angle) + (cols - 160) * np.cos(angle)
        lit = sum(np.exp(-((r - y) ** 2 + (c - x) ** 2) / s**2) for y, x, s in lamps)
        return 0.05 + 0.3 * np.minimum(lit, 2)

    straight = read_raw(shot(tmp_path / "l.ARW", frame(0), 100, 10))
    turned = read_raw(shot(tmp_path / "s.ARW", frame(0.01), 100, 0.1))
    result = check_pair(turned, straight, 100)
    assert result.shifted
    # About the middle, which stays: what moves by a pixel and more are the quarters.
    assert 0.6 < np.hypot(*result.shift) < 2


def test_a_smooth_scene_is_not_refused_for_its_lack_of_detail(tmp_path):
    rows, cols = np.mgrid[:288, :352]
    light = 0.1 + 0.4 * cols / 352 + 0.2 * (rows / 288) ** 2
    assert check_pair(*pair_of(tmp_path, light), 100).problems == ()


@pytest.mark.parametrize("iso", [100, 3200])
def test_two_scenes_are_not_a_pair(tmp_path, iso):
    short, _ = pair_of(tmp_path, picture(1), iso=iso)
    _, long = pair_of(tmp_path, picture(2))
    [problem] = check_pair(short, long, 100).problems
    assert "another scene" in problem


def test_a_black_long_frame_is_not_a_pair(tmp_path):
    short, long = pair_of(tmp_path, picture(1))
    make_dark(tmp_path / "dark.ARW", shape=SHAPE)
    dark = replace(read_raw(tmp_path / "dark.ARW"), exif=long.exif)
    [problem] = check_pair(short, dark, 100).problems
    assert "another scene" in problem


def test_black_levels_that_disagree(tmp_path):
    short, long = pair_of(tmp_path, picture(1))
    lifted = replace(short, mosaic=(short.mosaic + 40).astype(np.uint16))
    result = check_pair(lifted, long, 100)
    assert result.problems == ("black levels disagree by 40 DN",)
    assert result.black_offset == pytest.approx(40, abs=1)
    levels = replace(short.levels, black=short.black + 100)
    other_black = replace(short, levels=levels, mosaic=short.mosaic + np.uint16(100))
    assert check_pair(other_black, long, 100).problems == ("black levels differ (612 and 512 DN)",)


def test_a_clipped_long_frame(tmp_path):
    result = check_pair(*pair_of(tmp_path, picture(1) * 4), 100)
    assert result.clipped > 0.3
    assert result.problems == (f"{result.clipped:.0%} of the long frame is clipped",)
    lamps = np.where(picture(1) > 0.66, 5, picture(1))
    assert check_pair(*pair_of(tmp_path, lamps), 100).problems == ()


def test_a_noisy_long_frame(tmp_path):
    noisy = {"read_noise": 900.0}
    short, long = pair_of(tmp_path, picture(1), ratio=10, long=noisy, read_noise=80.0)
    result = check_pair(short, long, 10)
    assert result.long_noise > 0.5
    assert any("long frame is noisy" in problem for problem in result.problems)


def test_brightness_that_contradicts_the_exposures(tmp_path):
    short, long = pair_of(tmp_path, picture(1), ratio=60)
    [problem] = check_pair(short, long, 100).problems
    assert problem.endswith("times darker, not 100 (-40%)")


def test_frames_that_cannot_be_compared(tmp_path):
    short, long = pair_of(tmp_path, picture(1))
    nikon = replace(long, exif=Exif(make="NIKON", model="D850"))
    assert "another camera" in check_pair(short, nikon, 100).problems[0]
    other_body = replace(long, exif=replace(long.exif, serial="2"))
    mine = replace(short, exif=replace(short.exif, serial="1"))
    assert "serial 1, 2" in check_pair(mine, other_body, 100).problems[0]
    smaller = replace(long, mosaic=long.mosaic[:-2])
    assert check_pair(short, smaller, 100).problems == ("is of another size (320x256, 320x254)",)


@pytest.mark.parametrize("iso", [100, 25600])
def test_a_lens_cap_is_distinguished_from_a_very_dark_scene(tmp_path, iso):
    noise = {"gain": 0.2e-3 * iso, "read_noise": 2 + iso / 800}
    make_dark(tmp_path / "dark.ARW", shape=SHAPE, **noise)
    assert is_dark(frame_features(read_raw(tmp_path / "dark.ARW")))
    # Half a sigma of shading, as cameras have it, is no picture.
    shading = (
        noise["read_noise"]
        / 2
        * np.outer(np.linspace(-1, 1, SHAPE[0]) ** 2, np.linspace(0, 1, SHAPE[1]))
    )
    shaded = read_raw(tmp_path / "dark.ARW")
    shaded = replace(shaded, mosaic=(shaded.mosaic + np.rint(shading)).astype(np.uint16))
    assert is_dark(frame_features(shaded))
    short, _ = pair_of(tmp_path, picture(3), ratio=300, iso=min(iso, 3200))
    assert not is_dark(frame_features(short))


@pytest.mark.parametrize("offset", [(0, 0), (4, 5)])
def test_x_trans_pairs_are_checked_as_bayer_ones(tmp_path, offset):
    how = {"phase": offset, "long": {"phase": offset}}
    light = picture(1, shape=(384, 480))
    result = check_pair(*pair_of(tmp_path, light, **how), 100)
    assert result.problems == ()
    assert result.measured_ratio == pytest.approx(100, rel=0.05)
    assert abs(result.black_offset) < 4
    result = check_pair(*pair_of(tmp_path, light, iso=3200, moved=(-3, 2), **how), 100)
    assert result.shifted
    np.testing.assert_allclose(result.shift, (3, -2), atol=0.3)
    result = check_pair(*pair_of(tmp_path, light, **how | {"phase": (1, 5)}), 100)
    assert "colours in another order" in result.problems[0]
