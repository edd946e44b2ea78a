import errno
import io
import os
import socket
import sys
from pathlib import Path

import pytest

from ledcli.errors import UsageError
from ledcli.raw import inputs
from ledcli.raw.inputs import FoundRaw, find_raws, read_list


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(*names, **how):
    return [str(raw.file) for raw in find_raws(names, **how)]


def told(*names, **how):
    """Files, problems and notes."""
    problems, notes = [], []
    files = found(*names, problem=lambda e: problems.append(str(e)), note=notes.append, **how)
    return files, problems, notes


def test_a_folder_stands_for_the_raws_in_it(here):
    touch("raw/b.CR2", "raw/a.nef", "raw/c.jpg", "raw/.d.CR2", "raw/sub/e.ARW", "raw/notes.txt")
    assert found("raw") == ["raw/a.nef", "raw/b.CR2"]
    assert found("./raw/") == ["raw/a.nef", "raw/b.CR2"]
    assert found("raw", recursive=True) == ["raw/a.nef", "raw/b.CR2", "raw/sub/e.ARW"]


def test_photos_come_in_the_order_of_their_paths(here):
    touch("r/b/1.CR2", "r/b.CR2", "r/a/2.CR2", "r/a/1.CR2", "r/c.CR2", "r/B/x.CR2")
    assert found("r", recursive=True) == sorted(
        ["r/b/1.CR2", "r/b.CR2", "r/a/2.CR2", "r/a/1.CR2", "r/c.CR2", "r/B/x.CR2"],
        key=lambda name: Path(name).parts,
    )


def test_patterns_that_the_shell_left_alone(here):
    touch("raw/a.CR2", "raw/b.CR2", "raw/c.NEF")
    assert found("raw/*.CR2") == ["raw/a.CR2", "raw/b.CR2"]
    assert found("*/c.*") == ["raw/c.NEF"]


def test_a_file_is_taken_whatever_its_name_even_with_a_pattern_s_letters(here):
    touch("IMG [1].CR2", "scan.data")
    assert found("IMG [1].CR2", "scan.data") == ["IMG [1].CR2", "scan.data"]


def test_jpegs_and_sidecars_beside_raws_are_skipped(here):
    touch("a.CR2", "a.JPG", "a.CR2.xmp", "b.NEF", "b.xmp", "c.jpg", "d/a.jpg", "a")
    files, problems, notes = told("*", "d/a.jpg")
    assert files == ["a", "a.CR2", "b.NEF", "c.jpg", "d/a.jpg"] and problems == []
    assert notes == ["3 files beside raws of the same name (JPEGs, sidecars): skipped"]
    assert found("a.JPG", "b.xmp") == ["a.JPG", "b.xmp"]


def test_no_raw_is_taken_twice(here):
    touch("raw/a.CR2", "raw/b.CR2")
    os.symlink("a.CR2", "raw/link.CR2")
    os.symlink("raw", "way")
    assert found("raw/b.CR2", "raw", "./raw/a.CR2") == ["raw/b.CR2", "raw/a.CR2"]
    assert len(found("raw", str(here / "raw"), "way")) == 2


def test_a_file_s_own_name_is_kept_not_that_of_a_link_beside_it(here):
    touch("raw/real.CR2", "raw/sub/other.CR2")
    os.symlink("real.CR2", "raw/link.CR2")
    os.symlink("sub/other.CR2", "raw/a.CR2")
    assert found("raw", recursive=True) == ["raw/real.CR2", "raw/sub/other.CR2"]
    assert found("raw") == ["raw/a.CR2", "raw/real.CR2"]
    assert found("raw/link.CR2", "raw") == ["raw/link.CR2", "raw/a.CR2"]


def test_hidden_folders_and_output_folders_are_not_searched(here):
    touch("raw/a.CR2", "raw/denoised/a.dng", "raw/.led/a.dng", "raw/.trash/a.CR2", "denoised/a.dng")
    assert found(".", recursive=True) == ["raw/a.CR2"]
    assert found("denoised") == ["denoised/a.dng"]  # unless it is named


def test_the_chosen_output_folder_is_not_searched(here):
    touch("raw/a.CR2", "raw/clean/a.dng", "raw/other/b.CR2")
    assert found("raw", recursive=True, out=Path("raw/clean")) == ["raw/a.CR2", "raw/other/b.CR2"]
    os.symlink("raw/clean", "link")
    assert "raw/clean/a.dng" not in found("raw", recursive=True, out=Path("link"))
    assert found("raw/clean", out=Path("raw/clean")) == ["raw/clean/a.dng"]
    assert found("raw", out=Path("raw")) == ["raw/a.CR2"]


