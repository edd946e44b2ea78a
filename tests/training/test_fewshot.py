"""Pairs in memory: what is trained on, what is held, and what is measured."""

import numpy as np
import pytest

from ledcli.errors import PairError
from ledcli.training.fewshot import few_shot
from tests.training.cameras import shoot, shot, shots


def test_the_pairs_say_what_they_are_for():
    few = shots()
    assert few.ratios == [100.0, 300.0]
    assert few.lines.isos == (400.0, 6400.0)
    assert len(few.frames) == 4


def test_held_windows_are_never_trained_on():
    few = shots()
    for frames in few.frames:
        frames.short[:, frames.trained[0] :] = np.nan
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert few.batch(rng, 4, few.side).x.isfinite().all()
    assert all(batch.x.isnan().all() for batch in few.held_batches())


def test_short_and_truth_are_cut_and_mirrored_alike():
    few = few_shot([shot(400.0, 4.0)])
    rng = np.random.default_rng(1)
    batch = few.batch(rng, 16, 32)
    for short, clean in zip(batch.x, batch.clean, strict=True):
        assert np.corrcoef((short * 4).flatten(), clean.flatten())[0, 1] > 0.95


def test_the_truth_is_the_long_frame_at_exactly_the_ratio():
    right = shot(400.0, 100.0)
    late = right._replace(long=right.long / np.float32(1.05))
    truth = few_shot([right]).frames[0].clean
    assert np.allclose(few_shot([late]).frames[0].clean, truth, rtol=0.01, atol=2e-3)


def test_black_that_is_off_is_corrected_by_the_pairs_themselves():
    off = 40 / 15871
    wrong = [shot(iso, 100.0, seed) for seed, iso in enumerate((400.0, 6400.0))]
    few = few_shot([s._replace(short=s.short + np.float32(off)) for s in wrong])
    assert few.lines.at(400.0).grid == pytest.approx(off, rel=0.1)
    right = few_shot(wrong).frames[0].short
    assert float(np.abs(few.frames[0].short - right).mean()) < off / 20


def test_dark_frames_take_the_place_of_the_pairs_offsets():
    dark = np.full((4, 160, 128), 1e-3, np.float32)
    dark[:, :80] = 3e-3
    few = few_shot([shot(400.0, 100.0), shot(6400.0, 100.0)], {400.0: [dark], 6400.0: [dark]})
    grid = few.lines.at(1600.0).grid
    assert grid.shape[1] > 1
    assert grid[:, 0].mean() == pytest.approx(3e-3, rel=0.05)
    assert grid[:, -1].mean() == pytest.approx(1e-3, rel=0.05)


def test_without_a_pair_there_is_nothing_to_tune_with():
    with pytest.raises(PairError, match="no pair"):
        few_shot([])


def test_a_frame_that_is_too_small_is_named():
    tiny = shot(400.0, 100.0)
    tiny = tiny._replace(short=tiny.short[:, :24, :40], long=tiny.long[:, :24, :40], name="a.ARW")
    with pytest.raises(PairError, match=r"a\.ARW"):
        few_shot([tiny])


def test_a_clipped_long_frame_is_named():
    clean = np.ones((4, 64, 64), np.float32)
    white = shot(400.0, 100.0)._replace(short=shoot(clean, 400, 100, 0), long=clean, name="b.ARW")
    with pytest.raises(PairError, match=r"b\.ARW.*clipped"):
        few_shot([white])
