import numpy as np
import pytest
import torch

from ledcli.training.data.scenes import add_stars, make_scene, starry_sky


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


def test_only_the_chosen_scenes_become_night_skies():
    scenes = torch.full((2, 4, 64, 64), 0.5)
    night = scenes.clone()
    add_stars(night, np.array([False, True]), np.random.default_rng(0))
    assert torch.equal(night[0], scenes[0])
    assert float(night[1].median()) < 0.3 and float(night[1].max()) > float(night[1].median())


@pytest.mark.parametrize("planes", [4, 9])
def test_stars_are_narrow_lights_on_every_plane(planes):
    sky = starry_sky(planes, 96, 96, np.random.default_rng(1))
    assert sky.min() >= 0 and sky.max() < 5
    assert (sky.max((1, 2)) > 0.01).all()
    assert float((sky > 0.01).mean()) < 0.5


def test_a_star_is_at_one_place_of_the_sensor():
    """Its centre on the sensor is the same for all planes: else it would have coloured edges."""
    rng = np.random.default_rng(0)
    offsets = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
    sky = starry_sky(4, 12, 12, rng).astype(np.float64)
    centres = []
    for plane, offset in zip(sky, offsets, strict=True):
        rows, cols = np.mgrid[0:12, 0:12]
        centres.append(
            [
                float((plane * (2 * place + o)).sum() / plane.sum())
                for place, o in zip((rows, cols), offset, strict=True)
            ]
        )
    assert np.ptp(centres, axis=0).max() < 1.0
