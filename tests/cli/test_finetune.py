"""`led finetune` as a user runs it, from a tiny pretrained model on small made-up raws."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ledcli.cli.app import run
from ledcli.training import optim
from ledcli.training.finetune import _name_of
from ledcli.training.methods.led import SCHEDULES
from ledcli.zoo import store as bundled
from ledcli.zoo.model_file import load_model, read_spec
from ledcli.zoo.store import alone_with, free_name, stopped_name
from tests.inference.models import write_model
from tests.shoot import make_dark, make_raw
from tests.training.shoots import SHAPE, make_pair

pytestmark = pytest.mark.usefixtures("home")


def test_the_tuned_model_is_installed_under_the_cameras_name(listed, tiny, home, capsys):
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "4", "--force", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert record["model"] == spec.name == "led-testcam-one"
    assert spec.cameras == ("Led Testcam One",)
    assert spec.csa_sets == () and not spec.omnr
    assert spec.ratio_range == (20.0, 20.0)
    assert spec.noise_profile.isos == (400.0, 6400.0)
    assert spec.training["isos"] == [400.0, 6400.0] and spec.training["iterations"] == 4
    assert spec.training["ended"] == "iterations" and spec.training["optimiser"] == "muon"
    assert len(spec.training["pairs"]) == 2
    assert spec.training["psnr_after"] == pytest.approx(record["psnr_after"], abs=1e-3)
    assert [path.name for path in home.iterdir()] == ["led-testcam-one.safetensors"]


def test_a_tuning_that_gains_no_more_ends_early_and_says_so(
    listed, tiny, home, capsys, monkeypatch
):
    monkeypatch.setitem(SCHEDULES, "joint", replace(SCHEDULES["joint"], patience=1))
    monkeypatch.setattr(optim, "VALIDATE_EVERY", 4)
    monkeypatch.setattr(optim, "MIN_GAIN", 99.0)
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "40", "--force"]) == 0
    said = capsys.readouterr().err
    assert "at most 40 iterations" in said and "no gain since iteration 4: the last is 10" in said
    training = read_spec(home / "led-testcam-one.safetensors").training
    assert training["iterations"] == 10 and training["ended"] == "no gain"


def test_a_stopped_tuning_is_found_again_whatever_was_installed_or_removed(listed, tiny, home):
    tune = ["finetune", "--pretrained", str(tiny), "--iters", "2", "--force", "-q"]
    assert run(tune) == run(tune) == 0
    home.joinpath("led-testcam-one--3.checkpoint").write_bytes(b"")
    home.joinpath("led-testcam-one--2.safetensors").unlink()
    assert stopped_name("led-testcam-one") == "led-testcam-one--3"
    assert stopped_name("led-testcam") is None


def test_another_camera_s_stopped_tuning_is_not_resumed(home):
    home.mkdir(parents=True, exist_ok=True)
    home.joinpath("nikon-z-6-2.checkpoint").write_bytes(b"")
    assert stopped_name("nikon-z-6") is None
    assert stopped_name("nikon-z-6-2") == "nikon-z-6-2"
    assert free_name("nikon-z-6") == "nikon-z-6"


@pytest.mark.parametrize("suffix", ["", "-fast", "-sid-fast"])
def test_a_long_camera_name_leaves_room_for_suffix_and_number(suffix, home):
    name = _name_of("Maker " + "x" * 80, suffix)
    assert name.startswith("maker-x") and name.endswith(suffix)
    cut = "x" * (59 - len(suffix))
    assert _name_of(f"{cut} y", suffix) == cut + suffix  # two dashes are before a number only
    home.mkdir(parents=True, exist_ok=True)
    home.joinpath(f"{name}.safetensors").write_bytes(b"")
    assert free_name(name) == f"{name}--2"


def test_two_tunings_of_one_name_exclude_each_other(listed, tiny, home, capsys):
    with alone_with("led-testcam-one"):
        assert run(["finetune", "--pretrained", str(tiny), "--iters", "2", "-q"]) == 1
    assert "another led finetune of 'led-testcam-one' is running" in capsys.readouterr().err


def test_a_second_tuning_leaves_the_first(listed, tiny, home):
    tune = ["finetune", "--pretrained", str(tiny), "--iters", "2", "--force", "-q"]
    assert run(tune) == 0 and run(tune) == 0
    assert sorted(path.stem for path in home.iterdir()) == ["led-testcam-one", "led-testcam-one--2"]


def test_the_next_denoising_takes_it_with_the_cameras_lines(listed, tiny, tmp_path, capsys):
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "2", "--force", "-q"]) == 0
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    capsys.readouterr()
    assert run(["denoise", "photo.ARW", "--ratio", "20", "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "led-testcam-one" in json.dumps(record)
    expected = read_spec(tmp_path / "home/models/led-testcam-one.safetensors").noise_profile.at(
        1600
    )
    assert record["gain"] == pytest.approx(expected.profile.gain, rel=1e-3)


def test_the_unfolded_model_can_be_written_and_folded_again(listed, tiny, home, tmp_path, capsys):
    tune = ["finetune", "--pretrained", str(tiny), "--iters", "3", "--force", "-q"]
    assert run([*tune, "--out", "mine.safetensors"]) == 0
    assert read_spec(tmp_path / "mine.safetensors").omnr
    assert run(["reparam", "mine.safetensors", "-o", "folded.safetensors"]) == 0
    _, again = load_model(tmp_path / "folded.safetensors")
    _, installed = load_model(home / "led-testcam-one.safetensors")
    for name, value in installed.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], atol=1e-6, rtol=1e-5)
    assert run([*tune, "--out", "mine.safetensors"]) == 1


def test_a_model_that_is_no_better_is_not_installed(listed, tiny, home, capsys, monkeypatch):
    monkeypatch.setattr("ledcli.training.methods.base.FinetuneMethod.before", lambda *a, **k: 30.0)
    monkeypatch.setattr("ledcli.training.methods.base.FinetuneMethod.psnr", lambda *a: 30.0)
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "2", "-q"]) == 1
    assert "no better" in capsys.readouterr().err
    assert not list(home.glob("*.safetensors"))


def test_dry_run_reads_the_pairs_and_writes_nothing(listed, tiny, home, capsys):
    assert run(["finetune", "--pretrained", str(tiny), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert "led-testcam-one" in out and "2 pairs" in err
    assert not home.exists()


def test_one_ratio_of_several_can_be_chosen(listed, tiny, home, tmp_path):
    lines = [make_pair(tmp_path, f"q{iso}", iso, 50, iso) for iso in (400, 6400)]
    listed.write_text(listed.read_text() + "".join(lines))
    tune = ["finetune", "--pretrained", str(tiny), "--iters", "2", "--force", "-q"]
    assert run([*tune, "--ratios", "50"]) == 0
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert spec.training["ratios"] == [50.0] and len(spec.training["pairs"]) == 2


def test_dark_frames_beside_the_list_are_used(listed, tiny, home, tmp_path):
    for iso, seconds in ((400, 0.05), (6400, 1.0)):
        make_dark(tmp_path / f"dark{iso}.ARW", shape=SHAPE, iso=iso, exposure_time=seconds)
    assert run(["pairs", "scan", ".", "-q"]) == 0
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "2", "--force", "-q"]) == 0
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert spec.training["dark_frames"] == 2
    assert spec.noise_profile.shading[0].offsets.shape[1] > 1


def rename(path, text):
    path.write_text(path.read_text().replace("p400_short.ARW", text))


def missing_file(tmp_path, listed):
    rename(listed, "gone.ARW")
    return [], "gone.ARW"


def nonsense(tmp_path, listed):
    listed.write_text("all work and\nno play\n")
    return [], "line 1"


def two_cameras(tmp_path, listed):
    line = make_pair(tmp_path, "other", 400, 20, 3, model="Othercam")
    listed.write_text(listed.read_text() + line)
    return [], "one camera"


def one_iso(tmp_path, listed):
    listed.write_text(listed.read_text().splitlines()[1])
    return [], "at most 500"


def unknown_model(tmp_path, listed):
    return ["--pretrained", "leica"], "leica"


def no_list(tmp_path, listed):
    listed.unlink()
    return [], "led pairs scan"


def no_such_ratio(tmp_path, listed):
    return ["--ratios", "300"], "the list has 20"


def bad_ratios(tmp_path, listed):
    return ["--ratios", "lots"], "--ratios"


def bad_name(tmp_path, listed):
    return ["--name", "../x"], "cannot name a model"


def nothing_to_go_on_with(tmp_path, listed):
    return ["--resume"], "--resume"


@pytest.mark.parametrize(
    "spoil",
    [
        missing_file, nonsense, two_cameras, one_iso, unknown_model, no_list, no_such_ratio,
        bad_ratios, bad_name, nothing_to_go_on_with,
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(listed, tiny, home, tmp_path, capsys, spoil):
    options, says = spoil(tmp_path, listed)
    before = sorted(tmp_path.rglob("*"))
    if "--pretrained" not in options:
        options = [*options, "--pretrained", str(tiny)]
    assert run(["finetune", *options, "--iters", "2", "-q"]) in (1, 2)
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1
    assert [p for p in sorted(tmp_path.rglob("*")) if p.is_file()] == [
        p for p in before if p.is_file()
    ]


CHILD = """
import sys
import torch
import ledcli.training.finetune as tune
from ledcli.cli.app import run

