import contextlib
from fractions import Fraction

import pytest

from ledcli.errors import UsageError
from ledcli.pairs.result import read_darks, scan_record, write_record
from ledcli.pairs.scan import scan
from tests.pairs.scenes import CAMERA, SHAPE, picture, shot, through
from tests.shoot import make_dark, make_raw, truncate


class SilentBar:
    def advance(self, steps=1, note=""):
        pass


@contextlib.contextmanager
def silent_progress(total, label, unit):
    yield SilentBar()


def names(result):
    return {(pair.short.file.name, pair.long.file.name) for pair in result.pairs}


def reasons(result):
    return {frame.file.name: frame.reason for frame in result.unpaired}


def test_many_scenes_in_one_folder_are_paired(tmp_path):
    # All shorts first, all longs after: neither name nor time tells which belongs to which.
    for number in range(5):
        light = through(picture(number))
        (tmp_path / str(number % 2)).mkdir(exist_ok=True)
        folder = tmp_path / str(number % 2)
        minute = f"2024:05:06 20:{number:02}:00"
        shot(folder / f"s{number}.ARW", light, 3200, Fraction(1, 320), datetime=minute)
        later = {"datetime": f"2024:05:06 20:{30 - number:02}:00"} if number else {"datetime": None}
        shot(folder / f"l{number}.NEF", light, 100, 10, **later)
    result = scan(tmp_path)
    assert names(result) == {(f"s{n}.ARW", f"l{n}.NEF") for n in range(5)}
    assert {pair.check.ratio for pair in result.pairs} == {100}
    assert result.unpaired == ()


def test_the_nearest_long_frame_of_a_scene_is_taken(tmp_path):
    light = through(picture(1))
    shot(tmp_path / "l1.ARW", light, 100, 10, datetime="2024:05:06 20:00:00")
    shot(tmp_path / "s1.ARW", light, 100, 0.1, datetime="2024:05:06 20:01:00")
    shot(tmp_path / "s2.ARW", light, 100, 0.1, datetime="2024:05:06 20:08:00", seed=5)
    shot(tmp_path / "l2.ARW", light, 100, 10, datetime="2024:05:06 20:09:00", seed=6)
    assert names(scan(tmp_path)) == {("s1.ARW", "l1.ARW"), ("s2.ARW", "l2.ARW")}


def test_a_long_frame_whose_short_one_is_taken_is_told_so(tmp_path):
    light = through(picture(1))
    for name, minute in (("l1", "00"), ("s", "01"), ("l2", "09")):
        seconds = 0.1 if name == "s" else 10
        shot(tmp_path / f"{name}.ARW", light, 100, seconds, datetime=f"2024:05:06 20:{minute}:00")
    result = scan(tmp_path)
    assert names(result) == {("s.ARW", "l1.ARW")}
    assert reasons(result) == {"l2.ARW": "s.ARW is paired with l1.ARW already"}


def test_a_scene_s_darker_frames_all_get_its_brightest(tmp_path):
    light = through(picture(1))
    shot(tmp_path / "l.ARW", light, 100, 10)
    shot(tmp_path / "a.ARW", light, 100, Fraction(1, 10))
    shot(tmp_path / "b.ARW", light, 3200, Fraction(1, 1000))
    result = scan(tmp_path)
    assert names(result) == {("a.ARW", "l.ARW"), ("b.ARW", "l.ARW")}
    assert [pair.check.ratio for pair in result.pairs] == [100, 300]


def test_a_shifted_pair_is_dropped_and_can_be_kept(tmp_path):
    shot(tmp_path / "l.ARW", through(picture(1)), 100, 10)
    shot(tmp_path / "a.ARW", through(picture(1)), 100, 0.1)
    shot(tmp_path / "b.ARW", through(picture(1), 3, 1), 3200, Fraction(1, 320))
    result = scan(tmp_path)
    assert names(result) == {("a.ARW", "l.ARW")}
    assert "shifted by 3." in reasons(result)["b.ARW"]
    assert len(scan(tmp_path, keep_shifted=True).pairs) == 2


