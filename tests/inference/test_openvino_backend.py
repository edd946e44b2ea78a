"""The network in torch and in OpenVINO; without openvino the tests are skipped."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.inference.agreement import MAX_RMS
from ledcli.inference.backends import openvino as module
from ledcli.inference.backends.openvino import BACKEND
from ledcli.inference.denoiser import Denoiser
from tests.inference.models import LINE, scene, shoot
from tests.inference.test_backends import both
from tests.nets.random_nets import write_random
from tests.shoot import make_raw

pytest.importorskip("openvino")
pytest.importorskip("onnx")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precisions_leave_the_outer_layers_in_float32(model, precision):
    try:
        BACKEND.targets("cpu", precision)
    except UsageError as error:
        pytest.skip(str(error))
    by_torch, by_openvino = both(model, "openvino", precision=precision, check=False)
    planes = shoot(scene(96, 120), 20)
    expected = by_torch.denoise(planes, 20, noise=LINE)
    out = by_openvino.denoise(planes, 20, noise=LINE)
    difference = out - expected
    assert 0 < np.sqrt(np.mean(difference**2)) <= MAX_RMS[precision]
    x = torch.randn(1, 9, 32, 32)
    result = by_openvino.net(x)
    rounded = result.to(torch.bfloat16 if precision == "bf16" else torch.float16).float()
    assert (rounded != result).float().mean() > 0.9


def test_all_windows_of_a_frame_have_one_size(model):
    how = {"backend": "openvino", "precision": "float32", "check": False}
    ready = Denoiser(model, "b", tile=64, **how)
    ready.halo = 16
    ready.denoise(shoot(scene(150, 141), 20), 20, noise=LINE)
    assert len(ready.net.compiled) == 1


def test_tiles_are_larger_unless_they_change_the_picture(model, tmp_path):
    assert Denoiser(model, "a", backend="openvino", check=False).tile == 1024
    nafnet = write_random(tmp_path / "nafnet.safetensors", "nafnet")
    tiles = {
        Denoiser(nafnet, "a", backend=name, check=False).tile for name in ("torch", "openvino")
    }
    assert len(tiles) == 1


def test_it_uses_as_many_threads_as_torch(model, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    net = Denoiser(model, "a", backend="openvino", precision="float32", check=False).net
    net(torch.zeros(1, 9, 32, 32))
    (compiled,) = net.compiled.values()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_what_is_not_there_is_refused_in_one_line_with_what_is(model, tmp_path, capsys):
    make_raw(tmp_path / "a.NEF")
    how = ["denoise", str(tmp_path / "a.NEF"), "--model", str(model), "--backend", "openvino"]
    assert run([*how, "--device", "tpu"]) == 2
    err = capsys.readouterr().err
    assert "no device 'tpu': choose auto or cpu" in err and err.count("\n") == 1
    assert run([*how, "--precision", "int3"]) == 2
    err = capsys.readouterr().err
    assert "no precision 'int3': choose auto, float32" in err and err.count("\n") == 1


def test_nothing_that_reports_to_others_is_imported():
    code = (
        "import sys; from ledcli.inference.backends.openvino import BACKEND; BACKEND.devices();"
        "print([n for n in sys.modules if 'telemetry' in n or n.startswith('openvino.tools')])"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "[]"


class Core:
    """OpenVINO on a machine with a GPU, whose work the CPU does."""

    available_devices = ("CPU", "GPU")

    def __init__(self, real, wrong):
        self.real, self.wrong, self.options = real, wrong, []

    def __getattr__(self, name):
        return getattr(self.real, name)

    def get_property(self, device, name):
        if name == "OPTIMIZATION_CAPABILITIES":
            return ["FP32", "FP16"]
        return [] if name == "SUPPORTED_PROPERTIES" else "An Iris"

    def get_versions(self, device):
        return {device.partition(".")[0]: self.real.get_versions("CPU")["CPU"]}

    def compile_model(self, model, device, options):
        self.options.append((device, options["INFERENCE_PRECISION_HINT"]))
        compiled = self.real.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        if device == "CPU":
            return compiled

        def run(given, **how):
            if self.wrong == "fails":
                raise Exception("Exception from src/x.cpp:1:\nno driver.\n")
            return [compiled(given, **how)[0] * (1.5 if self.wrong == "smears" else 1)]

        return run


@pytest.mark.parametrize("wrong", ["", "smears", "fails"])
def test_auto_takes_a_gpu_that_agrees_and_no_other(model, monkeypatch, wrong):
    core = Core(module._core(), wrong)
    monkeypatch.setattr(module, "_core", lambda: core)
    ready = Denoiser(model, "a", backend="openvino")
    if not wrong:
        assert (ready.target.name, ready.precision, ready.notes) == ("gpu", "fp16", [])
        assert core.options[0] == ("GPU", "f16")
        return
    assert (ready.target.name, ready.precision) == ("cpu", "float32")
    first, second = ready.notes
    assert "openvino on gpu in fp16" in first and "openvino on gpu in float32" in second
    if wrong == "fails":
        assert "OpenVINO on gpu: no driver: using" in first


def test_each_of_two_gpus_is_a_device(model, monkeypatch):
    core = Core(module._core(), "")
    core.available_devices = ("CPU", "GPU.0", "GPU.1")
    monkeypatch.setattr(module, "_core", lambda: core)
    targets = BACKEND.targets("auto", "float32")
    assert [each.name for each in targets] == ["gpu.0", "gpu.1", "cpu"]
    assert len({each.identity for each in targets}) == 3
    assert Denoiser(model, "a", backend="openvino", device="gpu.1").target.name == "gpu.1"
    assert core.options[0] == ("GPU.1", "f16")


def test_full_memory_is_distinguished_from_other_errors(model, monkeypatch):
    how = {"backend": "openvino", "precision": "float32", "check": False}
    net = Denoiser(model, "a", tile=64, **how)
    net.halo = 16

    def full(shape):
        raise Exception("[GPU] Exceeded max size of memory object allocation")

    monkeypatch.setattr(net.net, "_compiled", full)
    with pytest.raises(Exception, match="does not hold a tile of 64"):
        net.denoise(shoot(scene(128, 128), 20), noise=LINE)