@pytest.mark.parametrize(
    "missing", ["nothing", "no/such/file.CR2", "*.CR2", "", "x" * 300, "\0.CR2", "~nobody/a.CR2"]
)
def test_a_missing_input_is_an_error(here, missing):
    with pytest.raises(UsageError):
        find_raws([missing])


def test_a_missing_input_does_not_stop_the_others(here):
    touch("a.CR2")
    files, problems, _ = told("a.CR2", "b.CR2")
    assert files == ["a.CR2"]
    assert problems == ["b.CR2: no such file or folder, and no match as a pattern"]


def test_an_empty_folder_is_an_error_that_suggests_recursive(here):
    touch("raw/sub/a.CR2")
    with pytest.raises(UsageError, match="--recursive"):
        find_raws(["raw"])
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no raw files in this folder$"):
        find_raws(["empty"], recursive=True)


def test_an_empty_file_is_found(here):
    # Reading it will say what is wrong.
    touch("raw/empty.CR2")
    assert found("raw") == ["raw/empty.CR2"]


def test_names_with_newlines_and_of_no_encoding(here):
    odd = ["raw/new\nline.CR2", os.fsdecode(b"raw/caf\xe9.CR2"), "raw/-rf.CR2", "raw/ .CR2"]
    touch(*odd)
    assert set(found("raw")) == set(odd)
    assert found(odd[1]) == [odd[1]]
    assert found(os.fsdecode(b"raw/*\xe9.CR2")) == [odd[1]]


def test_a_folder_named_like_a_raw_is_a_folder(here):
    touch("raw/x.CR2/a.NEF", "raw/b.CR2")
    assert found("raw") == ["raw/b.CR2"]
    assert found("raw", recursive=True) == ["raw/b.CR2", "raw/x.CR2/a.NEF"]
    assert found("raw/x.CR2") == ["raw/x.CR2/a.NEF"]
    assert found("raw/*.CR2") == ["raw/b.CR2"]


def test_links_to_files_are_taken_and_links_to_folders_not_followed(here):
    touch("elsewhere/a.CR2", "elsewhere/b.CR2", "raw/c.CR2")
    os.symlink("../elsewhere/a.CR2", "raw/a.CR2")
    os.symlink("../elsewhere", "raw/out")
    os.symlink("../elsewhere", "raw/folder.CR2")
    os.symlink("..", "raw/up")
    files, problems, notes = told("raw", recursive=True)
    assert files == ["raw/a.CR2", "raw/c.CR2"]
    assert problems == notes == []
    assert found("raw/out") == ["raw/out/a.CR2", "raw/out/b.CR2"]  # named by the user


