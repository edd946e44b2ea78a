import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ledcli.errors import OutputError
from ledcli.output import atomic
from ledcli.output.atomic import atomic_write, check_new, make_folder, remove_abandoned_part_files

try:
    import resource
except ImportError:  # Windows
    resource = None


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

    monkeypatch.setattr(atomic.os, "fsync", fail)
    expected = OutputError if isinstance(what, OSError) else what
    with pytest.raises(expected):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.dng"]


def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.dng: .*disk is full.*another disk"):
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


def part(folder, pid, name="0a1b2c3d", host=None):
    path = folder / f".led-{host or atomic._host()}-{pid}-{name}.part"
    path.write_bytes(b"half")
    return path


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_part_file_is_finished_before_it_is_renamed(tmp_path):
    path = tmp_path / "a.dng"
    path.write_bytes(b"old")
    order = []

    def finish(part_file):
        assert part_file.parent == tmp_path and part_file.read_bytes() == b"data"
        other = tmp_path / "other"
        other.write_bytes(b"data with maker notes")  # as exiftool does: another file in its place
        os.replace(other, part_file)
        order.append("finish")

    def before(state):
        assert state.st_size == len(b"data with maker notes")
        assert path.read_bytes() == b"old"
        order.append(("before", state.st_mtime_ns))

    atomic_write(path, b"data", finish=finish, before_rename=before)
    assert path.read_bytes() == b"data with maker notes"
    assert order == ["finish", ("before", path.stat().st_mtime_ns)]
    assert os.listdir(tmp_path) == ["a.dng"]


@pytest.mark.parametrize("hook", ["finish", "before_rename"])
@pytest.mark.parametrize("what", [KeyboardInterrupt, OutputError("no"), OSError(5, "I/O error")])
def test_a_hook_that_fails_leaves_the_old_file(tmp_path, hook, what):
    path = tmp_path / "a.dng"
    path.write_bytes(b"old")

    def fail(_):
        raise what

    with pytest.raises(KeyboardInterrupt if what is KeyboardInterrupt else OutputError):
        atomic_write(path, b"new", **{hook: fail})
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.dng"]


def test_part_files_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    gone = ended_process()
    for left in (part(tmp_path, gone), part(tmp_path, gone, "11111111")):
        left.with_name(left.name + "_exiftool_tmp").write_bytes(b"")
    kept = {"a.dng", ".led-notes.part", ".led-1-x.part", f".led-{gone}-0a1b2c3d.part.dng"}
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    folder = part(tmp_path, gone, "22222222")
    folder.unlink()
    folder.mkdir()
    assert remove_abandoned_part_files(tmp_path) == 4
    assert set(os.listdir(tmp_path)) == kept | {folder.name}
    assert remove_abandoned_part_files(tmp_path) == 0
    assert remove_abandoned_part_files(tmp_path / "no such folder") == 0


@pytest.mark.parametrize("host", ["node17_4026531836", ""])
def test_what_another_machine_writes_stays_for_an_hour(tmp_path, host):
    """Or an earlier version of led, which did not say where it ran."""
    gone = ended_process()
    left = part(tmp_path, gone, host=host or "host")
    if not host:
        left = left.rename(tmp_path / f".led-{gone}-0a1b2c3d.part")
    assert remove_abandoned_part_files(tmp_path) == 0
    old = left.stat().st_mtime - atomic.PART_FILE_MAX_AGE_S - 1
    os.utime(left, (old, old))
    assert remove_abandoned_part_files(tmp_path) == 1


def test_machines_of_one_name_are_told_apart(tmp_path, monkeypatch):
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(atomic, "BOOT_ID", boot)
    hosts = []
    for text in ("90de8fb6-d399-4ba2\n", "../é/1234567\n"):
        boot.write_text(text)
        atomic._host.cache_clear()
        hosts.append(atomic._host())
    left = part(tmp_path, ended_process(), host=hosts[0])
    assert remove_abandoned_part_files(tmp_path) == 0 and left.exists()
    part(tmp_path, ended_process(), host=hosts[1])
    assert remove_abandoned_part_files(tmp_path) == 1
    atomic._host.cache_clear()


def test_a_part_file_that_another_program_removed_is_not_called_a_missing_folder(tmp_path):
    def before(_):
        for left in tmp_path.glob(".led-*"):
            left.unlink()

    with pytest.raises(OutputError, match=r"a\.dng: .*removed its unfinished file: run the"):
        atomic_write(tmp_path / "a.dng", b"data", before_rename=before)


@pytest.mark.skipif(os.name == "nt", reason="nobody can tell there")
def test_what_a_living_process_writes_stays_for_an_hour(tmp_path):
    left = part(tmp_path, os.getppid())
    assert remove_abandoned_part_files(tmp_path) == 0
    old = left.stat().st_mtime - atomic.PART_FILE_MAX_AGE_S - 1
    os.utime(left, (old, old))
    assert remove_abandoned_part_files(tmp_path) == 1


