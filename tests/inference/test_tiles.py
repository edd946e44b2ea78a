import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.inference.tiles import tiled, windows

MULTIPLES = st.sampled_from([1, 2, 8, 16])


@settings(max_examples=200)
@given(
    blocks=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    tile=st.integers(64, 700),
    halo=st.integers(0, 96),
    multiple=MULTIPLES,
)
def test_the_windows_cover_every_pixel_once(blocks, tile, halo, multiple):
    rows, cols = (n * multiple for n in blocks)
    covered, sizes = np.zeros((rows, cols), int), set()
    for (y0, y1, x0, x1), (top, bottom, left, right) in windows(rows, cols, tile, halo, multiple):
        covered[top:bottom, left:right] += 1
        sizes.add((y1 - y0, x1 - x0))
        # Pooling sees the whole frame's grid.
        assert all(n % multiple == 0 for n in (y0, y1, x0, x1, top, bottom, left, right))
        # A halo all round, but for the frame's border.
        assert y0 <= max(top - halo, 0) and y1 >= min(bottom + halo, rows)
        assert x0 <= max(left - halo, 0) and x1 >= min(right + halo, cols)
        assert y0 >= 0 and x0 >= 0 and y1 <= rows and x1 <= cols
        # No larger than asked for, but for the rounding.
        most = tile + 2 * (halo + multiple) + multiple
        assert y1 - y0 <= most and x1 - x0 <= most
    assert (covered == 1).all()
    assert len(sizes) == 1


def test_windows_are_no_larger_than_the_frame_needs():
    # Two halves that reach over the middle by a halo each.
    found = [
        (y0, y1, top, bottom)
        for (y0, y1, _, _), (top, bottom, _, _) in windows(640, 64, 448, 32, 16)
    ]
    assert found == [(0, 352, 0, 320), (288, 640, 320, 640)]


def blur(window):
    """A function of a neighbourhood of 6 pixels, on the grid of pooling by 4."""
    kernel = torch.ones(3, 1, 5, 5) / 25
    pooled = F.interpolate(F.max_pool2d(window, 4), scale_factor=4)
    return F.conv2d(window, kernel, padding=2, groups=3) + 0.5 * pooled


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile=st.integers(16, 128),
    fade=st.integers(0, 24),
    seed=st.integers(0, 1000),
)
def test_tiles_give_what_the_whole_frame_gives(size, tile, fade, seed):
    torch.manual_seed(seed)
    frame = torch.randn(3, *size)
    whole = tiled(blur, frame, tile=1000, halo=8, multiple=4)
    assert whole.shape == frame.shape
    small = tiled(blur, frame, tile=tile, halo=8, multiple=4, fade=fade)
    torch.testing.assert_close(small, whole, atol=1e-6, rtol=1e-6)


def test_a_frame_of_full_blocks_is_not_padded():
    frame = torch.randn(3, 64, 96)
    direct = blur(frame[None])[0]
    torch.testing.assert_close(tiled(blur, frame, tile=32, halo=8, multiple=4), direct)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 17), (16, 16), (33, 5)])
def test_any_size_is_mirrored_to_full_blocks(size):
    seen = []

    def identity(window):
        seen.append(window.shape[2:])
        return window

    frame = torch.randn(2, *size)
    assert torch.equal(tiled(identity, frame, tile=64, halo=16, multiple=16), frame)
    assert all(n % 16 == 0 for shape in seen for n in shape)


def test_the_mirror_repeats_no_border_pixel():
    def second_last(window):
        return window.roll(-1, 3)  # what lies right of each pixel

    frame = torch.arange(5.0).reshape(1, 1, 5).expand(1, 8, 5).contiguous()
    out = tiled(second_last, frame, tile=64, halo=8, multiple=8)
    assert out[0, 0].tolist() == [1, 2, 3, 4, 3]


def test_the_frame_itself_is_left_alone():
    frame = torch.zeros(1, 20, 20)
    tiled(lambda window: window + 1, frame, tile=64, halo=0, multiple=16)
    assert not frame.any()
