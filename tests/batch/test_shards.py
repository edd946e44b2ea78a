import errno
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from ledcli import api
from ledcli.batch.run import plan_denoise
from ledcli.batch.settings import DenoiseOptions, Engine, Settings, Status
from ledcli.batch.shards import Shard, array_variable, parse_shard
from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.raw.inputs import FoundRaw
from tests.inference.models import write_model
from tests.shoot import make_raw

SLURM = ("ID", "MIN", "MAX", "COUNT")


def slurm(*numbers):
    names = (f"SLURM_ARRAY_TASK_{name}" for name in SLURM)
    return dict(zip(names, map(str, numbers), strict=True))


def raw(path):
    path = Path(path)
    return FoundRaw(Path("/anywhere") / path, path.parent, Path("denoised"))


def test_a_shard_is_a_part_of_so_many():
    shard = parse_shard("1/4", {})
    assert (shard.index, shard.count, str(shard)) == (1, 4, "1/4")
    assert Shard.named(shard.name) == shard and Shard.named("x-of-4") is None


@pytest.mark.parametrize(
    "text", ["", "1", "4/4", "-1/4", "1/0", "0/1000001", "1/2/3", "²/4", "a/4", "auto"]
)
def test_what_is_no_shard_is_bad_usage(text):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text, {})


@pytest.mark.parametrize(
    ("numbers", "shard"),
    [
        ((0, 0, 15, 16), Shard(0, 16)),
        ((16, 1, 16, 16), Shard(15, 16)),  # --array=1-16
        ((5, 1, 7, 4), Shard(2, 4)),  # --array=1-7:2
        ((7, 3, 7, 2), Shard(1, 2)),  # --array=3,7
        ((9, 9, 9, 1), Shard(0, 1)),
    ],
)
def test_a_slurm_array_may_begin_anywhere_and_have_a_step(numbers, shard):
    found = parse_shard("auto", slurm(*numbers))
    assert found == shard and found.given == f" (SLURM_ARRAY_TASK_ID {numbers[0]})"


@pytest.mark.parametrize("numbers", [(5, 1, 6, 3), (4, 1, 7, 4), (1, 1, 1, 0), (8, 0, 4, 5)])
def test_an_array_with_gaps_is_refused(numbers):
    with pytest.raises(UsageError, match=r"use --shard I/N|no part"):
        parse_shard("auto", slurm(*numbers))


