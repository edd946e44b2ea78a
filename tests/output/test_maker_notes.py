import errno
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ledcli.errors import OutputError
from ledcli.metadata.carried import read_carried
from ledcli.metadata.xmp import read_note
from ledcli.output.atomic import atomic_write, remove_abandoned_part_files
from ledcli.output.dng import dng_bytes
from ledcli.output.maker_notes import ExiftoolError, MakerNotes
from ledcli.raw.exif import read_exif
from ledcli.raw.reader import read_raw
from tests.shoot import SHARED, make_raw

RAW = SHARED / "raw"
DONORS = [
    RAW / name
    for name in (
        "good/canon_s40_0101.CRW",
        "bad/canon_r6_pruned.CR3",
        "bad/nikon_d7100_truncated.NEF",
        "bad/sony_a55_truncated.ARW",
        "bad/exiftool_Minolta.mrw",
    )
    if RAW.is_dir()
]
exiftool = pytest.mark.skipif(not shutil.which("exiftool"), reason="no exiftool on the PATH")
NOTE = {"model": "m"}


@pytest.fixture(scope="module")
def notes():
    found = MakerNotes.find()
    if found is None:
        pytest.skip("no exiftool on the PATH")
    with found:
        yield found


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A raw with maker notes of a Canon: the file number, 118-1861."""
    path = tmp_path_factory.mktemp("donor") / "a.CR2"
    block = struct.pack("<HHHIII", 1, 8, 4, 1, 1181861, 0)
    safe = [(50741, 3, 1, (1,))]
    make_raw(path, make="Canon", model="Canon EOS 350D", more_tags=safe)
    work = path.with_name("w.dng")
    path.rename(work)
    (path.parent / "block").write_bytes(block)
    subprocess.run(
        ["exiftool", "-q", "-overwrite_original", "-ExifIFD:MakerNoteCanon<=block", "w.dng"],
        cwd=path.parent,
        check=False,
    )
    work.rename(path)
    return path


def _dng(path, source):
    photo = read_raw(source)
    path.write_bytes(dng_bytes(photo, photo.normalised(), software="led 1", note=NOTE))
    return path


def _synthetic(folder, make, model):
    make_raw(folder / "source.dng", make=make, model=model)
    return folder / "source.dng"


def _exiftool(*arguments):
    return subprocess.run(
        ["exiftool", *map(str, arguments)], capture_output=True, text=True, check=False
    ).stdout


@exiftool
@pytest.mark.skipif(not DONORS, reason="no ../shared/data/raw here")
@pytest.mark.parametrize("source", DONORS, ids=lambda path: path.name)
def test_real_maker_notes_are_copied_and_nothing_else_changes(notes, source, tmp_path):
    assert read_carried(source.read_bytes()).maker_notes
    exif = read_exif(source)
    good = source.parent.name == "good"
    dng = tmp_path / "a.dng"
    _dng(dng, source if good else _synthetic(tmp_path, exif.make, exif.model))
    before, mosaic = source.read_bytes(), read_raw(dng).mosaic
    old = _exiftool("-a", "-s", "-G1", "-SubIFD:all", "-SubIFD1:all", "-XMP:all", dng)
    assert notes.copy(source, dng) is None
    np.testing.assert_array_equal(read_raw(dng).mosaic, mosaic)
    assert read_note(dng) == NOTE
    assert "OK" in _exiftool("-validate", "-warning", "-error", "-a", dng).splitlines()[0]
    assert len(_exiftool("-s", "-MakerNotes:all", dng).splitlines()) > 10
    new = _exiftool("-a", "-s", "-G1", "-SubIFD:all", "-SubIFD1:all", "-XMP:all", dng)
    moved = ("Offsets", "PreviewImageStart")
    assert [line for line in new.splitlines() if not any(word in line for word in moved)] == [
        line for line in old.splitlines() if not any(word in line for word in moved)
    ]
    assert source.read_bytes() == before
    assert sorted(path.suffix for path in tmp_path.iterdir()) in ([".dng"], [".dng", ".dng"])


NAMES = [
    b"-overwrite_original.CR2",
    b"two\nlines.CR2",
    b"caf\xe9.CR2",
    b"%f %d.CR2",
    b"#1.CR2",
    b" blank .CR2",
    b"touch owned|",
    b"|touch owned",
    b"-.CR2",
]


@exiftool
@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_special_characters_in_names_mean_nothing_to_exiftool(notes, donor, name, tmp_path):
    folder = tmp_path / os.fsdecode(name.replace(b".CR2", b""))
    source = folder / os.fsdecode(name)
    try:
        folder.mkdir()
        shutil.copy(donor, source)
    except OSError:
        pytest.skip("this file system does not take the name")
    dng = folder / ".led-1-00.part"
    _dng(dng, donor)
    assert notes.copy(source, dng) is None
    dng = dng.rename(tmp_path / "a.dng")
    assert "118-1861" in _exiftool("-s3", "-FileNumber", dng)
    assert _exiftool("-s3", "-n", "-MakerNoteSafety", dng) == "1\n"
    assert [path.name for path in folder.iterdir()] == [source.name]
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, "a.dng"}


@exiftool
@pytest.mark.parametrize("hard", [True, False])
def test_without_symbolic_links_the_notes_are_copied_too(donor, tmp_path, monkeypatch, hard):
    """As on Windows: symbolic links are for administrators, hard ones for one disk."""

    def refuse(*_, **__):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    if not hard:
        monkeypatch.setattr(os, "link", refuse)
    before = donor.read_bytes()
    with MakerNotes.find() as notes:
        for name in ("a.dng", "b.dng"):
            dng = _dng(tmp_path / name, donor)
            mosaic = read_raw(dng).mosaic
            assert notes.copy(donor, dng) is None
            assert "118-1861" in _exiftool("-s3", "-FileNumber", dng)
            np.testing.assert_array_equal(read_raw(dng).mosaic, mosaic)
        work = notes._work
    assert donor.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.dng", "b.dng"} and not work.exists()


@pytest.mark.skipif(os.name != "posix", reason="process ids say nothing there")
def test_the_work_folders_of_killed_runs_are_removed(tmp_path, monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"led-{ended.pid}-0a_b1c2d", f"led-{os.getppid()}-0a_b1c2d", "led-own", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "source.CR2").symlink_to(__file__)
    link = tmp_path / f"led-{ended.pid}-11111111"
    link.symlink_to(tmp_path / "other")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with MakerNotes("exiftool") as notes, MakerNotes("exiftool") as more:
        assert notes._work.name.startswith(f"led-{os.getpid()}-")
        assert notes._work.exists() and more._work.exists()
        assert not (tmp_path / f"led-{ended.pid}-0a_b1c2d").exists()
    kept = {f"led-{os.getppid()}-0a_b1c2d", "led-own", "other", link.name}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert (tmp_path / "other" / "source.CR2").exists()
    # Another user's.
    other = tmp_path / f"led-{ended.pid}-22222222"
    other.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    MakerNotes("exiftool").close()
    assert other.exists()


@exiftool
def test_every_part_file_of_a_killed_copy_is_removed_by_the_next_run(donor, tmp_path, monkeypatch):
    kept = []

    def watched(one, two):
        kept.extend(tmp_path.glob(".*"))
        raise OSError(5, "killed")

    monkeypatch.setattr(os, "replace", watched)
    source = RAW / "bad/canon_r6_pruned.CR3"  # its notes have to be mended
    if not source.exists():
        pytest.skip("no ../shared/data/raw here")
    exif = read_exif(source)
    dng = _dng(tmp_path / "a.dng", _synthetic(tmp_path, exif.make, exif.model))
    with MakerNotes.find() as notes:
        notes.copy(source, dng)
    assert len(kept) == 2
    for path in kept:
        path.touch()
    assert remove_abandoned_part_files(tmp_path) == 2 and not list(tmp_path.glob(".*"))


@exiftool
def test_a_source_that_is_missing_or_has_no_notes_leaves_the_dng_unchanged(notes, tmp_path):
    source = _synthetic(tmp_path, "Led", "Testcam")
    dng = _dng(tmp_path / "a.dng", source)
    before = dng.read_bytes()
    assert notes.copy(source, dng) == (
        "maker notes not copied: the source has none that exiftool can copy"
    )
    why = notes.copy(tmp_path / "gone.CR2", dng)
    assert why.startswith("maker notes not copied: ") and "\n" not in why
    dng.write_bytes(b"no TIFF")
    assert notes.copy(source, dng).startswith("maker notes not copied: ")
    assert dng.read_bytes() == b"no TIFF" != before
    assert {path.name for path in tmp_path.iterdir()} == {"a.dng", "source.dng"}


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exec sleep 100", "took more than 0.2 s"),
        ("exit 3", "ended before it was done"),
        ("kill -9 $$", "ended before it was done"),
        ("exit 0", "wrote nothing"),
    ],
)
def test_a_failing_exiftool_costs_only_the_notes(tmp_path, script, words):
    program = tmp_path / "exiftool"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    source = _synthetic(tmp_path, "Led", "Testcam")
    dng = _dng(tmp_path / "a.dng", source)
    before = dng.read_bytes()
    with MakerNotes(str(program), timeout_s=0.2 if "sleep" in script else 300) as notes:
        for _ in range(2):
            assert words in notes.copy(source, dng)
    assert dng.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.dng", "source.dng", "exiftool"}


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_a_full_disk_is_no_loss_of_the_notes_alone(tmp_path, monkeypatch):
    """exiftool says "Error writing image data" then, and not why."""
    program = tmp_path / "exiftool"
    program.write_text("#!/bin/sh\necho 'Error: Error writing image data - old.dng'\nexit 1\n")
    program.chmod(0o755)
    source = _synthetic(tmp_path, "Led", "Testcam")
    dng = _dng(tmp_path / "a.dng", source)
    data = dng.read_bytes()

    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    with MakerNotes(str(program), timeout_s=300) as notes:
        assert "Error writing image data" in notes.copy(source, dng)
        monkeypatch.setattr("ledcli.output.maker_notes.shutil.copyfile", full)
        path = tmp_path / "b.dng"
        with pytest.raises(OutputError, match=r"b\.dng: cannot be written: the disk is full"):
            atomic_write(path, data, finish=lambda part: notes.copy(source, part))
    assert {each.name for each in tmp_path.iterdir()} == {"a.dng", "source.dng", "exiftool"}


def test_a_missing_program_is_tried_only_a_few_times(tmp_path):
    source = _synthetic(tmp_path, "Led", "Testcam")
    with MakerNotes(str(tmp_path / "none")) as notes:
        said = [notes.copy(source, tmp_path / "a.dng") for _ in range(4)]
    assert "cannot be run" in said[0] and "failed too often" in said[3]


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_a_copy_that_is_aborted_ends_and_none_begins_after(tmp_path):
    program = tmp_path / "exiftool"
    program.write_text("#!/bin/sh\necho $$ >> started\nexec sleep 1000\n")
    program.chmod(0o755)
    dng = _dng(tmp_path / "a.dng", _synthetic(tmp_path, "Led", "Testcam"))
    before = dng.read_bytes()
    said = []
    with MakerNotes(str(program), timeout_s=300) as notes:
        thread = threading.Thread(
            target=lambda: said.append(notes.copy(tmp_path / "source.dng", dng))
        )
        thread.start()
        while not _lines(notes._work / "started"):
            assert thread.is_alive()
        notes.abort()
        thread.join(200)
        assert not thread.is_alive() and said[0].startswith("maker notes not copied: ")
        assert notes.copy(tmp_path / "source.dng", dng).endswith("the run was aborted")
        assert len(_lines(notes._work / "started")) == 1
    assert dng.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.dng", "source.dng", "exiftool"}


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_a_process_started_during_an_abort_ends_too(tmp_path, monkeypatch):
    """When there is no process yet that could be ended."""
    program = tmp_path / "exiftool"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    begun = []

    def start(*arguments, **how):
        asked.abort()
        begun.append(popen(*arguments, **how))
        return begun[-1]

    popen = subprocess.Popen
    asked = MakerNotes(str(program), timeout_s=5)
    monkeypatch.setattr(subprocess, "Popen", start)
    with asked, pytest.raises(ExiftoolError, match="aborted"):
        asked._ask("-ver")
    assert begun and all(process.poll() is not None for process in begun)


def test_without_exiftool_there_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert MakerNotes.find() is None


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
def test_a_launcher_that_stays_is_ended_with_what_it_started(tmp_path):
    program = tmp_path / "exiftool"
    program.write_text("#!/bin/sh\nsleep 300\necho done\n")
    program.chmod(0o755)
    began = time.monotonic()
    with (
        MakerNotes(str(program), timeout_s=0.2) as notes,
        pytest.raises(ExiftoolError, match=r"more than 0\.2 s"),
    ):
        notes._ask("-ver")
    assert time.monotonic() - began < 200


@exiftool
def test_a_locale_that_is_not_installed_changes_nothing(monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    with MakerNotes("exiftool", timeout_s=300) as notes:
        assert notes._ask("-ver").strip().replace(".", "").isdigit()
