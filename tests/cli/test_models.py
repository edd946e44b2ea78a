import json

import pytest

from ledcli.cli.app import run
from ledcli.nets import repnr, table
from ledcli.zoo import shelf
from ledcli.zoo.modelfile import ModelSpec, file_sha256, save_model

SPEC = ModelSpec(
    name="mine",
    architecture="unet",
    arguments={"channels": 4},
    cfa="bayer",
    planes=4,
    input_form="stabilised",
    branches=("generic", "sony"),
    ratio_range=(1.0, 300.0),
    cameras=("Sony ILCE-7SM2",),
    method="led",
    training={"iterations": 10, "data": {"pairs": 2}},
    licence="CC0-1.0",
    source="tests",
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A shelf with one bundled file of two names, and one installed model."""
    net = repnr.convert(table.build("unet", {"channels": 4}), SPEC.branches)
    bundled = tmp_path / "bundled"
    for folder in (bundled, shelf.installed_dir()):
        folder.mkdir(parents=True)
        save_model(folder / "mine.safetensors", SPEC, net.state_dict())
    registry = {
        "default": "generic",
        "models": [{"file": "mine.safetensors", "names": ["generic", "sony"]}],
    }
    (bundled / "registry.json").write_text(json.dumps(registry))
    monkeypatch.setattr(shelf, "bundled_dir", lambda: bundled)
    return shelf.installed_dir() / "mine.safetensors"


def test_list_names_what_can_be_given_to_model(installed, capsys):
    assert run(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "generic", "sony", "mine"]
    assert "(default)" in lines[1]
    assert "Sony ILCE-7SM2" in lines[3]
    assert "bayer stabilised" in lines[3]
    assert "1 to 300" in lines[3]
    assert lines[3].endswith("installed")


def test_list_as_json(installed, capsys):
    assert run(["models", "list", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["name"], r["csa_set"], r["default"]) for r in records] == [
        ("generic", "generic", True),
        ("sony", "sony", False),
        ("mine", "generic", False),
    ]
    assert records[2]["path"] == str(installed)
    assert records[2]["bytes"] == installed.stat().st_size


def test_list_goes_on_after_a_damaged_file(installed, capsys):
    installed.write_bytes(b"nothing")
    assert run(["models", "list", "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "mine.safetensors: is not a safetensors file" in err
    assert err.count("\n") == 1


def test_info_shows_every_field(installed, capsys):
    assert run(["models", "info", "mine", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    for key, value in SPEC.to_header().items():
        assert record[key] == json.loads(json.dumps(value))
    assert record["sha256"] == file_sha256(installed)
    assert record["parameters"] > 0
    assert record["tensors"] > 0


def test_info_for_people(installed, capsys):
    assert run(["models", "info", "sony"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "csa_set: sony" in lines
    assert "omnr: no" in lines
    assert "ratio_range: 1 to 300" in lines
    assert "  iterations: 10" in lines


def test_info_of_an_unknown_name_says_which_there_are(installed, capsys):
    assert run(["models", "info", "canon"]) == 1
    assert "There are: generic, sony, mine" in capsys.readouterr().err
