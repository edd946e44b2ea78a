import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledcli.errors import OutputError
from ledcli.output.pixels import black_levels, quantise
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import PHASES, Phase, pattern
from tests.shoot import make_raw

BLACK = np.array([2000, 2050, 1900, 2100])


def test_the_pedestal_follows_the_camera_and_has_a_limit(tmp_path):
    path = tmp_path / "a.dng"
    make_raw(path, black=2048, bits=14)
    photo = read_raw(path)
    x = photo.normalised()
    assert black_levels(photo, x)[0] == pytest.approx(2048 / 16383 * 65535, abs=1)
    assert black_levels(photo, x - 50)[0] == 16384


@given(
    st.sampled_from([*PHASES["bayer"], *PHASES["xtrans"]]), st.integers(2, 70), st.integers(2, 70)
)
def test_values_become_the_nearest_dn_and_stop_at_both_ends(phase, height, width):
    black = BLACK if phase in list(Phase) else np.linspace(1900, 2100, 9).astype(int)
    x = np.random.default_rng(height).uniform(-0.2, 1.2, (height, width)).astype(np.float32)
    white = np.full(len(black), 65535)
    plane = np.tile(pattern(phase), (70 // 2, 70 // 2))[:height, :width]
    exact = (x * (white - black)[plane] + black[plane]).clip(0, 65535)
    mosaic = quantise(x, phase, black)
    assert mosaic.dtype == np.uint16
    assert np.abs(mosaic - exact).max() < 0.51


def test_whole_dn_stay_what_they_were_in_a_large_mosaic():
    dn = np.arange(1500 * 1000, dtype=np.int64).reshape(1500, 1000) % 65536
    black = np.full(4, 2048)
    x = ((dn - 2048) / (65535 - 2048)).astype(np.float32)
    np.testing.assert_array_equal(quantise(x, Phase.RGGB, black), dn)


@pytest.mark.parametrize("headroom", [1.5, 30.0])
def test_with_headroom_rounding_goes_both_ways_in_proportion(headroom):
    step = headroom / (65535 - 2048)
    for part in (0.1, 0.5, 0.8):
        x = np.full((600, 800), (100 + part) * step, np.float32)
        mosaic = quantise(x, Phase.BGGR, np.full(4, 2048), headroom=headroom)
        assert set(np.unique(mosaic)) == {2148, 2149}
        assert mosaic.mean() == pytest.approx(2148 + part, abs=0.01)
        # No pattern: neither rows nor columns stand out.
        for axis in (0, 1):
            assert mosaic.mean(axis=axis).std() < 1.2 * 0.5 / np.sqrt(600)


@pytest.mark.parametrize("row", [0, 1, 599])
@pytest.mark.parametrize("headroom", [1.0, 2.0])
def test_one_value_that_is_no_number_is_found_and_infinite_ones_are_ends(row, headroom):
    x = np.zeros((600, 800), np.float32)
    x[row, 1:3] = np.inf, -np.inf
    mosaic = quantise(x, Phase.GRBG, BLACK, headroom=headroom)
    assert mosaic[row, 1:3].tolist() == [65535, 0]
    x[row, 5] = np.nan
    with pytest.raises(OutputError, match="not numbers"):
        quantise(x, Phase.GRBG, BLACK, headroom=headroom)
