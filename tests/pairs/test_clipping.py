import numpy as np
import pytest

from ledcli.pairs.similarity import CLIPPED, clipping_level


def frame(brightest):
    """Planes of a frame whose brightest tenth is at one value."""
    planes = np.random.default_rng(0).uniform(0, 0.5, (4, 20, 30)).astype(np.float32)
    planes[:, :2] = brightest
    return planes


@pytest.mark.parametrize("full", [0.88, 0.93, 0.97])
def test_a_sensor_that_saturates_below_white_is_clipped_there(full):
    planes = frame(full)
    level = clipping_level(planes)
    assert level <= full
    assert ((planes >= level).mean(), level) == pytest.approx((0.1, full), rel=0.01)


@pytest.mark.parametrize("brightest", [0.3, 0.6, 0.99, 1.0, 1.05])
def test_white_clips_in_any_case(brightest):
    assert clipping_level(frame(brightest)) == CLIPPED


def test_a_bright_unclipped_frame_loses_hardly_a_pixel():
    planes = np.linspace(0, 0.95, 4 * 20 * 30, dtype=np.float32).reshape(4, 20, 30)
    assert (planes >= clipping_level(planes)).mean() < 0.01
