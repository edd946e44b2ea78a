"""A run on a Ray cluster of two local nodes."""

import errno
import os
import pickle
import re
import signal
import sys
from contextlib import ExitStack, closing, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from ledcli import api
from ledcli.batch import cluster_photos, output_writer
from ledcli.batch.cluster import Cluster, Share, divide
from ledcli.batch.cluster_actor import Actor, NodeProblem, Start
from ledcli.batch.manifest import FileState, Manifests
from ledcli.batch.output_writer import OutputWriter
from ledcli.batch.pipeline import RunProgress
from ledcli.batch.settings import Engine, Job, Settings
from ledcli.cli.app import run
from ledcli.errors import OutputError
from ledcli.reporting import Silent
from ledcli.zoo.selection import NamedModel
from tests.batch.works import Works
from tests.inference.models import write_model
from tests.shoot import make_raw

PHOTOS, MANY = 8, 10_000


class Notes(Silent):
    def __init__(self):
        self.texts = []

    def warn(self, text):
        self.texts.append(str(text))


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes; the second one is killed by the first test."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster as Nodes

    small = {"object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, **small})
            nodes.second = nodes.add_node(num_cpus=1, **small)
        except Exception as error:  # Ray's type for it
            if "timed out during startup" in str(error):
                pytest.skip("this machine is too busy for Ray, which starts in 30 s or never")
            raise
        yield nodes
        nodes.shutdown()


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(PHOTOS):
        path = tmp_path / "raw" / str(i % 2) / f"{i}.ARW"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_raw(path, shape=(64, 64), seed=i)
    write_model(tmp_path / "tiny.safetensors")
    return [
        "denoise",
        "raw",
        "-r",
        "--model",
        "tiny.safetensors",
        "--device",
        "cpu",
        "--ratio",
        "4",
    ]


def files(folder):
    return {
        str(path.relative_to(folder)): re.sub(rb"\d{4}-\d\d-\d\dT[\d:]{8}Z", b"", path.read_bytes())
        for path in Path(folder).rglob("*.*")
        if ".led" not in path.parts
    }


class Numbers:
    """A client whose results are the answers."""

    def __init__(self):
        self.begun, self.ended = [], []

    def task(self, number, attempt):
        self.begun.append(number)
        attempt.callback(self.ended.append, number)
        return number

    def done(self, number, answer):
        return answer

    def lost(self, number, why):
        return why

    def moved(self, number, size, share):
        pass


def test_a_node_that_dies_costs_its_photos_a_second_try(nodes, tree, monkeypatch, capsys):
    free, task, killed = Cluster._free, cluster_photos._Photos.task, []

    def free_and_kill(self, queue, lost):
        if not killed and sum(member.ready for member in self._members) < 2:
            return
        for member, number in free(self, queue, lost):
            first = not killed and member.node == nodes.second.node_id
            if first:  # a stopped worker answers nothing before it dies
                killed.extend(member.work)
                worker = worker_of(member)
                os.kill(worker, signal.SIGSTOP)
            yield member, number
            if first:
                nodes.remove_node(nodes.second, allow_graceful=False)
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    def half(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"half a file")

    def unfinished(self, number, attempt):
        """Leave half a file of each attempt; its worker may live on for a moment."""
        made = task(self, number, attempt)
        for part in made.parts.values():
            attempt.callback(half, part)
        return made

    Path("raw/1/broken.ARW").write_bytes(b"no raw")
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "_free", free_and_kill)
        patched.setattr(cluster_photos._Photos, "task", unfinished)
        words = [*tree, "--format", "dng,tiff"]
        assert run([*words, "--out", "out", "--ray", nodes.address]) == 1
    out, err = capsys.readouterr()
    assert killed and len(out.splitlines()) == PHOTOS, err
    assert f"{PHOTOS + 1} photos, 2 workers on 2 Ray nodes, each with 1 CPU\n" in err
    assert len(re.findall(r"a worker on .* died: its photos are tried again\n", err)) == 1
    assert "raw/1/broken.ARW: " in err and err.endswith(f"{PHOTOS} done, 1 failed\n")
    assert not re.search(r"^\d{4}-\d\d-\d\d|^\(|ray::|Traceback", err, re.MULTILINE)  # Ray's own
    # As a local run, which finds nothing left to do.
    assert run([*words, "--out", "here"]) == 1
    here = capsys.readouterr()
    assert out.replace("out/", "here/") == here.out
    assert files("out") == files("here") and len(files("out")) == 2 * PHOTOS
    lines = Path("out/.led/manifest.jsonl").read_text().splitlines()
    assert len(lines) == 2 * PHOTOS
    assert run([*words, "--out", "out"]) == 1
    assert f"0 done, {PHOTOS} skipped, 1 failed" in capsys.readouterr().err
    assert not list(Path().rglob(".led-*"))
    assert actors(nodes) == {"DEAD"}


