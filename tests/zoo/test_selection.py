import json
import os

import pytest

from ledcli.errors import ModelError
from ledcli.raw.exif import Exif, is_camera
from ledcli.zoo import selection
from ledcli.zoo import store as bundled
from ledcli.zoo.selection import covers
from tests.inference.models import noise_profile, write_model

SONY = ("SONY ILCE-7SM2", "SONY")
NIKON = ("NIKON D850", "NIKON CORPORATION")
FUJI = ("FUJIFILM X-H2", "FUJIFILM")


def best_model(camera, make, ratio, iso, **how):
    return selection.best_model(Exif(make, camera, iso), ratio, **how)


@pytest.fixture(autouse=True)
def come_with_led(tmp_path, monkeypatch):
    """A bundled file with sets for two makers; its registry names a third as well."""
    folder = tmp_path / "bundled"
    write_model(folder / "bayer.safetensors", sets=("generic", "sony", "nikon"))
    names = ["generic", "sony", "nikon", "canon"]
    (folder / "registry.json").write_text(
        json.dumps(
            {"default": "generic", "models": [{"file": "bayer.safetensors", "names": names}]}
        )
    )
    monkeypatch.setattr(bundled, "bundled_dir", lambda: folder)
    return folder / "bayer.safetensors"


@pytest.fixture
def install(led_home):
    """Put a tuned model into the store."""

    def put(name, camera=SONY[0], ratios=(100.0, 300.0), date="2026-11-20T20:00:00+00:00", **how):
        training = {} if date is None else {"date": date}
        return write_model(
            led_home / "models" / f"{name}.safetensors",
            **{"sets": (), "cameras": (camera,), "ratio_range": ratios, "training": training} | how,
        )

    return put


def test_the_tuned_model_of_the_camera_goes_first(install, come_with_led):
    path = install("mine")
    picked = best_model(*SONY, 100, None)
    assert (picked.path, picked.csa_set, picked.name) == (path, "", "mine")
    assert "SONY ILCE-7SM2" in picked.reason and "2026-11-20" in picked.reason
    assert picked.warnings == () and picked.tuned
    assert best_model(*NIKON, 100, None).path == come_with_led


def test_an_unfolded_tuned_model_stands_for_its_first_set(install):
    install("mine", sets=("target", "other"))
    assert best_model(*SONY, 100, None).csa_set == "target"


@pytest.mark.parametrize(
    "ratio,tuned",
    [(1, False), (78, False), (80, True), (100, True), (300, True), (375, True), (380, False)],
)
def test_its_ratios_must_cover_the_photo_s_to_a_third_of_a_stop(install, ratio, tuned):
    install("mine")
    assert (best_model(*SONY, ratio, None).name == "mine") == tuned
    assert covers((100.0, 300.0), ratio) == tuned


@pytest.mark.parametrize(
    "iso,tuned",
    [(250, False), (320, True), (400, True), (6400, True), (25600, True), (25601, False)],
)
def test_its_isos_must_cover_the_photo_s_or_come_near_from_below(install, iso, tuned):
    install("mine", noise_profile=noise_profile(isos=(400.0, 6400.0)))
    assert best_model(*SONY, 100, iso).tuned == tuned


def test_an_iso_that_the_photo_or_the_model_does_not_say_rules_nothing_out(install):
    install("lines", noise_profile=noise_profile(isos=(6400.0,)))
    assert best_model(*SONY, 100, None).name == "lines"
    assert best_model(*SONY, 100, 400).name == "sony"
    install("plain", date="2020-01-01")
    assert best_model(*SONY, 100, 400).name == "plain"
    assert best_model(*SONY, 100, 6400).name == "lines"


def test_the_reason_says_why_a_model_tuned_to_the_camera_is_not_the_one(install):
    install("mine", noise_profile=noise_profile(isos=(400.0, 6400.0)))
    maker = "the bundled set of the camera's maker"
    for ratio, iso, beyond in (
        (1, 800, "ratios 100 to 300"),
        (1, None, "ratios 100 to 300"),
        (100, 50, "ISO 400 to 6400"),
        (1, 50, "ratios 100 to 300 and ISO 400 to 6400"),
    ):
        picked = best_model(*SONY, ratio, iso)
        assert picked.name == "sony" and not picked.tuned
        assert picked.reason == f"{maker}; mine is tuned to this camera, but for {beyond}"
    assert best_model(*NIKON, 1, 50).reason == maker
    install(
        "fuji", camera=FUJI[0], ratios=(100.0, 100.0), noise_profile=noise_profile(isos=(6400.0,))
    )
    assert best_model(*FUJI, 10, 400).reason == (
        "the bundled default; fuji is tuned to this camera, but for ratio 100 and ISO 6400"
    )
    # Of several, the one that misses least, not the newest.
    install(
        "newer", ratios=(1.0, 3.0), date="2027-01-01", noise_profile=noise_profile(isos=(100.0,))
    )
    assert "; mine is tuned" in best_model(*SONY, 100, 50_000).reason


