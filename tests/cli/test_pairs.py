import errno
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from ledcli.cli.app import run
from ledcli.pairs.list_file import read_list
from ledcli.raw import inputs
from tests.pairs.scenes import CAMERA, SHAPE, picture, shot, through
from tests.shoot import make_dark, make_raw, truncate


@pytest.fixture
def shoot(tmp_path, monkeypatch):
    """Two ISOs at ratio 100, one good pair at 300 and one shifted; dark frames; a blank."""
    folder = tmp_path / "shots"
    folder.mkdir()
    light = picture(1)
    shot(folder / "long.ARW", through(light), 100, 10)
    shot(folder / "a.ARW", through(light), 100, Fraction(1, 10))
    shot(folder / "b 1.ARW", through(light), 3200, Fraction(1, 320))
    shot(folder / "c.ARW", through(light), 100, Fraction(1, 30))
    shot(folder / "d.ARW", through(light, 2, -5), 3200, Fraction(1, 1000))
    make_dark(folder / "dark.ARW", shape=SHAPE, iso=3200, **CAMERA)
    make_raw(folder / "untagged.ARW", light=through(light), iso=None, **CAMERA)
    monkeypatch.chdir(tmp_path)
    return folder


def test_scan_writes_the_list_and_all_that_was_found(shoot, capsys):
    assert run(["pairs", "scan", "shots"]) == 0
    out, err = capsys.readouterr()
    pairs = read_list(shoot.parent / "pairs.txt")
    assert (shoot.parent / "pairs.txt").read_text().splitlines() == [
        "shots/a.ARW shots/long.ARW",
        "'shots/b 1.ARW' shots/long.ARW",
        "shots/c.ARW shots/long.ARW",
    ]
    assert len(pairs) == 3
    record = json.loads((shoot.parent / "pairs.json").read_text())
    assert [pair["ratio"] for pair in record["pairs"]] == [100, 100, 300]
    assert [(dark["file"], dark["iso"]) for dark in record["dark"]] == [("shots/dark.ARW", 3200)]
    assert {frame["file"] for frame in record["unpaired"]} == {"shots/d.ARW", "shots/untagged.ARW"}
    rows = [line.split() for line in out.splitlines()]
    assert rows[1][:3] == ["SONY", "ILCE-7SM2", "100"]
    assert rows[1][-1] == "holds"
    assert rows[2][2:5] == ["300", "1", "100"]
    assert "a short frame at ISO 3200, 1/1000 s, of the scene of long.ARW" in out
    assert "shifted by 5." in err
    assert "no usable ISO" in err
    assert "1 at ISO 3200" in err
    assert "other LED tools" in err
    assert "pairs.txt" in err


