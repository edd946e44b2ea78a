from pathlib import Path

import pytest

from ledcli.pairs.frames import Frame, nominal_ratio
from ledcli.pairs.rule import HIGH_ISO, LOW_ISO, Exposure, first_pairs, rule_for
from ledcli.raw.exif import Exif


def frame(name, iso, time):
    return Frame(Path(name), Exif(model="Cam", iso=iso, exposure_time=time))


LONG = frame("long.ARW", 100, 10)
LOW, HIGH = frame("low.ARW", 100, 1 / 10), frame("high.ARW", 3200, 1 / 320)


def rule(ratio, *shorts, shown=()):
    return rule_for("Cam", ratio, [(short, LONG) for short in shorts], [*shorts, LONG, *shown])


def test_a_low_and_a_high_iso_are_enough():
    full = rule(100, HIGH, LOW)
    assert full.holds
    assert full.isos == (100, 3200)
    assert full.to_shoot == ()


@pytest.mark.parametrize("shorts", [(LOW,), (LOW, LOW), (HIGH,), (frame("m", 800, 1 / 80),)])
def test_without_one_of_them_the_rule_does_not_hold(shorts):
    assert not rule(100, *shorts).holds


def test_the_missing_frame_is_named_with_iso_time_and_scene():
    [missing] = rule(100, LOW, shown=[frame("x", 12800, 1)]).to_shoot
    assert missing.scene is LONG
    assert missing.short.iso >= HIGH_ISO
    text = str(missing)
    assert "a short frame at ISO 12800, 1/1250 s, of the scene of long.ARW" in text


@pytest.mark.parametrize("ratio", [100, 250, 300])
@pytest.mark.parametrize("high", [True, False])
def test_the_suggested_frame_gives_the_ratio_and_meets_the_rule(ratio, high):
    there = frame("there", 100, 10 / ratio) if high else frame("there", 6400, 0.15625 / ratio)
    [missing] = rule(ratio, there).to_shoot
    assert nominal_ratio(missing.long.level / missing.short.level) == ratio
    assert missing.short.iso >= HIGH_ISO if high else missing.short.iso <= LOW_ISO


def test_a_frame_in_the_middle_needs_both():
    low, high = rule(100, frame("m", 800, 1 / 80)).to_shoot
    assert low.short.iso <= LOW_ISO
    assert high.short.iso >= HIGH_ISO


def test_only_isos_that_the_camera_has_shown_or_lie_between():
    [missing] = rule(100, LOW, shown=[frame("x", 4000, 1)]).to_shoot
    assert HIGH_ISO <= missing.short.iso <= 4000


def test_another_long_frame_is_suggested_for_an_unsuitable_scene():
    bright = frame("bright.ARW", 100, 1 / 2)
    short = frame("s", 100, 1 / 500)
    [missing] = rule_for("Cam", 250, [(short, bright)], [short, bright]).to_shoot
    assert missing.scene is None
    assert missing.short.exposure_time >= 1 / 8000
    assert nominal_ratio(missing.long.level / missing.short.level) == 250
    assert "and a long one at ISO 100" in str(missing)


def test_another_ratio_is_suggested_for_an_impossible_one():
    for ratio in (73.2, 9000):
        result = rule(ratio)
        assert not result.holds
        assert result.to_shoot == ()
        low, high = result.instead.to_shoot
        assert low.short.iso <= LOW_ISO and high.short.iso >= HIGH_ISO
        for pair in (low, high):
            made = nominal_ratio(pair.long.level / pair.short.level)
            assert made == result.instead.ratio != ratio
        [line] = result.advice
        assert line.startswith("no usual ISO and shutter speed make what is missing, so shoot at")
        assert "\n" not in line


@pytest.mark.parametrize("ratio", [2, 73.2, 100, 300, 9000])
@pytest.mark.parametrize("iso", [None, 1, 800, 409600])
@pytest.mark.parametrize("time", [None, 1 / 8000, 600])
def test_a_rule_that_does_not_hold_always_has_advice(ratio, iso, time):
    long = frame("long.ARW", iso, time)
    for short in ((), (frame("s.ARW", iso, time),)):
        result = rule_for("Cam", ratio, [(one, long) for one in short], [long, *short])
        assert not result.holds
        assert result.advice


def test_a_camera_that_has_shown_a_very_high_iso_only_has_lower_ones():
    [missing] = rule_for("Cam", 100, [(LOW, LONG)], [frame("x", 102400, 1)]).to_shoot
    assert HIGH_ISO <= missing.short.iso < 102400


def test_without_a_scene_the_new_long_frame_is_the_given_one():
    low, high = rule_for("Cam", 100, [], [LOW], long=Exposure(100, 2.5)).to_shoot
    assert low.long == high.long == Exposure(100, 2.5)
    assert low.scene is None


def test_the_first_pairs_meet_the_rule():
    low, high = first_pairs([frame("x", 200, 1 / 50), frame("y", 6400, 1 / 50)])
    assert low.short.iso <= LOW_ISO
    assert high.short.iso >= HIGH_ISO
    for pair in (low, high):
        assert nominal_ratio(pair.long.level / pair.short.level) == 100
