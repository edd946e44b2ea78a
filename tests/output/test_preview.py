import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from ledcli.output.dng import dng_bytes
from ledcli.output.pixels import jpeg_bytes, preview_rgb, thumbnail
from ledcli.output.render import develop_dng
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase, offsets
from tests.shoot import SHARED, make_raw


def _photo(tmp_path, **how):
    path = tmp_path / "a.dng"
    make_raw(path, **how)
    return read_raw(path)


def _picture_of(photo, x, size):
    """The PNG's pixels of the maker's crop, averaged to the size of a preview."""
    rgb = develop_dng(dng_bytes(photo, x, software="led")).astype(np.float32) / 257
    top, left, height, width = photo.crop or (0, 0, *x.shape)
    if rgb.shape[:2] != (height, width):
        rgb = rgb[top : top + height, left : left + width]
    planes = [Image.fromarray(rgb[..., colour]) for colour in range(3)]
    return np.stack([plane.resize(size, Image.Resampling.BOX) for plane in planes], axis=2)


def _light(shape):
    """Smooth colours between black and white."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return 0.02 + 0.5 * cols / shape[1] + 0.3 * rows / shape[0]


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("shape", [(200, 300), (201, 301)])
@pytest.mark.parametrize("gain", [0.1, 1, 3])
def test_the_preview_is_as_bright_and_coloured_as_the_png(tmp_path, phase, shape, gain):
    photo = _photo(tmp_path, light=_light(shape), phase=phase, read_noise=0, gain=0)
    x = photo.normalised() * np.float32(gain)
    preview = preview_rgb(photo, x)
    assert preview.shape == (100, 150, 3)
    png = _picture_of(photo, x, (150, 100))
    # The border of a demosaiced picture is LibRaw's guess.
    difference = (preview - png)[3:-3, 3:-3]
    assert np.abs(difference).max() < 4 and np.abs(difference.mean((0, 1))).max() < 1


@pytest.mark.parametrize("phase", [(0, 0), (1, 4), (2, 5)])
@pytest.mark.parametrize("gain", [0.1, 1, 3])
def test_the_preview_of_an_x_trans_is_as_bright_and_coloured_as_the_png(tmp_path, phase, gain):
    photo = _photo(tmp_path, light=_light((240, 360)), phase=phase, read_noise=0, gain=0)
    x = photo.normalised() * np.float32(gain)
    preview = preview_rgb(photo, x)
    assert preview.shape == (80, 120, 3)
    difference = (preview - _picture_of(photo, x, (120, 80)))[3:-3, 3:-3]
    assert np.abs(difference).max() < 8 and np.abs(difference.mean((0, 1))).max() < 2
    small = preview_rgb(photo, x, 30)
    assert small.shape == (20, 30, 3)
    difference = (small - _picture_of(photo, x, (30, 20)))[2:-2, 2:-2]
    assert np.abs(difference).max() < 8 and np.abs(difference.mean((0, 1))).max() < 2


def test_white_is_white_and_black_is_black(tmp_path):
    photo = _photo(tmp_path)
    for level, shown in ((-0.1, 0), (0, 0), (1, 255), (50, 255)):
        x = np.full(photo.mosaic.shape, level, np.float32)
        assert (preview_rgb(photo, x) == shown).all()


def test_a_clipped_lamp_is_neutral(tmp_path):
    photo = _photo(tmp_path)
    x = np.full(photo.mosaic.shape, 0.2, np.float32)
    # Brighter than white in every colour, by as much as the light is coloured.
    for (row, col), level in zip(offsets(photo.phase), (1.2, 3.0, 1.4, 3.0), strict=True):
        x[40 + row : 60 : 2, 40 + col : 60 : 2] = level
    assert (preview_rgb(photo, x)[21:29, 21:29] == 255).all()


def test_the_makers_crop_is_shown_and_long_sides_are_kept(tmp_path):
    photo = _photo(tmp_path, shape=(400, 600))
    x = np.zeros((400, 600), np.float32)
    x[51:151, 101:301] = 1
    shown = dataclasses.replace(photo, crop=(51, 101, 100, 200))
    preview = preview_rgb(shown, x)
    assert preview.shape == (50, 100, 3) and (preview == 255).all()
    for side in (300, 200, 75, 10):
        preview = preview_rgb(photo, x, side)
        assert preview.shape[1] == side and abs(preview.shape[0] - side * 2 / 3) < 1
    wide = dataclasses.replace(photo, pixel_aspect=2.0)
    assert preview_rgb(wide, x, 200).shape == (67, 200, 3)


@pytest.mark.parametrize("shape", [(32, 33), (32, 1000), (1000, 32)])
def test_narrow_pictures_have_a_preview(tmp_path, shape):
    photo = _photo(tmp_path, shape=shape)
    for side in (1024, 20):
        preview = preview_rgb(photo, photo.normalised(), side)
        assert preview.size and max(preview.shape) <= max(side, max(shape) // 2)


def test_thumbnail_and_jpeg_are_the_preview(tmp_path):
    photo = _photo(tmp_path, shape=(600, 800), light=_light((600, 800)))
    preview = preview_rgb(photo, photo.normalised())
    small = thumbnail(preview)
    assert small.shape == (192, 256, 3)
    np.testing.assert_allclose(small.mean((0, 1)), preview.mean((0, 1)), atol=0.5)
    decoded = np.asarray(Image.open(io.BytesIO(jpeg_bytes(preview))))
    assert np.abs(decoded - preview.astype(float)).mean() < 3


RAW = SHARED / "raw" / "good"


@pytest.mark.skipif(not RAW.is_dir(), reason="no ../shared/data/raw here")
@pytest.mark.parametrize("name", ["canon_g2_0304.CRW", "canon_kissx4_ml_colorchart.dng"])
def test_a_real_photo_looks_like_its_png(name):
    photo = read_raw(RAW / name)
    x = photo.normalised()
    preview = preview_rgb(photo, x)
    png = _picture_of(photo, x, preview.shape[1::-1]).astype(np.float64)
    assert np.abs(png - preview).mean() < 4
    assert np.abs(png.mean((0, 1)) - preview.mean((0, 1))).max() < 1
