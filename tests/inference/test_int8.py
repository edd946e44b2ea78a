"""Networks in 8 bits; without openvino the tests are skipped."""

import numpy as np
import pytest
import torch
from torch import nn

from ledcli.cli.app import run
from ledcli.errors import DeviceError, ModelError
from ledcli.inference import agreement
from ledcli.inference.backends.openvino import TOP, RoundedConv
from ledcli.inference.denoiser import Denoiser
from ledcli.inference.network import ReadyNetwork
from ledcli.nets.network import build
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import find_model
from tests.inference.models import LINE, scene, shoot, write_model
from tests.inference.test_backends import both
from tests.shoot import make_raw

pytest.importorskip("openvino")
pytest.importorskip("onnx")

SMALL = {
    "in_planes": 9, "out_planes": 8, "channels": (8, 12, 16), "encoder": (1, 1, 1),
    "decoder": (1, 1), "up": "bilinear", "stride": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def resunet(tmp_path_factory):
    torch.manual_seed(0)
    spec = ModelSpec(
        name="tiny", architecture="resunet", arguments=SMALL, input_form="stabilised",
        csa_sets=(), ratio_range=(1.0, 300.0), method="none", licence="Apache-2.0", source="tests",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("int8") / "tiny.safetensors"
    save_model(path, spec, build("resunet", SMALL).state_dict())
    return path


def test_a_convolution_is_rounded_to_255_weights_of_a_channel_and_256_inputs():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 2, 3, padding=1).requires_grad_(False)
    conv.weight[1] *= 100
    rounded = RoundedConv(conv, -1.0, 3.0)
    x = torch.randn(1, 3, 20, 20).clamp(-1, 3)
    steps = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
    plain = nn.Conv2d(3, 2, 3, padding=1).requires_grad_(False)
    plain.bias = conv.bias
    plain.weight.copy_((conv.weight / steps).round() * steps)
    expected = plain((x * 255 / 4).round() * 4 / 255)
    torch.testing.assert_close(rounded(x), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(rounded(torch.zeros_like(x)), conv(torch.zeros_like(x)))  # zero is exact


def test_the_levels_below_the_top_are_rounded_and_the_photo_is_nearly_the_same(resunet):
    by_torch, by_openvino = both(resunet, "openvino", "", precision="int8")
    planes = shoot(scene(96, 120), 20)
    expected, out = (each.denoise(planes, 20, noise=LINE) for each in (by_torch, by_openvino))
    difference = out - expected
    assert 0 < np.sqrt(np.mean(difference**2)) <= agreement.MAX_RMS["int8"]
    compiled = next(iter(by_openvino.net.compiled.values()))
    precisions: dict[bool, set[str]] = {True: set(), False: set()}
    for each in compiled.get_runtime_model().get_ops():
        if each.rt_info["layerType"].astype(str) == "Convolution":
            name = each.rt_info["originalLayersNames"].astype(str).split("/")[1]
            at_top = f"{name}.".startswith(TOP) or name in TOP
            precisions[at_top].add(each.rt_info["runtimePrecision"].astype(str))
    assert precisions == {True: {"f32"}, False: {"u8"}}


def test_a_network_that_loses_too_much_is_refused(resunet, monkeypatch):
    monkeypatch.setitem(agreement.MAX_RMS, "int8", 1e-9)
    with pytest.raises(DeviceError, match="openvino on cpu in int8 computes wrong pictures"):
        Denoiser(resunet, "", backend="openvino", device="cpu", precision="int8")


@pytest.mark.parametrize("name", ["unet", "generic"])
def test_other_networks_are_refused_without_a_comparison(name, tmp_path, monkeypatch):
    def compare(*args):
        pytest.fail("compared")

    monkeypatch.setattr(ReadyNetwork, "compared", compare)
    bundled = name == "generic"
    model = find_model(name).path if bundled else write_model(tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match="only fast models have int8: use --quality fast"):
        Denoiser(model, name if bundled else "a", backend="openvino", precision="int8")


@pytest.mark.parametrize("model", [[], ["--model", "generic"]])
def test_a_run_with_other_models_is_refused_in_one_line_for_all_photos(model, tmp_path, capsys):
    for name in ("a.NEF", "b.NEF"):
        make_raw(tmp_path / name)
    how = ["denoise", str(tmp_path), *model, "--backend", "openvino", "--precision", "int8"]
    assert run(how) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("led: only fast models have int8: use --quality fast")
