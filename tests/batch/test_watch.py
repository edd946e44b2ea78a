import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ledcli.batch import watch as module
from ledcli.batch.settings import DenoiseOptions, Engine, Result
from ledcli.batch.watch import Changes, watch
from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.inference.backends.torch import TorchBackend
from ledcli.inference.denoiser import Denoiser
from ledcli.reporting import SILENT
from tests.inference.models import write_model
from tests.shoot import make_raw


class Report:
    def __init__(self):
        self.infos, self.warnings = [], []
        self.info, self.warn = self.infos.append, self.warnings.append
        self.progress = SILENT.progress


class Time:
    """Stands in for the time and for the waiting: at every wait the next step is done."""

    def __init__(self, *steps):
        self.now, self.steps, self.growing = 0.0, list(steps), []

    def wait(self, look_s, growing, stop):
        self.growing.append(growing)
        self.now += 1
        step = self.steps.pop(0) if self.steps else None
        if step:
            step()

    def stop(self):
        return not self.steps


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    return write_model(tmp_path / "tiny.safetensors")


def watched(model, clock, report=None, out=None, **how):
    engine = Engine("cpu", "float32")
    options = DenoiseOptions(["raw"], out, model=model, engine=engine, watch=True, **how)
    time = lambda: clock.now  # noqa: E731
    results = watch(options, report or Report(), stop=clock.stop, changes=clock, clock=time)
    return [(r.source.name, str(r.status), clock.now) for r in results]


def raw(name, seed=0, **how):
    make_raw(Path("raw") / name, shape=(64, 96), seed=seed, **how)


