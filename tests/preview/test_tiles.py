"""The pictures of a preview: crops of what a run over the whole photo makes."""

import numpy as np
import pytest

from ledcli.batch.reading import read_photo
from ledcli.batch.settings import Job, Quality, Settings
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.noise.vignetting import VignettingMap
from ledcli.output.gain_maps import MOSAIC_LIST
from ledcli.output.render import DenoisedPhoto
from ledcli.preview.crops import Area, Crop, develop, noise_of_part, shown_area
from ledcli.preview.tiles import DEMOSAIC_MARGIN, Previewer, _Rendering
from ledcli.preview.variants import plan_variants
from ledcli.zoo.selection import NamedModel
from tests.inference.models import noise_profile, write_model
from tests.output.test_gain_maps import listed, opcode
from tests.shoot import MONO, make_raw, scene

SHAPE = {"bayer": (640, 800), "xtrans": (840, 1020)}


def frame_of(path, **how):
    make_raw(path, **how)
    result, frame = read_photo(Job(path, {}, path.parent), Settings())
    assert result.error is None, result.error
    return frame


def previewer(model, settings=Settings(), **options):  # noqa: B008
    variants = plan_variants(settings, models=[str(model)], **options)
    choosers = [NamedModel(model)] * len(variants)
    return Previewer(settings, variants, choosers, DenoiserCache("cpu", "float32"))


def run(path, model, settings=Settings(), **options):  # noqa: B008
    (previewed,) = previewer(model, settings, **options).run([path])
    assert previewed.result.error is None, previewed.result.error
    return previewed


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize(("cfa", "phase"), [("bayer", "GBRG"), ("xtrans", (2, 4))])
def test_a_crop_is_that_of_the_whole_photo(tmp_path, cfa, phase, ensemble):
    if ensemble and cfa == "xtrans":
        pytest.skip("no self-ensemble")
    # The gain form has no bias correction, which is global.
    model = write_model(tmp_path / "m.safetensors", form="gain", sets=(), cfa=cfa)
    frame = frame_of(tmp_path / "a.RAF", shape=SHAPE[cfa], phase=phase, gain=4.0)
    denoiser = Denoiser(model, "", device="cpu", precision="float32")
    whole = denoiser.denoise(
        frame.planes, 10, phase=frame.photo.phase, noise=frame.noise, ensemble=ensemble
    )
    made, result = previewer(model), read_photo(Job(frame.photo.path, {}, tmp_path), Settings())[0]
    result.ratio = 10.0
    area = Area(96, 144, 160, 208)
    crops = [Crop("detail", area), Crop("shadow", Area(0, 0, 32, 32))]
    found = made._denoise(frame, denoiser, ensemble, crops, result)
    for crop, planes in zip(crops, found, strict=True):
        inner = crop.area.grown(DEMOSAIC_MARGIN, frame.planes.shape[1:])
        assert crop.area.grown(denoiser.halo, frame.planes.shape[1:]) != (0, 0, *whole.shape[1:])
        np.testing.assert_allclose(planes, inner.of(whole), atol=2e-5)


def test_with_bias_correction_it_differs_by_much_less_than_noise(tmp_path):
    model = write_model(tmp_path / "m.safetensors", sets=())
    frame = frame_of(tmp_path / "a.ARW", shape=SHAPE["bayer"], gain=4.0)
    denoiser = Denoiser(model, "", device="cpu", precision="float32")
    whole = denoiser.denoise(frame.planes, 10, noise=frame.noise)
    result, _ = read_photo(Job(frame.photo.path, {}, tmp_path), Settings())
    result.ratio = 10.0
    area = Area(112, 144, 176, 208)
    (planes,) = previewer(model)._denoise(frame, denoiser, False, [Crop("detail", area)], result)
    inner = area.grown(DEMOSAIC_MARGIN, frame.planes.shape[1:])
    off = np.abs(planes - inner.of(whole))
    noise = 10 * np.sqrt(frame.noise.profile.variance(inner.of(frame.planes)))
    assert (off / noise).mean() < 0.05


