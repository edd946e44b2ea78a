import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.errors import PairError
from ledcli.pairs.list_file import Pair, list_text, needs_quotes, read_list

NAMES = st.one_of(
    st.binary(min_size=1, max_size=40).map(os.fsdecode),
    st.text("a '\"\\\t\r#\ufeff\u2028é.", min_size=1, max_size=12),
).filter(
    lambda name: (
        not set(name) & set("/\0\n")
        and name not in (".", "..", "pairs.txt")
        and len(os.fsencode(name)) < 200
    )
)


@pytest.fixture
def shoot(tmp_path):
    for name in ("a.ARW", "b.ARW", "c d.ARW"):
        (tmp_path / name).touch()
    return tmp_path


def read(folder, text):
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(path)


@settings(max_examples=150)
@given(names=st.lists(NAMES, min_size=2, max_size=6, unique=True), below=st.booleans())
def test_a_written_list_is_read_back_whatever_the_names(names, below):
    with tempfile.TemporaryDirectory() as folder:
        shots = Path(folder) / "sub" if below else Path(folder)
        shots.mkdir(exist_ok=True)
        files = [shots / name for name in names]
        for file in files:
            file.touch()
        pairs = [Pair(short, files[0]) for short in files[1:]]
        path = Path(folder) / "pairs.txt"
        path.write_bytes(list_text(path, pairs))
        assert read_list(path) == pairs


def test_a_plain_name_is_written_as_upstream_reads_it(shoot):
    pairs = [Pair(shoot / "a.ARW", shoot / "b.ARW")]
    assert list_text(shoot / "list.txt", pairs) == b"a.ARW b.ARW\n"


def test_names_are_relative_to_the_list_wherever_it_lies(shoot):
    pairs = [Pair(shoot / "a.ARW", shoot / "c d.ARW")]
    assert list_text(shoot / "lists" / "x.txt", pairs) == b"../a.ARW '../c d.ARW'\n"
    assert needs_quotes("../c d.ARW")


def test_a_linked_list_finds_its_files(shoot):
    (shoot / "deep" / "er").mkdir(parents=True)
    (shoot / "link").symlink_to(shoot / "deep" / "er")
    pairs = [Pair(shoot / "a.ARW", shoot / "b.ARW")]
    path = shoot / "link" / "x.txt"
    path.write_bytes(list_text(path, pairs))
    [pair] = read_list(path)
    assert pair.short.samefile(shoot / "a.ARW")


def test_a_line_break_in_a_name_is_refused(shoot):
    (shoot / "a\nb.ARW").touch()
    with pytest.raises(PairError, match="rename"):
        list_text(shoot / "x.txt", [Pair(shoot / "a\nb.ARW", shoot / "b.ARW")])


def test_sid_s_list(shoot):
    for name in ("Sony/short", "Sony/long"):
        (shoot / name).mkdir(parents=True)
        (shoot / name / "00001_00_0.1s.ARW").touch()
    line = "./Sony/short/00001_00_0.1s.ARW ./Sony/long/00001_00_0.1s.ARW ISO200 F8\n"
    folder = shoot / "Sony"
    assert read(shoot, line + "\n") == [
        Pair(folder / "short/00001_00_0.1s.ARW", folder / "long/00001_00_0.1s.ARW", iso=200)
    ]


def test_eld_s_lists(shoot):
    line = "a.ARW b.ARW ISO800 ISO100\r\n"
    assert read(shoot, "\ufeff" + line) == [Pair(shoot / "a.ARW", shoot / "b.ARW", iso=800)]
    (shoot / "short").mkdir()
    (shoot / "long").mkdir()
    (shoot / "short" / "1_0.1s.ARW").touch()
    (shoot / "long" / "1_10s.ARW").touch()
    assert read(shoot, "1_0.1s.ARW 1_10s.ARW 100\n") == [
        Pair(shoot / "short/1_0.1s.ARW", shoot / "long/1_10s.ARW", 100.0)
    ]


def test_lines_without_their_files_can_be_skipped(shoot):
    told = []
    path = shoot / "list.txt"
    path.write_text("a.ARW b.ARW\ngone.ARW b.ARW\n")
    assert read_list(path, missing=told.append) == [Pair(shoot / "a.ARW", shoot / "b.ARW")]
    (error,) = told
    assert "line 2" in str(error) and "gone.ARW" in str(error)
    with pytest.raises(PairError, match="line 2"):
        read_list(path)


def test_the_files_may_be_somewhere_else_than_the_list_says(shoot):
    path = shoot / "list.txt"
    path.write_text("x.ARW y.ARW\n")
    told = []

    def find(name, beside):
        told.append((name, beside))
        return shoot / {"x.ARW": "a.ARW", "y.ARW": "b.ARW"}[name]

    assert read_list(path, find=find) == [Pair(shoot / "a.ARW", shoot / "b.ARW")]
    assert told == [("x.ARW", "short"), ("y.ARW", "long")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a.ARW b.ARW\na.ARW gone.ARW\n", "line 2", "no file 'gone.ARW'"),
        ("a.ARW b.ARW nonsense\n", "line 1", "nonsense"),
        ("a.ARW b.ARW 100 300\n", "line 1", "300"),
        ("a.ARW b.ARW nan\n", "line 1", "nan"),
        ("a.ARW b.ARW 0.01\n", "line 1", "0.01"),
        ("\na.ARW\n", "line 2", "one file"),
        ("a.ARW ./a.ARW\n", "line 1", "twice"),
        ("a.ARW b.ARW\nc d.ARW b.ARW\n", "line 2", "quotes"),
        ("a.ARW b.ARW\na.ARW b.ARW\n", "line 2", "line 1"),
        ("'a.ARW b.ARW\n", "line 1", "quote"),
        ("", "", "no pair"),
        (" \n\n", "", "no pair"),
        (b"II*\0\x08\0\0\0", "", "binary"),
    ],
)
def test_a_bad_list_is_one_line_that_names_list_and_line(shoot, text, line, what):
    with pytest.raises(PairError) as caught:
        read(shoot, text)
    message = str(caught.value)
    assert message.startswith(str(shoot / "list.txt"))
    assert line in message
    assert what in message
    assert "\n" not in message


def test_no_list_and_a_folder_for_a_list(shoot):
    with pytest.raises(PairError, match="no such list"):
        read_list(shoot / "pairs.txt")
    with pytest.raises(PairError, match="is a folder"):
        read_list(shoot)


def test_a_word_without_end_is_refused_at_once(shoot):
    with pytest.raises(PairError, match="line 2: has 10000000 characters: a line is SHORT LONG"):
        read(shoot, "a.ARW b.ARW\n" + "x" * 10_000_000)


def test_names_after_a_link_and_two_dots_are_those_of_the_files(shoot):
    (shoot / "deep" / "er").mkdir(parents=True)
    (shoot / "link").symlink_to("deep/er")
    (shoot / "deep" / "x.ARW").touch()
    (shoot / "deep" / "y.ARW").touch()
    up = shoot / "link" / ".."
    for path in (shoot / "list.txt", up / "list.txt"):
        path.write_bytes(list_text(path, [Pair(up / "x.ARW", up / "y.ARW")]))
        (pair,) = read_list(path)
        assert pair.short.samefile(shoot / "deep" / "x.ARW")
    assert path.read_bytes() == b"x.ARW y.ARW\n"