torch.set_num_threads(1)
tune.CHECKPOINT_EVERY = -1.0
save = tune.Trainer.save
tune.Trainer.save = lambda *given: (save(*given), sys.stdin.read())
sys.exit(run(sys.argv[1:]))
"""


def child(tiny, name, *options, stdin=subprocess.DEVNULL):
    """Start a tuning that writes a checkpoint at every iteration, and waits for `stdin`'s end."""
    words = ["finetune", "--pretrained", str(tiny), "--iters", "40", "--name", name, "--force"]
    command = [sys.executable, "-c", CHILD, *words, "-q", *options]
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root}, stdin=stdin)


def wait_for(checkpoint, running):
    while not checkpoint.exists() and running.poll() is None:
        time.sleep(0.01)


def test_killed_at_a_random_moment_and_resumed_it_ends_with_the_same_weights(listed, tiny, home):
    assert child(tiny, "whole").wait() == 0
    killed = child(tiny, "killed")
    checkpoint = home / "killed.checkpoint"
    wait_for(checkpoint, killed)
    time.sleep(random.random())
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    if not (home / "killed.safetensors").exists():  # else it was done already, which is right too
        assert child(tiny, "killed", "--resume").wait() == 0
        assert not checkpoint.exists()
    nets = [load_model(home / f"{name}.safetensors")[1] for name in ("whole", "killed")]
    for name, value in nets[0].state_dict().items():
        assert torch.equal(value, nets[1].state_dict()[name]), name


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(listed, tiny, home):
    with child(tiny, "stopped", stdin=subprocess.PIPE) as stopped:
        wait_for(home / "stopped.checkpoint", stopped)
        stopped.send_signal(signal.SIGINT)
    assert stopped.returncode == 130
    assert [path.name for path in home.iterdir()] == ["stopped.checkpoint"]
    assert child(tiny, "stopped", "--resume").wait() == 0