def test_the_newest_is_taken_by_its_date_and_not_by_its_name_or_file(install):
    old = install("z-old", date="2026-11-20T20:00:00Z")
    install("a-new", date="2026-11-20T21:30:00+01:00")
    os.utime(old, (4e9, 4e9))
    assert best_model(*SONY, 100, None).name == "a-new"
    install("newest", date="2026-11-21T00:00:00")  # no zone: UTC
    assert best_model(*SONY, 100, None).name == "newest"
    # The newest counts among those that cover the ratio.
    install("other-ratio", ratios=(1.0, 20.0), date="2027-01-01")
    assert best_model(*SONY, 100, None).name == "newest"
    assert best_model(*SONY, 10, None).name == "other-ratio"


def test_one_that_knows_the_cameras_noise_goes_before_a_newer_one_that_does_not(install):
    install("own", noise_profile=noise_profile(isos=(400.0, 6400.0)))
    install("published", date=None)
    assert best_model(*SONY, 100, 1600).name == "own"
    assert best_model(*SONY, 100, 100).name == "published"
    assert best_model(*SONY, 100, 100).reason == f"tuned to {SONY[0]}"


@pytest.mark.parametrize("date", [None, "last tuesday", 5, "9999-99-99"])
def test_without_a_date_the_file_s_own_counts(install, date):
    install("dated", date="2020-01-01")
    undated = install("undated", date=date)
    os.utime(undated, (1_700_000_000, 1_700_000_000))  # November 2023
    assert best_model(*SONY, 100, None).name == "undated"
    os.utime(undated, (1_000_000_000, 1_000_000_000))  # September 2001
    assert best_model(*SONY, 100, None).name == "dated"


@pytest.mark.parametrize(
    "camera,make,named",
    [
        ("SONY ILCE-7SM2", "SONY", "Sony ILCE-7SM2"),
        ("SONY ILCE-7SM2", "SONY", "ILCE-7SM2"),
        ("SONY ILCE-7SM2", "SONY", "  sony   ilce-7sm2 "),
        ("SONY ILCE-7SM2", "SONY", "SONY SONY ILCE-7SM2"),
        ("NIKON D850", "NIKON CORPORATION", "NIKON CORPORATION NIKON D850"),
        ("NIKON D850", "NIKON CORPORATION", "Nikon D850"),
        ("Canon EOS 700D", "Canon", "CANON EOS 700D"),
        ("Canon EOS 700D", None, "Canon EOS 700D"),
    ],
)
def test_a_camera_is_known_however_it_is_spelt(install, camera, make, named):
    assert is_camera(camera, make, ["something else", named])
    install("mine", camera=named)
    assert best_model(camera, make, 100, None).name == "mine"


@pytest.mark.parametrize(
    "camera,make,named",
    [
        ("SONY ILCE-7SM2", "SONY", "SONY ILCE-7SM3"),
        ("SONY ILCE-7SM2", "SONY", "SONY"),
        ("Canon G9", "Canon", "Panasonic G9"),
        ("Canon EOS 70D", "Canon", "Canon EOS 700D"),
        ("Canon", "Canon", "Canon EOS 700D"),
        (None, None, "Canon EOS 700D"),
        (None, "Canon", "Canon"),
        ("", "", ""),
    ],
)
def test_another_camera_is_not_taken_for_it(camera, make, named):
    assert not is_camera(camera, make, [named])


def test_without_a_tuned_model_the_maker_s_set_serves(install, come_with_led):
    install("mine")
    for (camera, make), csa_set in ((NIKON, "nikon"), (("SONY DSLR-A900", "Sony"), "sony")):
        picked = best_model(camera, make, 100, None)
        assert (picked.path, picked.csa_set, picked.name) == (come_with_led, csa_set, csa_set)
        assert "maker" in picked.reason


@pytest.mark.parametrize(
    "camera,make", [FUJI, (None, None), ("Canon EOS 5D", "Canon"), ("X", "   ")]
)
def test_else_the_default_also_where_the_file_lacks_the_set_that_is_named(
    camera, make, come_with_led
):
    picked = best_model(camera, make, 100, None)
    assert (picked.path, picked.csa_set, picked.name) == (come_with_led, "generic", "generic")
    assert "default" in picked.reason


def test_a_model_that_is_for_any_camera_is_not_picked_by_itself(install, come_with_led):
    install("any", cameras=())
    assert best_model(*FUJI, 100, None).path == come_with_led


def test_an_installed_maker_s_name_does_not_hide_the_bundled_set(install, come_with_led):
    install("nikon", camera="Nikon D5")
    assert best_model(*NIKON, 100, None).path == come_with_led


def test_a_damaged_model_is_skipped_with_a_warning(install):
    install("good")
    bad = install("newer", date="2027-01-01")
    bad.write_bytes(bad.read_bytes()[:-10])
    picked = best_model(*SONY, 100, None)
    assert picked.name == "good"
    (warning,) = picked.warnings
    assert "newer.safetensors" in warning and "cut off" in warning and "\n" not in warning
    assert best_model(*FUJI, 100, None).warnings == picked.warnings