def test_a_ratio_of_which_every_pair_is_dropped_is_still_wanted(tmp_path):
    light, moved = through(picture(1)), through(picture(1), 3, 1)
    shot(tmp_path / "l.ARW", light, 100, 10)
    shot(tmp_path / "a.ARW", light, 100, 0.1)
    shot(tmp_path / "b.ARW", moved, 100, Fraction(1, 30))
    shot(tmp_path / "c.ARW", moved, 3200, Fraction(1, 1000))
    result = scan(tmp_path)
    assert [(rule.ratio, rule.pairs, rule.holds) for rule in result.rules] == [
        (100, 1, False),
        (300, 0, False),
    ]
    assert [pair.short.iso for pair in result.rules[1].to_shoot] == [100, 3200]
    assert {pair.short.file.name for pair in result.dropped} == {"b.ARW", "c.ARW"}


def test_every_unpaired_frame_has_its_reason(tmp_path):
    light = through(picture(1))
    shot(tmp_path / "l.ARW", light, 100, 10)
    shot(tmp_path / "s.ARW", light, 100, 0.1)
    shot(tmp_path / "alone.ARW", through(picture(9)), 100, 10)
    shot(tmp_path / "zoomed.ARW", light, 100, 0.1, focal_length=85)
    shot(tmp_path / "nikon.NEF", light, 100, 10, make="NIKON", model="D850")
    make_raw(tmp_path / "untagged.ARW", light=light, iso=None, **CAMERA)
    (tmp_path / "text.ARW").write_text("no raw")
    shot(tmp_path / "cut.ARW", light, 100, 0.1)
    truncate(tmp_path / "cut.ARW", 0.5)
    result = scan(tmp_path)
    assert names(result) == {("s.ARW", "l.ARW")}
    why = reasons(result)
    assert why.keys() == {p.name for p in tmp_path.iterdir()} - {"s.ARW", "l.ARW"}
    assert "shows its scene" in why["alone.ARW"]
    assert "focal length" in why["zoomed.ARW"]
    assert "camera" in why["nikon.NEF"]
    assert "ISO" in why["untagged.ARW"]
    assert {frame.file.name for frame in result.unpaired if frame.unreadable} == {
        "text.ARW",
        "cut.ARW",
    }


def test_lens_cap_frames_are_dark_frames_and_never_shorts(tmp_path):
    light = through(picture(1))
    shot(tmp_path / "l.ARW", light, 100, 10)
    shot(tmp_path / "s.ARW", light, 100, 0.1)
    for number in range(2):
        name, seed = tmp_path / f"d{number}.ARW", number
        make_dark(name, shape=SHAPE, iso=3200, exposure_time=0.01, seed=seed, **CAMERA)
    result = scan(tmp_path)
    assert names(result) == {("s.ARW", "l.ARW")}
    assert [(dark.file.name, dark.iso) for dark in result.darks] == [
        ("d0.ARW", 3200),
        ("d1.ARW", 3200),
    ]
    assert result.unpaired == ()


def test_dark_frames_have_their_body_s_serial_number(tmp_path):
    serial = {"more_tags": [(42033, 2, 4, "007")]}
    shot(tmp_path / "l.ARW", through(picture(1)), 100, 10, **serial)
    shot(tmp_path / "s.ARW", through(picture(1)), 100, 0.1, **serial)
    make_dark(tmp_path / "d.ARW", shape=SHAPE, iso=3200, exposure_time=0.01, **CAMERA, **serial)
    result = scan(tmp_path)
    write_record(tmp_path / "pairs.txt", scan_record(result, tmp_path))
    [dark] = read_darks(tmp_path / "pairs.txt")
    assert (dark.file, dark.camera, dark.serial) == (tmp_path / "d.ARW", "SONY ILCE-7SM2", "007")


def test_hidden_and_denoised_folders_are_skipped(tmp_path):
    for folder in (".trash", "denoised", "shots"):
        (tmp_path / folder).mkdir()
        shot(tmp_path / folder / "l.ARW", through(picture(1)), 100, 10)
        shot(tmp_path / folder / "s.ARW", through(picture(1)), 100, 0.1)
    [pair] = scan(tmp_path).pairs
    assert pair.short.file.parent.name == "shots"


def test_a_folder_without_raws(tmp_path):
    with pytest.raises(UsageError, match="no raw files"):
        scan(tmp_path)
