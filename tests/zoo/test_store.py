import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ledcli
from ledcli.errors import ModelError, OutputError
from ledcli.nets import network as table
from ledcli.nets import repnr
from ledcli.zoo import model_file as modelfile
from ledcli.zoo import store
from ledcli.zoo.model_file import read_spec, save_model
from ledcli.zoo.spec import ModelSpec

SPEC = ModelSpec(
    name="bayer",
    architecture="unet",
    arguments={"channels": 4},
    cfa="bayer",
    planes=4,
    input_form="gain",
    csa_sets=("generic", "sony", "nikon"),
    ratio_range=(1.0, 300.0),
    method="pretrain",
    licence="CC0-1.0",
    source="tests",
)


def write_model(path, spec=SPEC):
    net = table.build(spec.architecture, spec.arguments)
    if spec.csa_sets:
        net = repnr.convert(net, spec.csa_sets)
    path.parent.mkdir(parents=True, exist_ok=True)
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


def found(name):
    model = store.find_model(name)
    return model.path, model.csa_set


@pytest.fixture
def installed(led_home):
    return led_home / "models"


def test_the_folder_inside_the_package_goes_first_then_the_one_beside_it(bundled):
    assert store.bundled_dir() == bundled
    beside = bundled.parents[1] / "models"
    shutil.move(bundled, beside)
    assert store.bundled_dir() == beside
    shutil.rmtree(beside)
    with pytest.raises(ModelError, match="Install led again"):
        store.bundled_dir()


def test_a_camera_maker_names_its_csa_set_in_the_one_file(bundled):
    assert found("sony") == (bundled / "bayer.safetensors", "sony")
    assert store.find_model("Nikon").csa_set == "nikon"


def test_no_name_is_the_default(bundled):
    write_registry(bundled, default="nikon")
    assert store.find_model().csa_set == "nikon"


def test_an_unknown_name_is_answered_with_those_that_exist(bundled, installed):
    write_model(installed / "mine.safetensors")
    with pytest.raises(ModelError, match=r"'soni'.*generic, sony, nikon, mine"):
        store.find_model("soni")


def test_an_installed_model_goes_before_a_bundled_one(bundled, installed):
    write_model(installed / "sony.safetensors")
    assert found("sony") == (installed / "sony.safetensors", "generic")
    names = [(m.name, m.bundled) for m in store.list_models()]
    assert names == [("generic", True), ("nikon", True), ("sony", False)]


def test_a_path_is_taken_as_it_is(bundled, tmp_path, monkeypatch):
    path = write_model(tmp_path / "plain.safetensors", dataclasses.replace(SPEC, csa_sets=()))
    monkeypatch.chdir(tmp_path)
    assert found(path) == (path, "")
    assert found("plain.safetensors") == (Path("plain.safetensors"), "")
    assert store.find_model("./plain.safetensors").path.samefile(path)
    with pytest.raises(ModelError, match="no such model file"):
        store.find_model("./sony")


def test_a_bundled_file_that_is_missing_is_named(bundled):
    (bundled / "bayer.safetensors").unlink()
    with pytest.raises(ModelError, match=r"bayer\.safetensors.*Install led again"):
        store.find_model("sony")


def test_a_name_without_its_csa_set_is_an_error(bundled):
    write_registry(bundled, names=["generic", "canon"])
    with pytest.raises(ModelError, match="no CSA set 'canon'"):
        store.find_model("canon")


def test_a_name_may_stand_for_a_csa_set_of_another_name(bundled):
    write_registry(bundled, names=["generic", "nikon-z"], csa_sets={"nikon-z": "nikon"})
    assert store.find_model("nikon-z").csa_set == "nikon"


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
        store.list_models()


def test_the_home_of_installed_models_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("LED_HOME", str(tmp_path))
    assert store.installed_dir() == tmp_path / "models"
    monkeypatch.delenv("LED_HOME")
    assert store.installed_dir().parts[-2:] == ("led", "models")


# Installing and removing.


def state_of(spec=SPEC):
    return repnr.convert(table.build(spec.architecture, spec.arguments), spec.csa_sets).state_dict()


def test_an_installed_model_is_found_under_its_name(bundled, installed):
    path = store.install_model("my-camera", SPEC, state_of())
    assert path == installed / "my-camera.safetensors"
    assert found("My-Camera") == (path, "generic")
    assert read_spec(path) == dataclasses.replace(SPEC, name="my-camera")
    assert [p.name for p in installed.iterdir()] == ["my-camera.safetensors"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "My-Camera",
        "../up",
        "a/b",
        "a b",
        ".hidden",
        "-x",
        "x" * 65,
        "caf\u00e9",
        "a\nb",
        "a.safetensors",
    ],
)
def test_what_cannot_name_a_model_is_refused_in_one_line(bundled, installed, name):
    for refuse in (store.check_name, store.free_name):
        with pytest.raises(ModelError, match="cannot name a model") as caught:
            refuse(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="cannot name a model"):
        store.install_model(name, SPEC, state_of())
    assert not installed.exists()


