"""X-Trans cameras: the mosaic comes back bit for bit with its pattern, and developers open it."""

import dataclasses

import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image

from tests.conformance import judges
from tests.conformance.cameras import SHOWN, Camera
from tests.conformance.conftest import FORMS, denoise
from tests.conformance.test_developers import MOST, needs_dcraw, needs_rawtherapee
from tests.conformance.test_mosaic import mosaic_page
from tests.inference.models import write_model
from tests.shoot import colours_of

WHITE = 65535
_CFA_REPEAT, _CFA_PATTERN, _BLACK_REPEAT, _BLACK = 33421, 33422, 50713, 50714


@dataclasses.dataclass(frozen=True)
class XTrans(Camera):
    """A made-up X-Trans camera; `phase` is where in the pattern its sensor begins."""

    def __str__(self):
        return self.name

    def colours(self):
        """Colour of each pixel of the active area: 0 to 2 for R, G, B."""
        rows, cols = np.mgrid[: self.shape[0], : self.shape[1]]
        return colours_of(self.phase)[rows % 6, cols % 6][self.active]


# LibRaw's own way to demosaic an X-Trans takes frames from 512 pixels on.
EVERY = (
    XTrans("plain.RAF", (0, 0), (516, 540), black=(512, 512, 512)),
    XTrans("margins.RAF", (1, 4), (531, 557), (3, 5, 528, 556), (500, 514, 531), orientation=6),
    XTrans("cropped.dng", (5, 2), (543, 550), (8, 14, 531, 549), (480, 480, 520), crop=SHOWN),
    XTrans("ten bits.dng", (2, 3), (520, 527), (1, 1, 519, 522), (32, 33, 34), bits=10),
)
every = pytest.mark.parametrize("camera", EVERY, ids=str)
forms = pytest.mark.parametrize("form", ["ljpeg", "none"])


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Folder of the sources and of the results by form, with the sources' mosaics."""
    folder = tmp_path_factory.mktemp("xtrans")
    (folder / "raw").mkdir()
    mosaics = {camera.name: camera.make(folder / "raw") for camera in EVERY}
    model = write_model(folder / "tiny.safetensors", sets=(), cfa="xtrans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LED_HOME", str(folder / "home"))
        for form, options in FORMS.items():
            assert denoise(folder / "raw", folder / form, model, options) == 0
    return folder, mosaics


def result(shots, form, camera, suffix=".dng"):
    return shots[0] / form / f"{camera.name.rpartition('.')[0]}{suffix}"


@every
@forms
def test_every_sample_is_the_source_s_scaled(shots, camera, form):
    source = shots[1][camera.name].astype(np.float64)
    path = result(shots, form, camera)
    with rawpy.imread(str(path)) as raw:
        mosaic = raw.raw_image_visible.copy()
        seen = np.array([[raw.raw_color(row, col) for col in range(6)] for row in range(6)])
        assert raw.white_level == WHITE
    with tifffile.TiffFile(path) as tiff:
        page = mosaic_page(tiff)
        tags = {tag: page.tags[tag].value for tag in (_CFA_REPEAT, _BLACK_REPEAT, _BLACK)}
        pattern = np.frombuffer(bytes(page.tags[_CFA_PATTERN].value), np.uint8).reshape(6, 6)
        np.testing.assert_array_equal(page.asarray().squeeze(), mosaic)
    assert tags[_CFA_REPEAT] == tags[_BLACK_REPEAT] == (6, 6)
    colours = camera.colours()
    np.testing.assert_array_equal(pattern, colours[:6, :6])
    np.testing.assert_array_equal(seen, colours[:6, :6])
    blacks = np.reshape(tags[_BLACK], (6, 6))
    for colour, low in enumerate(camera.black):
        (black,) = np.unique(blacks[pattern == colour])
        factor = (WHITE - black) / (camera.white - low)
        here = colours == colour
        assert np.abs(mosaic[here] - (black + factor * (source[here] - low))).max() <= 0.51
        np.testing.assert_array_equal(np.rint((mosaic[here] - black) / factor + low), source[here])


@every
def test_the_frame_is_the_active_area_with_the_maker_s_crop(shots, camera):
    shape = shots[1][camera.name].shape
    with rawpy.imread(str(result(shots, "ljpeg", camera))) as raw:
        sizes = raw.sizes
    assert (sizes.height, sizes.width) == shape == (sizes.raw_height, sizes.raw_width)
    if camera.crop:
        shown = sizes.crop_top_margin, sizes.crop_left_margin, sizes.crop_height, sizes.crop_width
        assert shown == camera.crop


@every
@forms
def test_libraw_shows_the_result_as_the_source(shots, camera, form):
    source, shown = (
        judges.libraw(path)
        for path in (shots[0] / "raw" / camera.name, result(shots, form, camera))
    )
    assert judges.difference(source, shown) < MOST


@needs_dcraw
@every
@forms
def test_dcraw_shows_the_result_as_the_source(shots, camera, form):
    source = judges.dcraw(shots[0] / "raw" / camera.name)
    shown = judges.dcraw(result(shots, form, camera))
    assert judges.difference(source, shown) < MOST


@needs_rawtherapee
def test_rawtherapee_shows_the_result_as_the_source(shots, tmp_path):
    camera = EVERY[0]
    source, shown = (
        judges.rawtherapee(path, tmp_path)
        for path in (shots[0] / "raw" / camera.name, result(shots, "ljpeg", camera))
    )
    assert judges.difference(source, shown) < MOST


@every
def test_the_other_forms_show_the_same(shots, camera):
    path = result(shots, "ljpeg", camera)
    with rawpy.imread(str(path)) as raw:
        shown = raw.sizes.flip  # upright in both
    dng = judges.libraw(path)
    assert shown == {1: 0, 6: 6}[camera.orientation]
    linear = judges.libraw(result(shots, "linear", camera))
    assert judges.difference(dng, linear, 8) < 8
    for suffix in (".png", ".tif"):
        with Image.open(result(shots, "pictures", camera, suffix)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        # LibRaw shows all pixels of a DNG, whatever its crop.
        assert pixels.shape[:2] == (camera.crop[2:] if camera.crop else dng.shape[:2])


@judges.needs_exiftool
@pytest.mark.parametrize("form", ["ljpeg", "none", "linear"])
def test_nothing_is_out_of_order(shots, form):
    assert judges.complaints([result(shots, form, camera) for camera in EVERY]) == {}