def test_the_noise_of_a_part_is_that_of_its_place():
    shape, area = (96, 128), Area(16, 48, 64, 112)
    planes = np.random.default_rng(0).random((4, *shape), np.float32)
    own = (
        noise_profile(0.01)
        .at(400.0)
        ._replace(offsets=np.random.default_rng(1).random((4, 3, 4), np.float32), frame=shape)
    )
    part = noise_of_part(own, shape, area)
    np.testing.assert_allclose(
        part.correct_black(area.of(planes)), area.of(own.correct_black(planes)), atol=1e-6
    )
    other = own._replace(frame=(50, 50))  # a crop mode
    part = noise_of_part(other, shape, area)
    np.testing.assert_allclose(
        part.correct_black(area.of(planes)), area.of(other.correct_black(planes)), atol=1e-6
    )
    found = PhotoNoise(own.profile, None, 0.02, VignettingMap(0.8, 0.5))
    part = noise_of_part(found, shape, area)
    np.testing.assert_allclose(part.undo(area.of(planes)), area.of(found.undo(planes)), atol=1e-6)
    np.testing.assert_allclose(
        part.redo(area.of(planes), 3.0), area.of(found.redo(planes, 3.0)), atol=1e-6
    )
    assert noise_of_part(own.profile, shape, area) is own.profile


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("phase", ["RGGB", "BGGR", (1, 3), MONO])
def test_a_tile_is_the_part_of_the_developed_picture(tmp_path, phase, orientation):
    how = {"phase": phase, "orientation": orientation}
    if phase == MONO:
        how |= {"colour_matrix": None, "neutral": None}
    frame = frame_of(tmp_path / "a.dng", shape=(252, 318), **how)
    whole = DenoisedPhoto(frame.photo, planes=frame.planes).picture
    side = frame.photo.phase.layout.side
    area = Area(32, 16, 48, 48)
    around = area.grown(DEMOSAIC_MARGIN, frame.planes.shape[1:])
    tile = develop(frame.photo, around.of(frame.planes), around, area)
    top, left = (side * each for each in (area.top, area.left))
    if isinstance(phase, tuple):
        top, left = top - phase[0], left - phase[1]
    height = len(frame.photo.mosaic)
    if orientation == 6:  # turned clockwise: the first row is on the right
        rows, cols = slice(left, left + 32 * side), slice(height - top - 16 * side, height - top)
    else:
        rows, cols = slice(top, top + 16 * side), slice(left, left + 32 * side)
    expected = np.rint(whole[rows, cols] / 257)
    assert tile.shape == expected.shape
    off = np.abs(tile - expected)
    # LibRaw's demosaicing of X-Trans depends on where its tiles begin.
    assert off.mean() < 2 if isinstance(phase, tuple) else off.max() <= 1


def test_strength_0_is_the_noisy_tile_and_luma_and_chroma_differ(tmp_path):
    model = write_model(tmp_path / "m.safetensors", sets=())
    make_raw(tmp_path / "a.ARW", shape=(256, 320), gain=4.0)
    previewed = run(tmp_path / "a.ARW", model, lumas=[0.0, 1.0], chromas=[0.0, 1.0])
    for tiles in previewed.tiles:
        nothing, chroma, luma, both = (tiles.variants[n] for n in (1, 2, 3, 4))
        assert np.array_equal(nothing, tiles.noisy)
        assert len({each.tobytes() for each in (nothing, chroma, luma, both)}) == 4


def test_self_ensemble_is_not_for_x_trans(tmp_path):
    model = write_model(tmp_path / "m.safetensors", sets=(), cfa="xtrans")
    make_raw(tmp_path / "a.RAF", shape=(252, 318), phase=(0, 0))
    qualities = [Quality.STANDARD, Quality.BEST]
    previewed = run(tmp_path / "a.RAF", model, strengths=[1.0], qualities=qualities)
    assert list(previewed.failed) == [2] and "Bayer" in previewed.failed[2]
    assert [list(tiles.variants) for tiles in previewed.tiles] == [[1]] * 3


def test_the_network_runs_once_for_all_strengths(tmp_path, monkeypatch):
    model = write_model(tmp_path / "m.safetensors", sets=())
    make_raw(tmp_path / "a.ARW", shape=(256, 320), light=scene((256, 320)) / 10)
    calls, denoise = [], Denoiser.denoise

    def counted(self, planes, *arguments, **options):
        calls.append(planes.shape)
        return denoise(self, planes, *arguments, **options)

    monkeypatch.setattr(Denoiser, "denoise", counted)
    settings = Settings(ratio=10.0)
    previewed = run(tmp_path / "a.ARW", model, settings, strengths=[0.2, 0.5, 1.0])
    assert len(previewed.tiles) == len(calls) == 3
    assert previewed.result.ratio == 10


def test_gain_maps_and_the_makers_crop_are_those_of_the_whole_photo(tmp_path):
    tags = [(MOSAIC_LIST, 7, len(maps), maps) for maps in [listed(opcode(area=(0, 0, 256, 320)))]]
    tags += [(50719, 4, 2, (40, 24)), (50720, 4, 2, (260, 200))]
    frame = frame_of(tmp_path / "a.dng", shape=(256, 320), more_tags=tags)
    photo = frame.photo
    assert photo.crop == (24, 40, 200, 260)
    assert shown_area(photo, frame.planes.shape[1:]) == (12, 20, 112, 150)
    whole = DenoisedPhoto(photo, planes=frame.planes * 2).picture
    tile = _Rendering(photo, frame.planes, 2.0).noisy(Crop("detail", Area(48, 80, 80, 112)))
    expected = whole[96 - 24 : 160 - 24, 160 - 40 : 224 - 40] / 257
    assert np.abs(tile - expected).max() <= 1