def test_the_shifted_pair_is_kept_on_demand_and_then_the_rule_holds(shoot, capsys):
    assert run(["pairs", "scan", "shots", "--keep", "--json", "--quiet"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rules = [record for record in records if record["kind"] == "rule"]
    assert [rule["holds"] for rule in rules] == [True, True]
    [shifted] = [record for record in records if record.get("problems")]
    assert shifted["shift"] == pytest.approx([-2, 5], abs=0.3)


def test_an_old_list_is_replaced_and_scan_says_so(shoot, capsys):
    (shoot.parent / "pairs.txt").write_text("old.ARW 'a longer.ARW' ISO200 F8\n")
    assert run(["pairs", "scan", "shots"]) == 0
    assert "replaced" in capsys.readouterr().err
    assert "old" not in (shoot.parent / "pairs.txt").read_text()


def test_a_dry_run_writes_nothing(shoot, capsys):
    assert run(["pairs", "scan", "shots", "--dry-run"]) == 0
    assert "3 pairs would be written" in capsys.readouterr().err
    assert [path.name for path in shoot.parent.iterdir()] == ["shots"]


def test_an_unreadable_frame_is_one_line_and_the_rest_is_done(shoot, capsys):
    truncate(shoot / "c.ARW", 0.5)
    assert run(["pairs", "scan", "shots", "--quiet", "-o", "list.txt"]) == 1
    assert len(read_list(shoot.parent / "list.txt")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "c.ARW" in line
    assert "truncated" in line


def test_an_unreadable_subfolder_is_one_line_and_the_rest_is_done(shoot, capsys, monkeypatch):
    (shoot / "locked").mkdir()
    look = os.scandir

    def scandir(folder):
        if Path(folder).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(inputs.os, "scandir", scandir)
    assert run(["pairs", "scan", "shots", "--quiet"]) == 1
    assert len(read_list(shoot.parent / "pairs.txt")) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "shots/locked: cannot be read (permission denied)" in line


def test_no_pair_at_all_says_what_to_shoot_and_writes_nothing(shoot, capsys):
    for name in ("a.ARW", "b 1.ARW", "c.ARW", "d.ARW"):
        (shoot / name).unlink()
    assert run(["pairs", "scan", "shots", "--quiet"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "no pair" in line
    assert "a short frame at ISO 100, 1/10 s, and a long one at ISO 100, 10 s" in line
    assert not (shoot.parent / "pairs.txt").exists()


@pytest.mark.parametrize("out", ["shots/a.ARW", "pairs.json", "pairs"])
def test_out_is_no_raw_and_not_the_record(shoot, out):
    before = (shoot / "a.ARW").read_bytes()
    assert run(["pairs", "scan", "shots", "-o", out]) == 2
    assert (shoot / "a.ARW").read_bytes() == before


def test_scan_does_not_overwrite_what_is_not_its_own(shoot, capsys):
    texts = b"\0binary", b"my notes\n", b"a.ARW b.ARW\nshopping list\n", b"John Smith"
    for text in texts:
        (shoot.parent / "x.txt").write_bytes(text)
        assert run(["pairs", "scan", "shots", "-o", "x.txt"]) == 1
        assert (shoot.parent / "x.txt").read_bytes() == text
    (shoot.parent / "pairs.json").write_text("{}")
    assert run(["pairs", "scan", "shots"]) == 1
    assert capsys.readouterr().err.count("would be overwritten") == len(texts) + 1


def test_a_list_of_led_that_was_edited_or_is_empty_is_replaced(shoot):
    (shoot.parent / "pairs.txt").touch()
    for _ in range(2):
        assert run(["pairs", "scan", "shots"]) == 0
        assert b"shots/long.ARW" in (shoot.parent / "pairs.txt").read_bytes()
        (shoot.parent / "pairs.txt").write_text("a line that I broke\n")


def test_check_names_what_is_wrong_with_each_pair(shoot, capsys):
    (shoot.parent / "pairs.txt").write_text(
        "shots/a.ARW shots/long.ARW\nshots/d.ARW shots/long.ARW\nshots/untagged.ARW "
        "shots/long.ARW\nshots/c.ARW shots/long.ARW 100\n"
    )
    assert run(["pairs", "check"]) == 1
    out, err = capsys.readouterr()
    results = [line.rsplit("  ", 1)[-1] for line in out.splitlines()[1:]]
    assert results[0] == "good"
    assert results[1].startswith("shifted by 5.")
    assert results[2] == "cannot be checked"
    assert results[3].startswith("is 30")
    assert "untagged.ARW: has no usable ISO tag" in err
    assert "3 of 4 pairs" in err


def test_check_tells_a_hand_written_list_what_is_missing_as_scan_does(shoot, capsys):
    assert run(["pairs", "scan", "shots", "-q"]) == 0
    table = capsys.readouterr().out
    assert run(["pairs", "check", "-q"]) == 0
    assert capsys.readouterr().out.endswith("\n\n" + table)
    run(["pairs", "scan", "shots", "-q", "--json"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    scanned = [record for record in lines if record["kind"] == "rule"]
    run(["pairs", "check", "-q", "--json"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    assert [record for record in lines if record["kind"] == "rule"] == scanned


def test_a_list_of_low_isos_only_holds_no_rule_although_each_pair_is_good(shoot, capsys):
    (shoot.parent / "l.txt").write_text("shots/a.ARW shots/long.ARW\n")
    assert run(["pairs", "check", "l.txt"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.startswith("shoot for SONY ILCE-7SM2, ratio 100: a short frame at ISO 6400")


def test_only_shifted_pairs_are_no_good_pair_but_say_what_to_shoot(shoot, capsys):
    for name in ("a.ARW", "b 1.ARW", "c.ARW"):
        (shoot / name).unlink()
    assert run(["pairs", "scan", "shots", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert "shoot for SONY ILCE-7SM2, ratio 300: a short frame at ISO 100, 1/30 s" in out
    assert "no good pair among its 4 frames" in err
    assert "--keep" in err
    assert not (shoot.parent / "pairs.txt").exists()


def test_check_passes_shifted_pairs_on_demand(shoot, capsys):
    (shoot.parent / "l.txt").write_text("shots/d.ARW shots/long.ARW\n")
    for keep, ok in ([], False), (["--keep"], True):
        assert run(["pairs", "check", "l.txt", "--json", "-q", *keep]) == (0 if ok else 1)
        pair, rule = map(json.loads, capsys.readouterr().out.splitlines())
        assert (pair["kind"], pair["ok"]) == ("pair", ok)
        assert (rule["kind"], rule["ratio"], rule["pairs"]) == ("rule", 300, int(ok))


@pytest.mark.parametrize("text", ["shots/gone.ARW shots/long.ARW\n", "a b nonsense\n", "", "x\n"])
def test_a_bad_list_is_one_clear_line(shoot, capsys, text):
    (shoot.parent / "pairs.txt").write_text(text)
    assert run(["pairs", "check"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert "pairs.txt" in line


def test_scanning_loads_neither_torch_nor_the_help_numpy():
    code = (
        "import sys, ledcli.cli.pairs; assert 'numpy' not in sys.modules;"
        "import ledcli.pairs.scan; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
