"""The same on real frames: Canon's CRW and a DNG of Magic Lantern."""

import os

import numpy as np
import pytest
import rawpy

from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import pattern
from tests.conformance import judges
from tests.conformance.conftest import denoise
from tests.conformance.judges import needs_exiftool
from tests.conformance.tagtable import EVERY
from tests.conformance.test_developers import MOST, needs_darktable, needs_dcraw, needs_rawtherapee
from tests.shoot import SHARED

GOOD = SHARED / "raw/good"
FRAMES = sorted(GOOD.glob("*")) if GOOD.is_dir() else []
ALL = os.environ.get("LED_CONFORMANCE") == "all"
WHITE = 65535
CRW_TAGS = (
    "Make", "Model", "Orientation", "DateTimeOriginal", "ExposureTime", "FNumber", "FocalLength",
    "ISO", "OwnerName",
)  # fmt: skip
"""Of CRW, which has them elsewhere than TIFF."""

pytestmark = pytest.mark.skipif(not FRAMES, reason="no ../shared/data/raw here")
each = pytest.mark.parametrize("frame", FRAMES, ids=lambda path: path.name)
some = pytest.mark.parametrize(
    "frame", FRAMES if ALL else FRAMES[-2:-1], ids=lambda path: path.name
)


@pytest.fixture(scope="module")
def real(shoot, tmp_path_factory):
    """The folder of the results."""
    out = tmp_path_factory.mktemp("real")
    assert denoise(GOOD, out, shoot.model) == 0
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For the programs' own files."""
    return tmp_path_factory.mktemp("developed")


def result(real, frame):
    return real / f"{frame.stem}.dng"


@each
def test_the_mosaic_comes_back_bit_for_bit(real, frame):
    with rawpy.imread(str(frame)) as source, rawpy.imread(str(result(real, frame))) as again:
        one = source.raw_image_visible.astype(np.float64)
        other = again.raw_image_visible.astype(np.float64)
        colours = source.raw_colors_visible
        np.testing.assert_array_equal(
            np.array(list(source.color_desc))[colours],
            np.array(list(again.color_desc))[again.raw_colors_visible],
        )
        assert again.white_level == WHITE
        limits = source.camera_white_level_per_channel
        whites = {float(source.white_level), *(float(limit) for limit in limits or ())}
        # LibRaw cuts black to whole numbers.
        photo = read_raw(frame)
        rows, cols = np.indices(one.shape) % photo.phase.layout.period
        blacks = photo.black[pattern(photo.phase)[rows, cols]]
        new = np.array(again.black_level_per_channel)[again.raw_colors_visible]
    # Which of the file's white levels is taken is ours to say; then nothing is.
    errors = []
    for white in whites:
        factor = (WHITE - new) / (white - blacks)
        below = one <= white
        back = np.rint((other - new) / factor + blacks)
        errors.append(int((back[below] != one[below]).sum()))
    assert min(errors) == 0


@needs_exiftool
def test_exiftool_finds_nothing_to_say(real):
    assert judges.complaints(sorted(real.glob("*.dng"))) == {}


@needs_exiftool
@each
def test_the_tags_are_the_source_s(real, frame):
    found = judges.tags([frame, result(real, frame)])
    source, other = found[frame], found[result(real, frame)]
    if frame.suffix == ".CRW":
        source, other = (_where_it_belongs(tags) for tags in (source, other))
        assert judges.differing(source, other, CRW_TAGS) == {}
        return
    # A fraction of 0/0 need not go along.
    source = {name: value for name, value in source.items() if value != "undef"}
    assert judges.differing(source, other, map(str, EVERY)) == {}


@needs_exiftool
@each
def test_maker_notes_go_along(real, frame):
    if frame.suffix != ".CRW":
        pytest.skip("has none")
    found = judges.tags([result(real, frame)])[result(real, frame)]
    assert any(name.startswith("Canon:") for name in found)


@each
@pytest.mark.parametrize("program", ["libraw", pytest.param("dcraw", marks=needs_dcraw)])
def test_it_looks_as_its_source(real, frame, program):
    render = getattr(judges, program)
    with rawpy.imread(str(frame)) as raw:
        # Where a source has no balance, the result has daylight's, and programs guess one.
        daylight = min(raw.camera_whitebalance[:3]) <= 0
    source, again = (render(path, daylight=daylight) for path in (frame, result(real, frame)))
    assert judges.difference(source, again) < MOST


@some
@pytest.mark.parametrize(
    "program",
    [
        pytest.param("darktable", marks=needs_darktable),
        pytest.param("rawtherapee", marks=needs_rawtherapee),
    ],
)
def test_it_looks_as_its_source_to_slow_programs(real, folder, frame, program):
    with rawpy.imread(str(frame)) as raw:
        if min(raw.camera_whitebalance[:3]) <= 0:
            pytest.skip("has no white balance: every program guesses its own")
    render = getattr(judges, program)
    source, again = (render(path, folder) for path in (frame, result(real, frame)))
    if source.shape != again.shape:
        # They keep to the maker's crop in a DNG, and know none in a CRW.
        with rawpy.imread(str(frame)) as raw:
            sizes = raw.sizes
        top = sizes.crop_top_margin - sizes.top_margin
        left = sizes.crop_left_margin - sizes.left_margin
        source = source[top : top + again.shape[0], left : left + again.shape[1]]
    assert judges.difference(source, again) < MOST


def _where_it_belongs(tags):
    """Return tags by name, those of the camera and not of our own record."""
    belongs = ("IFD0", "ExifIFD", "Canon", "CanonRaw")
    return {
        name: value
        for full, value in tags.items()
        for group, _, name in [full.partition(":")]
        if group in belongs
    }
