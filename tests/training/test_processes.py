"""Trainings on several processes: real ones, of one core each, that talk through gloo."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed
from safetensors import safe_open

from ledcli.cli.app import run
from ledcli.errors import TrainingError, UsageError
from ledcli.training.processes import Processes, even_parts, joined
from ledcli.zoo.model_file import load_model

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)
SMALL = ("--arch", "unet", "--channels", "2", "--crops-size", "2", "--device", "cpu")
TOTALS = """
import sys, torch
from ledcli.errors import LedError, TrainingError
from ledcli.training.processes import joined

try:
    with joined() as processes:
        used, once, never = weights = [torch.zeros(2, 3, 4, 5) for _ in range(3)]
        used.grad = torch.full_like(used, processes.rank + 1.0)
        if processes.rank:
            once.grad = torch.arange(120.0).view_as(once)
        loss = processes.total(torch.tensor(4.0 * processes.rank), weights)
        assert float(loss) == 4 and bool((used.grad == 3).all()) and never.grad is None
        assert torch.equal(once.grad, torch.arange(120.0).view_as(once))
        assert processes.of_first(processes.rank + 7.0) == 7
        print("added", flush=True)
        if processes.rank:
            raise TrainingError("crop 3 is damaged")
        processes.total(loss, weights)
except LedError as error:
    sys.exit(f"led: {error}")
"""


def two_processes(code):
    """Run code in two processes as torchrun does; return their statuses and what they wrote."""
    # Kept here, as torchrun does: a port that one process finds free may be taken for the next.
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    about["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | about | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    texts = [child.communicate(timeout=600) for child in children]
    return [child.returncode for child in children], texts


def test_processes_add_up_gradients_and_only_the_first_that_fails_says_why():
    statuses, texts = two_processes(TOTALS)
    assert [out for out, _ in texts] == ["added\n"] * 2
    assert statuses == [1, 1], texts
    lines = [line for _, error in texts for line in error.splitlines() if "[W" not in line]
    assert lines == ["led: crop 3 is damaged"]


def test_two_processes_pretrain_and_one_goes_on(tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    led = ["pretrain", "--out", str(out), *SMALL]
    done = subprocess.run(
        [*torchrun, "-m", "--", "ledcli", *led, "--iters", "4"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["step 4", f"wrote {out}"]
    assert done.stderr.count("packing") == 1
    assert load_model(out)[0].training["iterations"] == 4
    names = {".checkpoint", ".crops.npy", ".log.jsonl", ".safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {f"m{name}" for name in names}
    with safe_open(tmp_path / "m.checkpoint", "pt") as checkpoint:
        assert not [name for name in checkpoint.keys() if "generator" in name]  # noqa: SIM118
    assert run([*led, "--iters", "5", "--resume"]) == 0
    assert load_model(out)[0].training["iterations"] == 5
    log = (tmp_path / "m.log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [4, 5]
    capsys.readouterr()


def test_a_process_with_another_state_is_named():
    processes = Processes()
    processes.compare("step 3", "another checkpoint")
    processes.rank, processes.of_first = 1, lambda own: own + 1
    with pytest.raises(TrainingError, match="process 1 has another checkpoint than process 0"):
        processes.compare("step 3", "another checkpoint")


def test_no_part_of_any_step_draws_as_another():
    seeds = set()
    for rank in range(3):
        processes, generators = Processes(), [torch.Generator() for _ in range(2)]
        processes.rank = rank
        for step in range(4):
            processes.seed_parts(generators, 1, step)
            seeds |= {generator.initial_seed() for generator in generators}
    assert len(seeds) == 3 * 2 * 4


@pytest.mark.parametrize("size", [1, 2, 7, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_batch_is_divided_evenly_and_without_a_rest(size, count):
    parts = even_parts(range(size), count)
    assert len(parts) == count and [n for part in parts for n in part] == list(range(size))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1


def test_a_process_whose_launcher_says_too_little_is_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="torchrun"), joined():
        pass