def test_our_own_number_on_a_file_we_do_not_write_is_a_killed_run_s(tmp_path):
    """In a container that is started again, every run has the same process number."""
    part(tmp_path, os.getpid())
    removed = []

    def finish(part_file):
        other = part_file.with_name(part_file.name + "_exiftool_tmp")
        other.touch()
        removed.append(remove_abandoned_part_files(tmp_path))
        other.unlink()

    atomic_write(tmp_path / "a.dng", b"data", finish=finish)
    assert removed == [1]  # and not those being written
    assert os.listdir(tmp_path) == ["a.dng"]


def test_a_number_that_no_process_can_have(tmp_path):
    part(tmp_path, 9_999_999_999)
    assert remove_abandoned_part_files(tmp_path) == 1


@pytest.mark.skipif(resource is None, reason="no such limits on this system")
def test_a_file_over_the_session_s_limit_says_so_and_leaves_nothing(tmp_path):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from ledcli.output.atomic import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "atomic_write(Path(sys.argv[1]), bytes(50_000))\n"
        "try: atomic_write(Path(sys.argv[1]), bytes(200_000))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    path = tmp_path / "a.dng"
    said = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout
    assert said.startswith("OutputError") and "ulimit -f" in said
    assert path.stat().st_size == 50_000 and os.listdir(tmp_path) == ["a.dng"]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ENOSPC", "free some space"),
        ("EDQUOT", "quota"),
        ("EACCES", "another folder"),
        ("EROFS", "read-only"),
        ("EIO", "check it"),
        ("ESTALE", "connect it again"),
        ("ENODEV", "connect it again"),
        ("EILSEQ", "choose another"),
        ("EINVAL", "choose another"),
        ("ENAMETOOLONG", "shorter"),
        ("EMFILE", "ulimit -n"),
        ("EFBIG", "another disk"),
    ],
)
def test_every_refusal_of_the_system_says_what_to_do(tmp_path, monkeypatch, name, advice):
    number = getattr(errno, name)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "replace", refuse)
    with pytest.raises(OutputError) as told:
        atomic_write(tmp_path / "a.dng", b"new")
    assert advice in str(told.value) and "\n" not in str(told.value)
    assert os.listdir(tmp_path) == []


def test_only_windows_keeps_a_file_that_another_program_has_open():
    refused = atomic.explain(PermissionError(errno.EACCES, "no"))
    assert ("has the file open" in refused) == (os.name == "nt")


def test_names_that_no_disk_takes(tmp_path):
    with pytest.raises(OutputError, match=r"too long: choose a shorter"):
        atomic_write(tmp_path / ("x" * 300), b"")
    with pytest.raises(OutputError, match="does not allow this name"):
        atomic_write(tmp_path / "a\0.dng", b"")
    odd = tmp_path / os.fsdecode(b"caf\xe9\n.dng")
    atomic_write(odd, b"data")
    assert odd.read_bytes() == b"data"


def test_a_disk_that_cannot_sync_folders_is_fine(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(number):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    atomic_write(tmp_path / "a.dng", b"data")
    assert (tmp_path / "a.dng").read_bytes() == b"data"


def test_a_folder_is_made_with_those_above_it(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(OutputError, match="cannot be created: a part of its path is a file"):
            make_folder(path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux alone has it")
def test_a_file_that_can_never_be_made_is_refused_before_the_work():
    with pytest.raises(OutputError, match=r"^/proc/a\.html: cannot be .*: (no file|permi)"):
        check_new(Path("/proc/a.html"), "")


def test_a_name_that_is_too_long_is_known_before_the_work(tmp_path):
    with pytest.raises(OutputError, match="too long: choose a shorter"):
        atomic.check_new(tmp_path / ("x" * 300), "")


def test_the_age_of_another_machine_s_part_file_is_told_by_the_disk(tmp_path, monkeypatch):
    """A clock that is fast here must not end a write that goes on there."""
    part(tmp_path, ended_process(), host="node17_4026531836")
    hour = atomic.PART_FILE_MAX_AGE_S
    monkeypatch.setattr(atomic.time, "time", lambda: 2 * hour + tmp_path.stat().st_mtime)
    assert remove_abandoned_part_files(tmp_path) == 0
    assert len(os.listdir(tmp_path)) == 1


def test_a_new_file_that_gets_no_name_leaves_none_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(atomic.os, "link", refuse)
    atomic_write(tmp_path / "a.dng", b"new", overwrite=False)
    monkeypatch.setattr(atomic.os, "replace", refuse)
    with pytest.raises(OutputError, match=r"b\.dng: cannot be written"):
        atomic_write(tmp_path / "b.dng", b"new", overwrite=False)
    assert os.listdir(tmp_path) == ["a.dng"]
