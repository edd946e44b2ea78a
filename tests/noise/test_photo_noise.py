import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ledcli.noise.cameras import CALIBRATED_WHITE
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.raw.reader import read_raw
from ledcli.training.data.crops import pack_rgb
from tests.noise.test_estimate import camera_noise, foliage, frame, shoot, true_line
from tests.shoot import make_raw

NOISE_PROFILE, DOUBLE = 51041, 12
DN = 1 / CALIBRATED_WHITE


def radius_squared(rows, cols):
    y, x = np.mgrid[:rows, :cols]
    r2 = (y + 0.5 - rows / 2) ** 2 + (x + 0.5 - cols / 2) ** 2
    return (r2 / (rows**2 + cols**2) * 4).astype(np.float32)


def smooth(planes, beside, diagonal=0.0):
    kernel = torch.full((3, 3), diagonal)
    kernel[1] = kernel[:, 1] = beside
    kernel[1, 1] = 1 - 4 * beside - 4 * diagonal
    edged = F.pad(torch.from_numpy(planes)[:, None], (1, 1, 1, 1), "reflect")
    return F.conv2d(edged, kernel[None, None])[:, 0].numpy()


def quantised(planes):
    return np.rint(planes / np.float32(DN)) * np.float32(DN)


@pytest.fixture(scope="module")
def camera():
    return camera_noise("NikonD850", 10.0)


@pytest.mark.parametrize("ratio", [4, 100])
@pytest.mark.parametrize("kind", ["gradient", "texture", "foliage"])
def test_a_photo_as_the_sensor_gave_it_has_the_simple_profile(camera, kind, ratio):
    clean = (foliage(0.3) if kind == "foliage" else frame(kind)) / ratio
    short = quantised(shoot(clean, camera))
    found = estimate_photo_noise(short, DN)
    assert found.describe(1 / DN) == "" and not found.correlated
    plain = estimate_noise(short)
    assert found.profile == plain._replace(read_variance=max(plain.read_variance, DN**2 / 12))
    assert found.undo(short) is short and found.redo(short, ratio) is short


@pytest.mark.parametrize("sensor", ["bayer", "xtrans"])
@pytest.mark.parametrize("corners", [2.0, 4.0])
def test_corrected_vignetting_is_found_and_undone(camera, corners, sensor):
    clean = frame("gradient") / 50
    if sensor == "xtrans":
        light = np.linspace(0.02, 0.9, 1152, dtype=np.float32) / 50 * np.ones((768, 1), np.float32)
        clean = pack_rgb(light[..., None] * np.float32((0.5, 1, 0.6)), "xtrans")
    gain = 1 + (corners - 1) * radius_squared(*clean.shape[1:])
    short = shoot(clean / gain, camera) * gain
    found, true = estimate_photo_noise(short, DN), true_line(camera)
    assert found.vignetting is not None and found.smoothing is None
    np.testing.assert_allclose(found.vignetting.over(gain.shape), gain, rtol=0.12)
    assert found.profile.gain == pytest.approx(true.gain, rel=0.1)
    assert found.profile.read_variance == pytest.approx(true.read_variance, rel=0.25)
    np.testing.assert_allclose(found.undo(short), short / gain, rtol=0.13, atol=1e-6)
    np.testing.assert_allclose(found.redo(found.undo(short), 1.0), short, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("where", ["all round", "below"])
def test_texture_outside_is_not_taken_for_a_gain(camera, where):
    rows, cols = 256, 384
    y = np.arange(rows)[:, None] / rows
    share = radius_squared(rows, cols) if where == "all round" else y * np.ones((1, cols))
    rng = np.random.default_rng(3)
    waves = np.fft.rfft2(rng.normal(0, 1, (2 * rows, 2 * cols)))
    size = np.hypot(np.fft.fftfreq(2 * rows)[:, None], np.fft.rfftfreq(2 * cols))
    texture = np.fft.irfft2(waves / np.maximum(size, 1e-3) ** 1.5, (2 * rows, 2 * cols))
    texture *= np.kron(share, np.ones((2, 2))) * 0.3 / texture.std()
    light = (0.3 * (1 + texture)).clip(0.01).astype(np.float32)
    clean = np.stack([light[i::2, j::2] for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))])
    for ratio in (1, 20):
        assert estimate_photo_noise(shoot(clean / ratio, camera), DN).vignetting is None