def test_models_can_be_left_out(install):
    path = install("newer", date="2027-01-01")
    install("older")
    assert best_model(*SONY, 100, None, without={path}).name == "older"


def test_when_the_bundled_file_is_missing_a_tuned_model_still_serves(install, come_with_led):
    come_with_led.unlink()
    install("mine")
    assert best_model(*SONY, 100, None).name == "mine"
    with pytest.raises(ModelError, match="Install led again"):
        best_model(*NIKON, 100, None)


def add_xtrans(folder):
    """Let a model for X-Trans sensors come with led, as the registry names it."""
    path = write_model(folder / "x.safetensors", cfa="xtrans", sets=("generic", "sony"))
    registry = json.loads((folder / "registry.json").read_text())
    entry = {"file": "x.safetensors", "cfa": "xtrans", "names": ["xtrans"]}
    registry["models"].append(entry | {"csa_sets": {"xtrans": "generic"}})
    (folder / "registry.json").write_text(json.dumps(registry))
    return path


def test_an_x_trans_photo_gets_the_bundled_model_for_x_trans(come_with_led):
    path = add_xtrans(come_with_led.parent)
    picked = best_model(*FUJI, 100, None, cfa="xtrans")
    assert (picked.path, picked.csa_set, picked.name) == (path, "generic", "xtrans")
    picked = best_model(*FUJI, 100, None)
    assert (picked.path, picked.csa_set) == (come_with_led, "generic")
    # The set of a maker is one of the Bayer model.
    assert best_model(*SONY, 100, None, cfa="xtrans").path == path


def test_models_tuned_to_a_camera_serve_its_kind_of_sensor_only(install, come_with_led):
    path = add_xtrans(come_with_led.parent)
    mine = install("mine", camera=FUJI[0], cfa="xtrans")
    assert best_model(*FUJI, 100, None, cfa="xtrans").path == mine
    assert best_model(*FUJI, 100, None).path == come_with_led
    install("other", camera=FUJI[0], date="2027-01-01")
    assert best_model(*FUJI, 100, None, cfa="xtrans").path == mine
    assert best_model(*FUJI, 1, None, cfa="xtrans").path == path


def test_without_a_model_for_x_trans_that_is_said():
    with pytest.raises(ModelError, match=r"X-Trans.*--cfa xtrans.*--model"):
        best_model(*FUJI, 100, None, cfa="xtrans")


def add_fast(folder):
    """Let a fast model come with led, with sets for two makers."""
    path = write_model(folder / "fast.safetensors", sets=("generic", "sony"), training=FAST)
    registry = json.loads((folder / "registry.json").read_text())
    names = {"generic-fast": "generic", "sony-fast": "sony"}
    entry = {"file": "fast.safetensors", "quality": "fast", "names": list(names)}
    registry["models"].append(entry | {"csa_sets": names})
    (folder / "registry.json").write_text(json.dumps(registry))
    return path


FAST = {"quality": "fast", "date": "2026-11-20T20:00:00+00:00"}


def test_fast_takes_the_makers_set_of_the_fast_model(come_with_led):
    path = add_fast(come_with_led.parent)
    picked = best_model(*SONY, 100, None, fast=True)
    assert (picked.path, picked.csa_set, picked.name) == (path, "sony", "sony-fast")
    assert best_model(*NIKON, 100, None, fast=True).name == "generic-fast"
    assert best_model(*SONY, 100, None).path == come_with_led
    assert bundled.find_bundled().path == come_with_led


def test_of_two_tuned_models_each_quality_takes_its_own(install, come_with_led):
    add_fast(come_with_led.parent)
    standard = install("standard")
    fast = install("quick", training=FAST | {"date": "2027-01-01"})
    assert best_model(*SONY, 100, None).path == standard
    picked = best_model(*SONY, 100, None, fast=True)
    assert picked.path == fast and picked.tuned and picked.reason.endswith(", fast")


def test_a_tuned_fast_model_goes_before_an_untuned_standard_one(install, come_with_led):
    add_fast(come_with_led.parent)
    path = install("quick", training=FAST)
    assert best_model(*SONY, 100, None).path == path


def test_fast_never_takes_a_tuned_standard_model_and_names_it(install, come_with_led):
    path = add_fast(come_with_led.parent)
    install("mine")
    picked = best_model(*SONY, 100, None, fast=True)
    assert picked.path == path and not picked.tuned
    assert "mine: tuned to this camera, but not with --quality fast" in picked.reason


def test_without_a_fast_model_the_standard_one_is_taken_with_a_warning(come_with_led):
    add_fast(come_with_led.parent)
    path = add_xtrans(come_with_led.parent)
    picked = best_model(*FUJI, 100, None, cfa="xtrans", fast=True)
    assert picked.path == path
    (warning,) = picked.warnings
    assert "no fast model for X-Trans sensors yet" in warning
