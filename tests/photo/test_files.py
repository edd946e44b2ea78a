import os

import pytest

from ledcli.errors import OutputError
from ledcli.photo import files
from ledcli.photo.files import atomic_write


def test_it_writes_and_replaces(tmp_path):
    path = tmp_path / "a.dng"
    atomic_write(path, b"one")
    atomic_write(path, memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.dng"]


def test_the_longest_name_finds_room(tmp_path):
    path = tmp_path / ("x" * 251 + ".dng")
    atomic_write(path, b"data")
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize("what", [KeyboardInterrupt, MemoryError, OSError(28, "No space left")])
def test_nothing_half_written_stays(tmp_path, monkeypatch, what):
    path = tmp_path / "a.dng"
    path.write_bytes(b"old")

    def fail(_):
        raise what

    monkeypatch.setattr(files.os, "fsync", fail)
    expected = OutputError if isinstance(what, OSError) else what
    with pytest.raises(expected):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.dng"]


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.dng: .*disk is full.*--out"):
        atomic_write(tmp_path / "a.dng", b"new")


def test_a_missing_folder_and_a_folder_in_the_way_are_named(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        atomic_write(tmp_path / "no" / "a.dng", b"")
    with pytest.raises(OutputError, match="there is a folder of that name"):
        atomic_write(tmp_path, b"")


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "link").read_bytes() == b"new"
