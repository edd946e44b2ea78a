"""Monochrome sensors: one sample per pixel and no CFA, through the network for Bayer sensors."""

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from ledcli.cli.app import run
from ledcli.output.dng import dng_bytes
from ledcli.output.pixels import preview_rgb
from ledcli.output.render import develop_dng, png_bytes
from ledcli.raw.colour import srgb_from_linear
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import MonoPhase
from tests.inference.models import write_model
from tests.shoot import MONO, make_raw, scene

SHAPE = (201, 302)


@pytest.fixture
def photo(tmp_path):
    make_raw(tmp_path / "a.dng", light=scene(SHAPE), phase=MONO, black=511.75, orientation=6)
    return read_raw(tmp_path / "a.dng")


def page_of(path):
    """Return the page of the image, and its samples."""
    with tifffile.TiffFile(path) as tiff:
        (page,) = [page for page in tiff.pages[0].pages if page.subfiletype == 0]
        return page, page.asarray().squeeze()


def test_a_monochrome_dng_is_read_as_four_planes_of_one_colour(photo):
    assert photo.phase == MonoPhase.MONO and photo.monochrome and photo.cfa == "bayer"
    np.testing.assert_array_equal(photo.black, [511.75] * 4)
    assert photo.colour_matrix is None and photo.as_shot_wb is None
    x = photo.normalised()
    np.testing.assert_allclose(x, (photo.mosaic - 511.75) / (16383 - 511.75), atol=1e-6)
    for plane, (row, col) in zip(photo.planes(), ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True):
        samples = x[row::2, col::2]
        np.testing.assert_array_equal(plane[: samples.shape[0], : samples.shape[1]], samples)


@pytest.mark.parametrize("how", [{}, {"compression": "none"}, {"linear": True}])
def test_it_is_written_with_one_sample_per_pixel(photo, tmp_path, how):
    path = tmp_path / "b.dng"
    x = photo.normalised() * 0.9
    path.write_bytes(dng_bytes(photo, x, software="led", **how))
    page, samples = page_of(path)
    assert (page.photometric, page.samplesperpixel) == (34892, 1)
    tags = {tag: page.tags[tag].value for tag in (50713, 50714, 50717)}
    assert tags == {50713: (1, 1), 50714: tags[50714], 50717: 65535}
    np.testing.assert_allclose((samples - tags[50714]) / (65535 - tags[50714]), x, atol=1e-5)
    assert not {33421, 33422} & set(page.tags.keys())
    with tifffile.TiffFile(path) as tiff:
        assert not {50721, 50728, 50729} & set(tiff.pages[0].tags.keys())
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image, samples)
        assert raw.num_colors == 1 and raw.black_level_per_channel[0] == tags[50714]
    np.testing.assert_allclose(read_raw(path).normalised(), x, atol=1e-5)


def test_preview_and_picture_are_grey_and_as_bright_as_the_raw(photo, tmp_path):
    x = photo.normalised()
    preview = preview_rgb(photo, x)
    assert not np.ptp(preview.astype(int), axis=2).any()
    picture = develop_dng(dng_bytes(photo, x, software="led", compression="none"))
    assert picture.shape == (SHAPE[1], SHAPE[0], 3)
    assert not np.ptp(picture.astype(int), axis=2).any()
    expected = srgb_from_linear(np.clip(np.rot90(x, -1), 0, 1)) * 65535
    np.testing.assert_allclose(picture[..., 0], expected, atol=400)
    (tmp_path / "a.png").write_bytes(png_bytes(picture, photo=photo))
    with Image.open(tmp_path / "a.png") as png:
        assert png.size == SHAPE


def test_led_denoise_takes_it_with_a_model_for_bayer_sensors(photo, tmp_path):
    model = write_model(tmp_path / "tiny.safetensors", sets=())
    words = ["denoise", tmp_path / "a.dng", "--model", model, "--ratio", 2, "--out", tmp_path / "o"]
    assert run([str(word) for word in words] + ["--device", "cpu", "--quiet"]) == 0
    page, samples = page_of(tmp_path / "o" / "a.dng")
    assert page.photometric == 34892 and samples.shape == SHAPE