def test_a_name_that_is_taken_is_refused(bundled, installed):
    with pytest.raises(ModelError, match="'sony' is a bundled model"):
        store.install_model("sony", SPEC, state_of())
    path = store.install_model("mine", SPEC, state_of())
    before = path.read_bytes()
    other = dataclasses.replace(SPEC, method="other")
    with pytest.raises(ModelError, match="led models rm mine"):
        store.install_model("mine", other, state_of())
    assert path.read_bytes() == before


def test_the_first_free_name(bundled, installed):
    assert store.free_name("mine") == "mine"
    write_model(installed / "mine.safetensors")
    assert store.free_name("mine") == "mine--2"
    write_model(installed / "MINE--2.safetensors")
    assert store.free_name("mine") == "mine--3"
    assert store.free_name("sony") == "sony--2"
    long = "x" * 64
    write_model(installed / f"{long}.safetensors")
    assert store.free_name(long) == "x" * 61 + "--2"


def test_of_two_that_install_one_name_at_once_one_succeeds(bundled, installed, monkeypatch):
    """Both find the name free; the other's file comes before this one is written."""
    write = modelfile.atomic_write

    def slow_write(path, data, **options):
        path.write_bytes(b"the other's")
        write(path, data, **options)

    monkeypatch.setattr(modelfile, "atomic_write", slow_write)
    with pytest.raises(ModelError, match="just installed"):
        store.install_model("mine", SPEC, state_of())
    assert [p.name for p in installed.iterdir()] == ["mine.safetensors"]
    assert (installed / "mine.safetensors").read_bytes() == b"the other's"


def test_many_that_install_one_name_at_once(bundled, installed):
    def install(number):
        try:
            return store.install_model(
                "mine", dataclasses.replace(SPEC, method=f"run {number}"), state_of()
            )
        except ModelError:
            return None

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(install, range(4)))
    assert len([path for path in done if path]) == 1
    assert [p.name for p in installed.iterdir()] == ["mine.safetensors"]
    winner = next(number for number, path in enumerate(done) if path)
    assert read_spec(installed / "mine.safetensors").method == f"run {winner}"


def test_nothing_is_installed_of_a_model_that_is_wrong(bundled, installed):
    state = state_of()
    del state["conv10_1.bias"]
    with pytest.raises(ModelError, match="conv10_1"):
        store.install_model("mine", SPEC, state)
    assert list(installed.iterdir()) == []


def test_a_home_that_cannot_be_made_is_one_line(bundled, led_home):
    (led_home / "models").write_text("a file")
    with pytest.raises(OutputError, match="LED_HOME"):
        store.install_model("mine", SPEC, state_of())


def test_an_installed_model_is_removed_damaged_or_not(bundled, installed):
    path = write_model(installed / "mine.safetensors")
    assert store.remove_model("Mine") == (path,)
    (installed / "sony.safetensors").write_bytes(b"damaged")
    store.remove_model("sony")
    assert list(installed.iterdir()) == []
    assert (bundled / "bayer.safetensors").is_file()


def test_the_checkpoint_of_a_stopped_tuning_goes_with_its_model_or_alone(bundled, installed):
    paths = {
        name: write_model(installed / f"{name}.safetensors") for name in ("mine", "mine-2", "other")
    }
    left = [installed / f"{name}.checkpoint" for name in ("mine", "mine-2", "alone")]
    for path in left:
        path.write_bytes(b"half-way")
    assert store.remove_model("mine") == (paths["mine"], left[0])
    assert store.remove_model("ALONE") == (left[2],)
    assert {p.name for p in installed.iterdir()} == {
        "mine-2.safetensors", "mine-2.checkpoint", "other.safetensors",
    }  # fmt: skip
    with pytest.raises(ModelError, match="no installed model is called 'alone'"):
        store.remove_model("alone")


def test_a_file_that_cannot_be_deleted_is_one_line(bundled, installed):
    (installed / "mine.checkpoint").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"mine\.checkpoint: cannot be removed"):
        store.remove_model("mine")


def test_a_found_model_has_the_name_that_the_list_has(bundled, installed, tmp_path, monkeypatch):
    mine = write_model(installed / "mine.safetensors")
    elsewhere = write_model(tmp_path / "elsewhere.safetensors")
    for given, name in (
        ("sony", "sony"),
        ("Nikon", "nikon"),
        (None, "generic"),
        ("MINE", "mine"),
        (mine, "mine"),
        (bundled / "bayer.safetensors", "generic"),
        (elsewhere, "elsewhere.safetensors"),
    ):
        assert store.find_model(given).name == name
    monkeypatch.chdir(installed)
    assert store.find_model("./mine.safetensors").name == "mine"


@pytest.mark.parametrize(
    "name,words",
    [
        ("sony", "comes with led"),
        ("Generic", "comes with led"),
        ("none", "no installed model is called 'none'. There are: mine."),
        ("../models/mine", "no installed model"),
        ("mine.safetensors", "no installed model"),
    ],
)
def test_only_installed_models_are_removed(bundled, installed, name, words):
    path = write_model(installed / "mine.safetensors")
    with pytest.raises(ModelError, match=words):
        store.remove_model(name)
    assert path.is_file()
    assert (bundled / "bayer.safetensors").is_file()
