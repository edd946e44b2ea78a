import hashlib
import json

import numpy as np
import pytest

from ledcli.cli.app import run
from ledcli.inference.denoiser import Denoiser
from ledcli.noise.estimate import NoiseProfile
from ledcli.zoo import folding as fold
from ledcli.zoo.model_file import load_model, read_spec
from tests.inference.models import noise_profile, scene, shoot, write_model
from tests.shoot import make_raw


@pytest.fixture
def model(tmp_path):
    return write_model(
        tmp_path / "tuned.safetensors",
        name="mine",
        cameras=("Led Testcam One",),
        noise_profile=noise_profile(0.001),
        training={"seed": 7},
    )


@pytest.fixture
def out(tmp_path):
    return tmp_path / "folded.safetensors"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_folded_file_denoises_as_the_tuned_one_does(model, out, capsys):
    before = digest(model)
    assert run(["reparam", str(model), "-o", str(out), "--set", "b"]) == 0
    assert digest(model) == before
    stdout, err = capsys.readouterr()
    assert stdout == f"{model}, set b -> {out}\n"
    assert err.startswith("proof: folded and unfolded differ by")
    short = shoot(scene(64, 80), 20)
    how = {"device": "cpu", "precision": "float32"}
    line = NoiseProfile(4e-4, 1e-7)
    tuned, folded = Denoiser(model, "b", **how), Denoiser(out, "", **how)
    assert folded.name == "mine"
    np.testing.assert_allclose(
        folded.denoise(short, 20, noise=line), tuned.denoise(short, 20, noise=line), atol=1e-5
    )


def test_all_that_the_model_says_is_kept_but_what_was_folded(model, out):
    assert run(["reparam", str(model), "-o", str(out), "--quiet"]) == 0
    spec, source = read_spec(out).to_header(), read_spec(model).to_header()
    assert spec["csa_sets"] == () and spec["omnr"] is False
    note = spec["training"].pop("folded")
    assert (note["csa_set"], note["source_sha256"]) == ("a", digest(model))
    assert spec == source | {"csa_sets": (), "omnr": False}


def test_the_proof_as_json(model, out, tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")
    options = ["--photo", str(tmp_path / "a.ARW"), "--json", "--quiet"]
    assert run(["reparam", str(model), "-o", str(out), *options]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["inputs"] == 5
    assert record["difference"] <= 1e-5 * max(record["scale"], 1)
    assert record["block_difference"] <= 1e-5 * max(record["block_scale"], 1)
    assert record["worst_block"].startswith("conv")


def test_half_precision(model, out):
    assert run(["reparam", str(model), "-o", str(out), "--half", "--quiet"]) == 0
    whole = out.stat().st_size
    assert run(["reparam", str(model), "-o", str(out), "--overwrite", "--quiet"]) == 0
    assert whole < 0.7 * out.stat().st_size
    load_model(out)


def test_dry_run_proves_and_writes_nothing(model, out, capsys):
    assert run(["reparam", str(model), "-o", str(out), "--dry-run", "--json"]) == 0
    stdout, err = capsys.readouterr()
    assert json.loads(stdout)["status"] == "planned"
    assert "proof: " in err
    assert not out.exists()


def test_what_is_there_is_replaced_only_when_asked(model, out, capsys):
    out.write_bytes(b"somebody's")
    assert run(["reparam", str(model), "-o", str(out)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"somebody's"
    assert run(["reparam", str(model), "-o", str(out), "--overwrite"]) == 0
    assert read_spec(out).csa_sets == ()


def test_a_file_that_comes_meanwhile_is_not_replaced(model, out, capsys, monkeypatch):
    prove = fold.prove

    def slow_prove(*given):
        out.write_bytes(b"somebody's")
        return prove(*given)

    monkeypatch.setattr(fold, "prove", slow_prove)
    assert run(["reparam", str(model), "-o", str(out)]) == 1
    assert "already exists" in capsys.readouterr().err
    assert out.read_bytes() == b"somebody's"


@pytest.mark.parametrize("link", ["symlink", "hardlink", "same"])
def test_the_model_itself_is_never_written_to(model, tmp_path, capsys, link):
    out = tmp_path / "other.safetensors"
    if link == "symlink":
        out.symlink_to(model)
    elif link == "hardlink":
        out.hardlink_to(model)
    else:
        out = model
    before = digest(model)
    assert run(["reparam", str(model), "-o", str(out), "--overwrite"]) == 2
    assert "is the model itself" in capsys.readouterr().err
    assert digest(model) == before


def test_a_model_that_fails_the_proof_is_not_written(model, out, capsys, monkeypatch):
    monkeypatch.setattr(fold, "TOLERANCE", 1e-12)
    assert run(["reparam", str(model), "-o", str(out)]) == 1
    err = capsys.readouterr().err
    assert "folded network differs, so nothing was written" in err
    assert err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "options,status,words",
    [
        (["tuned", "-o", "x.safetensors", "--set", "leica"], 1, "choose one of a, b"),
        (["plain", "-o", "x.safetensors"], 1, "nothing to fold"),
        (["tuned", "-o", "x.pth"], 2, ".safetensors"),
        (["tuned", "-o", "no/such/x.safetensors"], 1, "create it first"),
        (["missing", "-o", "x.safetensors"], 1, "no such model file"),
        (["tuned"], 2, "--out"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    model, tmp_path, monkeypatch, capsys, options, status, words
):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "plain.safetensors", sets=())
    before = sorted(p.name for p in tmp_path.iterdir())
    assert run(["reparam", f"{options[0]}.safetensors", *options[1:]]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_photo_of_another_kind_of_sensor_proves_nothing_and_is_named(tmp_path, capsys):
    make_raw(tmp_path / "a.RAF", phase=(1, 2))
    write_model(tmp_path / "m.safetensors")
    given = [str(tmp_path / name) for name in ("m.safetensors", "a.RAF", "out.safetensors")]
    assert run(["reparam", given[0], "--photo", given[1], "-o", given[2]]) == 1
    said = capsys.readouterr().err
    assert "for bayer sensors" in said and "unexpected" not in said