def worker_of(member):
    """Return the process of an actor."""
    import ray

    return ray._private.state.actors(member.actor._actor_id.hex())["Pid"]


def actors(nodes):
    """Return the states of all actors of the cluster."""
    import ray

    with Cluster(nodes.address, Silent()):
        return {actor["State"] for actor in ray._private.state.actors().values()}


def test_a_task_that_ends_every_worker_is_given_up_alone(nodes, monkeypatch):
    monkeypatch.setattr("ledcli.batch.cluster.ATTEMPTS", 2)
    notes, numbers = Notes(), Numbers()
    with Cluster(nodes.address, notes) as cluster:
        start = Start.of(Works("die"), [], [])
        results = list(cluster.run(numbers, PHOTOS, start, lambda: False))
    assert "given up: 2 workers died on it" in results[3]
    assert [r for n, r in enumerate(results) if n != 3] == [2 * n for n in range(PHOTOS) if n != 3]
    assert numbers.ended.count(3) == len(notes.texts) == 2


def test_a_stop_lets_what_is_begun_end(nodes):
    stopped = []
    with Cluster(nodes.address, Silent()) as cluster:
        start, numbers = Start.of(Works("double"), [], []), Numbers()
        made = cluster.run(numbers, MANY, start, lambda: bool(stopped))
        results = [next(made)]
        stopped.append(True)
        begun = sorted(numbers.begun)
        results += made
    assert len(begun) < MANY and results == [2 * n for n in begun]
    assert sorted(numbers.begun) == sorted(numbers.ended) == begun


@pytest.mark.parametrize("what", ["folder", "version", "model"])
def test_a_node_that_differs_is_not_used(nodes, tree, monkeypatch, what, capsys):
    how = {
        "folder": ("ledcli.batch.cluster_actor.os.getcwd", lambda: "/"),
        "version": ("ledcli.__version__", "99.9"),
        "model": ("ledcli.batch.cluster_actor.model_hashes", lambda names: {"tiny": "another"}),
    }
    monkeypatch.setattr(*how[what])
    assert run([*tree, "--out", "out", "--ray", nodes.address]) == 1
    told = capsys.readouterr().err.splitlines()
    problem = {
        "folder": r"does not see out/.led/\.led-\S+part: all machines need the folders",
        "version": r"has led \S+, not 99\.9",
        "model": r"has other models than this machine \(tiny, tiny.safetensors\)",
    }[what]
    assert re.search(f"a node is not used: \\S+ {problem}", told[-2])
    assert re.search(f"no node of the Ray cluster can do the work: \\S+ {problem}", told[-1])
    assert not list(Path().rglob(".led*"))


def test_figures_are_those_of_a_local_evaluation(nodes, tree, tmp_path):
    make_raw(tmp_path / "long.ARW", shape=(64, 64), iso=100)
    Path("pairs.txt").write_text("raw/0/0.ARW long.ARW 1\nraw/1/1.ARW long.ARW 1\n")
    how = {"pairs": "pairs.txt", "engine": api.Engine("cpu")}
    there = api.evaluate(["tiny.safetensors"], ray=nodes.address, **how)
    here = api.evaluate(["tiny.safetensors"], **how)
    assert there.frames == here.frames and len(there.frames) == 4


def test_a_part_file_gets_its_name_from_the_driver_alone(tree):
    """The steps of a photo without a cluster between them."""
    job = Job(Path("raw/0/0.ARW"), {"dng": Path("out/0.dng")}, Path("out"))
    seen, manifests = Path("seen"), Manifests()
    seen.touch()
    with closing(OutputWriter(manifests, Settings(), print)) as writer, ExitStack() as attempt:
        progress = RunProgress(Silent(), [job.source])
        photos = cluster_photos._Photos([job], {job.root: seen}, writer, progress)
        task = photos.task(0, attempt)
        work = cluster_photos.PhotoWork(Settings(), "tiny.safetensors", Engine("cpu"))
        answer = work(task, lambda *moved: None)
        assert os.listdir("out") == [task.parts["dng"].name] and not answer.result.outputs
        full = photos.done(0, answer._replace(written={}, broken="the disk is full"))
        assert not full.outputs and writer.broken == "the disk is full"
        assert photos.done(0, answer).outputs == [job.outputs["dng"]]
        assert manifests[job.root].look(job.outputs["dng"])[0] is FileState.CURRENT
        with pytest.raises(NodeProblem, match=r"wrote out.0\.dng, which is not seen here"):
            photos.done(0, answer)
        seen.unlink()
        with pytest.raises(NodeProblem, match="does not see seen any more"):
            work(task, lambda *moved: None)
    manifests.close()
    assert sorted(os.listdir("out")) == [".led", "0.dng"]


