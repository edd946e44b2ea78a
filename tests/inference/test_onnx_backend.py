"""The network in torch and in onnxruntime; without onnx the tests are skipped."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ledcli.cli.app import run
from ledcli.errors import DeviceError, ModelError, UsageError
from ledcli.evaluation.evaluate import load_candidates
from ledcli.inference.backends import choose_backend, onnx
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.metadata.xmp import read_note
from ledcli.raw.reader import read_raw
from ledcli.zoo import onnx as onnxfile
from ledcli.zoo.model_file import file_sha256
from tests.inference.models import LINE, scene, shoot
from tests.shoot import make_raw

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(model):
    path = model.with_name("tiny-b.onnx")
    assert run(["models", "export", str(model), "--set", "b", "-o", str(path), "--quiet"]) == 0
    return path


def test_an_exported_file_is_recognised(model, exported):
    planes = shoot(scene(96, 120), 20)
    expected = Denoiser(model, "b", device="cpu", precision="float32").denoise(
        planes, 20, noise=LINE
    )
    engine = Denoiser(exported, "")
    assert (engine.backend, engine.device.type, engine.precision) == ("onnx", "cpu", "float32")
    assert (engine.name, engine.sha256, engine.multiple) == ("tiny", file_sha256(exported), 16)
    np.testing.assert_allclose(engine.denoise(planes, 20, noise=LINE), expected, atol=1e-4)
    cached = DenoiserCache().get(exported, "")
    np.testing.assert_allclose(cached.denoise(planes, 20, noise=LINE), expected, atol=1e-4)


def test_it_uses_as_many_threads_as_torch(model, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    net = Denoiser(model, "a", backend="onnx").net
    assert net.session.get_session_options().intra_op_num_threads == 3


def test_when_the_memory_is_full_the_tile_is_halved(model, monkeypatch):
    engine = Denoiser(model, "a", backend="onnx", tile=256)
    engine.halo = 16
    session, tried = engine.net.session, []

    class Small:
        def run(self, names, given):
            (x,) = given.values()
            tried.append(x.shape[2])
            if x.shape[2] > 200:
                raise Exception("Failed to allocate memory for requested buffer of size 9")
            return session.run(names, given)

    monkeypatch.setattr(engine.net, "session", Small())
    planes = shoot(scene(256, 256), 20)
    small = Denoiser(model, "a", backend="onnx", tile=64)
    small.halo = 16
    np.testing.assert_allclose(
        engine.denoise(planes, noise=LINE), small.denoise(planes, noise=LINE), atol=1e-6
    )
    assert tried[:2] == [256, 144] and engine.tile == 128


@pytest.mark.parametrize(
    "how,words",
    [
        ({"device": "tpu"}, "no device 'tpu': choose auto or .*cpu"),
        ({"device": "azure"}, "no device 'azure'"),
        ({"precision": "bf16"}, "onnx runs in float32"),
        ({"backend": "tensorflow"}, "no backend 'tensorflow': choose auto, torch, onnx"),
    ],
)
def test_what_onnx_cannot_do_is_refused(model, how, words):
    with pytest.raises(UsageError, match=words):
        Denoiser(model, "a", **{"backend": "onnx"} | how)


def test_a_provider_that_does_not_start_is_named_and_not_used(model, exported, monkeypatch):
    import onnxruntime

    listed = ["CUDAExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    for path, csa_set in ((model, "a"), (exported, "")):
        ready = Denoiser(path, csa_set, backend="onnx")
        assert ready.target.name == "cpu"
        first, second = ready.notes
        assert "onnx on cuda in float32 fails" in first and "using directml" in first
        assert "DmlExecutionProvider does not start" in second and "using cpu" in second
        with pytest.raises(DeviceError, match="CUDAExecutionProvider does not start"):
            Denoiser(path, csa_set, backend="onnx", device="cuda")
    with pytest.raises(UsageError, match="choose auto or cuda, directml, cpu"):
        Denoiser(model, "a", backend="onnx", device="coreml")


def test_the_verdict_names_the_card_where_onnxruntime_does(monkeypatch):
    import onnxruntime

    listed = ["DmlExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    monkeypatch.delattr(onnxruntime, "get_ep_devices", raising=False)
    found = [onnx.BACKEND.targets("directml", "auto")[0].identity]
    for number in (1, 2):
        card = SimpleNamespace(vendor="A", vendor_id=2, device_id=number, metadata={})
        devices = [SimpleNamespace(ep_name=name, device=card) for name in listed[:1]]
        monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda d=devices: d, raising=False)
        found.append(onnx.BACKEND.targets("directml", "auto")[0].identity)
    assert len(set(found)) == 3 and onnxruntime.__version__ in found[0]


def test_torch_does_not_run_an_exported_file(exported):
    with pytest.raises(UsageError, match="ONNX file"):
        choose_backend("torch", exported)


def test_a_network_that_differs_as_onnx_is_not_used(model, monkeypatch):
    monkeypatch.setattr(onnxfile, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="tiny/a: differs as ONNX"):
        Denoiser(model, "a", backend="onnx")


def denoise(*arguments):
    return run(["denoise", *map(str, arguments)])


def test_a_photo_says_which_model_it_was(model, exported, tmp_path, capsys):
    make_raw(tmp_path / "a.NEF", light=np.full((128, 160), 0.004), gain=2.0)
    how = [tmp_path / "a.NEF", "--ratio", 50, "--json"]
    assert denoise(*how, "--model", exported, "--out", tmp_path / "x") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["sha256"] == file_sha256(exported)
    assert "cpu, float32, onnxruntime" in err
    assert denoise(*how, "--model", model, "--backend", "onnx", "--out", tmp_path / "y") == 0
    note = read_note(tmp_path / "y" / "a.dng")
    assert (note["sha256"], note["csa_set"]) == (file_sha256(model), "a")
    # The same photo, whatever computed it: a second run has nothing to do.
    capsys.readouterr()
    again = [*how, "--model", model, "--backend", "torch", "--precision", "float32"]
    assert denoise(*again, "--out", tmp_path / "y") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "skipped"
    assert denoise(*again, "--out", tmp_path / "z") == 0
    by_onnx, by_torch = (read_raw(tmp_path / name / "a.dng").normalised() for name in "yz")
    np.testing.assert_allclose(by_onnx, by_torch, atol=1e-4)


def test_without_the_extra_an_exported_file_says_how_to_get_it(
    model, exported, tmp_path, capsys, monkeypatch
):
    make_raw(tmp_path / "a.NEF")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert denoise(tmp_path / "a.NEF", "--model", exported) == 2
    assert "pip install 'ledcli[onnx]'" in capsys.readouterr().err
    assert choose_backend("auto", model) == "torch"


def test_an_exported_file_is_measured_as_any_model_is(exported):
    (candidate,) = load_candidates([str(exported)])
    assert (candidate.name, candidate.denoiser.backend) == ("tiny", "onnx")


def test_a_file_whose_tensors_are_others_is_refused(exported, tmp_path):
    import onnx

    file = onnx.load(exported)
    (entry,) = (p for p in file.metadata_props if p.key == "led")
    entry.value = entry.value.replace('"channels": 4', '"channels": 8')
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(file.SerializeToString())
    with pytest.raises(ModelError, match="header and tensors disagree"):
        Denoiser(bad, "")


def test_onnxruntime_reports_nothing_to_its_makers(tmp_path):
    code = "from ledcli.inference.backends.onnx import BACKEND; print('cpu' in BACKEND.devices())"
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "SYSTEMROOT")}
    env = kept | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env)
    assert done.returncode == 0 and done.stdout.strip() == "True"
    # Otherwise it keeps a device id and a queue of events there.
    assert not list(tmp_path.rglob("onnxruntime*"))
