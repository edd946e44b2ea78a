import numpy as np
import pytest

from ledcli.training.data.scenes import make_scene


def scene(seed, size=96):
    return make_scene(size, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(12))
def test_a_scene_is_a_linear_picture(seed):
    picture = scene(seed)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.float32
    assert np.isfinite(picture).all()
    assert picture.min() >= 0 and picture.max() <= 1
    assert picture.std() > 1e-3  # something to see
    assert picture.max() > 0.2  # and bright enough to be seen


def test_a_seed_makes_its_scene_again_and_another_seed_another():
    assert np.array_equal(scene(5), scene(5))
    assert not np.array_equal(scene(5), scene(6))


def test_scenes_follow_each_other_in_one_generator():
    rng = np.random.default_rng(0)
    first, second = make_scene(64, rng), make_scene(64, rng)
    assert not np.array_equal(first, second)


def test_scenes_hold_detail_and_smooth_areas():
    """Both are there in a hundredth of the pixels at least, over a few scenes."""
    steps = np.concatenate([np.abs(np.diff(scene(s)[..., 1], axis=1)).ravel() for s in range(12)])
    assert (steps > 0.05).mean() > 0.01
    assert (steps < 0.002).mean() > 0.01