def test_a_broken_link_is_reported(here):
    touch("raw/a.CR2")
    os.symlink("gone.CR2", "raw/b.CR2")
    os.symlink("c.CR2", "raw/c.CR2")
    files, problems, notes = told("raw")
    assert files == ["raw/a.CR2"] and problems == []
    assert sorted(notes) == [f"raw/{n}.CR2: not a regular file; skipped" for n in "bc"]
    with pytest.raises(UsageError, match="a broken link"):
        find_raws(["raw/b.CR2"])
    with pytest.raises(UsageError, match=r"raw/c\.CR2: .*circle"):
        find_raws(["raw/c.CR2"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_sockets_and_devices_are_never_opened(here, monkeypatch):
    touch("raw/a.CR2")
    os.mkfifo("raw/pipe.CR2")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("raw/socket.CR2")
        os.symlink("/dev/zero", "raw/zero.CR2")
        files, problems, notes = told("raw")
        assert files == ["raw/a.CR2"] and problems == []
        assert len(notes) == 3
        for name, what in (("pipe", "a pipe"), ("socket", "a socket"), ("zero", "a device")):
            with pytest.raises(UsageError, match=f"{name}.CR2: is {what}, not a raw file"):
                find_raws([f"raw/{name}.CR2"])
        files, problems, _ = told("raw/*.CR2")
        assert files == ["raw/a.CR2"] and len(problems) == 3


def test_an_unreadable_folder_does_not_stop_the_others(here, monkeypatch):
    touch("raw/1/a.CR2", "raw/2/a.CR2", "raw/3/a.CR2")
    look = os.scandir

    def scandir(folder):
        if Path(folder).name == "2":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return look(folder)

    monkeypatch.setattr(inputs.os, "scandir", scandir)
    files, problems, _ = told("raw", recursive=True)
    assert files == ["raw/1/a.CR2", "raw/3/a.CR2"]
    assert problems == [
        "raw/2: cannot be read (permission denied): change its permissions, or name other photos"
    ]
    with pytest.raises(UsageError, match=r"^raw/2: cannot be read"):
        find_raws(["raw/2"])


def test_a_drive_that_disappears_while_it_is_read_is_reported(here, monkeypatch):
    touch("raw/a.CR2")

    class Vanishing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(inputs.os, "scandir", lambda folder: Vanishing())
    with pytest.raises(UsageError, match=r"raw: cannot be read \(input/output error\)"):
        find_raws(["raw"])


@pytest.mark.skipif(os.name == "nt", reason="a working folder is not removed there")
def test_a_working_folder_that_is_gone(here):
    touch("photos/a.CR2", "photos/b.CR2")
    photos = here / "photos"
    (here / "work").mkdir()
    os.chdir(here / "work")
    (here / "work").rmdir()
    assert [raw.file for raw in find_raws([str(photos)])] == [photos / "a.CR2", photos / "b.CR2"]
    raw = FoundRaw(photos / "a.CR2", Path(), photos / "denoised", named=True)
    assert find_raws([str(photos / "a.CR2")]) == [raw]
    gone = "the working folder no longer exists; cd to another folder"
    for name in ("a.CR2", ".", "..", "*.CR2"):
        with pytest.raises(UsageError) as found:
            find_raws([name])
        assert str(found.value) == f"{name}: {gone}"
    with pytest.raises(UsageError, match=f"^out: {gone}$"):
        find_raws([str(photos)], out=Path("out"))


def test_a_file_that_is_named_is_known_as_named(here):
    touch("raw/a.CR2", "raw/b.CR2")
    for names in (["raw", "raw/b.CR2"], ["raw/b.CR2", "raw"]):
        assert {raw.file.name: raw.named for raw in find_raws(names)} == {
            "a.CR2": False,
            "b.CR2": True,
        }
    assert [raw.named for raw in find_raws(["raw/*.CR2"])] == [False, False]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_of_inputs(here, monkeypatch, end):
    names = [b"raw/a b.CR2", b" c.NEF", b"caf\xe9.ARW"]
    Path("list").write_bytes(end.join([*names, b""]) + end)
    expected = [os.fsdecode(name) for name in names]
    assert read_list("list") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(end.join(names))))
    assert read_list("-") == expected


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_list_may_have_a_byte_order_mark(here, coding):
    Path("list").write_text("caf\u00e9.ARW\nb.CR2\n", coding)
    assert read_list("list") == ["caf\u00e9.ARW", "b.CR2"]


def test_only_nul_ends_a_name_with_a_newline(here):
    Path("list").write_bytes(b"a\nb.CR2\0c.NEF\0")
    assert read_list("list") == ["a\nb.CR2", "c.NEF"]


def test_a_list_that_is_not_utf_8_is_named_on_windows(here, monkeypatch):
    Path("list").write_bytes(b"caf\xe9.ARW\n")
    monkeypatch.setattr(inputs.os, "fsdecode", lambda data: data.decode("utf-8"))
    with pytest.raises(UsageError, match=r"^list: not valid UTF-8.*: save it as UTF-8"):
        read_list("list")


def test_a_list_that_cannot_be_used_is_named(here, monkeypatch):
    Path("empty").write_bytes(b"\n\n")
    Path("long").write_bytes(b"x" * 20)
    Path("half").write_bytes(b"\xff\xfea\0b")
    monkeypatch.setattr(inputs, "MAX_LIST_BYTES", 10)
    monkeypatch.setattr(sys, "stdin", None)
    for name, why in (
        ("empty", "names no inputs"),
        ("missing", "no such file"),
        (".", "directory"),
        ("long", "split it"),
        ("half", "UTF-16"),
        ("-", "closed"),
    ):
        with pytest.raises(UsageError, match=f"^{name}: .*{why}"):
            read_list(name)


def test_two_dots_after_a_link_to_a_folder_are_of_the_folder(here):
    touch("a.CR2", "sub/b.CR2", "elsewhere/c.CR2", "elsewhere/deep/d.CR2")
    os.symlink("elsewhere/deep", "link")
    assert found("link/..") == ["link/../c.CR2"]
    assert found("link/../c.CR2", "link/../*.CR2") == ["link/../c.CR2"]
    (raw,) = find_raws(["link/.."])
    assert raw.default_out.resolve() == here / "denoised"
    assert found("sub/../sub") == found("missing/../sub") == ["sub/b.CR2"]
    assert found("..", recursive=True)[0].startswith("../")
