"""`led models import`: from a published file to denoising and tuning with it."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from ledcli.cli.app import run
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import read_spec
from ledcli.zoo.store import installed_dir
from tests.shoot import make_raw, scene
from tests.zoo import checkpoints
from tests.zoo.checkpoints import DEPLOYED_NAME, PLAIN, PRETRAINED_NAME, save

SHAPE = (256, 320)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pretrained(tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=False)
    return save(tmp_path / PRETRAINED_NAME, {"params": tensors})


@pytest.fixture
def tuned(tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=True)
    content = {"params": tensors, "params_deploy": checkpoints.fold(tensors)}
    return save(tmp_path / DEPLOYED_NAME, content)


def test_the_licence_is_shown_and_accepted_once(pretrained, tuned, led_home, capsys):
    assert run(["models", "import", str(pretrained)]) == 2
    err = capsys.readouterr().err
    assert "CC-BY-NC-4.0" in err and "forbids commercial use" in err and "--accept-license" in err
    assert not installed_dir().exists()
    assert run(["models", "import", str(pretrained), "--accept-license"]) == 0
    assert "accepted for all models under it" in capsys.readouterr().err
    assert run(["models", "import", str(tuned)]) == 0
    err = capsys.readouterr().err
    assert "licence: CC-BY-NC-4.0" in err and "accepted" not in err


def test_the_model_is_listed_and_says_what_it_is(tuned, capsys):
    assert run(["models", "import", str(tuned), "--accept-license"]) == 0
    out, err = capsys.readouterr()
    name = "led-deploy-sid-sonya7s2-cvpr20-setting-ratio100-300"
    assert out.startswith(
        f"{name}: unet, fine-tuned form, ratios 100 to 300, Sony ILCE-7SM2, CSA set target of 6; "
    )
    assert "its fold equals params_deploy" in err
    assert "for photos of Sony ILCE-7SM2" in err
    assert run(["models", "list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["name"] == name
    assert record["cameras"] == ["Sony ILCE-7SM2"]
    assert (record["from"], record["csa_set"], record["method"]) == ("installed", "target", "led")
    assert run(["models", "info", name]) == 0
    assert "licence: CC-BY-NC-4.0" in capsys.readouterr().out


def test_as_json(pretrained, capsys):
    command = ["models", "import", str(pretrained), "--accept-license", "--json", "--quiet"]
    assert run([*command, "--name", "base"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert err == ""
    assert (record["model"], record["status"], record["form"]) == ("base", "done", "pretrain")
    assert record["architecture"] == "unet"
    assert record["csa_sets"] == ["generic", *(f"virtual{n}" for n in range(5))]
    assert record["file"] == str(installed_dir() / "base.safetensors")


def test_dry_run_says_what_it_is_and_writes_nothing(pretrained, led_home, capsys):
    assert run(["models", "import", str(pretrained), "--dry-run"]) == 0
    assert "pretrain form" in capsys.readouterr().out
    assert list(led_home.iterdir()) == []


def test_a_name_that_does_not_tell_the_ratios_needs_the_option(pretrained, tmp_path, capsys):
    path = pretrained.rename(tmp_path / "latest.pth")
    assert run(["models", "import", str(path), "--accept-license"]) == 2
    assert "--ratio-range LOW HIGH" in capsys.readouterr().err
    how = ["--accept-license", "--ratio-range"]
    assert run(["models", "import", str(path), *how, "300", "100"]) == 2
    assert run(["models", "import", str(path), *how, "1", "200"]) == 0
    assert read_spec(installed_dir() / "latest.safetensors").ratio_range == (1.0, 200.0)


def test_a_name_that_is_taken_and_a_file_that_is_none_are_refused(pretrained, tmp_path, capsys):
    assert run(["models", "import", str(pretrained), "--accept-license", "--name", "sony"]) == 1
    assert "is a bundled model" in capsys.readouterr().err
    (tmp_path / DEPLOYED_NAME).write_bytes(b"no")
    assert run(["models", "import", DEPLOYED_NAME, "--accept-license"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"led: {DEPLOYED_NAME}: is not a torch checkpoint")
    assert err.count("\n") == 1


def test_a_file_that_is_none_is_said_before_the_ratios_are_asked_for(tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(bytes(100))
    assert run(["models", "import", str(path)]) == 1
    err = capsys.readouterr().err
    assert "is not a torch checkpoint" in err
    assert "--ratio-range" not in err


def test_denoising_with_it_needs_no_option(tmp_path, capsys):
    """A network that hands its input on shows what it is given: the planes times the ratio."""
    tensors = {n: torch.zeros(s) for n, s in checkpoints.unet(channels=4).items()}
    # The four planes pass the first and the last level; all on the way down is zero.
    for plane in range(4):
        tensors["conv1_1.weight"][plane, plane, 1, 1] = 1.0
        tensors["conv1_2.weight"][plane, plane, 1, 1] = 1.0
        tensors["conv9_1.weight"][plane, 4 + plane, 1, 1] = 1.0
        tensors["conv9_2.weight"][plane, plane, 1, 1] = 1.0
        tensors["conv10_1.weight"][plane, plane, 0, 0] = 1.0
    path = save(tmp_path / DEPLOYED_NAME, {"params_deploy": tensors})
    assert run(["models", "import", str(path), "--accept-license", "--name", "through"]) == 0
    make_raw(tmp_path / "a.ARW", shape=SHAPE, light=np.full(SHAPE, 0.002))
    assert run(["denoise", "a.ARW", "--ratio", "100", "--model", "through", "-q"]) == 0
    source, result = read_raw(tmp_path / "a.ARW"), read_raw(tmp_path / "denoised" / "a.dng")
    assert result.normalised().mean() == pytest.approx(100 * source.normalised().mean(), rel=0.05)


def test_fine_tuning_starts_from_its_generic_set(pretrained, tmp_path, capsys):
    assert run(["models", "import", str(pretrained), "--accept-license", "--name", "base"]) == 0
    lines = []
    for seed, iso in enumerate((400, 6400)):
        light, gain = scene(SHAPE, seed), iso / 400
        make_raw(
            tmp_path / f"{iso}_short.ARW", shape=SHAPE, light=light / 20, iso=iso,
            exposure_time=Fraction(1000, iso * 20), gain=gain, read_noise=2 + gain, seed=seed,
        )  # fmt: skip
        make_raw(
            tmp_path / f"{iso}_long.ARW", shape=SHAPE, light=light, iso=100, exposure_time=10,
            gain=0.25, read_noise=1, seed=seed + 100,
        )  # fmt: skip
        lines.append(f"{iso}_short.ARW {iso}_long.ARW\n")
    (tmp_path / "pairs.txt").write_text("".join(lines))
    capsys.readouterr()
    tune = ["finetune", "--pretrained", "base", "--iters", "2", "--crops", "2", "--force", "-q"]
    assert run([*tune, "--json"]) == 0
    spec = read_spec(
        installed_dir() / f"{json.loads(capsys.readouterr().out)['model']}.safetensors"
    )
    assert (spec.input_form, spec.csa_sets) == ("gain", ())
    assert "generic" in json.dumps(spec.training)
    # What is made of it is under its licence.
    assert spec.licence == "CC-BY-NC-4.0"


def test_a_file_that_is_not_there_is_said_before_anything_is_asked(capsys):
    assert run(["models", "import", "missing.pth"]) == 2
    assert "missing.pth: there is no such file" in capsys.readouterr().err
