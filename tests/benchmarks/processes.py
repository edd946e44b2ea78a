"""Pretraining on two processes of one core each, against one process with two workers.

    python tests/benchmarks/processes.py

Both train a small network on made-up scenes with the same seeds, in turns. Before, two processes
are killed by SIGKILL after a quarter of the steps, and one process goes on. Writes
results/processes.json and processes.md.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from report import RESULTS, context, head, keep, table

from ledcli.training.data.crops import pack_crops
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.optim import Schedule
from ledcli.training.pretrain import pretrain
from ledcli.training.processes import joined
from ledcli.zoo.model_file import read_spec

STEPS, SEEDS = 200, 3
SMALL, USUAL = (4, 8, 32), (16, 16, 64)
"""Channels of the network, crops per batch and their side: for the loss, and for the speed."""
USUAL_STEPS = 24
RATIO = "psnr_100"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def main() -> int:
    """Compare, kill and resume, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    if options.child:
        folder, seed, every, resume = options.child
        _child(Path(folder), int(seed), options.steps, float(every), resume == "resume")
        return 0
    with tempfile.TemporaryDirectory() as name:
        crops = Path(name) / "crops.npy"
        pack_crops(None, crops, megabytes=2, side=64)
        resumed = _killed(Path(name) / "killed", STEPS)
        print(resumed, flush=True)
        runs = []
        for steps in (STEPS, USUAL_STEPS):
            for seed in range(SEEDS):
                for count in (1, 2):
                    folder = Path(name) / f"{count}-{seed}-{steps}"
                    if _start(folder, count, seed, steps).wait():
                        raise RuntimeError(f"{count} processes failed")
                    runs.append({"steps": steps, **_result(folder, count, seed)})
                    print(runs[-1], flush=True)
        results = context() | {"runs": runs, "resumed": resumed}
    keep(RESULTS / "processes.json", results, _report(results))
    return 0


def _start(
    folder: Path, count: int, seed: int, steps: int, every: float = 1e6, how: str = "new"
) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    given = [__file__, "--child", str(folder), str(seed), str(every), how, "--steps", str(steps)]
    threads = {"OMP_NUM_THREADS": str(2 // count)}
    command = [*(TORCHRUN if count == 2 else (sys.executable,)), *given]
    return subprocess.Popen(command, env=os.environ | threads)


def _child(folder: Path, seed: int, steps: int, every: float, resume: bool) -> None:
    """Train in this process, or as one of several; write what it took."""
    channels, crops, side = SMALL if steps == STEPS else USUAL
    recipe = PretrainRecipe(
        architecture="unet",
        arguments={"channels": channels},
        stages=((1.0, crops, side),),
        seed=seed,
    )
    with joined() as processes:
        wall, cpu = time.monotonic(), time.process_time()
        pretrain(
            recipe,
            folder.parent / "crops.npy",
            folder / "m.safetensors",
            Schedule(steps, warm_up=20, learning_rate=2e-3),
            device=torch.device("cpu"),
            bf16=False,
            resume=resume,
            checkpoint_every=every,
            processes=processes,
        )
        took = {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
        (folder / f"rank{processes.rank}.json").write_text(json.dumps(took))


def _log(folder: Path) -> list[dict[str, Any]]:
    log = folder / "m.log.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return [json.loads(line) for line in lines]


def _result(folder: Path, count: int, seed: int) -> dict[str, Any]:
    ranks = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(count)]
    lines = _log(folder)
    return {
        "processes": count,
        "seed": seed,
        "wall_s": round(ranks[0]["wall_s"], 1),
        "cpu_s": round(sum(rank["cpu_s"] for rank in ranks), 1),
        "losses": [line["loss"] for line in lines],
        RATIO: lines[-1][RATIO],
    }


def _killed(folder: Path, steps: int) -> dict[str, Any]:
    """Kill two processes after a checkpoint; go on with one."""
    running = _start(folder, 2, 0, steps, every=4.0)
    checkpoint = folder / "m.checkpoint"
    while not checkpoint.exists() or _log(folder)[-1]["step"] < steps // 4:
        if running.poll() is not None:
            raise RuntimeError("it ended before it was killed")
        time.sleep(0.1)
    for child in _children(running.pid):
        os.kill(child, signal.SIGKILL)
    running.wait()
    killed = _log(folder)[-1]["step"]
    if _start(folder, 1, 0, steps, how="resume").wait():
        raise RuntimeError("it was not resumed")
    lines = _log(folder)
    resumed = next(line for line in lines if line["step"] > killed or line is lines[-1])
    return {
        "logged_before_kill": killed,
        "next_logged": resumed["step"],
        "steps_in_model": read_spec(folder / "m.safetensors").training["iterations"],
        "loss": lines[-1]["loss"],
        RATIO: lines[-1][RATIO],
    }


def _children(pid: int) -> list[int]:
    """Return the processes that torchrun started; Linux only."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _report(results: dict[str, Any]) -> str:
    runs = results["runs"]
    rows = [
        [
            f"{run['steps']}",
            f"{run['processes']}",
            f"{run['seed']}",
            ", ".join(f"{loss:.3f}" for loss in run["losses"]),
            f"{run[RATIO]:.2f}",
            f"{run['wall_s']:.1f}",
            f"{run['cpu_s']:.1f}",
        ]
        for run in runs
    ]

    def ratio(key: str) -> float:
        usual = [run for run in runs if run["steps"] == USUAL_STEPS]
        pairs = zip(usual[1::2], usual[::2], strict=True)
        return statistics.median(two[key] / one[key] for two, one in pairs)

    heading = [
        "steps",
        "processes",
        "seed",
        "loss per 50 steps",
        "PSNR at ratio 100",
        "wall s",
        "CPU s",
    ]
    resumed = ", ".join(f"{key.replace('_', ' ')} {v}" for key, v in results["resumed"].items())
    return (
        head("Pretraining on several processes", results)
        + table(heading, rows)
        + f"\n{USUAL_STEPS} steps are of a network and batches of usual size. Two processes over "
        f"one there, medians: wall {ratio('wall_s'):.2f}, processor time "
        f"{ratio('cpu_s'):.2f}. Killed with two processes and resumed with one: {resumed}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
