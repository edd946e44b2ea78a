import dataclasses
import json

import pytest

from ledcli.cli.app import run
from ledcli.nets import network as table
from ledcli.nets import repnr
from ledcli.zoo import store
from ledcli.zoo import store as bundled_models
from ledcli.zoo.model_file import file_sha256, save_model
from ledcli.zoo.spec import ModelSpec
from tests.inference.models import noise_profile

SPEC = ModelSpec(
    name="mine",
    architecture="unet",
    arguments={"channels": 4},
    cfa="bayer",
    planes=4,
    input_form="stabilised",
    csa_sets=("generic", "sony"),
    ratio_range=(1.0, 300.0),
    cameras=("Sony ILCE-7SM2",),
    method="led",
    training={
        "iterations": 10,
        "data": {"pairs": 2},
        "date": "2026-11-20T22:05:00+00:00",
        "isos": [200, 3200.0],
        "psnr_before": 30.25,
        "psnr_after": 31.5,
        "pairs": [{"short": "ab" * 32, "long": "cd" * 32, "ratio": 100, "iso": 200}],
    },
    noise_profile=noise_profile(0.001, isos=(200.0, 3200.0)),
    licence="CC0-1.0",
    source="tests",
)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A store with one bundled file of two names, and one installed model."""
    net = repnr.convert(table.build("unet", {"channels": 4}), SPEC.csa_sets)
    bundled = tmp_path / "bundled"
    for folder in (bundled, store.installed_dir()):
        folder.mkdir(parents=True)
        tuned = folder == store.installed_dir()
        spec = (
            SPEC
            if tuned
            else dataclasses.replace(SPEC, training={"iterations": 10}, noise_profile=None)
        )
        save_model(folder / "mine.safetensors", spec, net.state_dict())
    registry = {
        "default": "generic",
        "models": [{"file": "mine.safetensors", "names": ["generic", "sony"]}],
    }
    (bundled / "registry.json").write_text(json.dumps(registry))
    monkeypatch.setattr(bundled_models, "bundled_dir", lambda: bundled)
    return store.installed_dir() / "mine.safetensors"


def test_list_names_what_can_be_given_to_model(installed, capsys):
    assert run(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "generic", "sony", "mine"]
    assert "(default)" in lines[1]
    assert "Sony ILCE-7SM2" in lines[3]
    assert "bayer stabilised" in lines[3]
    assert "1 to 300" in lines[3]
    assert "200 to 3200" in lines[3]
    assert "2026-11-20" in lines[3]
    assert "+1.25 dB" in lines[3]
    assert lines[3].endswith("installed")
    assert "dB" not in lines[1]


def test_list_says_where_the_installed_ones_live(installed, capsys):
    assert run(["models", "list"]) == 0
    out, err = capsys.readouterr()
    assert err == f"installed models are in {installed.parent}\n"
    assert str(installed.parent) not in out
    installed.unlink()
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().err == ""


def test_list_as_json(installed, capsys):
    assert run(["models", "list", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["name"], r["csa_set"], r["default"]) for r in records] == [
        ("generic", "generic", True),
        ("sony", "sony", False),
        ("mine", "generic", False),
    ]
    assert records[2]["path"] == str(installed)
    assert records[2]["isos"] == [200, 3200]
    assert records[2]["date"] == SPEC.training["date"]
    assert records[2]["psnr_improvement"] == 1.25
    assert records[0]["date"] is records[0]["isos"] is records[0]["psnr_improvement"] is None
    assert records[2]["bytes"] == installed.stat().st_size


def test_list_goes_on_after_a_damaged_file(installed, capsys):
    installed.write_bytes(b"nothing")
    assert run(["models", "list", "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "mine.safetensors: is not a safetensors file" in err
    assert sum("led: " in line for line in err.splitlines()) == 1


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


def test_info_of_a_tuned_model_for_people(installed, capsys):
    assert run(["models", "info", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "cameras: Sony ILCE-7SM2" in lines
    assert "psnr_improvement: +1.25 dB" in lines
    assert f"    - short {'ab' * 32}, long {'cd' * 32}, ratio 100, iso 200" in lines
    assert [line.split(":")[0] for line in lines if line.startswith("  ISO")] == [
        "  ISO 200",
        "  ISO 3200",
    ]


@pytest.mark.parametrize(
    "training",
    [
        {"date": 5, "isos": "many", "psnr_before": "low", "psnr_after": None},
        {"date": ["x"], "isos": [], "psnr_before": True, "psnr_after": 10**400},
        {"isos": [None, 3], "pairs": [[], {}, 3]},
        {"date": "soon\x1b[31m", "isos": {"a": 1}, "pairs": {"a": [{"b": {}}]}},
    ],
)
def test_nonsense_where_tuning_writes_its_figures_is_shown_as_nothing(installed, capsys, training):
    net = repnr.convert(table.build("unet", {"channels": 4}), SPEC.csa_sets)
    save_model(installed, dataclasses.replace(SPEC, training=training), net.state_dict())
    assert run(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "dB" not in out
    assert run(["models", "info", "mine"]) == 0
    assert "psnr_improvement: -" in capsys.readouterr().out


def test_rm_removes_an_installed_model_and_says_so(installed, capsys):
    assert run(["models", "rm", "mine"]) == 0
    assert capsys.readouterr().out == f"removed {installed}\n"
    assert not installed.exists()
    assert run(["models", "rm", "mine"]) == 1
    assert "no installed model is called 'mine'. There are none." in capsys.readouterr().err


def test_rm_as_json_of_a_damaged_model(installed, capsys):
    installed.write_bytes(b"nothing")
    assert run(["models", "rm", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [str(installed)]}


def test_rm_removes_what_a_stopped_tuning_left(installed, capsys):
    checkpoint = installed.with_suffix(".checkpoint")
    checkpoint.write_bytes(b"half-way")
    assert run(["models", "rm", "mine"]) == 0
    assert capsys.readouterr().out == f"removed {installed}\nremoved {checkpoint}\n"
    checkpoint.write_bytes(b"half-way")
    assert run(["models", "rm", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [str(checkpoint)]}
    assert list(installed.parent.iterdir()) == []


def test_rm_leaves_bundled_models_alone(installed, capsys):
    assert run(["models", "rm", "sony"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "comes with led" in err and err.count("\n") == 1
    assert store.find_model("sony").path.is_file()


def test_info_of_an_unknown_name_says_which_there_are(installed, capsys):
    assert run(["models", "info", "canon"]) == 2
    assert "There are: generic, sony, mine" in capsys.readouterr().err
