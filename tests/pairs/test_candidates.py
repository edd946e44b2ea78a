import numpy as np
import pytest

from ledcli.pairs import scan as module
from ledcli.pairs.scan import candidates, with_other_exposure
from tests.pairs.shoots import LENSES, candidates_one_by_one, shoot


@pytest.mark.parametrize("seed", range(12))
def test_candidates_are_those_of_comparing_each_with_each(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    # Blocks that end within a shoot, and scenes from one shot to all of a shoot.
    monkeypatch.setattr(module, "BLOCK", int(rng.integers(1, 40)))
    size = {"lenses": LENSES[: rng.integers(1, 4)], "bins": (rng.integers(1, 42), 32)}
    scene = int(rng.choice([3, 5, 14, 80]))
    frames, summaries = shoot(80, rng, frames_per_scene=scene, flawed=seed % 2 == 1, **size)
    found = dict(candidates(frames, summaries))
    assert found.keys() == set(frames)
    expected = {short: candidates_one_by_one(short, frames, summaries) for short in frames}
    assert found == expected
    assert any(expected.values())


def test_frames_with_another_exposure_are_those_that_may_be_paired():
    rng = np.random.default_rng(0)
    frames, _ = shoot(60, rng, frames_per_scene=2)

    def fit(one, other):
        ratio = max(one.level, other.level) / min(one.level, other.level)
        return one.setting == other.setting and module.MIN_RATIO <= ratio <= module.MAX_RATIO

    expected = {one for one in frames if any(fit(one, other) for other in frames)}
    assert with_other_exposure(frames) == expected
    alone = frames[0]
    assert with_other_exposure([alone, alone]) == set()
