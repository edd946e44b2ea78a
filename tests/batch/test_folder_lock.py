import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ledcli.batch import folders as module
from ledcli.batch.folders import folder_lock, folder_locks
from ledcli.errors import OutputError

HOLD = """
import sys
from pathlib import Path
from ledcli.batch.folders import folder_lock
with folder_lock(Path(sys.argv[1]), print, lambda: False):
    print("held", flush=True)
    sys.stdin.read()
"""


def never():
    return False


def unexpected(*_):
    raise AssertionError("it waited")


@pytest.fixture
def another_run(tmp_path):
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait(30)
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
            another_run.wait(30)

    with folder_lock(tmp_path, said.append, never, pause) as held:
        assert held
    assert said == [f"{tmp_path}: another led process is using this folder; waiting"]
    assert pauses == [module.POLL_S] * 3


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_killed_run_frees_its_folder(tmp_path, another_run):
    another_run.send_signal(signal.SIGKILL)
    another_run.wait(30)
    with folder_lock(tmp_path, unexpected, never, unexpected) as held:
        assert held


def test_a_stop_ends_the_waiting(tmp_path, another_run):
    said = []
    with folder_lock(tmp_path, said.append, lambda: bool(said), unexpected) as held:
        assert not held
    with folder_locks([tmp_path], said.append, lambda: len(said) > 1, unexpected) as held:
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
    with folder_lock(tmp_path, said.append, never, unexpected) as held:
        assert held
    (message,) = said
    assert message.startswith(f"{tmp_path}: this file system does not support file locks")


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
    with folder_lock(tmp_path, lambda text: None, never, unexpected) as held:
        assert held
        with open(tmp_path / ".led" / "lock") as file, pytest.raises(BlockingIOError):
            flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    real, gone = module.FileLock.acquire, []

    def acquire(self, *how, **more):
        if not gone:
            gone.append(1)
            (tmp_path / "out" / ".led").rmdir()
            raise FileNotFoundError(errno.ENOENT, "gone")
        return real(self, *how, **more)

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with folder_lock(tmp_path / "out", unexpected, never, lambda seconds: None) as held:
        assert held and (tmp_path / "out" / ".led" / "lock").exists()


def test_a_stopped_run_leaves_no_folders(tmp_path):
    with folder_lock(tmp_path / "a" / "out", unexpected, lambda: True, unexpected) as held:
        assert not held
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with folder_lock(tmp_path / "there", unexpected, lambda: True, unexpected) as held:
        assert not held
    assert (tmp_path / "there").exists() and not list((tmp_path / "there").iterdir())


def test_a_stopped_run_leaves_another_run_its_folder(tmp_path, another_run):
    before = sorted((tmp_path / ".led").iterdir())
    said = []
    with folder_lock(tmp_path, said.append, lambda: bool(said), unexpected) as held:
        assert not held
    assert sorted((tmp_path / ".led").iterdir()) == before != []


@pytest.mark.parametrize(("number", "why"), [(errno.EACCES, "permission"), (errno.EROFS, "read-o")])
def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch, number, why):
    def acquire(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with (
        pytest.raises(OutputError, match=rf"\.led: cannot be written to: .*{why}"),
        folder_lock(tmp_path, unexpected, never, unexpected),
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
