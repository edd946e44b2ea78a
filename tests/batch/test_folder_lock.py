import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ledcli.batch import folders as module
from ledcli.batch.folders import Hold, folder_lock, folder_locks
from ledcli.batch.shards import Shard
from ledcli.errors import OutputError

HOLD = """
import sys
from pathlib import Path
from ledcli.batch.folders import folder_lock
from ledcli.batch.shards import Shard
shard = Shard(*map(int, sys.argv[2:])) if sys.argv[2:] else None
with folder_lock(Path(sys.argv[1]), print, lambda: False, shard=shard):
    print("held", flush=True)
    sys.stdin.read()
"""


WAITING = "{}: another led process is using this folder; waiting"


def never():
    return False


def unexpected(*_):
    raise AssertionError("it waited")


@pytest.fixture
def another_run(tmp_path, request):
    """Another process that holds the lock of tmp_path, or that of a shard."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), *getattr(request, "param", ())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait(300)
    process.stdin.close()
    process.stdout.close()


def test_a_single_run_does_not_wait(tmp_path):
    for _ in range(2):
        with folder_lock(tmp_path / "out", unexpected, never, unexpected) as held:
            assert held and (tmp_path / "out" / ".led").is_dir()


def test_the_second_run_reports_once_and_waits(tmp_path, another_run):
    said, pauses = [], []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            another_run.stdin.close()  # it ends
            another_run.wait(300)

    with folder_lock(tmp_path, said.append, never, pause) as held:
        assert held
    assert said == [WAITING.format(tmp_path)]
    assert pauses == [module.POLL_S] * 3


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_killed_run_frees_its_folder(tmp_path, another_run):
    another_run.send_signal(signal.SIGKILL)
    another_run.wait(300)
    with folder_lock(tmp_path, unexpected, never, unexpected) as held:
        assert held


def test_a_stop_ends_the_waiting(tmp_path, another_run):
    said = []
    with folder_lock(tmp_path, said.append, lambda: bool(said), said.append) as held:
        assert not held
    with folder_locks([tmp_path], said.append, lambda: len(said) > 1, said.append) as held:
        assert not held


@pytest.mark.skipif(os.name == "nt", reason="locks are others there")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("left", [False, True])
def test_a_file_system_without_locks_is_reported_and_used(tmp_path, monkeypatch, number, left):
    """Whether or not a killed run left its lock's file there."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".led").mkdir()
    (tmp_path / ".led" / "kept").touch()
    if left:
        (tmp_path / ".led" / "lock").touch()
    said = []
    for shard in (None, Shard(0, 2)):
        with folder_lock(tmp_path, said.append, never, unexpected, shard) as held:
            assert held is Hold.SHARED
        message = said.pop()
        assert message.startswith(f"{tmp_path}: this file system does not support file locks")
        assert not said


@pytest.mark.skipif(os.name == "nt", reason="locks are others there")
@pytest.mark.parametrize("shard", [None, Shard(1, 3)])
def test_locks_that_exclude_nobody_are_found_out(tmp_path, monkeypatch, shard):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    said = []
    with folder_lock(tmp_path, said.append, never, unexpected, shard) as held:
        assert held is Hold.SHARED
        (tmp_path / ".led" / "manifest-x.jsonl").touch()
    (message,) = said
    assert "may not exclude other runs" in message and "--shard" in message
    assert (tmp_path / ".led" / "lock").exists()  # another run may believe in it


@pytest.mark.skipif(os.name == "nt", reason="no such options there")
@pytest.mark.parametrize(
    ("kind", "option", "expected"),
    [
        ("nfs", "vers=3,local_lock=all", Hold.SHARED),
        ("nfs4", "vers=4.2,local_lock=none", Hold.EXCLUSIVE),
        ("cifs", "vers=3.1.1,nobrl", Hold.SHARED),
        ("ext4", "rw", Hold.EXCLUSIVE),
        ("fuse.sshfs", "rw", Hold.SHARED),
        ("virtiofs", "rw", Hold.SHARED),
        ("vboxsf", "rw", Hold.SHARED),
        ("9p", "trans=virtio", Hold.SHARED),
        ("fuse.glusterfs", "rw", Hold.EXCLUSIVE),
        ("fuseblk", "rw", Hold.EXCLUSIVE),
    ],
)
def test_locks_that_other_machines_do_not_see_exclude_nobody(
    tmp_path, monkeypatch, kind, option, expected
):
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    table = tmp_path / "mountinfo"
    table.write_text(
        f"22 27 0:99999 / /proc rw - proc proc rw\n"
        f"60 27 {number} /pool /mnt/a\\040b rw,relatime shared:1 - {kind} nas:/pool rw,{option}\n"
    )
    monkeypatch.setattr(module, "MOUNTS", table)
    with folder_lock(tmp_path / "out", lambda text: None, never, unexpected) as held:
        assert held is expected
    assert module.mount_of(tmp_path) == (kind, {"rw", *option.split(",")})


SHARD = pytest.mark.parametrize("another_run", [("0", "4")], indirect=True)


@SHARD
@pytest.mark.parametrize("shard", [Shard(1, 4), Shard(3, 4)])
def test_shards_do_not_wait_for_each_other(tmp_path, another_run, shard):
    with folder_lock(tmp_path, unexpected, never, unexpected, shard) as held:
        assert held is Hold.EXCLUSIVE


