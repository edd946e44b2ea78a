import json
import sys

import pytest

from ledcli.cli.app import run
from ledcli.zoo import onnx as onnxfile
from ledcli.zoo.model_file import file_sha256, read_spec
from tests.inference.models import noise_profile, write_model, write_modulated

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


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
    return tmp_path / "m.onnx"


def export(*arguments):
    return run(["models", "export", *map(str, arguments)])


def test_the_file_keeps_all_that_the_model_says_but_what_was_folded(model, out, capsys):
    assert export(model, "-o", out, "--set", "b") == 0
    stdout, err = capsys.readouterr()
    assert stdout == f"{model}, set b -> {out}\n"
    assert err.startswith("check: onnxruntime and torch differ by")
    spec, source = read_spec(out).to_header(), read_spec(model).to_header()
    note = spec["training"].pop("folded")
    assert (note["csa_set"], note["source_sha256"]) == ("b", file_sha256(model))
    assert spec == source | {"csa_sets": (), "omnr": False}
    metadata = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert metadata["led.source_sha256"] == file_sha256(model)
    assert run(["models", "info", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["input_form"]) == ("mine", "stabilised")
    assert record["sha256"] == file_sha256(out) and record["parameters"] > 1000


def test_the_same_model_gives_the_same_file(model, out):
    assert export(model, "-o", out, "--quiet") == 0
    first = out.read_bytes()
    assert export(model, "-o", out, "--overwrite", "--quiet") == 0
    assert out.read_bytes() == first


def test_a_plain_model_needs_no_folding(tmp_path, out, capsys):
    plain = write_model(tmp_path / "plain.safetensors", form="gain", sets=())
    assert export(plain, "-o", out, "--json", "--quiet") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["status"], record["csa_set"]) == ("done", "")
    assert record["bytes"] == out.stat().st_size and record["difference"] < 1e-4
    assert read_spec(out).to_header() == read_spec(plain).to_header()


def test_what_is_there_is_replaced_only_when_asked(model, out, capsys):
    out.write_bytes(b"somebody's")
    assert export(model, "-o", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"somebody's"


def test_nothing_is_written_when_the_check_fails(model, out, capsys, monkeypatch):
    monkeypatch.setattr(onnxfile, "TOLERANCE", 0.0)
    assert export(model, "-o", out) == 1
    err = capsys.readouterr().err
    assert "differs as ONNX" in err and err.count("\n") == 1
    assert not out.exists()


def test_dry_run_checks_and_writes_nothing(model, out, capsys):
    assert export(model, "-o", out, "--dry-run", "--json") == 0
    stdout, err = capsys.readouterr()
    assert json.loads(stdout)["status"] == "planned"
    assert "check: " in err
    assert not out.exists()


@pytest.mark.parametrize(
    "options,status,words",
    [
        (["tuned", "-o", "x.onnx", "--set", "leica"], 1, "choose one of a, b"),
        (["plain", "-o", "x.onnx", "--set", "b"], 1, "nothing to fold"),
        (["tuned", "-o", "x.safetensors"], 2, ".onnx"),
        (["tuned", "-o", "no/such/x.onnx"], 1, "create it first"),
        (["missing", "-o", "x.onnx"], 1, "no such model file"),
        (["tuned"], 2, "--out"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    model, tmp_path, monkeypatch, capsys, options, status, words
):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "plain.safetensors", sets=())
    before = sorted(p.name for p in tmp_path.iterdir())
    assert export(f"{options[0]}.safetensors", *options[1:]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_an_exported_file_is_not_exported_again(model, out, tmp_path, capsys):
    assert export(model, "-o", out, "--quiet") == 0
    assert export(out, "-o", tmp_path / "again.onnx") == 1
    assert "Name the .safetensors model" in capsys.readouterr().err


def test_a_network_that_changes_with_the_iso_is_refused(tmp_path, out, capsys):
    path = write_modulated(tmp_path / "adl.safetensors")
    assert export(path, "-o", out) == 1
    err = capsys.readouterr().err
    assert "an ONNX file holds one" in err and err.count("\n") == 1
    assert not out.exists()


def test_without_the_extra_the_error_says_how_to_get_it(model, out, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(model, "-o", out) == 2
    assert "pip install 'ledcli[onnx]'" in capsys.readouterr().err
