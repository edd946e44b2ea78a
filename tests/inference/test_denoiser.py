from itertools import pairwise

import numpy as np
import pytest
import torch

from ledcli.errors import LedError, ModelError, UsageError
from ledcli.inference.denoiser import Denoiser
from ledcli.inference.tiles import MIN_TILE
from ledcli.nets.repnr import select
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.outliers import remove_outliers
from ledcli.noise.photo_noise import PhotoNoise, estimate_photo_noise
from ledcli.noise.smoothing import Smoothing
from ledcli.noise.vignetting import VignettingMap
from ledcli.sensor.cfa import Phase, pack, unpack
from ledcli.zoo.model_file import file_sha256, load_model
from tests.inference.models import LINE, scene, shoot, write_model
from tests.nets.random_nets import write_random


@pytest.fixture(scope="module")
def photo():
    return shoot(scene(96, 120), 20)


IN_CAMERA = {
    "gain": PhotoNoise(LINE, vignetting=VignettingMap(1.5, 0.5)),
    "smoothing": PhotoNoise(LINE, smoothing=Smoothing(0.1, 0.08, 0.02)),
    "black": PhotoNoise(LINE, black=0.01),
}


def denoiser(model, csa_set="a", **how):
    return Denoiser(model, csa_set, **{"device": "cpu", "precision": "float32"} | how)


def test_the_photo_keeps_its_size_and_is_left_alone(model, photo):
    before = photo.copy()
    for rows, cols in ((96, 120), (95, 113), (33, 40)):
        planes = photo[:, :rows, :cols]
        out = denoiser(model).denoise(planes, 100, noise=LINE)
        assert out.shape == planes.shape and out.dtype == np.float32
        assert np.isfinite(out).all()
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("phase", Phase)
def test_the_network_sees_every_phase_as_the_standard_one(model, phase):
    mosaic = unpack(shoot(scene(96, 128), 20), Phase.RGGB, (192, 256))
    mirrored = mosaic[:: 1 - 2 * phase.row, :: 1 - 2 * phase.col]  # now it has the phase
    out = denoiser(model).denoise(pack(mirrored, phase), 20, phase=phase, noise=LINE)
    expected = denoiser(model).denoise(pack(mosaic, Phase.RGGB), 20, noise=LINE)
    back = unpack(out, phase, (192, 256))[:: 1 - 2 * phase.row, :: 1 - 2 * phase.col]
    np.testing.assert_allclose(pack(back, Phase.RGGB), expected, atol=2e-5)


def test_strength_0_is_the_input_times_the_ratio(model, photo):
    for ratio in (1, 100):
        out = denoiser(model).denoise(photo, ratio, strength=0)
        np.testing.assert_allclose(out, photo * np.float32(ratio), rtol=1e-6)


@pytest.mark.parametrize("done", IN_CAMERA)
def test_what_the_camera_did_is_undone_for_the_network_and_done_again(model, done):
    planes, noise = shoot(scene(160, 200), 20), IN_CAMERA[done]
    engine = denoiser(model)
    out = engine.denoise(planes, 20, noise=noise)
    expected = noise.redo(engine.denoise(noise.undo(planes), 20, noise=LINE), 20)
    assert np.array_equal(out, expected)
    assert np.abs(out - engine.denoise(planes, 20, noise=LINE)).max() > 0.01
    none = engine.denoise(planes, 20, noise=noise, strength=0)
    np.testing.assert_allclose(none, planes * np.float32(20), rtol=1e-6)


def test_a_model_of_the_gain_form_sees_the_photo_as_it_is(tmp_path, photo):
    engine = denoiser(write_model(tmp_path / "gain.safetensors", form="gain"))
    plain = engine.denoise(photo, 20, noise=LINE)
    assert np.array_equal(plain, engine.denoise(photo, 20, noise=IN_CAMERA["gain"]))


