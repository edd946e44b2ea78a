"""The script for a lent GPU, with small sizes on the CPU."""

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import gpu
import gpu_parts
from gpu import PARTS

from ledcli.batch.settings import Engine
from ledcli.evaluation.simulation import Tried
from ledcli.inference.agreement import Agreement


def measured(part, path, device="cpu", seconds=600.0):
    gpu.measure(part, device, True, seconds, path)
    return json.loads(path.read_text())


@pytest.mark.parametrize("part", PARTS)
def test_every_part_runs_with_small_sizes(tmp_path, part):
    found = measured(part, tmp_path / "part.json")
    assert not gpu.failed(found) and found["rows"]
    columns = found["rows"][0].keys()
    assert all(row.keys() == columns for row in found["rows"])
    if part == "agreement":
        assert found["rows"][-1]["result"] == "agrees"
    if part == "memory":
        whole, smaller, none = found["rows"]
        assert 0 < smaller["largest window"] < whole["largest window"]
        assert float(smaller["rms to the first"]) < 1e-4
        assert "memory of cpu" in none["result"]
    if part == "finetune":
        # Twice on the same device.
        assert found["difference_db"] == 0
        assert [row["iterations"] for row in found["rows"]] == [3, 3]


def test_a_device_that_computes_wrong_pictures_fails(tmp_path, monkeypatch):
    tried = Tried(Engine("cuda", "bf16", None, "torch"), Agreement("bf16", 0.5, 1.0))
    monkeypatch.setattr(gpu_parts, "compare_engines", lambda model: iter([tried]))
    found = measured("agreement", tmp_path / "part.json")
    assert "torch on cuda in bf16 computes wrong" in found["problems"][0] and gpu.failed(found)


def test_an_error_is_named_and_ends_only_its_part(tmp_path, monkeypatch):
    broken = PARTS["memory"]._replace(measure=lambda bench: iter([{"rows": []}, 1 / 0]))
    monkeypatch.setitem(gpu.PARTS, "memory", broken)
    assert measured("memory", tmp_path / "a.json")["error"].startswith("ZeroDivisionError")
    assert "no device" in measured("memory", tmp_path / "b.json", device="toaster")["error"]


def test_a_part_that_takes_too_long_is_stopped(tmp_path):
    options = argparse.Namespace(device="cpu", tiny=True)
    assert gpu.in_a_process("finetune", options, 0.01) == {"error": "stopped after 0 s"}


def test_the_report_keeps_what_a_stopped_part_had_found():
    about = {"command": "c", "date": "d", "machine": "m", "threads": 1, "torch": "t", "python": "p"}
    about |= {"device": "cuda", "seconds": 450.0, "tiny": False}
    found = {"rows": [{"crops": "16 of 64 x 64", "steps/s": 9}], "error": "stopped after 60 s"}
    text = gpu.markdown(about, {"pretrain": found, "memory": {"problems": ["fast: no model"]}})
    assert "| 16 of 64 x 64 | 9 |" in text
    assert "Not finished: stopped after 60 s" in text and "fast: no model" in text
