import numpy as np
import pytest

from ledcli.evaluation.metrics import psnr
from ledcli.evaluation.simulation import make_pairs, make_photos
from ledcli.pairs.frames import ratio_of
from ledcli.raw.reader import read_raw


def test_psnr_of_a_known_error():
    truth = np.full((8, 8), 0.5, np.float32)
    assert psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-3)
    assert psnr(truth + 9, truth) == pytest.approx(-10 * np.log10(0.25), abs=1e-3)


def test_photos_are_dark_noisy_and_unbiased(tmp_path):
    shots = make_photos(tmp_path, 2, ratio=50, size=256, seed=1)
    again = make_photos(tmp_path, 1, ratio=50, size=256, seed=1)
    np.testing.assert_array_equal(shots[0].short, again[0].short)
    for shot in shots:
        stored = read_raw(shot.path)
        np.testing.assert_allclose(stored.normalised(), shot.short, atol=2e-5)
        assert stored.exif.iso == 1600
        assert (shot.short * 50).mean() == pytest.approx(shot.truth.mean(), rel=0.05)
        assert 10 < psnr(shot.short * 50, shot.truth) < 40
    assert not np.array_equal(shots[0].truth, shots[1].truth)


def test_pairs_meet_led_s_rule(tmp_path):
    pairs = make_pairs(tmp_path, ratio=100, size=256)
    isos = []
    for short, long in pairs:
        exifs = [read_raw(shot.path).exif for shot in (short, long)]
        assert ratio_of(*exifs, (short.path, long.path)) == 100
        assert psnr(long.short, long.truth) > psnr(short.short * 100, short.truth) + 10
        isos.append(exifs[0].iso)
    assert min(isos) <= 500 and max(isos) >= 3200