def test_strength_blends_linearly(model, photo):
    engine = denoiser(model)
    none, half, full = (engine.denoise(photo, 20, strength=s) for s in (0, 0.5, 1))
    np.testing.assert_allclose(half, (none + full) / 2, atol=1e-5)
    assert np.abs(full - none).max() > 1e-3
    assert np.array_equal(none, photo * np.float32(20))
    assert np.array_equal(engine.denoise(photo, 20, luma=0, chroma=0), none)
    assert np.array_equal(engine.denoise(photo, 20, luma=0.5, chroma=0.5), half)
    assert np.array_equal(engine.denoise(photo, 20, strength=0, luma=1, chroma=1), full)


def test_the_white_balance_tells_grain_from_colour(model, photo):
    engine, options = denoiser(model), {"luma": 0, "white_balance": (2.0, 1.0, 1.5)}
    grain = engine.denoise(photo, 20, **options) - engine.denoise(photo, 20)
    np.testing.assert_allclose(2 * grain[0], 1.5 * grain[2], atol=1e-5)


def test_the_default_noise_profile_is_the_blind_estimate(model, photo):
    engine = denoiser(model)
    blind, told = engine.denoise(photo), engine.denoise(photo, noise=estimate_photo_noise(photo))
    assert np.array_equal(blind, told)
    assert not np.array_equal(blind, engine.denoise(photo, noise=NoiseProfile(1e-3, 1e-5)))


def test_a_wrong_black_level_is_corrected_first(model, photo):
    """A camera whose black is off, told so, gives what the same camera without the fault gives."""
    engine, offset = denoiser(model), np.float32([0.01, -0.02, 0.03, 0.005])[:, None, None]
    own = NoiseAtIso(LINE, offset, photo.shape[1:])
    expected = engine.denoise(photo, 20, noise=LINE)
    np.testing.assert_allclose(engine.denoise(photo + offset, 20, noise=own), expected, atol=1e-4)
    assert np.abs(engine.denoise(photo + offset, 20, noise=LINE) - expected).max() > 0.1
    # And strength 0 is the photo as it was given.
    given = engine.denoise(photo + offset, 20, noise=own, strength=0)
    np.testing.assert_allclose(given, (photo + offset) * 20, rtol=1e-6)


def test_the_folded_set_is_the_one_asked_for(model, photo):
    outputs = {name: denoiser(model, name).denoise(photo, noise=LINE) for name in "ab"}
    assert not np.allclose(outputs["a"], outputs["b"])
    _, net = load_model(model)
    x = torch.rand(1, 9, 32, 32)
    for name in "ab":
        select(net, name)
        folded = denoiser(model, name).net
        torch.testing.assert_close(folded(x), net(x), atol=1e-5, rtol=1e-5)


def test_a_model_says_which_it_is(model):
    engine = denoiser(model, "b")
    assert engine.name == "tiny/b"
    assert engine.sha256 == file_sha256(model)


def test_a_set_that_the_model_lacks_is_refused(model):
    with pytest.raises(ModelError, match="no CSA set 'leica': choose one of a, b"):
        denoiser(model, "leica")


def test_a_plain_model_has_no_sets(tmp_path, photo):
    path = write_model(tmp_path / "plain.safetensors", sets=())
    engine = denoiser(path, "")
    assert engine.name == "tiny"
    assert engine.denoise(photo, noise=LINE).shape == photo.shape


def test_the_input_of_the_gain_form_is_multiplied_by_the_ratio(tmp_path, photo):
    path = write_model(tmp_path / "gain.safetensors", form="gain", sets=("a",))
    out = denoiser(path).denoise(photo[:, :96, :112], 20, noise=LINE)
    _, net = load_model(path)
    with torch.inference_mode():
        x = torch.from_numpy(remove_outliers(photo[:, :96, :112], LINE, Phase.RGGB))[None]
        expected = net((x * 20).clamp_max(1))[0]
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("tile", [-1, 1, MIN_TILE - 1])
def test_a_tile_too_small_is_refused(model, tile):
    with pytest.raises(UsageError, match="64 pixels or more"):
        denoiser(model, tile=tile)


