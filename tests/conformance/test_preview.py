"""A DNG's preview shows the denoised photo, as bright as it is, and turns with it."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from ledcli.cli.app import run
from tests.conformance import judges
from tests.conformance.cameras import EVEN, Camera
from tests.shoot import make_raw, scene

RATIO = 25
_JPEG, _YCBCR, _REDUCED = 7, 6, 1
_LEVELS = 4.0
"""Of 255: what a small JPEG may differ by from the picture in full, made small."""


@pytest.fixture(scope="module", params=[1, 6, 3, 8, 5])
def dark(request, tmp_path_factory):
    """A dark photo held that way, and what it became: DNG and PNG."""
    folder = tmp_path_factory.mktemp("dark")
    make_raw(
        folder / "a.dng", phase="GRBG", light=scene(EVEN, 3) / RATIO, gain=4.0, read_noise=6.0,
        orientation=request.param,
    )  # fmt: skip
    words = ["denoise", str(folder / "a.dng"), "--ratio", str(RATIO), "--format", "dng,png"]
    assert run([*words, "--out", str(folder / "o"), "--quiet"]) == 0
    return folder / "a.dng", folder / "o" / "a.dng", folder / "o" / "a.png", request.param


def test_preview_and_thumbnail_look_as_the_photo_in_full(dark):
    _, dng, png, orientation = dark
    with Image.open(png) as picture:
        # The PNG has 16 bits, of which Pillow gives 8.
        full = picture.convert("RGB")
    for small in (preview(dng), thumbnail(dng)):
        # Stored as the sensor lies; the orientation holds for all pictures of the file.
        assert small.width > small.height
        upright = turned(small, orientation)
        assert upright.width / upright.height == pytest.approx(full.width / full.height, rel=0.03)
        reduced = full.resize(upright.size, Image.Resampling.BOX)
        assert judges.difference(np.asarray(upright), np.asarray(reduced)) < _LEVELS


def test_the_preview_is_of_the_denoised_photo(dark):
    raw, dng, _, orientation = dark
    noisy = Image.fromarray(judges.libraw(raw))
    upright = turned(preview(dng), orientation)
    # The source is 25 times too dark: nearly black.
    assert np.asarray(upright).mean() > 3 * np.asarray(noisy).mean()


def test_a_large_photo_has_a_preview_of_about_1024_pixels(shoot, tmp_path):
    make_raw(tmp_path / "large.dng", shape=(1401, 2103), orientation=6)
    words = ["denoise", str(tmp_path / "large.dng"), "--model", str(shoot.model)]
    assert run([*words, "--out", str(tmp_path / "o"), "--quiet"]) == 0
    small = preview(tmp_path / "o" / "large.dng")
    assert 900 <= small.width <= 1150
    assert small.width / small.height == pytest.approx(2103 / 1401, rel=0.01)
    assert max(thumbnail(tmp_path / "o" / "large.dng").size) <= 300


@pytest.mark.parametrize("form", ["ljpeg", "none", "linear"])
def test_every_dng_has_both(shoot, form):
    for path in shoot.results(form):
        assert min(preview(path).size) >= 64
        assert min(thumbnail(path).size) >= 64


def test_the_preview_shows_the_maker_s_crop(shoot):
    from tests.conformance.cameras import CAMERAS, SHOWN

    camera: Camera = next(one for one in CAMERAS if one.crop)
    small = preview(shoot.result("ljpeg", camera.name))
    assert small.width / small.height == pytest.approx(SHOWN[3] / SHOWN[2], rel=0.03)


def preview(path):
    """Return the JPEG preview, as stored."""
    with tifffile.TiffFile(path) as tiff:
        (page,) = [
            page
            for page in tiff.pages[0].pages or ()
            if page.subfiletype == _REDUCED and page.photometric == _YCBCR
        ]
        assert page.compression == _JPEG
        (start,), (size,) = page.dataoffsets, page.databytecounts
    with Image.open(io.BytesIO(path.read_bytes()[start : start + size])) as picture:
        assert (picture.width, picture.height) == (page.imagewidth, page.imagelength)
        return picture.convert("RGB")


def thumbnail(path):
    """Return the picture of the first directory, as stored."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert page.subfiletype == _REDUCED
        return Image.fromarray(page.asarray())


def turned(picture, orientation):
    """Turn a picture as the orientation tag asks for."""
    picture = picture.copy()
    picture.getexif()[274] = orientation
    return ImageOps.exif_transpose(picture)
