import dataclasses
import json
import math
import pickle
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ledcli.errors import ModelError, OutputError
from ledcli.nets import network as table
from ledcli.nets import repnr
from ledcli.zoo.model_file import file_sha256, load_model, read_header, read_spec, save_model
from ledcli.zoo.spec import ModelSpec
from tests.inference.models import noise_profile

SPEC = ModelSpec(
    name="tiny",
    architecture="unet",
    arguments={"in_planes": 4, "out_planes": 4, "channels": 4},
    cfa="bayer",
    planes=4,
    input_form="gain",
    csa_sets=("generic", "sony"),
    omnr=True,
    ratio_range=(1.0, 300.0),
    cameras=("Sony ILCE-7SM2",),
    method="pretrain",
    training={"iterations": 10, "seed": 0, "data": ["scenes"]},
    licence="CC-BY-4.0",
    source="tests",
)


LINES = noise_profile().to_json()


def tiny_net(spec=SPEC):
    net = table.build(spec.architecture, spec.arguments)
    if spec.csa_sets:
        net = repnr.convert(net, spec.csa_sets, omnr=spec.omnr)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.1)
    return net


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, SPEC, tiny_net().state_dict())
    return path.read_bytes()


@pytest.fixture
def model(tmp_path, model_bytes):
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(model_bytes)
    return path


def split(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def respec(path, **changes):
    """Rewrite the description of a model file, without any check."""
    header, body = split(path.read_bytes())
    values = json.loads(header["__metadata__"]["led"])
    for key, value in changes.items():
        if value is ...:
            del values[key]
        else:
            values[key] = value
    header["__metadata__"]["led"] = json.dumps(values)
    path.write_bytes(join(header, body))


def assert_refused(path, *words):
    """Both ways of reading refuse it, with one line that names the file and says the words."""
    with pytest.raises(ModelError) as caught:
        load_model(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("csa_sets,omnr", [((), False), (("generic",), False), (("a", "b"), True)])
def test_a_saved_model_is_loaded_with_the_same_function(tmp_path, csa_sets, omnr):
    spec = dataclasses.replace(SPEC, csa_sets=csa_sets, omnr=omnr)
    net = tiny_net(spec).eval()
    save_model(tmp_path / "m.safetensors", spec, net.state_dict())
    loaded_spec, loaded = load_model(tmp_path / "m.safetensors")
    assert loaded_spec == spec == read_spec(tmp_path / "m.safetensors")
    x = torch.rand(1, 4, 16, 16)
    assert torch.equal(loaded(x), net(x))
    assert not loaded.training


def test_a_noise_profile_is_kept_and_left_out_where_there_is_none(tmp_path):
    lines = noise_profile(0.0125)
    spec = dataclasses.replace(SPEC, noise_profile=lines)
    save_model(tmp_path / "m.safetensors", spec, tiny_net().state_dict())
    loaded = read_spec(tmp_path / "m.safetensors").noise_profile
    assert loaded.to_json() == lines.to_json()
    assert loaded.at(800).profile == pytest.approx(lines.at(800).profile)
    assert loaded.at(800).offsets.flat[0] == pytest.approx(0.0125)
    assert "noise_profile" not in SPEC.to_header()


def test_a_description_longer_than_can_be_read_is_not_written(tmp_path):
    spec = dataclasses.replace(SPEC, training={"log": "x" * (5 << 20)})
    with pytest.raises(ModelError, match="description"):
        save_model(tmp_path / "m.safetensors", spec, tiny_net().state_dict())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_where_it_is_not_to_be_overwritten(tmp_path, model):
    before, state = model.read_bytes(), tiny_net().state_dict()
    with pytest.raises(FileExistsError):
        save_model(model, SPEC, state, overwrite=False)
    assert model.read_bytes() == before
    save_model(tmp_path / "new.safetensors", SPEC, state, overwrite=False)
    assert load_model(tmp_path / "new.safetensors")[0] == SPEC
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.safetensors", model.name]


def test_a_new_file_is_written_on_a_disk_without_hard_links_too(tmp_path, model, monkeypatch):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    before, state = model.read_bytes(), tiny_net().state_dict()
    with pytest.raises(FileExistsError):
        save_model(model, SPEC, state, overwrite=False)
    assert model.read_bytes() == before
    save_model(tmp_path / "new.safetensors", SPEC, state, overwrite=False)
    assert load_model(tmp_path / "new.safetensors")[0] == SPEC
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.safetensors", model.name]


def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path, model):
    net = tiny_net()
    half = tmp_path / "half.safetensors"
    save_model(half, SPEC, net.state_dict(), half=True)
    assert half.stat().st_size < 0.6 * model.stat().st_size
    _, loaded = load_model(half)
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, net.state_dict()[name].half().float())


