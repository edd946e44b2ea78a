"""A device is compared with the reference before it is used; what is found is remembered."""

import json
import os
import platform
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ledcli.cli.app import run
from ledcli.errors import DeviceError
from ledcli.inference import agreement, network
from ledcli.inference.agreement import Agreement, Verdict, compare, results_of, synthetic_frames
from ledcli.inference.backends import Target
from ledcli.inference.backends.torch import BACKEND, CPU
from ledcli.inference.denoiser import Denoiser
from ledcli.raw.reader import read_raw
from tests.inference.models import LINE, scene, shoot, write_model
from tests.shoot import make_raw

WRONG = {
    "smears": lambda out: out.roll(1, 1),
    "is off a little": lambda out: out + 0.01,
    "makes no numbers": lambda out: out * float("nan"),
}


class Card(nn.Module):
    """A network on a device that does something to its output."""

    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net(x))


@pytest.fixture
def card(monkeypatch):
    """Give this machine a graphics card that computes as told, and count its comparisons."""
    target = Target("cuda", "float32", CPU, "a card, driver 1")
    told = {"change": lambda out: out, "target": target, "comparisons": 0}
    prepare, compare = BACKEND.prepare, network.compare

    def targets(device, precision):
        first = told["target"]
        return {"auto": [first, Target("cpu", "float32", CPU)], "cuda": [first]}.get(
            device, [Target("cpu", "float32", CPU)]
        )

    def prepared(spec, net, target):
        net = prepare(spec, net, target)
        return Card(net, told["change"]) if target.identity and told["change"] else net

    def counted(*arguments):
        told["comparisons"] += 1
        return compare(*arguments)

    monkeypatch.setattr(BACKEND, "targets", targets)
    monkeypatch.setattr(BACKEND, "prepare", prepared)
    monkeypatch.setattr(network, "compare", counted)
    return told


def test_a_device_that_agrees_is_used_and_compared_once(card, model):
    for _ in range(2):
        ready = Denoiser(model, "a")
        assert (ready.target.name, ready.notes) == ("cuda", [])
    assert card["comparisons"] == 1
    for changed in ({"identity": "a card, driver 2"}, {"precision": "bf16"}):
        card["target"] = card["target"]._replace(**changed)
        Denoiser(model, "a")
    assert card["comparisons"] == 3


def test_every_model_and_csa_set_is_compared_on_every_machine(card, model, tmp_path, monkeypatch):
    other = write_model(tmp_path / "other.safetensors", seed=4)
    for number, (path, csa_set) in enumerate(((model, "a"), (model, "b"), (other, "a")), start=1):
        Denoiser(path, csa_set)
        assert card["comparisons"] == number
    monkeypatch.setattr(platform, "node", lambda: "another")
    Denoiser(model, "a")
    assert card["comparisons"] == 4


@pytest.mark.parametrize("spoilt", ["conv1_2", "conv4_2", "conv9_1"])
def test_strips_inside_the_frame_are_compared_as_well(card, model, monkeypatch, spoilt):
    """They have a network of their own, which the frame's first and last strip do not use."""
    of = network.StripNetwork.of

    def spoil(net):
        strips = of(net)
        for name, layer in strips.unpadded.named_modules():
            if name.startswith(spoilt) and isinstance(layer, nn.Conv2d):
                layer.weight = nn.Parameter(layer.weight * torch.nan, requires_grad=False)
        return strips

    card["change"] = None
    assert Denoiser(model, "a").target.name == "cuda"
    monkeypatch.setattr(network.StripNetwork, "of", spoil)
    (note,) = Denoiser(model, "b").notes
    assert "wrong pictures" in note


@pytest.mark.parametrize("change", WRONG)
def test_auto_names_a_wrong_device_and_uses_the_cpu(card, model, change):
    card["change"] = WRONG[change]
    for _ in range(2):
        ready = Denoiser(model, "a")
        (note,) = ready.notes
        assert ready.target.name == "cpu" and "torch on cuda in float32" in note
        assert "wrong pictures" in note and note.endswith("using cpu in float32")
    assert card["comparisons"] == 1
    planes = shoot(scene(64, 80), 20)
    expected = Denoiser(model, "a", device="cpu").denoise(planes, 20, noise=LINE)
    np.testing.assert_array_equal(ready.denoise(planes, 20, noise=LINE), expected)