def test_a_drive_that_one_machine_lost_is_that_machine_s_problem(tree, monkeypatch):
    parts = {"dng": Path("part")}
    task = cluster_photos._Task(Path("raw/0/0.ARW"), {"dng": Path("0.dng")}, Path(), parts, [])
    work = cluster_photos.PhotoWork(Settings(), "tiny.safetensors", Engine("cpu"))

    def fail(number):
        def write_part(part, path, *_):
            raise OutputError(f"{path}: cannot be written") from OSError(number, "no")

        monkeypatch.setattr(output_writer, "write_part", write_part)

    fail(errno.EIO)
    with pytest.raises(NodeProblem, match=r"cannot write here: 0\.dng: cannot be written"):
        work(task, lambda *moved: None)
    fail(errno.ENOSPC)
    assert "nothing can be written" in work(task, lambda *moved: None).broken


def test_what_one_machine_lacks_is_that_machine_s_problem(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    actor = Actor(1)

    def prepared(make, start=None):
        return actor.prepare(*(start or Start.of(make, [], []))._replace(make=pickle.dumps(make)))

    for make, why in {
        partial(import_module, "no_package"): "No module named 'no_package'",
        partial(NamedModel, "none"): "no model is called 'none'",
    }.items():
        error = prepared(make)
        assert isinstance(error, NodeProblem) and str(error).startswith(f"cannot start: {why}")
    assert isinstance(prepared(partial(int, "a bug")), ValueError)
    there = Start.of(Works("double"), [], [])._replace(names=("none",), models={"none": "12"})
    assert "has other models than this machine (none)" in str(prepared(Works("double"), there))
    assert prepared(Works("no_device")) is None
    answer, error = actor.do(0, 1)
    assert answer is None and isinstance(error, NodeProblem) and "wrong pictures" in str(error)


def test_what_shows_workers_the_folder_stays_young(tmp_path, monkeypatch):
    stop = cluster_photos._keeping([path := tmp_path / "seen"], lambda: True)
    assert stop() and path.exists()
    os.utime(path, (1, 1))
    assert stop() and path.stat().st_mtime == 1  # not at every call
    monkeypatch.setattr(cluster_photos, "KEEP_S", 0)
    stop = cluster_photos._keeping([path], lambda: False)
    assert not stop() and path.stat().st_mtime > 1
    path.unlink()
    assert not stop() and path.exists()


@pytest.mark.parametrize(
    ("nodes", "shares"),
    [
        ([(8, 0), (0, 0)], [Share(1, 8, 0)]),
        ([(20, 0), (2, 0)], [Share(3, 6, 0), Share(1, 2, 0)]),
        ([(64, 4), (16, 0), (4, 1)], [Share(4, 8, 1), Share(1, 4, 1)]),
        ([(0, 1)], [Share(1, 0, 1)]),
    ],
)
def test_a_worker_gets_a_gpu_or_its_part_of_the_cpus(nodes, shares, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    nodes = [{"Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in nodes]
    assert [share for _, share in divide(nodes)] == shares
    assert not any(share.gpus for _, share in divide(nodes, gpus=False))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [share.cpus for _, share in divide(nodes[:1], gpus=False)] in ([4], [])


def test_ray_that_is_not_there(tree, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run([*tree, "--ray", "local"]) == 2
    assert "pip install 'ledcli[ray]'" in capsys.readouterr().err
    assert run([*tree, "--ray", "local", "--watch"]) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "here", ":1"])
def test_an_address_without_a_cluster_is_one_line(tree, address, capsys):
    pytest.importorskip("ray")
    assert run([*tree, "--ray", address]) == 2
    assert re.fullmatch(f"led: --ray {address}: .*\n", capsys.readouterr().err)
    assert not Path("denoised").exists()


@pytest.mark.parametrize("address", ["nonsense", "ray://here:1", "here:x", ""])
def test_what_is_no_address_is_told_in_a_dry_run_too(tree, address, capsys):
    assert run([*tree, "--ray", address, "--dry-run"]) == 2
    assert "must be local, auto or HOST:PORT" in capsys.readouterr().err