def test_the_description_is_read_without_torch(model):
    code = (
        "import sys; from ledcli.zoo.model_file import read_spec; "
        f"assert read_spec({str(model)!r}).name == 'tiny'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_tools_read_the_file(model):
    from safetensors import safe_open

    with safe_open(model, "pt") as file:
        assert json.loads(file.metadata()["led"])["architecture"] == "unet"


def test_saving_the_same_model_twice_gives_the_same_file(tmp_path, model):
    spec, net = load_model(model)
    save_model(tmp_path / "again.safetensors", spec, net.state_dict())
    assert file_sha256(tmp_path / "again.safetensors") == file_sha256(model)


def test_header_counts_parameters(model):
    header = read_header(model)
    net = tiny_net()
    assert header.parameters == sum(p.numel() for p in net.parameters())
    assert header.shapes["conv1_1.main_weight"] == (4, 4, 3, 3)


# Files that are no model.


def test_a_missing_file_is_named(tmp_path):
    assert_refused(tmp_path / "none.safetensors", "no such model file")


@pytest.mark.parametrize("content", [b"", b"abc", b"\0" * 100, b"\xff" * 100, b"II*\0" + b"x" * 99])
def test_what_is_not_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert_refused(path, "not a safetensors file")


def test_a_folder_is_refused(tmp_path):
    path = tmp_path / "folder.safetensors"
    path.mkdir()
    assert_refused(path, "cannot be read")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(Bomb()))
    assert_refused(path, "not a safetensors file")
    torch.save({"params": torch.zeros(3)}, path)
    assert_refused(path, "not a safetensors file")
    assert not (tmp_path / "exploded").exists()


@given(st.data())
def test_a_file_cut_off_anywhere_is_refused(model, model_bytes, data):
    path = model.with_name("cut.safetensors")
    path.write_bytes(model_bytes[: data.draw(st.integers(0, len(model_bytes) - 1))])
    assert_refused(path)


@given(st.data())
def test_a_damaged_header_raises_nothing_but_model_errors(model, model_bytes, data):
    length = struct.unpack("<Q", model_bytes[:8])[0]
    damaged = bytearray(model_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(0, 255))
    path = model.with_name("damaged.safetensors")
    path.write_bytes(damaged)
    try:
        read_header(path)
    except ModelError as error:
        assert path.name in str(error)


def test_bytes_after_the_end_are_refused(model):
    model.write_bytes(model.read_bytes() + b"x")
    assert_refused(model, "damaged")


def test_a_header_that_claims_to_be_huge_is_not_read(model):
    model.write_bytes(struct.pack("<Q", 1 << 40) + model.read_bytes()[8:])
    assert_refused(model, "not a safetensors file")


def test_deeply_nested_json_is_refused(model):
    _, body = split(model.read_bytes())
    model.write_bytes(join(b'{"a":' + b"[" * 200_000, body))
    assert_refused(model, "unreadable header")


def test_a_duplicate_key_is_refused(model):
    header, body = split(model.read_bytes())
    text = json.dumps(header).encode()
    model.write_bytes(join(text[:-1] + b', "__metadata__": {}}', body))
    assert_refused(model, "unreadable header")


def test_a_model_of_another_tool_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert_refused(path, "no description by led")


def test_overlapping_tensors_are_refused(model):
    header, body = split(model.read_bytes())
    names = [n for n in header if n.endswith("align_weights.sony")][:2]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    header[names[1]]["shape"] = header[names[0]]["shape"]
    model.write_bytes(join(header, body))
    assert_refused(model, "damaged")


@pytest.mark.parametrize("entry", [7, {}, {"dtype": "F32", "shape": [1], "data_offsets": [4]}])
def test_an_improper_tensor_entry_is_refused(model, entry):
    header, body = split(model.read_bytes())
    header["conv1_1.main_bias"] = entry
    model.write_bytes(join(header, body))
    assert_refused(model, "damaged")


def test_weights_of_another_type_are_refused(model):
    header, body = split(model.read_bytes())
    header["conv1_1.main_bias"]["dtype"] = "I32"
    model.write_bytes(join(header, body))
    assert_refused(model, "conv1_1.main_bias", "I32")


# Descriptions that are not allowed, or that the tensors contradict.


