import os
import shutil
from pathlib import Path

import pytest

from ledcli.batch import folders as module
from ledcli.batch.folders import check_space
from ledcli.batch.plan import plan_names
from ledcli.batch.settings import Compression, Settings
from ledcli.errors import OutputError
from ledcli.raw.inputs import find_raws

MB = 1_000_000


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for name in "abc":
        with Path(f"raw/{name}.CR2").open("wb") as file:
            file.truncate(20 * MB)  # takes no room
    return tmp_path


@pytest.fixture
def free(monkeypatch):
    """Say how much is free on every disk."""

    def has(size, total=10**12):
        usage = shutil._ntuple_diskusage(total, total - size, size)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage)

    return has


def jobs(formats=("dng",), out=None):
    return plan_names(find_raws(["raw"]), formats, out)


def test_no_warning_when_the_results_fit(here, free):
    free(100 * MB)
    assert check_space(jobs(), Settings()) == ""
    assert os.listdir("denoised") == []  # made, and nothing left of the trial


def test_results_that_cannot_fit_are_refused_before_the_first_photo(here, free):
    free(10 * MB)
    with pytest.raises(OutputError) as told:
        check_space(jobs(), Settings())
    text = str(told.value)
    assert "need about 66.0 MB, 10.0 MB are free on the disk of denoised" in text
    assert "--out" in text and "\n" not in text


def test_a_warning_when_space_may_run_out(here, free):
    free(50 * MB)
    assert "may need about 66.0 MB, 50.0 MB are free" in check_space(jobs(), Settings())


def test_more_formats_and_no_compression_need_more(here, free):
    free(70 * MB)
    assert check_space(jobs(), Settings()) == ""
    assert "96.0 MB" in check_space(jobs(), Settings(compression=Compression.NONE))
    for formats, linear, need in ((("dng", "png"), False, "294.0"), (("dng",), True, "198.0")):
        with pytest.raises(OutputError, match=f"need about {need} MB"):
            check_space(jobs(formats), Settings(linear=linear))


def test_results_that_are_replaced_make_room(here, free):
    Path("denoised").mkdir()
    for name in "abc":
        with Path(f"denoised/{name}.dng").open("wb") as file:
            file.truncate(22 * MB)
    # One at a time is there twice.
    free(25 * MB)
    assert check_space(jobs(), Settings()) == ""
    free(20 * MB)
    assert check_space(jobs(), Settings()) != ""


def test_missing_photos_and_disks_of_unknown_size_are_no_error(here, free, monkeypatch):
    free(0, total=0)  # some network disks
    assert check_space(jobs(), Settings()) == ""
    planned = jobs()
    Path("raw/a.CR2").unlink()
    free(100 * MB)
    assert check_space(planned, Settings()) == ""

    def unknown(folder):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(module.shutil, "disk_usage", unknown)
    assert check_space(planned, Settings()) == ""


def test_a_folder_that_cannot_be_made_is_refused_before_the_first_photo(here):
    Path("file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file.*: a part of its path is a file"):
        check_space(jobs(out=Path("file")), Settings())
    with pytest.raises(OutputError, match=r"file/below: cannot be created: a part of its path"):
        check_space(jobs(out=Path("file/below")), Settings())


@pytest.mark.parametrize(
    ("number", "why"), [(13, "permission denied"), (30, "read-only"), (28, "disk is full")]
)
def test_a_folder_that_cannot_be_written_to_is_refused(here, monkeypatch, number, why):
    def refuse(self, data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match=rf"denoised: cannot be written to: .*{why}.*choose a"):
        check_space(jobs(), Settings())


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="no /proc here")
def test_a_folder_in_which_nobody_may_make_another(here):
    with pytest.raises(OutputError, match="/proc/clean: cannot be created"):
        check_space(jobs(out=Path("/proc/clean")), Settings())
