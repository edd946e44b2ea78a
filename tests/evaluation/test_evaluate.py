"""Measuring: metrics worked out by hand, worst crops first, one bad frame alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ledcli.batch.settings import Engine
from ledcli.errors import DeviceError, RawError, UsageError
from ledcli.evaluation.datasets.base import Case, FramePair, Source
from ledcli.evaluation.evaluate import MAX_CROPS, Candidate, collect, load_candidates, measure
from ledcli.evaluation.results import METRICS, NOISY, Evaluation, FrameResult
from ledcli.noise.camera_profile import NoiseAtIso
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.raw.exif import Exif
from ledcli.sensor.cfa import Phase
from tests.inference.models import write_model

TRUTH = np.random.default_rng(0).uniform(0.2, 0.8, (4, 24, 32)).astype(np.float32)


def frame(offset=0.05, truth=TRUTH, ratio=10.0):
    """Make a short frame that is off by a known amount once it is gained."""
    return FramePair((truth + np.float32(offset)) / np.float32(ratio), truth, Phase.GRBG)


def case(name="a", ratio=10.0, read=frame, iso=800.0, camera="Cam"):
    return Case(name, camera, iso, ratio, read)


class Off:
    """A denoiser whose result is off by a known amount, or by a factor."""

    spec = SimpleNamespace(
        noise_profile=None, cameras=(), cfa="bayer", planes=4, makes_pictures=False
    )

    def __init__(self, offset=0.0, factor=1.0):
        self.offset, self.factor, self.asked = offset, factor, []

    def denoise(self, planes, ratio, **how):
        self.asked.append((ratio, how))
        return (TRUTH * self.factor + self.offset).astype(np.float32)


def run(cases, *models):
    source = Source("made up", list(cases), [])
    candidates = [Candidate(f"m{i}", model) for i, model in enumerate(models)]
    return collect(source, candidates, (measure(case, candidates) for case in source.cases))


def test_an_offset_gives_the_metrics_worked_out_by_hand():
    evaluation = run([case()], Off(0.01))
    noisy, model = evaluation.frames
    assert (noisy.model, model.model) == (NOISY, "m0") == tuple(evaluation.models)
    assert set(model.metrics) == set(METRICS)
    assert noisy.metrics["psnr"] == pytest.approx(-20 * np.log10(0.05), abs=1e-3)
    assert model.metrics["psnr"] == pytest.approx(40, abs=1e-3)
    assert (model.camera, model.iso, model.ratio) == ("Cam", 800, 10)
    assert model.metrics["psnr_srgb"] > noisy.metrics["psnr_srgb"]
    assert noisy.metrics["ssim"] < model.metrics["ssim"] < 1


def test_the_correction_cancels_a_factor_and_the_plain_metrics_do_not():
    (_, model) = run([case()], Off(factor=0.8)).frames
    assert model.metrics["psnr"] < 20
    for name in ("psnr_corrected", "psnr_srgb_corrected"):
        assert model.metrics[name] > 90
    assert model.metrics["ssim_corrected"] == pytest.approx(1, abs=1e-6)


def test_models_get_the_same_arguments_as_in_denoise():
    model = Off()
    run([case()], model)
    ((ratio, how),) = model.asked
    assert ratio == 10 and how["phase"] == Phase.GRBG
    assert isinstance(how["noise"], PhotoNoise)


def test_a_tuned_model_uses_its_own_noise_profile():
    own = NoiseAtIso(NoiseProfile(1e-4, 1e-6), np.zeros((4, 1, 1), np.float32), (24, 32))
    model = Off()
    model.spec = SimpleNamespace(
        cameras=(),
        planes=4,
        makes_pictures=False,
        noise_profile=SimpleNamespace(at=lambda iso: own),
    )
    run([case()], model)
    assert model.asked[0][1]["noise"] is own


def test_an_unreadable_frame_does_not_stop_the_others():
    def fail():
        raise RawError("b.ARW: is damaged")

    evaluation = run([case("a"), case("b", read=fail), case("c")], Off())
    assert [f.frame for f in evaluation.frames if f.model == NOISY] == ["a", "c"]
    assert list(evaluation.skipped) == ["b: b.ARW: is damaged"]


def test_an_unexpected_error_does_not_stop_the_others():
    def fail():
        raise IndexError("out of bounds\nand more")

    evaluation = run([case("a"), case("b", read=fail)], Off())
    assert {f.frame for f in evaluation.frames} == {"a"}
    assert list(evaluation.skipped) == ["b: cannot be measured: IndexError: out of bounds"]


def test_an_unexpected_error_of_a_model_costs_its_frame_only():
    class Failing(Off):
        error = RuntimeError("could not create a primitive")

        def denoise(self, planes, ratio, **how):
            if how["exif"].iso == 800:
                raise self.error
            return super().denoise(planes, ratio, **how)

    def dim():
        return replace(frame(), exif=Exif(iso=800.0))

    evaluation = run([case("a"), case("b", read=dim), case("c")], Failing())
    assert {f.frame for f in evaluation.frames} == {"a", "c"}
    assert evaluation.skipped == [
        "b: cannot be measured: RuntimeError: could not create a primitive"
    ]
    Failing.error = DeviceError("cuda computes wrong pictures")
    with pytest.raises(DeviceError):
        run([case("b", read=dim)], Failing())


def test_the_worst_crops_come_first_and_are_limited():
    offsets = np.linspace(0.02, 0.1, MAX_CROPS + 3)
    cases = [case(f"{i}", read=lambda o=o: frame(o)) for i, o in enumerate(offsets)]
    crops = run(cases, Off(0.03)).crops
    # The noisier the frame, the more the model gains.
    assert [crop.frame for crop in crops] == [str(i) for i in range(MAX_CROPS)]
    assert crops[0].psnr["m0"] < crops[0].psnr[NOISY]
    shown = crops[0].pictures
    assert set(shown) == {NOISY, "m0"}
    assert shown["m0"].shape == crops[0].truth.shape == (24, 32, 3)
    assert shown["m0"].dtype == np.uint8 and (shown["m0"] > crops[0].truth).mean() > 0.9


def test_groups_are_means_by_value_in_order():
    def one(model, value, figure, camera=""):
        return FrameResult(model, f"{value} {figure}", camera, value, 100.0, {"psnr": figure})

    frames = [one(NOISY, 1600.0, 20.0), one("m", 1600.0, 30.0), one(NOISY, None, 10.0)]
    frames += [one(NOISY, 200.0, 40.0), one(NOISY, 1600.0, 24.0)]
    evaluation = Evaluation("made up", [NOISY, "m"], frames, [], [])
    groups = [(g.value, g.model, g.frames, g.metrics["psnr"]) for g in evaluation.groups("iso")]
    assert groups == [
        (200.0, NOISY, 1, 40.0),
        (1600.0, NOISY, 2, 22.0),
        (1600.0, "m", 1, 30.0),
        (None, NOISY, 1, 10.0),
    ]
    assert [(g.model, g.frames) for g in evaluation.means()] == [(NOISY, 4), ("m", 1)]
    assert "ssim" not in evaluation.means()[0].metrics


def test_models_get_unique_names_and_none_is_measured_twice(tmp_path):
    first = write_model(tmp_path / "first.safetensors")
    second = write_model(tmp_path / "second.safetensors", seed=4)
    one, two = load_candidates([str(first), str(second)], Engine(device="cpu"))
    assert one.name == one.denoiser.name == two.denoiser.name
    assert two.name == f"{one.name} (second)"
    with pytest.raises(UsageError, match="twice"):
        load_candidates([str(first), str(first)], Engine(device="cpu"))