@pytest.mark.parametrize(
    "changes,word",
    [
        ({"format": 3}, "update led"),
        ({"format": "1"}, "format"),
        ({"format": True}, "format"),
        ({"architecture": "resnet"}, "unknown architecture"),
        ({"architecture": 3}, "architecture"),
        ({"arguments": {"channels": 4, "wings": 2}}, "unet"),
        ({"arguments": {"channels": -4}}, "unet"),
        ({"arguments": {"channels": 1 << 40}}, "arguments"),
        ({"arguments": {"not a name": 1}}, "arguments"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"licence": ...}, "no licence"),
        ({"cfa": ...}, "no cfa"),
        ({"cfa": "foveon"}, "cfa"),
        ({"cfa": []}, "cfa"),
        ({"planes": 9}, "planes"),
        ({"input_form": "anscombe"}, "input_form"),
        ({"csa_sets": ["a.b"]}, "csa_sets"),
        ({"csa_sets": ["a", "a"]}, "csa_sets"),
        ({"csa_sets": "generic"}, "csa_sets"),
        ({"csa_sets": [["a"]]}, "csa_sets"),
        ({"ratio_range": [0, 1]}, "ratio_range"),
        ({"ratio_range": [300, 1]}, "ratio_range"),
        ({"ratio_range": [1]}, "ratio_range"),
        ({"omnr": 1}, "omnr"),
        ({"csa_sets": [], "omnr": True}, "omnr"),
        ({"cameras": [1]}, "cameras"),
        ({"noise_profile": 3}, "noise_profile"),
        ({"noise_profile": {}}, "noise_profile"),
        ({"noise_profile": LINES | {"isos": [400, 100]}}, "noise_profile"),
        ({"noise_profile": LINES | {"isos": [10**400, 10**401]}}, "noise_profile"),
        ({"noise_profile": LINES | {"gain": [900.0, 900.0]}}, "noise_profile"),
        ({"noise_profile": LINES | {"variance": [0.0, -900.0]}}, "noise_profile"),
        ({"noise_profile": LINES | {"gain": [0.0, 1.0]}}, "noise_profile"),
        ({"noise_profile": LINES | {"shading": [[1]]}}, "noise_profile"),
        ({"noise_profile": LINES, "cfa": "xtrans", "planes": 9}, "9 planes"),
        ({"name": "../../etc"}, "name"),
        ({"name": "Sony\x1b[31m"}, "name"),
    ],
)
def test_a_description_that_is_not_allowed_is_refused(model, changes, word):
    respec(model, **changes)
    assert_refused(model, word)


def test_a_file_of_format_1_loads_as_the_same_model(model):
    """Format 1 called the CSA sets branches and the noise profile noise_lines."""
    respec(model, noise_profile=LINES)
    expected, net = load_model(model)
    respec(
        model, format=1, branches=["generic", "sony"], noise_lines=LINES,
        csa_sets=..., noise_profile=...,
    )  # fmt: skip
    spec, old = load_model(model)
    assert spec.to_header() == expected.to_header() and spec.format == 2
    assert all(torch.equal(old.state_dict()[k], v) for k, v in net.state_dict().items())
    save_model(model, spec, old.state_dict())
    header, _ = split(model.read_bytes())
    assert {"branches", "noise_lines"}.isdisjoint(json.loads(header["__metadata__"]["led"]))


def test_names_of_format_2_are_refused_in_format_1(model):
    respec(model, format=1)
    assert_refused(model, "unknown key 'csa_sets'")


def test_an_allowed_description_survives_rewriting(model):
    respec(model, cameras=["Nikon D850"], omnr=True)
    assert load_model(model)[0].cameras == ("Nikon D850",)


def test_a_tensor_that_is_missing_is_named(model):
    respec(model, csa_sets=["generic", "sony", "nikon"])
    assert_refused(model, "conv1_1.align_weights.nikon", "is missing")


def test_a_tensor_too_many_is_named(model):
    respec(model, csa_sets=["generic"])
    assert_refused(model, ".sony' too many")


def test_a_tensor_of_the_wrong_shape_is_named(model):
    respec(model, arguments={"in_planes": 4, "out_planes": 4, "channels": 8})
    assert_refused(model, "conv1_1.main_weight", "4x4x3x3", "8x4x3x3")


def test_a_description_of_a_giant_is_refused_without_building_it(model):
    respec(model, arguments={"in_planes": 4, "out_planes": 4, "channels": 65536})
    assert_refused(model, "conv1_1.main_weight")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_numbers_are_refused(tmp_path, model, bad):
    header, body = split(model.read_bytes())
    start = header["conv10_1.bias"]["data_offsets"][0]
    model.write_bytes(join(header, body[:start] + struct.pack("<f", bad) + body[start + 4 :]))
    assert_refused(model, "conv10_1.bias", "not finite")
    state = tiny_net().state_dict()
    state["conv10_1.bias"][0] = bad
    with pytest.raises(ModelError, match="not finite"):
        save_model(tmp_path / "bad.safetensors", SPEC, state)
    assert not (tmp_path / "bad.safetensors").exists()


def test_weights_too_large_for_float16_are_not_stored_as_such(tmp_path):
    state = tiny_net().state_dict()
    state["conv10_1.bias"][0] = 1e6
    with pytest.raises(ModelError, match=r"conv10_1\.bias"):
        save_model(tmp_path / "m.safetensors", SPEC, state, half=True)


def test_a_model_whose_tensors_disagree_is_not_written(tmp_path):
    state = tiny_net().state_dict()
    del state["conv3_1.main_weight"]
    with pytest.raises(ModelError, match=r"conv3_1\.main_weight"):
        save_model(tmp_path / "m.safetensors", SPEC, state)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, model, monkeypatch):
    before = model.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OutputError):
        save_model(model, SPEC, tiny_net().state_dict())
    assert model.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [model.name]
