"""Models that make pictures are measured by pictures, as large as the raw, against LibRaw's."""

from types import SimpleNamespace

import numpy as np
import pytest

from ledcli.errors import UsageError
from ledcli.evaluation.datasets.base import Case, Source, source_of_pairs
from ledcli.evaluation.evaluate import (
    Candidate,
    check_candidates,
    collect,
    in_picture,
    load_candidates,
    measure,
)
from ledcli.evaluation.results import NOISY
from ledcli.output.render import develop_mosaic
from ledcli.pairs.list_file import Pair
from ledcli.raw.reader import read_raw
from tests.inference.models import write_model, write_pictures
from tests.shoot import MONO, make_raw
from tests.training.shoots import shoot_pair


@pytest.fixture(params=["RGGB", "GBRG", (1, 3)])
def source(tmp_path, request):
    pair = shoot_pair(tmp_path, "a", 1600, 20, 1, shape=(131, 164), phase=request.param)
    return source_of_pairs("a shoot", [Pair(*pair)], names=["a"])


def cfa(source):
    return read_raw(source.cases[0].raws.short).cfa


def make_raw_file(path, **about):
    make_raw(path, **about)
    return path


def measured(source, models):
    return collect(source, models, (measure(case, models) for case in source.cases))


class Perfect:
    """Makes LibRaw's own picture of the long frame."""

    def __init__(self, denoiser, long):
        self.spec, self.long = denoiser.spec, long

    def develop(self, planes, ratio, *, phase, shape, noise=None):
        assert ratio == 20 and shape == self.long.mosaic.shape and phase == self.long.phase
        picture = develop_mosaic(self.long, self.long.normalised()).astype(np.float32) / 65535
        return np.clip(picture + np.float32(0.01), 0, 1)


def test_pictures_are_compared_with_libraw_s_of_the_long_frame(source, tmp_path):
    kind, raws = cfa(source), source.cases[0].raws
    models = load_candidates([str(write_pictures(tmp_path / "p.safetensors", cfa=kind))])
    perfect = Perfect(models[0].denoiser, read_raw(raws.long))
    evaluation = measured(source, [Candidate("perfect", perfect), *models])
    noisy, best, random = evaluation.frames
    assert set(best.metrics) == set(random.metrics) == {"psnr_srgb", "ssim_srgb"}
    assert best.metrics["psnr_srgb"] == pytest.approx(40, abs=0.5)
    assert random.metrics["psnr_srgb"] < 20
    short, long = read_raw(raws.short), read_raw(raws.long)
    pictures = [
        develop_mosaic(photo, photo.normalised() * np.float32(gain)) / 65535
        for photo, gain in ((short, 20), (long, 1))
    ]
    expected = -10 * np.log10(np.square(pictures[0] - pictures[1]).mean())
    assert noisy.model == NOISY
    assert noisy.metrics["psnr_srgb"] == pytest.approx(expected, abs=1e-3)
    assert noisy.metrics["psnr"] > 0
    (crop,) = evaluation.crops
    assert crop.psnr["perfect"] == best.metrics["psnr_srgb"]
    assert {picture.shape for picture in crop.pictures.values()} == {crop.truth.shape}


def test_planes_of_other_models_are_developed_by_libraw(source, tmp_path):
    kind = cfa(source)
    files = [
        write_pictures(tmp_path / "p.safetensors", cfa=kind),
        write_model(tmp_path / "m.safetensors", form="gain", sets=(), cfa=kind),
    ]
    evaluation = measured(source, load_candidates([str(file) for file in files]))
    by_model = {frame.model: frame.metrics for frame in evaluation.frames}
    assert "psnr" not in by_model["developer"]
    assert {"psnr", "psnr_corrected", "psnr_srgb"} <= set(by_model["tiny"])


def test_a_source_without_raws_is_refused_at_once(tmp_path):
    models = load_candidates([str(write_pictures(tmp_path / "p.safetensors"))])
    case = Case("a", "", None, 20.0, lambda: pytest.fail("read"))
    with pytest.raises(UsageError, match="made-up has none"):
        check_candidates(Source("made-up", [case], []), models)
    check_candidates(Source("made-up", [case], []), [])


def test_a_frame_without_raws_does_not_stop_the_others(source, tmp_path):
    models = load_candidates([str(write_pictures(tmp_path / "p.safetensors", cfa=cfa(source)))])
    without = source.cases[0]._replace(name="b", raws=None)
    evaluation = measured(source._replace(cases=[without, *source.cases]), models)
    assert {frame.frame for frame in evaluation.frames} == {"a"}
    assert len(evaluation.skipped) == 1 and "no raw files" in evaluation.skipped[0]


def test_a_crop_of_planes_in_pixels_of_a_picture():
    assert in_picture((slice(8, 168), slice(0, 20)), 4) == (slice(16, 336), slice(0, 40))
    assert in_picture((slice(8, 168), slice(0, 20)), 9) == (slice(24, 504), slice(0, 60))


def test_monochrome_raws_have_no_colour_pictures(tmp_path):
    pair = shoot_pair(tmp_path, "a", 1600, 20, 1, shape=(131, 164), phase=MONO)
    models = load_candidates([str(write_pictures(tmp_path / "p.safetensors"))])
    evaluation = measured(source_of_pairs("a shoot", [Pair(*pair)], names=["a"]), models)
    assert not evaluation.frames and "monochrome" in evaluation.skipped[0]


def test_a_raw_s_own_noise_and_its_warnings_are_used(tmp_path):
    light = np.full((180, 240), 0.3)
    light[:, ::7], light[170:] = 0.5, 0
    about = {"light": light, "gain": 0, "read_noise": 0}
    short = make_raw_file(tmp_path / "s.dng", iso=800, exposure_time=0.1, **about)
    long = make_raw_file(tmp_path / "l.dng", iso=800, exposure_time=1, **about)
    given, told = [], []
    spec = SimpleNamespace(
        noise_profile=None, cameras=(), cfa="bayer", planes=4, makes_pictures=False
    )
    spy = SimpleNamespace(spec=spec, denoise=lambda x, *_, noise, **__: given.append(noise) or x)
    source = source_of_pairs("a shoot", [Pair(short, long)])
    report = SimpleNamespace(warn=told.append)
    measure(source.cases[0], [Candidate("spy", spy)], report)
    photo = read_raw(short)
    assert given == [photo.estimate_noise(photo.planes())]
    assert given[0].profile.read_variance >= 1 / photo.span**2 / 12
    assert ["s.dng: seems" in told[0], "l.dng: seems" in told[1]] == [True, True]
