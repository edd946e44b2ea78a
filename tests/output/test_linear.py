import dataclasses

import numpy as np
import pytest
import rawpy
import tifffile

from ledcli.errors import OutputError
from ledcli.output.dng import dng_bytes
from ledcli.output.pixels import demosaic
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase, offsets
from tests.shoot import make_raw


def _photo(tmp_path, **how):
    path = tmp_path / "a.dng"
    make_raw(path, **how)
    return read_raw(path)


def _smooth(shape, phase, colours):
    """A mosaic of one colour getting brighter, to two thirds of white."""
    light = np.linspace(0.05, 0.66, shape[1], dtype=np.float32)
    x = np.broadcast_to(light, shape).copy()
    for (row, col), factor in zip(offsets(phase), colours[[0, 1, 2, 1]], strict=True):
        x[row::2, col::2] *= factor
    return x, light


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("shape", [(80, 96), (81, 97)])
def test_smooth_colours_come_out_as_they_are(tmp_path, phase, shape):
    photo = _photo(tmp_path, shape=shape, phase=phase, black=(500, 510, 520, 530), orientation=6)
    colours = np.array([0.4, 1.0, 0.7], np.float32)
    x, light = _smooth(shape, phase, colours)
    rgb = demosaic(photo, x)
    # All of the mosaic, not turned.
    assert rgb.shape == (*shape, 3) and rgb.dtype == np.uint16
    wanted = light[None, :, None] * colours * 65535
    difference = np.abs(rgb - wanted)[8:-8, 8:-8] / 65535
    assert difference.max() < 0.004


def test_the_mosaics_own_samples_stay(tmp_path):
    photo = _photo(tmp_path)
    x = photo.normalised()
    rgb = demosaic(photo, x)
    for (row, col), colour in zip(offsets(photo.phase), (0, 1, 2, 1), strict=True):
        own = rgb[row::2, col::2, colour][4:-4, 4:-4]
        np.testing.assert_allclose(own, 65535 * x[row::2, col::2][4:-4, 4:-4].clip(0), atol=2)


def test_white_is_white_in_every_colour_and_black_is_0(tmp_path):
    photo = _photo(tmp_path)
    for level, dn in ((1.0, 65535), (4.0, 65535), (0.0, 0), (-0.01, 0)):
        rgb = demosaic(photo, np.full(photo.mosaic.shape, level, np.float32))
        assert np.abs(rgb.astype(int) - dn).max() <= 2
    half = demosaic(photo, np.full(photo.mosaic.shape, 2.0, np.float32), headroom=4.0)
    assert np.abs(half.astype(int) - 32768).max() <= 3


def test_what_is_no_number_is_refused(tmp_path):
    photo = _photo(tmp_path)
    x = photo.normalised()
    x[5, 5] = np.nan
    with pytest.raises(OutputError, match="not numbers"):
        dng_bytes(photo, x, software="led", linear=True)


@pytest.mark.parametrize("compression", ["ljpeg", "none"])
def test_libraw_shows_the_linear_file_like_the_mosaic(tmp_path, compression):
    photo = _photo(tmp_path, shape=(201, 302), black=(500, 510, 520, 530), orientation=8)
    photo = dataclasses.replace(photo, crop=(8, 6, 180, 280))
    x, _ = _smooth(photo.mosaic.shape, photo.phase, np.array([0.4, 1.0, 0.7]))
    shown = []
    for linear in (False, True):
        path = tmp_path / "b.dng"
        how = {"linear": linear, "compression": compression}
        path.write_bytes(dng_bytes(photo, x, software="led", **how))
        with rawpy.imread(str(path)) as raw:
            shown.append(
                raw.postprocess(use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0)
            )
    assert shown[0].shape == shown[1].shape == (302, 201, 3)
    difference = np.abs(shown[0].astype(float) - shown[1])[8:-8, 8:-8]
    assert difference.mean() < 0.5 and difference.max() < 4
    with tifffile.TiffFile(path) as tif:
        tags = {tag.code: tag.value for tag in tif.pages[0].pages[0].tags}
    assert tags[50719] == (6, 8) and tags[50720] == (280, 180)
    assert tags[50829] == (0, 0, 201, 302) and tags[50717] == (65535,) * 3


def test_both_compressions_hold_the_same(tmp_path):
    photo = _photo(tmp_path, shape=(101, 133))
    x = photo.normalised()
    for compression in ("ljpeg", "none"):
        path = tmp_path / "b.dng"
        dng = dng_bytes(photo, x, software="led", linear=True, compression=compression)
        path.write_bytes(dng)
        with tifffile.TiffFile(path) as tif:
            picture = tif.pages[0].pages[0].asarray()
        np.testing.assert_array_equal(picture, demosaic(photo, x))


@pytest.mark.parametrize("side", [48, 516])
def test_an_x_trans_has_all_colours_to_its_corners(tmp_path, side):
    """Some corners of 2x2 pixels are all green; LibRaw takes small frames another way."""
    for row, col in ((0, 0), (1, 4), (3, 2)):
        photo = _photo(tmp_path, shape=(side, side + 3), phase=(row, col))
        rgb = demosaic(photo, np.full(photo.mosaic.shape, 0.5, np.float32))
        assert np.abs(rgb.astype(int) - 32768).max() < 200
