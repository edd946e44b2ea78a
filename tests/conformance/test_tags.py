"""Every tag of the table is in the result as it is in the source; nothing is out of order."""

import pytest
from PIL import Image

from tests.conformance import judges
from tests.conformance.cameras import CAMERAS
from tests.conformance.conftest import FORMS, denoise
from tests.conformance.judges import needs_exiftool
from tests.conformance.tagtable import CAMERA, EVERY, SHOT, WORDS
from tests.shoot import SHARED, make_raw

cameras = pytest.mark.parametrize("camera", CAMERAS, ids=str)
DONOR = SHARED / "raw/bad/exiftool_Nikon.nef"
"""A file cut down to its tags; its maker notes are whole."""


@pytest.mark.parametrize("form", FORMS)
def test_every_photo_is_done(shoot, form):
    assert shoot.status(form) == 0
    assert len(shoot.results(form)) == len(CAMERAS) * (2 if form == "pictures" else 1)


@needs_exiftool
@pytest.mark.parametrize("form", FORMS)
def test_exiftool_finds_nothing_to_say(shoot, form):
    said = judges.complaints(shoot.results(form))
    assert said == {}


@needs_exiftool
@cameras
def test_the_sources_have_every_tag(shoot, camera):
    assert {str(tag) for tag in EVERY} <= shoot.tags("raw")[camera.name].keys()


@needs_exiftool
@pytest.mark.parametrize("form", ["ljpeg", "none", "linear"])
@cameras
def test_a_dng_has_every_tag_of_its_source(shoot, camera, form):
    source = shoot.tags("raw")[camera.name]
    result = shoot.tags(form)[shoot.result(form, camera.name).name]
    assert judges.differing(source, result, map(str, EVERY)) == {}


@needs_exiftool
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@cameras
def test_a_picture_has_every_tag_of_the_shot(shoot, camera, suffix):
    source = shoot.tags("raw")[camera.name]
    result = shoot.tags("pictures")[shoot.result("pictures", camera.name, suffix).name]
    # PNG has no place for IPTC; XMP says the same.
    words = [tag for tag in WORDS if suffix != ".png" or tag.group != "IPTC"]
    assert judges.differing(source, result, map(str, (*SHOT, *words))) == {}


@needs_exiftool
@cameras
def test_only_the_orientation_is_applied_in_a_picture(shoot, camera):
    names = {str(tag) for tag in CAMERA} - {"IFD0:Orientation"}
    for suffix in (".png", ".tif"):
        result = shoot.tags("pictures")[shoot.result("pictures", camera.name, suffix).name]
        assert result.get("IFD0:Orientation", 1) == 1
        assert not names & result.keys()


@cameras
def test_a_picture_is_upright_with_sixteen_bits_and_a_profile(shoot, camera):
    shown = [shoot.mosaics[camera.name].shape, *([camera.crop[2:]] if camera.crop else [])]
    upright = [(h, w) if camera.orientation >= 5 else (w, h) for h, w in shown]
    for suffix in (".png", ".tif"):
        with Image.open(shoot.result("pictures", camera.name, suffix)) as picture:
            assert picture.size in upright
            assert picture.info["icc_profile"]


@needs_exiftool
@cameras
def test_the_result_is_known_by_its_source(shoot, camera):
    result = shoot.tags("ljpeg")[shoot.result("ljpeg", camera.name).name]
    assert result["IFD0:OriginalRawFileName"] == camera.name
    assert str(result["IFD0:Software"]).startswith("led ")


@needs_exiftool
def test_what_is_no_longer_true_stays_behind(shoot):
    for form in ("ljpeg", "none", "linear"):
        for tags in shoot.tags(form).values():
            named = {name.partition(":")[2] for name in tags}
            assert not named & {"BaselineNoise", "NoiseProfile", "NoiseReductionApplied"}


@pytest.fixture(scope="module")
def noted(tmp_path_factory):
    """A raw with the maker notes of a Nikon."""
    if not DONOR.exists():
        pytest.skip("no ../shared/data/raw here")
    path = tmp_path_factory.mktemp("noted") / "raw" / "noted.dng"
    path.parent.mkdir()
    make_raw(path, make="NIKON CORPORATION", model="NIKON D2Hs", iso=None, exposure_time=None,
             aperture=None, focal_length=None, datetime=None)  # fmt: skip
    judges.exiftool(
        ["-overwrite_original", "-TagsFromFile", str(DONOR), "-MakerNotes", "-EXIF:ISO=400"], [path]
    )
    return path


@needs_exiftool
def test_maker_notes_go_along(shoot, noted, tmp_path):
    assert denoise(noted, tmp_path / "o", shoot.model) == 0
    result = tmp_path / "o" / "noted.dng"
    found = judges.tags([noted, result])
    notes = {name for name in found[noted] if name.startswith("Nikon:")}
    assert len(notes) > 20
    assert judges.differing(found[noted], found[result], notes) == {}
    assert judges.complaints([result]) == {}
    assert [p.name for p in (tmp_path / "o").glob("[!.]*")] == ["noted.dng"]
    one, other = judges.libraw(noted), judges.libraw(result)
    assert judges.difference(one, other) < 1


@needs_exiftool
def test_it_is_said_when_maker_notes_cannot_go_along(shoot, noted, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert denoise(noted, tmp_path / "o", shoot.model, quiet=False) == 0
    said = capfd.readouterr().err.splitlines()
    assert len([line for line in said if "exiftool" in line and "maker notes" in line]) == 1
