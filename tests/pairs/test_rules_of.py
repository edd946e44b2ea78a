from pathlib import Path

from ledcli.pairs.checks import CheckedPair, PairCheck
from ledcli.pairs.frames import Frame
from ledcli.pairs.result import rule_table
from ledcli.pairs.rule import rules_of
from ledcli.raw.exif import Exif

GOOD = {"clipped": 0.0}
SHIFTED = {"problems": ("shifted by 3.2 pixels",), "shifted": True, "clipped": 0.0}
CLIPPED = {"problems": ("60% of the long frame is clipped",), "clipped": 0.6}


def pair(iso, ratio=100, *, check=GOOD, model="Cam", serial=None, stated=None):
    long = Frame(Path("long.ARW"), Exif(model=model, iso=100, exposure_time=10, serial=serial))
    exif = Exif(model=model, iso=iso, exposure_time=1000 / ratio / iso, serial=serial)
    short = Frame(Path(f"{iso}-{ratio}.ARW"), exif)
    return CheckedPair(short, long, PairCheck(stated or ratio, **check))


def rules(good, dropped=()):
    both = (*good, *dropped)
    return rules_of(good, dropped, [f for found in both for f in (found.short, found.long)])


def test_dropped_pairs_count_for_nothing_but_their_ratio_is_wanted():
    holds, wanted = rules([pair(100), pair(3200)], [pair(100, 300, check=SHIFTED)])
    assert (holds.ratio, holds.pairs, holds.holds) == (100, 2, True)
    assert (wanted.ratio, wanted.pairs, wanted.isos) == (300, 0, ())
    assert [missing.scene.file.name for missing in wanted.to_shoot] == ["long.ARW"] * 2


def test_a_dropped_pair_does_not_replace_a_good_one():
    [rule] = rules([pair(100)], [pair(3200, check=SHIFTED)])
    assert rule.isos == (100,)
    assert not rule.holds


def test_a_clipped_long_frame_is_no_scene_and_the_new_one_is_less_exposed():
    [rule] = rules([], [pair(100, check=CLIPPED)])
    for missing in rule.to_shoot:
        assert missing.scene is None
        assert missing.long.exposure_time == 2.5


def test_two_bodies_of_a_model_are_two_cameras():
    one, two = rules([pair(100, serial="1"), pair(3200, serial="2")])
    assert (one.serial, one.isos, one.holds) == ("1", (100,), False)
    assert (two.serial, two.isos, two.holds) == ("2", (3200,), False)
    assert [row[0] for row in rule_table([one, two])[0]] == ["Cam (serial 1)", "Cam (serial 2)"]
    assert rule_table([one, two])[1][1].startswith("shoot for Cam (serial 2), ratio 100: ")


def test_frames_without_serial_number_are_of_the_only_body():
    [rule] = rules([pair(100, serial="1"), pair(3200)])
    assert (rule.serial, rule.holds) == ("1", True)
    assert rule_table([rule])[0] == [("Cam", "100", 2, "100, 3200", "holds")]


def test_a_ratio_that_a_list_states_is_the_nominal_one():
    [rule] = rules([pair(100, stated=98.7), pair(3200)])
    assert (rule.ratio, rule.holds) == (100, True)


def test_a_rule_that_does_not_hold_has_a_line_below_the_table():
    found = rules([pair(100, 73.2), pair(800, 100)], [pair(100, 9000, check=CLIPPED)])
    assert [row[-1] for row in rule_table(found)[0]] == ["does not hold: see below"] * 3
    lines = rule_table(found)[1]
    assert lines[0].startswith("Cam, ratio 73.2: no usual ISO and shutter speed")
    assert all(line.startswith("shoot for Cam, ratio 100: a short") for line in lines[1:3])
    assert lines[3].startswith("Cam, ratio 9000: no usual ISO and shutter speed")
    assert len(lines) == 4
