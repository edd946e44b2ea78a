"""The same network in torch and in every other backend; without its packages one is skipped."""

import sys

import numpy as np
import pytest
import torch

from ledcli.cli.app import run
from ledcli.inference.denoiser import Denoiser
from ledcli.raw.exif import Exif
from tests.inference.models import LINE, scene, shoot, write_model, write_modulated
from tests.shoot import make_raw


@pytest.fixture(params=["onnx", "openvino"])
def backend(request):
    pytest.importorskip("onnx")
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return request.param


def both(model, backend, csa_set="b", precision="float32", **how):
    return (
        Denoiser(model, csa_set, device="cpu", precision=kind, backend=name, **how)
        for name, kind in (("torch", "float32"), (backend, precision))
    )


@pytest.mark.parametrize(
    "form,rows,cols", [("gain", 150, 141), ("stabilised", 150, 141), ("stabilised", 33, 40)]
)
def test_the_photo_is_the_same(tmp_path, backend, form, rows, cols):
    """To 1e-4 of white, in tiles and whole."""
    model = write_model(tmp_path / "tiny.safetensors", form=form)
    planes = shoot(scene(rows, cols), 20)
    for tile in (64, 0):
        by_torch, other = both(model, backend, tile=tile)
        by_torch.halo = other.halo = 16
        for ratio in (20, 100):
            expected = by_torch.denoise(planes, ratio, noise=LINE)
            out = other.denoise(planes, ratio, noise=LINE)
            assert out.dtype == np.float32
            np.testing.assert_allclose(out, expected, atol=1e-4)
            assert np.abs(expected - planes * ratio).max() > 1e-2


def test_networks_of_other_sensors_and_with_more_outputs_are_the_same(tmp_path, backend):
    xtrans = write_model(tmp_path / "xtrans.safetensors", cfa="xtrans")
    adaptive = write_model(
        tmp_path / "adaptive.safetensors", form="gain", output="adaptive", out_planes=9
    )
    for path, count in ((xtrans, 9), (adaptive, 4)):
        planes = np.random.default_rng(0).uniform(0, 0.03, (count, 48, 40)).astype(np.float32)
        # The network and its form alone: what comes after them knows no backend.
        with torch.inference_mode():
            expected, out = (
                each.run(torch.from_numpy(planes), 20, LINE)
                for each in both(path, backend, check=False)
            )
        np.testing.assert_allclose(out, expected, atol=1e-4)


def test_a_modulated_network_is_that_of_the_photo(tmp_path, backend):
    path = write_modulated(tmp_path / "adl.safetensors")
    planes, shot = shoot(scene(64, 80), 20), Exif(make="Led", model="Testcam One", iso=1600.0)
    by_torch, other = both(path, backend, "", check=False)
    made = []
    for exif in (None, shot):
        expected, out = (e.denoise(planes, 20, noise=LINE, exif=exif) for e in (by_torch, other))
        np.testing.assert_allclose(out, expected, atol=1e-4)
        made.append(out)
    assert np.abs(made[1] - made[0]).max() > 1e-3


def test_without_the_extra_the_error_says_how_to_get_it(backend, tmp_path, capsys, monkeypatch):
    make_raw(tmp_path / "a.NEF")
    monkeypatch.setitem(sys.modules, {"onnx": "onnxruntime"}.get(backend, backend), None)
    assert run(["denoise", str(tmp_path / "a.NEF"), "--backend", backend]) == 2
    err = capsys.readouterr().err
    assert f"pip install 'ledcli[{backend}]'" in err and err.count("\n") == 1