def test_a_device_that_fails_is_not_used(card, model):
    def fail(out):
        raise RuntimeError("no kernel image is available\nand more")

    card["change"] = fail
    (note,) = Denoiser(model, "a").notes
    assert "fails: no kernel image is available: using cpu" in note


def test_a_device_whose_memory_was_full_is_compared_again(card, model):
    def full(out):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    card["change"] = full
    (note,) = Denoiser(model, "a").notes
    assert "memory of cuda" in note
    card["change"] = lambda out: out
    assert Denoiser(model, "a").target.name == "cuda"


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_device_that_was_asked_for_is_refused(card, model, change):
    card["change"] = WRONG[change]
    with pytest.raises(DeviceError, match=r"torch on cuda in float32 computes wrong pictures"):
        Denoiser(model, "a", device="cuda")
    assert Denoiser(model, "a", device="cuda", check=False).target.name == "cuda"


def test_the_cpu_is_not_compared(card, model, led_home):
    assert Denoiser(model, "a", device="cpu").target.name == "cpu"
    assert card["comparisons"] == 0 and not (led_home / "cache").exists()


def test_a_run_says_it_once_and_writes_what_the_cpu_makes(card, model, tmp_path, capsys):
    card["change"] = WRONG["smears"]
    for name in "ab":
        make_raw(tmp_path / f"{name}.NEF", light=np.full((128, 160), 0.004), gain=2.0)
    how = ["denoise", str(tmp_path), "--model", str(model), "--ratio", "50"]
    assert run([*how, "--out", str(tmp_path / "auto")]) == 0
    assert capsys.readouterr().err.count("torch on cuda in float32 computes wrong pictures") == 1
    assert run([*how, "--device", "cpu", "--out", str(tmp_path / "cpu")]) == 0
    by_auto, by_cpu = (read_raw(tmp_path / name / "a.dng").normalised() for name in ("auto", "cpu"))
    np.testing.assert_array_equal(by_auto, by_cpu)
    capsys.readouterr()
    assert run([*how, "--device", "cuda", "--quiet", "--out", str(tmp_path / "cuda")]) == 2
    err = capsys.readouterr().err
    assert "wrong pictures" in err and err.count("\n") == 1
    assert not list((tmp_path / "cuda").glob("*.dng"))


def test_old_and_damaged_verdicts_are_not_read():
    verdict = Verdict(Target("cuda", "bf16", CPU, "a card"), "0", "a")
    assert verdict.read() is None
    kept = Agreement("bf16", 1e-3, 1e-2)
    verdict.keep(kept)
    assert verdict.read() == kept and kept.agrees
    assert Verdict(Target("cuda", "bf16", CPU, "another card"), "0", "a").read() is None
    old = time.time() - agreement.MAX_AGE - 60
    os.utime(verdict.file, (old, old))
    assert verdict.read() is None
    for text in ("", "[]", '{"rms": "x"}', json.dumps({"rms": 0.0, "largest": 0.0})):
        verdict.file.write_text(text)
        assert verdict.read() is None
    verdict.keep(kept)
    assert verdict.read() == kept
    verdict.keep(wrong := replace(kept, error="fails: it"))
    assert verdict.read() is None and not wrong.agrees


def test_a_cache_folder_that_cannot_be_written_does_not_stop_the_work(card, model, led_home):
    (led_home / "cache").write_text("a file")
    assert Denoiser(model, "a").target.name == "cuda"
    Denoiser(model, "a")
    assert card["comparisons"] == 2


def test_frames_are_dark_and_bright_and_an_error_in_any_counts():
    (dark, ratio, _), (bright, smaller, _) = synthetic_frames(4)
    assert ratio > smaller and dark.mean() < 0.01 < 0.2 < bright.mean() and bright.max() == 1

    def echo(frame, ratio, noise):
        return frame * ratio

    expected = results_of(echo, 4)
    assert compare(echo, expected, 4, "float32").rms == 0
    for spoilt in (ratio, smaller):
        found = compare(lambda f, r, n, at=spoilt: f * r + 0.05 * (r == at), expected, 4, "bf16")
        assert not found.agrees and 0.02 < found.rms <= found.largest <= 0.051
    nothing = compare(lambda f, r, n: torch.full_like(f, float("nan")), expected, 4, "bf16")
    assert not nothing.agrees
    overflow = compare(
        lambda f, r, n: torch.where(f * r >= 1, torch.inf, f * r), expected, 4, "fp16"
    )
    assert not overflow.agrees