@pytest.mark.parametrize("beside,diagonal", [(0.05, 0.0), (0.1, 0.0), (0.2, 0.0), (0.1, 0.05)])
def test_smoothing_in_the_camera_is_found_and_undone(camera, beside, diagonal):
    short = shoot(frame("gradient") / 50, camera)
    smoothed = quantised(smooth(short, beside, diagonal))
    found, true = estimate_photo_noise(smoothed, DN), true_line(camera)
    assert found.vignetting is None and found.black == 0
    assert found.smoothing == pytest.approx((beside, beside, diagonal), abs=0.011)
    assert found.profile.gain == pytest.approx(true.gain, rel=0.15)
    before = np.std(smoothed - short)
    assert np.std(found.undo(smoothed) - short) < 0.6 * before
    again = found.redo(found.undo(smoothed), 1.0)
    assert np.std(again - smoothed) < 0.25 * before


def test_smoothing_of_an_xtrans_photo_is_called_correlated(camera):
    light = np.linspace(0.02, 0.9, 1152, dtype=np.float32) / 50 * np.ones((768, 1), np.float32)
    clean = pack_rgb(light[..., None] * np.float32((0.5, 1, 0.6)), "xtrans")
    short = shoot(clean, camera)
    assert not estimate_photo_noise(short, DN).correlated
    found = estimate_photo_noise(smooth(short, 0.1), DN)
    assert found.correlated and found.smoothing is None
    light = np.array(0.01)
    assert found.profile.variance(light) > 2 * estimate_noise(smooth(short, 0.1)).variance(light)


def test_noise_smoothed_beyond_repair_is_called_correlated(camera):
    smoothed = shoot(frame("flat") / 20, camera)
    for _ in range(6):
        smoothed = smooth(smoothed, 0.12, 0.07)
    plain, found = estimate_noise(smoothed), estimate_photo_noise(smoothed, DN)
    at = lambda profile: profile.variance(np.array(0.015))  # noqa: E731
    assert found.correlated and found.smoothing is None
    assert at(found.profile) > 10 * at(plain)


@pytest.mark.parametrize("off", [20, 64])
def test_a_wrong_black_level_does_not_spoil_the_noise(camera, off):
    clean = frame("gradient") / 100
    short = quantised(shoot(clean, camera) + np.float32(off * DN))
    found, true = estimate_photo_noise(short, DN), true_line(camera)
    light = np.median(clean)
    variance = found.profile.variance(light + off * DN - found.black)
    assert variance == pytest.approx(true.variance(light), rel=0.1)
    # Without the offset, the line through 0 at the wrong black misses the dark and bright ends.
    assert found.profile.gain == pytest.approx(true.gain, rel=0.15)
    assert found.black == pytest.approx(off * DN, abs=12 * DN)
    assert found.describe(1 / DN) == f"black level corrected by {found.black / DN:.0f} DN"
    np.testing.assert_allclose(found.redo(found.undo(short), 1.0), short, atol=1e-6)


def dark(read, seed=0):
    return np.random.default_rng(seed).normal(0, read * DN, (4, 128, 192)).astype(np.float32)


def test_a_dark_frame_tells_its_read_noise_but_no_gain():
    found = estimate_photo_noise(quantised(dark(8.0)), DN)
    assert (found.gain_known, found.read_known) == (False, True)
    assert found.profile.read_variance**0.5 == pytest.approx(8 * DN, rel=0.05)