@pytest.fixture
def x_trans(tmp_path):
    """Pairs by LED's rule of an X-Trans camera."""
    how = {"shape": (315, 333), "phase": (4, 1)}
    isos = enumerate((400, 6400))
    lines = [make_pair(tmp_path, f"x{iso}", iso, 20, seed, **how) for seed, iso in isos]
    (tmp_path / "pairs.txt").write_text("".join(lines))


def test_an_x_trans_camera_s_pairs_tune_the_model_for_x_trans_by_themselves(
    x_trans, home, tmp_path, monkeypatch, capsys
):
    write_model(tmp_path / "b" / "x.safetensors", sets=("generic",), cfa="xtrans")
    models = [{"file": "x.safetensors", "cfa": "xtrans", "names": ["xtrans"]}]
    models[0]["csa_sets"] = {"xtrans": "generic"}
    registry = tmp_path / "b" / "registry.json"
    registry.write_text(json.dumps({"default": "xtrans", "models": models}))
    monkeypatch.setattr(bundled, "bundled_dir", lambda: tmp_path / "b")
    assert run(["finetune", "--iters", "2", "--force", "-q"]) == 0
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert (spec.cfa, spec.planes, spec.noise_profile.planes) == ("xtrans", 9, 9)
    capsys.readouterr()
    assert run(["denoise", "x400_short.ARW", "--ratio", "20", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "led-testcam-one" and record["noise"] == "profile"


def test_a_model_for_another_sensor_is_no_start(x_trans, tiny, capsys):
    assert run(["finetune", "--pretrained", str(tiny), "--iters", "2", "--force"]) == 1
    said = capsys.readouterr().err
    assert "for Bayer sensors and the pairs are X-Trans" in said and "Traceback" not in said
