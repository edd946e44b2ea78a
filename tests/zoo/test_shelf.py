import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import ledcli
from ledcli.errors import ModelError
from ledcli.nets import repnr, table
from ledcli.zoo import shelf
from ledcli.zoo.modelfile import ModelSpec, save_model

SPEC = ModelSpec(
    name="bayer",
    architecture="unet",
    arguments={"channels": 4},
    cfa="bayer",
    planes=4,
    input_form="gain",
    branches=("generic", "sony", "nikon"),
    ratio_range=(1.0, 300.0),
    method="pretrain",
    licence="CC0-1.0",
    source="tests",
)


def write_model(path, spec=SPEC):
    net = table.build(spec.architecture, spec.arguments)
    if spec.branches:
        net = repnr.convert(net, spec.branches)
    path.parent.mkdir(exist_ok=True)
    save_model(path, spec, net.state_dict())
    return path


def write_registry(folder, default="generic", **changes):
    model = {"file": "bayer.safetensors", "names": ["generic", "sony", "nikon"], **changes}
    (folder / "registry.json").write_text(json.dumps({"default": default, "models": [model]}))


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A folder of bundled models, found as in a wheel: inside the package."""
    package = tmp_path / "site-packages" / "ledcli"
    package.mkdir(parents=True)
    monkeypatch.setattr(ledcli, "__file__", str(package / "__init__.py"))
    write_model(package / "models" / "bayer.safetensors")
    write_registry(package / "models")
    return package / "models"


@pytest.fixture
def installed(led_home):
    return led_home / "models"


def test_the_folder_inside_the_package_goes_first_then_the_one_beside_it(bundled):
    assert shelf.bundled_dir() == bundled
    beside = bundled.parents[1] / "models"
    shutil.move(bundled, beside)
    assert shelf.bundled_dir() == beside
    shutil.rmtree(beside)
    with pytest.raises(ModelError, match="Install led again"):
        shelf.bundled_dir()


def test_a_camera_maker_names_its_csa_set_in_the_one_file(bundled):
    assert shelf.find_model("sony") == (bundled / "bayer.safetensors", "sony")
    assert shelf.find_model("Nikon").branch == "nikon"


def test_no_name_is_the_default(bundled):
    write_registry(bundled, default="nikon")
    assert shelf.find_model().branch == "nikon"


def test_an_unknown_name_is_answered_with_those_that_exist(bundled, installed):
    write_model(installed / "mine.safetensors")
    with pytest.raises(ModelError, match=r"'soni'.*generic, sony, nikon, mine"):
        shelf.find_model("soni")


def test_an_installed_model_goes_before_a_bundled_one(bundled, installed):
    write_model(installed / "sony.safetensors")
    assert shelf.find_model("sony") == (installed / "sony.safetensors", "generic")
    names = [(m.name, m.bundled) for m in shelf.list_models()]
    assert names == [("generic", True), ("nikon", True), ("sony", False)]


def test_a_path_is_taken_as_it_is(bundled, tmp_path, monkeypatch):
    path = write_model(tmp_path / "plain.safetensors", dataclasses.replace(SPEC, branches=()))
    monkeypatch.chdir(tmp_path)
    assert shelf.find_model(path) == (path, "")
    assert shelf.find_model("plain.safetensors") == (Path("plain.safetensors"), "")
    assert shelf.find_model("./plain.safetensors").path.samefile(path)
    with pytest.raises(ModelError, match="no such model file"):
        shelf.find_model("./sony")


def test_a_bundled_file_that_is_missing_is_named(bundled):
    (bundled / "bayer.safetensors").unlink()
    with pytest.raises(ModelError, match=r"bayer\.safetensors.*Install led again"):
        shelf.find_model("sony")


def test_a_name_without_its_csa_set_is_an_error(bundled):
    write_registry(bundled, names=["generic", "canon"])
    with pytest.raises(ModelError, match="no CSA set 'canon'"):
        shelf.find_model("canon")


def test_a_name_may_stand_for_a_csa_set_of_another_name(bundled):
    write_registry(bundled, names=["generic", "nikon-z"], branches={"nikon-z": "nikon"})
    assert shelf.find_model("nikon-z").branch == "nikon"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"default": 1, "models": []}',
        '{"default": "x", "models": []}',
        '{"default": "x", "models": [{"file": "../x.safetensors", "names": ["x"]}]}',
        '{"default": "x", "models": [{"file": "x.safetensors"}]}',
    ],
)
def test_a_registry_that_is_damaged_is_one_error(bundled, text):
    (bundled / "registry.json").write_text(text)
    with pytest.raises(ModelError, match=r"registry\.json: cannot be understood"):
        shelf.list_models()


def test_the_home_of_installed_models_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("LED_HOME", str(tmp_path))
    assert shelf.installed_dir() == tmp_path / "models"
    monkeypatch.delenv("LED_HOME")
    assert shelf.installed_dir().parts[-2:] == ("led", "models")