def test_devices_and_precisions_that_are_not_there_are_refused(model):
    with pytest.raises(UsageError, match="no device 'gpu'"):
        denoiser(model, device="gpu")
    with pytest.raises(UsageError, match=r"no precision 'fp16'.*; led denoise has it"):
        denoiser(model, precision="fp16")


@pytest.mark.parametrize("rows,cols", [(96, 112), (96, 120), (100, 90)])
def test_tile_0_runs_the_whole_frame_at_once(tmp_path, monkeypatch, rows, cols):
    engine = denoiser(write_random(tmp_path / "nafnet.safetensors", "nafnet"), tile=0)
    sizes, forward = [], engine.net.forward
    monkeypatch.setattr(
        engine.net, "forward", lambda x: sizes.append(tuple(x.shape[2:])) or forward(x)
    )
    engine.denoise(shoot(scene(rows, cols)), noise=LINE)
    whole = tuple(-(-side // engine.multiple) * engine.multiple for side in (rows, cols))
    assert sizes == [whole]


def test_networks_in_strips_say_that_the_tile_has_no_effect(model, photo):
    assert "--tile has no effect" in denoiser(model, tile=64).tile_note(photo)
    assert not denoiser(model).tile_note(photo)


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(
    "architecture,unit,of", [("nafnet", "tile", "pixels"), ("unet", "strip", "rows")]
)
def test_when_the_memory_is_full_less_is_done_at_a_time(
    tmp_path, monkeypatch, architecture, unit, of, error
):
    path = tmp_path / "model.safetensors"
    write_random(path, "nafnet") if architecture == "nafnet" else write_model(path)
    planes = shoot(scene(160, 160), 20)
    engine, tried, fits = denoiser(path, tile=128), [], 0
    work = getattr(engine, f"_run_in_{unit}s")

    def small_memory(frame, figures, size, progress):
        tried.append(size)
        if size > fits:
            raise error
        return work(frame, figures, size, progress)

    monkeypatch.setattr(engine, f"_run_in_{unit}s", small_memory)
    with pytest.raises(LedError, match=f"does not hold a {unit} of .* {of}:") as caught:
        engine.denoise(planes, 20, noise=LINE)
    assert "\n" not in str(caught.value) and len(tried) >= 2
    assert all(after == before // 2 for before, after in pairwise(tried))
    tried, fits = [], (size := tried[-1])
    out = engine.denoise(planes, 20, noise=LINE)
    assert tried == [fits]  # for the next photos too
    if unit == "strip":
        tried, fits = [], 10**6
        engine.denoise(shoot(scene(80, 80), 20), 20, noise=LINE)
        engine.denoise(shoot(scene(32, 640), 20), 20, noise=LINE)
        assert tried == [2 * size, 8]  # of half the width, and of four times
    if unit == "strip":
        expected = denoiser(path).denoise(planes, 20, noise=LINE)
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_the_network_runs_with_cudnn_and_without_tf32(model, photo):
    # Flags that are not named go to torch's defaults inside the block, and cuDNN's is "off".
    engine, seen = denoiser(model), set()
    flags = torch.backends.cudnn
    engine.net.conv5_2.register_forward_pre_hook(
        lambda *_: seen.add((flags.enabled, flags.allow_tf32))
    )
    engine.denoise(photo, 100, noise=LINE)
    assert seen == {(True, False)}


def test_another_error_of_torch_is_not_taken_for_full_memory(model, photo, monkeypatch):
    engine = denoiser(model)

    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(engine, "_run_in_strips", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        engine.denoise(photo, noise=LINE)


def test_in_bf16_the_first_and_last_layer_stay_in_float32(model):
    net = denoiser(model, precision="bf16").net
    types = {name.split(".")[0]: weight.dtype for name, weight in net.named_parameters()}
    assert types.pop("conv1_1") == types.pop("conv10_1") == torch.float32
    assert set(types.values()) == {torch.bfloat16}