def test_what_comes_is_taken_once_it_has_stopped_growing(here):
    raw("slow.ARW")
    slow = Path("raw/slow.ARW")
    data = slow.read_bytes()
    slow.unlink()
    pieces = [data[: len(data) * i // 8] for i in range(1, 9)]
    arrive = [partial(slow.write_bytes, piece) for piece in pieces]

    def three():
        raw("a.ARW", 1)
        raw("b.NEF", 2)
        arrive[0]()

    report = Report()
    clock = Time(None, three, *arrive[1:], *[None] * 8)
    assert watched(here, clock, report) == [
        ("a.ARW", "done", 5),
        ("b.NEF", "done", 5),
        ("slow.ARW", "done", 12),
    ]
    assert clock.growing[:2] == [False, False] and clock.growing[2] and not clock.growing[-1]
    assert sorted(p.name for p in Path("denoised").glob("*.dng")) == ["a.dng", "b.dng", "slow.dng"]
    assert not report.warnings and len(report.infos) == len(set(report.infos))
    # What is there already is not made again, nor reported.
    assert watched(here, Time(*[None] * 6)) == []


def test_dark_frames_are_not_needed_again(here):
    dark = Path("drive")
    dark.mkdir()
    black = np.random.default_rng(0).normal(512, 3, (64, 96)).round().astype(np.uint16)
    make_raw(dark / "d.ARW", mosaic=black)

    def gone():
        shutil.rmtree(dark)
        raw("a.ARW")

    report = Report()
    clock = Time(None, gone, *[None] * 5)
    assert watched(here, clock, report, dark=[dark]) == [("a.ARW", "done", 5)]
    assert report.infos.count("dark frames: 1 at ISO 800") == 1 and not report.warnings


def test_one_that_failed_is_tried_again_when_it_changes(here):
    raw("a.ARW")
    path = Path("raw/a.ARW")
    data = path.read_bytes()
    path.write_bytes(data[:500])
    clock = Time(*[None] * 10, partial(path.write_bytes, data), *[None] * 6)
    assert watched(here, clock) == [("a.ARW", "failed", 3), ("a.ARW", "done", 14)]


def test_an_empty_raw_fails_once_and_is_taken_when_it_grows(here):
    raw("a.ARW")
    path = Path("raw/a.ARW")
    data = path.read_bytes()
    path.write_bytes(b"")
    clock = Time(*[None] * 10, partial(path.write_bytes, data), *[None] * 6)
    assert watched(here, clock) == [("a.ARW", "failed", 3), ("a.ARW", "done", 14)]
    assert not clock.growing[9]


@pytest.mark.parametrize(
    "errors,says",
    [([UsageError("bad"), None], "1 done, 0 failed"), ([None, UsageError("bad")], "0 done, 1 f")],
)
def test_the_last_try_of_each_photo_counts(here, monkeypatch, capsys, errors, says):
    results = [Result(Path("raw/a.ARW"), error=error) for error in errors]
    monkeypatch.setattr(module, "watch", lambda *inputs, **how: iter(results))
    assert run(["denoise", "raw", "--watch"]) == (errors[-1] is not None)
    assert says in capsys.readouterr().err


def test_a_replaced_photo_is_denoised_again_and_a_result_among_the_photos_is_none(here):
    raw("a.ARW")
    clock = Time(*[None] * 10, partial(raw, "a.ARW", 5, iso=3200), *[None] * 10)
    assert watched(here, clock, out=Path("raw")) == [("a.ARW", "done", 3), ("a.ARW", "done", 14)]


def test_a_folder_that_disappears_is_told_once_and_watched_on(here):
    def leave():
        os.rename("raw", "away")

    def back():
        os.rename("away", "raw")
        raw("a.ARW")

    report = Report()
    clock = Time(None, leave, None, None, back, *[None] * 6)
    assert watched(here, clock, report) == [("a.ARW", "done", 8)]
    (warning,) = report.warnings
    assert "no such file or folder" in str(warning)


def test_bad_options_are_told_before_a_photo_comes(here):
    with pytest.raises(UsageError, match="jpeg"):
        watched(here, Time(None), formats=["jpeg"])
    for words in (["raw/a.ARW", "--watch"], ["raw", "--watch", "--dry-run"]):
        assert run(["denoise", *words]) == 2


class Opened:
    """Stands in for a file whose size a network drive told too early."""

    def __init__(self, grown):
        self.grown = grown

    def __call__(self, path):
        state = os.stat(path)
        if not self.grown:
            return state
        return os.stat_result((*state[:6], state.st_size + self.grown.pop(), *state[7:10]))


def test_a_size_that_is_out_of_date_does_not_count(here, monkeypatch):
    raw("a.ARW")
    monkeypatch.setattr(module.os, "fstat", lambda number: Opened(grown)(number))
    grown = [5]
    clock = Time(*[None] * 12)
    ((name, status, when),) = watched(here, clock)
    assert (name, status) == ("a.ARW", "done") and when > 3


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_drives_are_looked_at_every_second(here, monkeypatch, kind):
    monkeypatch.setattr(module, "mount_of", lambda path: (kind, set()))
    monkeypatch.setattr(module, "POLL_S", 0.01)
    report = Report()
    changes = Changes([Path("raw")], False, report)
    assert report.infos == ["watching raw for new raws (looking every second); Ctrl-C ends it"]
    asked = []
    changes.wait(0.0, False, lambda: asked.append(1) or len(asked) > 100)
    assert len(asked) < 100


def test_the_system_s_reports_end_the_waiting(here, monkeypatch):
    pytest.importorskip("watchfiles")
    monkeypatch.setattr(module, "MAX_PAUSE_S", 1e6)
    report = Report()
    changes = Changes([Path("raw")], True, report)
    assert "as the system reports them" in report.infos[0]
    Path("raw/a.ARW").write_bytes(b"raw")
    asked = []
    changes.wait(0.0, False, lambda: asked.append(1) or len(asked) > 600)
    assert len(asked) < 600


def test_a_folder_that_was_replaced_is_looked_at_and_its_changes_are_reported(here, monkeypatch):
    pytest.importorskip("watchfiles")
    monkeypatch.setattr(module, "MAX_PAUSE_S", 1e6)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    changes = Changes([Path("raw")], True, Report())
    asked = []

    def asks_of_a_wait():
        asked.clear()
        changes.wait(0.0, False, lambda: asked.append(1) or len(asked) > 600)
        return len(asked)

    os.rename("raw", "away")
    assert asks_of_a_wait() < 600 and asks_of_a_wait() < 600  # without a folder, by time
    os.mkdir("raw")
    assert asks_of_a_wait() == 0  # what came before the system reports is looked for at once
    Path("raw/a.ARW").write_bytes(b"raw")
    assert asks_of_a_wait() < 600


def test_a_system_that_reports_no_more_is_told_of_and_looked_at(here, monkeypatch):
    watchfiles = pytest.importorskip("watchfiles")

    def broken(*folders, **how):
        raise OSError(28, "OS file watch limit reached")
        yield

    monkeypatch.setattr(watchfiles, "watch", broken)
    report = Report()
    Changes([Path("raw")], True, report)
    (warning,) = report.warnings
    assert "watch limit reached" in warning and "looking every second" in report.infos[0]


def test_a_stop_ends_the_waiting(here):
    asked = []
    Changes([Path("raw")], True, Report()).wait(1e6, True, lambda: asked.append(1) or True)
    assert asked == [1]


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process there")
def test_the_command_takes_three_files_and_ends_with_status_0(here):
    raw("c.ARW")
    growing = Path("raw/c.ARW")
    data = growing.read_bytes()
    growing.unlink()
    command = [sys.executable, "-m", "ledcli", "denoise", "raw", "--watch", "--model", str(here)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr.readline().startswith("watching raw for new raws (")
        growing.write_bytes(data[:1000])
        raw("a.ARW", 1)
        raw("b.ARW", 2)
        lines = [running.stdout.readline() for _ in range(2)]
        growing.write_bytes(data)
        lines.append(running.stdout.readline())
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=300)
    assert [line.split()[0] for line in lines] == ["raw/a.ARW", "raw/b.ARW", "raw/c.ARW"]
    assert out == "" and "Traceback" not in err and "3 done, 0 failed" in err
    assert running.returncode == 0


def test_models_stay_in_memory_as_long_as_the_folder_is_watched(here, monkeypatch):
    made, targets = [], []
    load, choose = Denoiser.__init__, TorchBackend.targets

    def counted(self, path, *given, **how):
        made.append(path.name)
        load(self, path, *given, **how)

    def chosen(self, *given):
        targets.append(given)
        return choose(self, *given)

    monkeypatch.setattr(Denoiser, "__init__", counted)
    monkeypatch.setattr(TorchBackend, "targets", chosen)

    def come(name, **how):
        return [partial(raw, name, **how), *[None] * 4]

    replace = partial(write_model, here, seed=4)
    clock = Time(*come("a.ARW"), *come("b.ARW", seed=1), replace, *come("c.ARW", seed=2))
    done = watched(here, clock)
    assert [name for name, *_ in done] == ["a.ARW", "b.ARW", "c.ARW"]
    # Again only when its file was replaced.
    assert made == ["tiny.safetensors"] * 2
    assert len(targets) == 1 + len(made)


@pytest.mark.parametrize("options", [["--device", "foo"], ["--steps", "2"], ["--tile", "7"]])
def test_an_engine_that_does_not_exist_is_told_before_a_photo_comes(here, options, capsys):
    assert run(["denoise", "raw", "--watch", "--model", str(here), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options[0][2:] in line


@pytest.mark.skipif(os.name == "nt", reason="there, another program may be writing it")
def test_a_file_that_cannot_be_opened_is_taken_and_so_reported(tmp_path):
    (tmp_path / "a.ARW").mkdir()
    times = iter([0.0, 10.0, 20.0])
    settled = module._Settled(lambda: next(times))
    assert settled.take([tmp_path / "a.ARW"]) == set()
    assert settled.take([tmp_path / "a.ARW"]) == {tmp_path / "a.ARW"}
    assert settled.take([tmp_path / "a.ARW", tmp_path / "gone.ARW"]) == set()


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_a_file_that_becomes_readable_is_taken_again(tmp_path, monkeypatch):
    path = tmp_path / "a.ARW"
    path.write_bytes(b"raw")
    times = iter([0.0, 10.0, 20.0, 30.0])
    settled = module._Settled(lambda: next(times))
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    assert [settled.take([path]) for _ in range(2)] == [set(), {path}]
    monkeypatch.setattr(module.os, "access", lambda *_: True)
    assert [settled.take([path]) for _ in range(2)] == [set(), {path}]