@SHARD
@pytest.mark.parametrize("shard", [None, Shard(0, 4), Shard(1, 3)])
def test_what_may_have_the_same_photos_waits_for_a_shard(tmp_path, another_run, shard):
    said = []

    def pause(seconds):
        if said:
            another_run.stdin.close()  # it ends
            another_run.wait(300)

    with folder_lock(tmp_path, said.append, never, pause, shard) as held:
        assert held is Hold.EXCLUSIVE
    assert said == [WAITING.format(tmp_path)]
    assert not (tmp_path / ".led").exists()


def test_a_shard_waits_for_a_whole_run(tmp_path, another_run):
    said = []
    how = (said.append, lambda: bool(said), lambda seconds: None)
    with folder_lock(tmp_path, *how, Shard(0, 4)) as held:
        assert not held
    assert said == [WAITING.format(tmp_path)]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
@SHARD
def test_the_lock_of_a_killed_shard_is_removed_by_a_whole_run(tmp_path, another_run):
    another_run.send_signal(signal.SIGKILL)
    another_run.wait(300)
    assert sorted(os.listdir(tmp_path / ".led")) == ["lock", "lock-0-of-4"]
    with folder_lock(tmp_path, unexpected, never, unexpected):
        assert os.listdir(tmp_path / ".led") == ["lock"]


@pytest.mark.skipif(os.name == "nt", reason="an open file is not removed there")
def test_a_lock_on_a_removed_file_does_not_count(tmp_path, monkeypatch):
    """Opened before, locked after: the next run would make another file and hold that."""
    fcntl = pytest.importorskip("fcntl")
    flock, cleared = fcntl.flock, []

    def late(number, how):
        if not cleared and how & fcntl.LOCK_EX:
            cleared.append(number)
            os.unlink(tmp_path / ".led" / "lock")
            (tmp_path / ".led" / "lock").touch()  # of a third run, which may hold it
        flock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder_lock(tmp_path, unexpected, never, lambda seconds: None) as held:
        assert held is Hold.EXCLUSIVE
        with open(tmp_path / ".led" / "lock") as file, pytest.raises(BlockingIOError):
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch, error):
    """The second is what `Path.mkdir` raises if the folder goes between its two looks."""
    real, gone = module.FileLock.acquire, []

    def acquire(self, *how, **more):
        if not gone:
            gone.append(1)
            (tmp_path / "out" / ".led").rmdir()
            (tmp_path / "out").rmdir()
            raise error(0, "gone")
        return real(self, *how, **more)

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with folder_lock(tmp_path / "out", unexpected, never, lambda seconds: None) as held:
        assert held and (tmp_path / "out" / ".led" / "lock").exists()
    assert not (tmp_path / "out").exists()


def test_a_folder_removed_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    """By a run that ends and leaves it empty."""
    real, removed = os.mkdir, []

    def mkdir(path, *how):
        real(path, *how)
        if not removed and Path(path).name == "out":
            removed.append(path)
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with folder_lock(tmp_path / "out", unexpected, never, unexpected) as held:
        assert held and removed


def test_a_stopped_run_leaves_no_folders(tmp_path):
    with folder_lock(tmp_path / "a" / "out", unexpected, lambda: True, unexpected) as held:
        assert not held
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with folder_lock(tmp_path / "there", unexpected, lambda: True, unexpected) as held:
        assert not held
    assert (tmp_path / "there").exists() and not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize("shard", [None, Shard(0, 2)])
def test_a_folder_that_was_there_stays_and_one_that_was_made_goes(tmp_path, shard):
    (tmp_path / "there").mkdir()
    for name in ("there", "made"):
        with folder_lock(tmp_path / name, unexpected, never, unexpected, shard) as held:
            assert held is Hold.EXCLUSIVE
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_a_stopped_run_leaves_another_run_its_folder(tmp_path, another_run):
    before = sorted((tmp_path / ".led").iterdir())
    said = []
    with folder_lock(tmp_path, said.append, lambda: bool(said), said.append) as held:
        assert not held
    assert sorted((tmp_path / ".led").iterdir()) == before != []


@pytest.mark.parametrize(("number", "why"), [(errno.EACCES, "permission"), (errno.EROFS, "read-o")])
def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch, number, why):
    def acquire(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with (
        pytest.raises(OutputError, match=rf"\w: cannot be written to: .*{why}"),
        folder_lock(tmp_path, unexpected, never, unexpected),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "name", "problem"),
    [
        (errno.ENOENT, "out", "created: no folder can be made there: .*another folder"),
        (errno.EACCES, "out", "created: permission denied: .*another folder"),
        (errno.EACCES, "", "written to: permission denied: .*another folder"),
    ],
)
def test_the_folder_that_the_user_named_is_blamed(tmp_path, monkeypatch, number, name, problem):
    def mkdir(path, *how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", mkdir)
    folder = tmp_path / name
    with (
        pytest.raises(OutputError, match=f"^{re.escape(str(folder))}: cannot be {problem}"),
        folder_lock(folder, unexpected, never),
    ):
        pass


def test_a_file_in_the_folder_s_place_is_named(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with (
        pytest.raises(OutputError, match=r"out.*: a part of its path is a file"),
        folder_lock(tmp_path / "out", unexpected, never),
    ):
        pass


def test_several_folders_are_taken_in_one_order_and_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = []
    real = module.folder_lock

    def watched(root, *how):
        order.append(root.resolve().name)
        return real(root, *how)

    monkeypatch.setattr(module, "folder_lock", watched)
    for roots in (["b", "a", "./b"], ["a", str(tmp_path / "b")]):
        with folder_locks(map(Path, roots), unexpected, never, unexpected) as held:
            assert held
    assert order == ["a", "b"] * 2


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path, unexpected, never):
        raise KeyError
    with folder_lock(tmp_path, unexpected, never, unexpected) as held:
        assert held
