import numpy as np
import pytest
import torch

from ledcli.noise.cameras import CALIBRATED_WHITE, calibrated_cameras
from ledcli.noise.physics import add_noise
from ledcli.raw.colour import auto_ratio
from ledcli.training.data.crops import pack_rgb
from ledcli.training.data.scenes import make_scene

CAMERAS = [("SonyA7S2", 3.0), ("NikonD850", 10.0), ("CanonEOS700D", 10.0)]
RATIOS = (1, 10, 100, 300)
WHITE_BALANCE = np.float32((2.0, 1.0, 1.7))
NO_LIGHT = np.zeros((4, 256, 384), np.float32)


def scene(seed, light=None):
    """Clean planes of a made-up scene; `light` is what its brightest hundredth comes to."""
    planes = pack_rgb(make_scene(640, np.random.default_rng(seed)) / WHITE_BALANCE)
    return planes if light is None else planes * np.float32(light / np.quantile(planes[1], 0.99))


def large(planes, times=4):
    """The same picture in as many pixels as a camera has."""
    return planes.repeat(times, 1).repeat(times, 2)


def shoot(clean, ratio, name, gain, seed=0):
    """Take clean planes too dark by the ratio, with the noise of a calibrated camera."""
    noise = calibrated_cameras()[name].sample(1, gain=gain, spread=False, colour_bias=False)
    dn = torch.from_numpy(clean)[None] * (CALIBRATED_WHITE / ratio)
    noisy = add_noise(dn, noise, torch.Generator().manual_seed(seed))
    return (noisy[0] / CALIBRATED_WHITE).clamp_max(1).numpy()


@pytest.mark.parametrize("name,gain", CAMERAS)
@pytest.mark.parametrize("seed", [0, 2, 4, 5])
def test_a_scene_gets_the_same_brightness_at_every_exposure(name, gain, seed):
    clean = scene(seed)
    back = [auto_ratio(shoot(clean, ratio, name, gain)) / ratio for ratio in RATIOS]
    assert max(back) < 1.5 * min(back)


@pytest.mark.parametrize("seed", range(6))
def test_a_well_exposed_scene_keeps_about_its_brightness(seed):
    dark = large(scene(seed, light=0.8)) / 50
    assert 1 / 1.5 < auto_ratio(dark) / 50 < 1.5


@pytest.mark.parametrize("light", [1.0, 1.5, 3.0])
def test_a_photo_that_is_bright_enough_keeps_its_brightness(light):
    for seed in (0, 2, 3, 4):
        assert auto_ratio(large(scene(seed, light)).clip(max=1)) == 1


@pytest.mark.parametrize("name,gain", CAMERAS)
def test_a_frame_with_the_lens_cap_on_keeps_its_brightness(name, gain):
    dark = shoot(NO_LIGHT, 1, name, gain)
    assert auto_ratio(dark) == 1
    # Hot pixels, and a black that is off by one DN.
    hot = np.where(np.random.default_rng(0).random(dark.shape) < 1e-3, 1, dark + 6e-5)
    assert auto_ratio(hot.astype(np.float32)) == 1


def test_hot_pixels_do_not_change_the_ratio():
    dark = shoot(scene(0), 300, "NikonD850", 10.0)
    hot = np.where(np.random.default_rng(0).random(dark.shape) < 1e-3, 1, dark)
    assert auto_ratio(hot.astype(np.float32)) == pytest.approx(auto_ratio(dark), rel=0.05)


def test_a_few_lamps_do_not_keep_the_night_dark():
    night = scene(0, light=0.05)
    lamps = night.copy()
    lamps[:, 100:116, 100:116] = 1
    assert auto_ratio(lamps) == pytest.approx(auto_ratio(night), rel=0.1)
    assert auto_ratio(night) > 10


def test_lost_parts_do_not_change_the_ratio():
    lost = scene(2, light=0.05)
    whole = auto_ratio(lost)
    lost[:, :, :200] = -0.032
    assert auto_ratio(lost) == pytest.approx(whole, rel=0.3)


def test_a_dark_photo_with_many_lamps_is_brightened_moderately():
    street = scene(0, light=0.01)
    street[:, :16] = 1  # a twentieth of the photo
    assert 3 < auto_ratio(street) < 30


def test_bright_parts_are_not_pushed_past_white():
    for seed in range(6):
        dark = large(scene(seed, light=0.8)) / 50
        gained = dark * auto_ratio(dark)
        assert (gained.max(0) > 1).mean() < 0.02


def test_a_grey_wall_is_not_pushed_to_white():
    wall = np.full((4, 256, 384), 0.002, np.float32)
    assert 0.1 < 0.002 * auto_ratio(wall) < 0.3


def test_the_ratio_does_not_depend_on_resolution():
    for seed in range(3):
        dark = scene(seed) / 30
        assert auto_ratio(large(dark, 8)) == pytest.approx(auto_ratio(large(dark, 4)), rel=0.15)


@pytest.mark.parametrize("value", [-0.5, 0.0, 1.0])
def test_constant_frames_keep_their_brightness(value):
    assert auto_ratio(np.full((4, 64, 96), value, np.float32)) == 1


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 16, 500), (4, 3, 3)])
def test_tiny_frames_have_a_ratio(shape):
    assert auto_ratio(np.full(shape, 0.01, np.float32)) >= 1


def test_x_trans_and_bayer_frames_get_the_same_ratio():
    light = make_scene(768, np.random.default_rng(2)) / WHITE_BALANCE
    bayer, xtrans = (
        auto_ratio(shoot(pack_rgb(light, cfa), 100, "SonyA7S2", 3.0)) for cfa in ("bayer", "xtrans")
    )
    assert xtrans == pytest.approx(bayer, rel=0.1)
