"""Pairs in memory: what is trained on, what is kept for validation, and what is measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ledcli.errors import PairError, TrainingError
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.noise.vignetting import VignettingMap
from ledcli.pairs.list_file import Pair, read_list
from ledcli.pairs.result import ListedDark
from ledcli.sensor.cfa import Phase, XTransPhase, pack, unpack
from ledcli.training.data.pair_files import load_pairs, read_headers
from ledcli.training.data.pairs import camera_pairs
from ledcli.training.methods.base import mean_psnr, psnr_of
from ledcli.training.methods.led import known
from tests.pairs.scenes import picture, through
from tests.pairs.scenes import shot as shot_raw
from tests.shoot import make_dark
from tests.training.cameras import shoot, shot, shots
from tests.training.shoots import SHAPE, make_pair


def test_the_pairs_say_what_they_are_for():
    shot_pairs = shots()
    assert shot_pairs.ratios == [100.0, 300.0]
    assert shot_pairs.noise_profile.isos == (400.0, 6400.0)
    assert len(shot_pairs.pairs) == 4


def test_validation_windows_are_never_trained_on():
    shot_pairs = shots()
    for pair in shot_pairs.pairs:
        pair.short[:, pair.trained[0] :] = np.nan
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert shot_pairs.batch(rng, 4, shot_pairs.side).x.isfinite().all()
    assert all(batch.x.isnan().all() for batch in shot_pairs.validation_batches())


def test_short_and_truth_are_cut_and_mirrored_alike():
    shot_pairs = camera_pairs([shot(400.0, 4.0)])
    rng = np.random.default_rng(1)
    batch = shot_pairs.batch(rng, 16, 32)
    for short, clean in zip(batch.x, batch.clean, strict=True):
        assert np.corrcoef((short * 4).flatten(), clean.flatten())[0, 1] > 0.95


@pytest.mark.parametrize("phase", Phase)
def test_crops_of_a_camera_of_any_phase_have_the_standard_one(phase):
    (pair,) = camera_pairs([shot(400.0, 4.0)]).pairs
    _, height, width = pair.short.shape
    slope = np.add.outer(np.arange(2 * height), 2 * np.arange(2 * width)) / 1024
    planes = pack(slope.astype(np.float16), phase)
    pair = replace(pair, short=planes, clean=planes, phase=phase)
    rng, side = np.random.default_rng(0), pair.validation_side
    crops = [*pair.draw(rng, 32), *pair.draw(rng, 32), *pair.validation_windows()[0]]
    for crop in crops:
        seen = unpack(crop, Phase.RGGB, (2 * crop.shape[1], 2 * crop.shape[2]))
        for axis, step in ((0, 1), (1, 2)):
            assert len(np.unique(np.diff(seen * 1024, axis=axis))) == 1
            assert abs(np.diff(seen * 1024, axis=axis)[0, 0]) == step
    assert crops[-1].shape[1] == side


def test_the_truth_is_the_long_frame_at_exactly_the_ratio():
    right = shot(400.0, 100.0)
    late = right._replace(long=right.long / np.float32(1.05))
    truth = camera_pairs([right]).pairs[0].clean
    assert np.allclose(camera_pairs([late]).pairs[0].clean, truth, rtol=0.01, atol=2e-3)


def test_black_that_is_off_is_corrected_by_the_pairs_themselves():
    off = 40 / 15871
    wrong = [shot(iso, 100.0, seed) for seed, iso in enumerate((400.0, 6400.0))]
    shot_pairs = camera_pairs([s._replace(short=s.short + np.float32(off)) for s in wrong])
    assert shot_pairs.noise_profile.at(400.0).offsets == pytest.approx(off, rel=0.1)
    right = camera_pairs(wrong).pairs[0].short
    assert float(np.abs(shot_pairs.pairs[0].short - right).mean()) < off / 20


def test_dark_frames_show_the_pattern():
    dark = np.full((4, 160, 128), 1e-3, np.float32)
    dark[:, :80] = 3e-3
    shaded = [shot(iso, 100.0) for iso in (400.0, 6400.0)]
    shaded = [pair._replace(short=pair.short + dark) for pair in shaded]
    shot_pairs = camera_pairs(shaded, {400.0: [dark], 6400.0: [dark]})
    grid = shot_pairs.noise_profile.at(1600.0).offsets
    assert grid.shape[1] > 1
    assert grid[:, 0].mean() == pytest.approx(3e-3, rel=0.05)
    assert grid[:, -1].mean() == pytest.approx(1e-3, rel=0.05)


def test_an_iso_without_dark_frames_keeps_the_offset_of_its_pairs():
    off = np.float32(2e-3)
    pairs = [shot(iso, 100.0, seed) for seed, iso in enumerate((400.0, 6400.0))]
    pairs[1] = pairs[1]._replace(short=pairs[1].short + off)
    shot_pairs = camera_pairs(pairs, {400.0: [np.zeros((4, 160, 128), np.float32)]})
    assert shot_pairs.noise_profile.at(6400.0).offsets.mean() == pytest.approx(off, rel=0.15)
    assert abs(shot_pairs.noise_profile.at(400.0).offsets.mean()) < off / 10


def test_without_a_pair_there_is_nothing_to_tune_with():
    with pytest.raises(PairError, match="no pair"):
        camera_pairs([])


def test_a_frame_that_is_too_small_is_named():
    tiny = shot(400.0, 100.0)
    tiny = tiny._replace(short=tiny.short[:, :24, :40], long=tiny.long[:, :24, :40], name="a.ARW")
    with pytest.raises(PairError, match=r"a\.ARW: 80x48 pixels"):
        camera_pairs([tiny])


@pytest.mark.parametrize("size", [(64, 64), (75, 101), (120, 90), (160, 128)])
def test_crops_of_any_frame_are_what_networks_take(size):
    rows, cols = size
    pair = shot(400.0, 100.0)
    pair = pair._replace(short=pair.short[:, :rows, :cols], long=pair.long[:, :rows, :cols])
    shot_pairs = camera_pairs([pair])
    for batch in shot_pairs.validation_batches():
        assert batch.x.shape[2] == batch.x.shape[3] and batch.x.shape[2] % 16 == 0
    assert shot_pairs.side >= 47


def test_what_is_clipped_in_the_long_frame_is_white_whatever_the_shutter_did():
    pair = shot(400.0, 100.0)
    long = pair.long.copy()
    long[:, 20:60, 20:60] = 1
    dark = pair._replace(short=pair.short * np.float32(0.96), long=long)
    assert (camera_pairs([dark]).pairs[0].clean[:, 20:60, 20:60] == 1).all()


def test_the_blind_crops_are_as_the_file_has_them():
    off = np.float32(40 / 15871)
    raw = shot(400.0, 100.0)
    shot_pairs = camera_pairs([raw._replace(short=raw.short + off)])
    blind, corrected = (
        shot_pairs.validation_batches(blind=True)[0],
        shot_pairs.validation_batches()[0],
    )
    assert float((blind.x - corrected.x).mean()) == pytest.approx(off, rel=0.05)


def test_of_many_pairs_the_middle_rows_are_kept():
    shot_pairs = camera_pairs([shot(400.0, 100.0)], max_pixels=96 * 128)
    whole = camera_pairs([shot(400.0, 100.0)])
    assert shot_pairs.pairs[0].short.shape == (4, 96, 128)
    np.testing.assert_array_equal(shot_pairs.pairs[0].short, whole.pairs[0].short[:, 32:128])
    assert shot_pairs.noise_profile.frame == (160, 128)


def test_a_clipped_long_frame_is_named():
    clean = np.ones((4, 64, 64), np.float32)
    white = shot(400.0, 100.0)._replace(short=shoot(clean, 400, 100, 0), long=clean, name="b.ARW")
    with pytest.raises(PairError, match=r"b\.ARW.*clipped"):
        camera_pairs([white])


def test_crops_of_an_x_trans_begin_with_an_even_cell_however_they_are_mirrored():
    """Each sample of the truth says which row of the sensor it is from: those of a row agree."""
    shot_pairs = shots(planes=9)
    rows = np.broadcast_to(np.arange(480)[:, None] / 512, (480, 384)).astype(np.float32)
    sensor = pack(rows, XTransPhase(0, 0))
    for pair in shot_pairs.pairs:
        pair.clean[:] = sensor
    drawn = shot_pairs.batch(np.random.default_rng(0), 24, 32)
    validation = torch.cat([batch.clean for batch in shot_pairs.validation_batches()])
    ways = set()
    for planes in (*drawn.clean.numpy(), *validation.numpy()):
        side = 3 * planes.shape[1]
        mosaic = unpack(planes, XTransPhase(0, 0), (side, side))
        assert (mosaic == mosaic[:, :1]).all()
        ways.add(float(np.sign(mosaic[1, 0] - mosaic[0, 0])))
    assert ways == {1.0, -1.0}
    assert shot_pairs.side <= shot_pairs.pairs[0].trained[1] - 2
    assert shot_pairs.noise_profile.planes == shot_pairs.planes == 9


def test_what_moved_counts_neither_in_measurements_nor_in_losses_nor_in_validation():
    still = shot(400.0, 100.0)
    moved = np.zeros(still.short.shape[1:], np.bool_)
    moved[40:70, 30:60] = moved[130:, 20:40] = True
    long = np.where(moved, np.float32(0.7), still.long)
    masked = camera_pairs([still._replace(long=long, moved=moved)])
    right = camera_pairs([still])
    [pair], [truth] = masked.pairs, right.pairs
    counts = known(torch.from_numpy(pair.clean).float()).numpy()
    assert (counts[:, moved] == 0).all()
    assert np.abs(pair.clean - truth.clean)[:, ~moved].max() < 2e-3
    measured, true = masked.profile_at(400.0), right.profile_at(400.0)
    assert measured.gain == pytest.approx(true.gain, rel=0.05)
    assert measured.read_variance == pytest.approx(true.read_variance, rel=0.05)
    [batch], [whole] = masked.validation_batches(), right.validation_batches()
    assert psnr_of(whole.clean, batch.clean) > 50


def test_a_moved_object_in_a_pair_of_files_is_left_out_and_named(tmp_path):
    light = np.minimum(through(picture(1)), 0.4)
    moved = light.copy()
    moved[96:128, 200:232] *= 2
    long = shot_raw(tmp_path / "l.ARW", light, 100, 10)
    pairs = [Pair(shot_raw(tmp_path / "s.ARW", moved, 400, 1 / 40), long)]
    headers = read_headers(pairs, one_iso=True)
    loaded = load_pairs([*headers, *headers], one_iso=True)
    assert len(loaded.warnings) == len(set(loaded.warnings))
    assert any("something moved" in warning for warning in loaded.warnings)
    pair, _ = loaded.camera_pairs.pairs
    assert (pair.clean[:, 52:60, 104:112] > 1).all()
    assert (pair.clean > 1).mean() < 0.05
    with pytest.raises(PairError, match="moved"):
        load_pairs(headers, one_iso=True, take=lambda *_: None)


def test_windows_are_given_back_what_the_camera_did():
    raw = shot(400.0, 100.0)
    noise = PhotoNoise(NoiseProfile(1e-3, 1e-6), black=2e-3, vignetting=VignettingMap(1.0, 0.5))
    [pair] = camera_pairs([raw._replace(noise=noise)]).pairs
    assert len(pair.undone) == len(pair.gains) > 1
    assert max(gain.max() for gain in pair.gains) > 2
    again = pair.redo(torch.from_numpy(np.stack(pair.undone)) * 100).numpy() / 100
    off = np.abs(again - np.stack(pair.uncorrected))
    assert np.quantile(off, 0.99) < 1e-5
    assert np.mean(pair.undone) < 0.7 * np.mean(pair.uncorrected)


def test_windows_without_a_known_truth_are_not_measured():
    still = shot(400.0, 100.0)
    moved = np.zeros(still.short.shape[1:], np.bool_)
    moved[120:] = True
    pairs = camera_pairs([still._replace(moved=moved), shot(400.0, 100.0, 1)])
    found = [psnr_of(b.x * 100, b.clean) for b in pairs.validation_batches()]
    assert np.isnan(found[0])
    assert mean_psnr(found) == found[1] > 5
    with pytest.raises(TrainingError, match="not a number"):
        mean_psnr(found[:1])
    with pytest.raises(PairError, match="bottom of every pair"):
        camera_pairs([still._replace(moved=moved)])


def test_pairs_and_dark_frames_of_another_size_are_left_out(tmp_path):
    lines = [make_pair(tmp_path, "a", 400, 20, 1), make_pair(tmp_path, "b", 6400, 20, 2)]
    lines.append(make_pair(tmp_path, "c", 6400, 20, 3, shape=(280, 320)))
    (tmp_path / "pairs.txt").write_text("".join(lines))
    for name, shape in (("d", SHAPE), ("e", (280, 320))):
        make_dark(tmp_path / f"{name}.ARW", shape=shape, iso=400, exposure_time=0.05)
    darks = [ListedDark(tmp_path / f"{name}.ARW", 400.0, 0.05, "Led Testcam One") for name in "de"]
    headers = read_headers(read_list(tmp_path / "pairs.txt"))
    loaded = load_pairs(headers, darks)
    assert len(loaded.camera_pairs.pairs) == 2 and loaded.darks == 1
    assert sum("size" in warning for warning in loaded.warnings) == 2
