"""Strength 0 at ratio 1: each DNG holds the source's own mosaic, bit for bit, at 16 bits."""

import numpy as np
import pytest
import rawpy
import tifffile

from tests.conformance.cameras import CAMERAS

WHITE = 65535
_DEFAULT_CROP_ORIGIN, _DEFAULT_CROP_SIZE = 50719, 50720

pytestmark = pytest.mark.parametrize("camera", CAMERAS, ids=str)
forms = pytest.mark.parametrize("form", ["ljpeg", "none"])


@forms
def test_every_sample_is_the_source_s_scaled(shoot, camera, form):
    source = shoot.mosaics[camera.name].astype(np.float64)
    with rawpy.imread(str(shoot.result(form, camera.name))) as raw:
        mosaic = raw.raw_image_visible.copy()
        names = np.array(list(raw.color_desc.decode()))[raw.raw_colors_visible]
        blacks = np.array(raw.black_level_per_channel)[raw.raw_colors_visible]
        white = raw.white_level
    assert mosaic.shape == source.shape
    assert white == WHITE
    colours = camera.colours()
    np.testing.assert_array_equal(names, np.array(list("RGBG"))[colours])
    factors = []
    for colour, low in enumerate(camera.black):
        here = colours == colour
        (black,) = np.unique(blacks[here])
        factor = (WHITE - black) / (camera.white - low)
        factors.append(factor)
        expected = black + factor * (source[here] - low)
        assert np.abs(mosaic[here] - expected).max() <= 0.51
        again = np.rint((mosaic[here] - black) / factor + low)
        # A camera of 16 bits that has little black gives up a part of a level for the pedestal.
        assert np.abs(again - source[here]).max() <= (0 if factor >= 1 else 1)
        assert black > 0
    np.testing.assert_allclose(factors, factors[0], rtol=1e-4)


@forms
def test_libraw_reads_what_another_decoder_reads(shoot, camera, form):
    path = shoot.result(form, camera.name)
    with rawpy.imread(str(path)) as raw:
        libraw = raw.raw_image.copy()
    with tifffile.TiffFile(path) as tiff:
        page = mosaic_page(tiff)
        # tifffile only knows how to undo the compression: it asks imagecodecs.
        np.testing.assert_array_equal(page.asarray().squeeze(), libraw)
        assert page.compression == {"ljpeg": 7, "none": 1}[form]


def test_the_frame_is_the_active_area_with_the_maker_s_crop(shoot, camera):
    height, width = shoot.mosaics[camera.name].shape
    top, left, rows, cols = camera.crop or (0, 0, height, width)
    with rawpy.imread(str(shoot.result("ljpeg", camera.name))) as raw:
        sizes = raw.sizes
    assert (sizes.height, sizes.width) == (height, width)
    assert (sizes.raw_height, sizes.raw_width) == (height, width)
    assert (sizes.top_margin, sizes.left_margin) == (0, 0)
    with tifffile.TiffFile(shoot.result("ljpeg", camera.name)) as tiff:
        page = mosaic_page(tiff)
        assert _numbers(page, _DEFAULT_CROP_ORIGIN) == [left, top]
        assert _numbers(page, _DEFAULT_CROP_SIZE) == [cols, rows]


@pytest.mark.parametrize("form", ["ljpeg", "none", "linear"])
def test_colours_and_orientation_are_the_source_s(shoot, camera, form):
    with (
        rawpy.imread(str(shoot.source(camera.name))) as source,
        rawpy.imread(str(shoot.result(form, camera.name))) as result,
    ):
        assert result.sizes.flip == source.sizes.flip
        for name in ("camera_whitebalance", "daylight_whitebalance"):
            one, other = (np.array(getattr(raw, name)[:3]) for raw in (source, result))
            np.testing.assert_allclose(other / other[1], one / one[1], rtol=1e-4)
        np.testing.assert_allclose(result.color_matrix, source.color_matrix, atol=1e-4)
        np.testing.assert_allclose(result.rgb_xyz_matrix, source.rgb_xyz_matrix, atol=1e-4)


def mosaic_page(tiff):
    """Return the page that holds the full frame: of the main directory or of one below it."""
    pages = [tiff.pages[0], *(tiff.pages[0].pages or ())]
    (found,) = [page for page in pages if page.subfiletype == 0]
    return found


def _numbers(page, tag):
    """Return a tag's numbers; fractions come as pairs."""
    tag = page.tags[tag]
    values = tag.value if isinstance(tag.value, tuple) else (tag.value,)
    if tag.dtype.name in ("RATIONAL", "SRATIONAL"):
        return [a / b for a, b in zip(values[::2], values[1::2], strict=True)]
    return list(values)
