"""The other methods of `led finetune` as a user runs them, and what their models then do."""

import json

import pytest

from ledcli.cli.app import run
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import read_spec
from tests.inference.models import write_modulated
from tests.shoot import make_raw
from tests.training.shoots import SHAPE, make_pair

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def tune(listed, tiny):
    def run_it(*options):
        given = ["finetune", "--pretrained", str(tiny), "--iters", "5", "--crops", "2", "--force"]
        return run([*given, *options])

    return run_it


def test_exposure_diffusions_model_looks_as_often_as_it_is_told(tune, home, tmp_path, capsys):
    assert tune("--method", "exposure") == 0
    assert "are initialised" in capsys.readouterr().err
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert (spec.method, spec.output, spec.input_form) == ("exposure", "adaptive", "gain")
    assert spec.training["steps"] == 1 and spec.noise_profile is not None
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    taken = []
    for place, steps in (("1", ["--steps", "1"]), ("2", ["--steps", "2"]), ("usual", [])):
        denoise = ["denoise", "photo.ARW", "--ratio", "20", *steps, "-q", "--json"]
        assert run([*denoise, "--out", place]) == 0
        taken.append(read_raw(tmp_path / place / "photo.dng").mosaic)
    assert (taken[0] != taken[1]).mean() > 0.2 and (taken[0] == taken[2]).all()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["model"] == "led-testcam-one"


def test_other_models_make_one_step(tune, tmp_path, capsys):
    make_raw(tmp_path / "photo.ARW", shape=SHAPE)
    assert run(["denoise", "photo.ARW", "--steps", "2"]) == 2
    assert "leave out --steps" in capsys.readouterr().err
    assert not (tmp_path / "denoised" / "photo.dng").exists()


def test_the_same_photo_with_other_steps_is_made_anew(tune, tmp_path, capsys):
    assert tune("--method", "exposure", "-q") == 0
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    for steps, status in (("1", "done"), ("1", "skipped"), ("3", "done")):
        capsys.readouterr()
        command = ["denoise", "photo.ARW", "--ratio", "20", "--steps", steps, "--json", "-q"]
        assert run(command) == 0
        assert json.loads(capsys.readouterr().out)["status"] == status


def test_adl_says_what_it_kept_of_each_source(tune, home, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    lines = [make_pair(other, f"o{iso}", iso, 20, iso, model="Testcam Two") for iso in (400, 1600)]
    (other / "pairs.txt").write_text("".join(lines))
    assert tune("--method", "adl", "--source", "other/pairs.txt", "--iters", "10") == 0
    spec = read_spec(home / "led-testcam-one.safetensors")
    assert spec.method == "adl" and not spec.modulation
    (counts,) = spec.training["sources"].values()
    assert 1 <= counts["tried"] <= 4 and f"of {counts['tried']} steps" in capsys.readouterr().err
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    assert run(["denoise", "photo.ARW", "--ratio", "20", "-q"]) == 0


def test_the_sensors_that_a_model_tells_apart_are_named(home, capsys):
    home.mkdir(parents=True)
    write_modulated(home / "adl.safetensors", "Led Testcam Two")
    assert run(["models", "info", "adl"]) == 0
    assert "Led Testcam Two" in capsys.readouterr().out


def test_adl_without_sources_makes_its_own(tune, home):
    assert tune("--method", "adl", "-q") == 0
    training = read_spec(home / "led-testcam-one.safetensors").training
    assert "procedural scenes" in training["sources"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--method", "wavelets"], "choose led, adl, exposure"),
        (["--source", "other.txt"], "--source is for --method adl"),
        (["--method", "exposure", "--schedule", "led"], "--schedule is for --method led"),
        (["--l1", "0.5"], "--l1 is for --method exposure"),
        (["--pretrained", "none"], "needs a model"),
        (["--method", "adl", "--source", "missing.txt"], "missing.txt"),
    ],
)
def test_what_does_not_go_together_is_one_line(tune, home, options, message, capsys):
    assert tune(*options) != 0
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not home.exists() or not list(home.iterdir())
