import numpy as np
import pytest

from ledcli.inference.blending import BLEND_FROM, BLEND_TO, headroom_of, keep_highlights

RATIO = 10.0


def ramp(highest, rows=24, cols=400):
    """A smooth ramp of light (4, rows, cols) from 0 to `highest`, white at 1 after the gain."""
    light = np.linspace(0, highest, cols, dtype=np.float32)
    return np.broadcast_to(light, (4, rows, cols)).copy()


def cut(light):
    """What a network gives that never saw more than white."""
    return np.minimum(light, 1)


def softly_cut(light):
    """What a network gives that bends before white."""
    return (light / (1 + np.maximum(light, 0) ** 6) ** (1 / 6)).astype(np.float32)


@pytest.mark.parametrize("network", [cut, softly_cut])
def test_a_ramp_stays_a_ramp_through_the_blend(network):
    light = ramp(4.0)
    kept = keep_highlights(network(light), light / RATIO, RATIO)
    assert (np.diff(kept, axis=2) > 0).all()
    assert np.abs(kept - light).max() < 0.12
    assert kept[:, :, -1] == pytest.approx(4.0)


def test_what_is_below_white_is_untouched_bit_for_bit():
    rng = np.random.default_rng(0)
    light = ramp(4.0)
    noisy = (light / RATIO + rng.normal(0, 0.01, light.shape)).astype(np.float32)
    clean = cut(light)
    kept = keep_highlights(clean, noisy, RATIO)
    below = light[0, 0] < BLEND_FROM - 0.05
    assert np.array_equal(kept[:, :, below], clean[:, :, below])
    assert not np.array_equal(kept, clean)


def test_what_is_past_white_is_the_photos_own():
    light = ramp(4.0)
    noisy = light / RATIO
    kept = keep_highlights(cut(light), noisy, RATIO)
    above = light[0, 0] >= BLEND_TO
    assert kept[:, :, above] == pytest.approx(light[:, :, above], rel=1e-6)


def test_the_smallest_lamp_is_kept():
    light = np.full((4, 40, 40), 0.05, np.float32)
    light[:, 20, 20] = 6
    kept = keep_highlights(cut(light), light / RATIO, RATIO)
    assert kept[:, 20, 20] == pytest.approx(6)
    around = np.s_[:, 10:31, 10:31]
    outside = np.ones((40, 40), bool)
    outside[around[1:]] = False
    assert np.array_equal(kept[:, outside], light[:, outside])


def test_a_neutral_lamp_has_no_cast_from_its_edge_to_its_middle():
    """White is 0.5, 1, 0.6, 1 to the camera; the gain pushes green past white first."""
    neutral = np.array([0.5, 1, 0.6, 1], np.float32)[:, None, None]
    lamp = ramp(8.0) * neutral
    kept = keep_highlights(cut(lamp), lamp / RATIO, RATIO)
    balanced = kept[:, :, 1:] / neutral
    assert balanced.max(0) == pytest.approx(balanced.min(0), rel=0.02)


def test_a_lamp_that_the_sensor_clips_is_white_in_every_plane():
    lamp = np.full((4, 32, 32), 0.01, np.float32)
    # Sensors overshoot their white a little, each colour as it likes.
    lamp[:, 8:24, 8:24] = np.array([1.0, 1.02, 1.01, 1.03], np.float32)[:, None, None]
    kept = keep_highlights(cut(lamp * RATIO), lamp, RATIO)
    assert (kept[:, 10:22, 10:22] == RATIO).all()
    assert headroom_of(kept) == RATIO


def test_noise_left_in_the_denoised_photo_does_not_choose():
    """Grey just below the blend, with grain in it: cells are taken in areas, not one by one."""
    rng = np.random.default_rng(0)
    clean = (0.75 + rng.normal(0, 0.02, (4, 64, 64))).astype(np.float32)
    noisy = ((0.75 + rng.normal(0, 0.2, clean.shape)) / RATIO).astype(np.float32)
    kept = keep_highlights(clean, noisy, RATIO)
    assert np.abs(kept - clean).std() < 0.02 * np.abs(noisy * RATIO - clean).std()


def test_without_a_gain_nothing_is_pushed_past_white():
    light = ramp(1.2)
    assert keep_highlights(light, light, 1.0) is light


def test_a_photo_without_highlights_is_not_copied():
    light = ramp(0.7)
    assert keep_highlights(light, light / RATIO, RATIO) is light


def test_bands_leave_no_seam():
    """Lying, the ramp is worked on in one band, standing, in three."""
    lying = ramp(3.0, rows=40, cols=700)
    standing = np.ascontiguousarray(lying.transpose(0, 2, 1))
    kept = keep_highlights(cut(standing), standing / RATIO, RATIO)
    assert np.array_equal(
        kept.transpose(0, 2, 1), keep_highlights(cut(lying), lying / RATIO, RATIO)
    )


def test_headroom_is_what_white_must_cover():
    assert headroom_of(ramp(0.7)) == 1
    assert headroom_of(ramp(3.5)) == 3.5


def test_a_network_that_saw_more_keeps_what_it_gives_up_to_there():
    light = ramp(RATIO)
    noisy = light / RATIO + 0.01
    kept = keep_highlights(light, noisy, RATIO, reliable_to=RATIO)
    known = light[0, 0] < BLEND_FROM * RATIO - 0.5
    assert np.array_equal(kept[:, :, known], light[:, :, known])
    top = light[0, 0] >= BLEND_TO * RATIO
    assert kept[:, :, top] == pytest.approx(np.minimum(noisy, 1)[:, :, top] * RATIO)
