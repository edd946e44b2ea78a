import errno
import json
import os

import pytest

from ledcli.errors import OutputError, PairError
from ledcli.pairs.result import (
    ListedDark,
    Scan,
    check_record_replaceable,
    read_darks,
    write_record,
    write_scan,
)


@pytest.fixture
def pairs_txt(tmp_path):
    (tmp_path / "dark.ARW").touch()
    return tmp_path / "pairs.txt"


def entry(**more):
    return {"file": "dark.ARW", "iso": 3200.0, **more}


def test_dark_frames_come_back(pairs_txt):
    write_record(pairs_txt, {"dark": [entry(exposure_time=0.1, camera="Cam")]})
    assert read_darks(pairs_txt) == [ListedDark(pairs_txt.parent / "dark.ARW", 3200, 0.1, "Cam")]


def test_the_serial_number_of_a_dark_frame_is_optional(pairs_txt):
    write_record(pairs_txt, {"dark": [entry(serial="007"), entry(serial=None), entry()]})
    assert [dark.serial for dark in read_darks(pairs_txt)] == ["007", None, None]


def test_a_missing_or_foreign_record_has_no_dark_frames(pairs_txt):
    assert read_darks(pairs_txt) == []
    pairs_txt.with_suffix(".json").write_text('{"dark": [1]}')
    assert read_darks(pairs_txt) == []


def test_lists_that_differ_only_in_their_ending_have_a_record_each(pairs_txt):
    pairs_csv = pairs_txt.with_suffix(".csv")
    write_record(pairs_txt, {"dark": [entry()]})
    assert len(read_darks(pairs_csv)) == 1  # as older versions wrote it
    pairs_txt.touch()
    assert read_darks(pairs_csv) == []
    write_record(pairs_csv, {"dark": [entry(), entry()]})
    assert pairs_csv.with_name("pairs.csv.json").is_file()
    assert (len(read_darks(pairs_txt)), len(read_darks(pairs_csv))) == (1, 2)


@pytest.mark.parametrize(
    "dark",
    [
        {"iso": 100},
        entry(iso="100"),
        entry(iso=10**400),
        entry(iso=-1),
        entry(exposure_time=True),
        entry(file=3),
        entry(serial=7),
        3,
    ],
)
def test_a_damaged_record_is_one_line(pairs_txt, dark):
    write_record(pairs_txt, {"dark": [dark]})
    with pytest.raises(PairError, match=r"pairs\.json.*led pairs scan"):
        read_darks(pairs_txt)


@pytest.mark.parametrize("data", ["{", "[" * 100_000, '{"format": "led pairs 1"}'])
def test_a_malformed_record_is_refused(pairs_txt, data):
    pairs_txt.with_suffix(".json").write_text(data)
    with pytest.raises(PairError, match="damaged"):
        read_darks(pairs_txt)


def test_a_missing_dark_frame_is_named(pairs_txt):
    write_record(pairs_txt, {"dark": [entry(file="gone.ARW")]})
    with pytest.raises(PairError, match=r"gone\.ARW"):
        read_darks(pairs_txt)


def test_a_foreign_file_is_not_overwritten(pairs_txt):
    other = pairs_txt.with_suffix(".json")
    for text in (json.dumps({"mine": 1}), "not even JSON"):
        other.write_text(text)
        with pytest.raises(OutputError, match="overwritten"):
            check_record_replaceable(pairs_txt)
        with pytest.raises(OutputError, match="overwritten"):
            write_record(pairs_txt, {})
        assert other.read_text() == text


@pytest.mark.parametrize(("call", "fails_at"), [("fsync", 1), ("replace", 1), ("replace", 2)])
def test_whatever_cannot_be_written_no_list_is_beside_another_s_record(
    pairs_txt, monkeypatch, call, fails_at
):
    old, new = (ListedDark(pairs_txt.parent / "dark.ARW", iso) for iso in (100.0, 3200.0))
    write_scan(Scan((), (), (), (), (old,), ()), pairs_txt)
    pairs_txt.write_text("old.ARW long.ARW\n")
    real, calls = getattr(os, call), []

    def refuse(*given):
        calls.append(given)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "full")
        real(*given)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OutputError, match="disk is full"):
        write_scan(Scan((), (), (), (), (new,), ()), pairs_txt)
    assert (pairs_txt.read_text() == "") == (fails_at == 2)
    assert read_darks(pairs_txt) == ([old] if call == "fsync" else [])