@pytest.mark.parametrize("crushed", [0, 4, 8])
def test_a_dark_frame_clipped_at_black_or_above_tells_its_read_noise(crushed):
    clipped = quantised(dark(8.0) - np.float32(crushed * DN)).clip(min=0)
    found = estimate_photo_noise(clipped, DN)
    assert (found.gain_known, found.read_known) == (False, True)
    assert found.profile.read_variance**0.5 == pytest.approx(8 * DN, rel=0.3)


def test_where_nothing_can_be_told_the_read_noise_is_that_of_quantisation():
    lost_in_rounding = quantised(dark(0.2))
    crushed = quantised(dark(8.0) - np.float32(25 * DN)).clip(min=0)
    saturated = np.ones((4, 64, 64), np.float32)
    for planes in (lost_in_rounding, crushed, saturated):
        found = estimate_photo_noise(planes, DN)
        assert (found.gain_known, found.read_known) == (False, False)
        assert found.profile.read_variance == pytest.approx(DN**2 / 12)


def test_what_a_file_states_counts_where_the_photo_does_not_tell(camera):
    true = true_line(camera)
    # Bright: photon noise hides the read noise.
    short = shoot(frame("flat") + np.float32(0.3), camera)
    alone, helped = estimate_photo_noise(short, DN), estimate_photo_noise(short, DN, true)
    off = [abs(np.log(e.profile.read_variance / true.read_variance)) for e in (alone, helped)]
    assert off[1] < 0.2 and off[1] < off[0]
    wrong = NoiseProfile(true.gain * 20, true.read_variance * 20)
    assert estimate_photo_noise(short, DN, wrong).profile == alone.profile
    assert estimate_photo_noise(np.ones((4, 64, 64), np.float32), DN, true).profile == true


def test_what_a_file_states_of_a_dark_frame_has_a_floor_and_can_be_contradicted():
    clipped = quantised(dark(8.0)).clip(min=0)
    near = NoiseProfile(1e-4, (9 * DN) ** 2)
    assert estimate_photo_noise(clipped, DN, near).profile == near
    alone = estimate_photo_noise(clipped, DN).profile
    for times in (0.1, 10):
        wrong = NoiseProfile(1e-4, (8 * times * DN) ** 2)
        assert estimate_photo_noise(clipped, DN, wrong).profile == alone
    crushed = quantised(dark(8.0) - np.float32(25 * DN)).clip(min=0)
    found = estimate_photo_noise(crushed, DN, NoiseProfile(1e-4, 0.0)).profile
    assert found == pytest.approx((1e-4, DN**2 / 12))


@pytest.mark.parametrize("shape", [(4, 8, 8), (9, 8, 8), (4, 9, 40)])
def test_a_frame_without_a_whole_block_tells_nothing(shape):
    found = estimate_photo_noise(np.linspace(0, 1, np.prod(shape)).reshape(shape), DN)
    assert (found.gain_known, found.read_known, found.describe(1 / DN)) == (False, False, "")


@pytest.mark.parametrize("colours", [1, 3])
def test_a_dng_s_noise_profile_is_read_as_the_mean_of_its_colours(tmp_path, colours):
    pairs = [value for n in range(colours) for value in (1e-4 * (n + 1), 1e-7 * (n + 1))]
    make_raw(tmp_path / "a.dng", more_tags=[(NOISE_PROFILE, DOUBLE, len(pairs), tuple(pairs))])
    mean = (colours + 1) / 2
    assert read_raw(tmp_path / "a.dng").stated_noise == pytest.approx((1e-4 * mean, 1e-7 * mean))


@pytest.mark.parametrize("values", [(0.0, 0.0), (-1e-4, 1e-7), (np.nan, 1e-7), (1e-4,), (1e9, 1.0)])
def test_a_noise_profile_that_makes_no_sense_is_ignored(tmp_path, values):
    make_raw(tmp_path / "a.dng", more_tags=[(NOISE_PROFILE, DOUBLE, len(values), values)])
    assert read_raw(tmp_path / "a.dng").stated_noise is None