def test_other_arrays():
    aws = {"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}
    assert parse_shard("auto", aws) == Shard(3, 10)
    with pytest.raises(UsageError, match="AWS_BATCH_JOB_ARRAY_SIZE is '', not a number"):
        parse_shard("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "3"})
    for name in ("PBS_ARRAY_INDEX", "PBS_ARRAYID"):
        with pytest.raises(UsageError, match=rf"how many tasks .* use --shard \${name}/N"):
            parse_shard("auto", {name: "3"})
        assert array_variable({name: "3"}) == name
    assert array_variable({}) is None


def test_each_photo_is_in_one_shard_and_they_are_of_like_size():
    raws = [raw(f"{i % 7}/IMG_{i:04}.CR2") for i in range(2000)]
    for count in (1, 4, 7):
        parts = Counter(i for each in raws for i in range(count) if Shard(i, count).has(each))
        assert sum(parts.values()) == len(raws) and len(parts) == count
        assert max(parts.values()) < 1.2 * len(raws) / count


def test_the_shard_of_a_photo_is_the_same_on_every_machine_and_in_every_version():
    names = ["a.ARW", "1/a.ARW", "2/IMG_0001.CR2", "caf\xe9.NEF", os.fsdecode(b"caf\xe9.NEF")]
    assert [[i for i in range(4) if Shard(i, 4).has(raw(name))] for name in names] == PINNED
    assert Shard(PINNED[3][0], 4).has(raw("cafe\u0301.NEF"))  # as macOS writes it


PINNED = [[2], [0], [0], [2], [0]]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Nested folders of raws, some of one name."""
    monkeypatch.chdir(tmp_path)
    for i in range(9):
        path = tmp_path / "raw" / str(i % 2) / f"{i // 2}.ARW"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_raw(path, shape=(64, 64), seed=i)
    make_raw(tmp_path / "raw" / "0" / "0.NEF", shape=(64, 64), seed=10)
    return write_model(tmp_path / "tiny.safetensors")


def results_of(tree, out="out", shard=None, **settings):
    options = DenoiseOptions(
        ["raw"],
        Path(out),
        Settings(**settings),
        model=tree,
        recursive=True,
        shard=shard,
        engine=Engine("cpu", "float32"),
    )
    return plan_denoise(options).run()


def statuses(tree, out="out", shard=None, **settings):
    return [result.status for result in results_of(tree, out, shard, **settings)]


def files(folder):
    return {
        str(path.relative_to(folder)): re.sub(rb"\d{4}-\d\d-\d\dT[\d:]{8}Z", b"", path.read_bytes())
        for path in Path(folder).rglob("*.dng")
    }


def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")


def useless_locks(*_):
    """Succeed, and exclude nobody."""


@pytest.mark.parametrize("locks", [None, no_locks, useless_locks])
def test_the_shards_together_do_what_one_run_does(tree, monkeypatch, locks):
    if locks:
        monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", locks)
    done = [statuses(tree, shard=f"{i}/3") for i in range(3)]
    assert sum(map(len, done)) == 10 and {*chain(*done)} == {Status.DONE}
    with monkeypatch.context() as patched:
        patched.setattr("ledcli.raw.decoder.Decoders.run", None)  # nothing is even opened
        assert statuses(tree) == [Status.SKIPPED] * 10
        assert {*statuses(tree, shard="1/2")} == {Status.SKIPPED}
    statuses(tree, "whole")
    assert files("out") == files("whole") and len(files("out")) == 10
    assert {"0/0.ARW.dng", "0/0.NEF.dng", "1/0.dng"} < files("out").keys()
    # Shards of other settings, and those of another number, know them too.
    again = [statuses(tree, shard=f"{i}/2", strength=0.5) for i in range(2)]
    assert {*chain(*again)} == {Status.DONE}
    assert statuses(tree, strength=0.5) == [Status.SKIPPED] * 10


@pytest.mark.parametrize("locks", [no_locks, useless_locks])
def test_two_runs_over_the_same_photos_at_once_lose_nothing(tree, monkeypatch, locks):
    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", locks)
    first = results_of(tree)
    done = [next(first).status]
    second = statuses(tree)
    done += [result.status for result in first]
    assert done == [Status.DONE] * 10 and len(second) == 10 and Status.FAILED not in second
    statuses(tree, "whole")
    assert files("out") == files("whole")
    assert statuses(tree) == [Status.SKIPPED] * 10
    assert not list(Path("out").rglob(".led-*"))


def test_results_among_the_photos_are_known_to_every_shard(tree):
    for i in range(3):
        statuses(tree, "raw", shard=f"{i}/3")
    assert len(files("raw")) == 10
    assert statuses(tree, "raw") == [Status.SKIPPED] * 10


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_killed_shard_is_run_again_beside_the_other(tree):
    command = [sys.executable, "-m", "ledcli", "denoise", "raw", "-r", "--out", "out"]
    command += ["--model", str(tree), "--shard"]
    with subprocess.Popen([*command, "0/2"], stdout=subprocess.PIPE) as running:
        assert running.stdout.readline()
        running.kill()
    (left,) = (Path("out") / ".led").glob("manifest*")
    assert left.name == "manifest-0-of-2.jsonl"
    assert statuses(tree, shard="1/2").count(Status.DONE) >= 1
    again = statuses(tree, shard="0/2")
    assert Status.SKIPPED in again and {*again} <= {Status.SKIPPED, Status.DONE}
    assert statuses(tree) == [Status.SKIPPED] * 10
    assert not list(Path("out").rglob(".led-*"))


def test_the_command_says_where_the_shard_comes_from(tree, monkeypatch, capsys):
    words = ["denoise", "raw", "-r", "--out", "out", "--dry-run"]
    for name, value in slurm(3, 2, 3, 2).items():
        monkeypatch.setenv(name, value)
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 10 and "use --shard auto" in err
    assert run([*words, "--shard", "auto"]) == 0
    out, err = capsys.readouterr()
    part = len(out.splitlines())
    assert f"shard 1/2 (SLURM_ARRAY_TASK_ID 3): {part} of 10 photos" in err
    assert 0 < part < 10 and "use --shard auto" not in err
    assert run([*words, "--shard", "2/2"]) == 2


def test_the_api_takes_shards(tree):
    how = {"recursive": True, "model": tree}
    results = [api.denoise("raw", "out", shard=f"{i}/2", **how) for i in (0, 1)]
    assert sum(map(len, results)) == 10 and all(results)
