import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.output.ljpeg import ljpeg_bytes, ljpeg_tiles

KINDS = ("noise", "black", "white", "black or white", "half steps", "ramp")


def _samples(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    flat = {
        "noise": lambda: rng.integers(0, 65536, size),
        "black": lambda: np.zeros(size),
        "white": lambda: np.full(size, 65535),
        "black or white": lambda: rng.integers(0, 2, size) * 65535,
        # A difference of exactly 32,768 is the one that T.81 codes without extra bits.
        "half steps": lambda: rng.integers(0, 2, size) * 32768,
        "ramp": lambda: np.arange(size) % 65536,
    }[kind]()
    return flat.astype(np.uint16).reshape(shape)


def _decoded(jpeg, shape):
    return imagecodecs.jpeg8_decode(jpeg).reshape(shape)


@given(
    st.sampled_from(KINDS),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
def test_another_decoder_gives_every_sample_back(kind, components, height, width, seed):
    samples = _samples(kind, (height, width * components), seed)
    np.testing.assert_array_equal(
        _decoded(ljpeg_bytes(samples, components), samples.shape), samples
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_tile_of_any_content_comes_back(kind):
    samples = _samples(kind, (256, 2048))
    np.testing.assert_array_equal(_decoded(ljpeg_bytes(samples, 2), samples.shape), samples)


def test_the_header_says_two_components_predictor_one_and_sixteen_bits():
    jpeg = ljpeg_bytes(_samples("noise", (6, 20)), 2)
    assert jpeg.startswith(b"\xff\xd8\xff\xc3\x00\x0e\x10\x00\x06\x00\x0a\x02")
    scan = jpeg.index(b"\xff\xda")
    assert jpeg[scan + 2 : scan + 12] == b"\x00\x0a\x02\x00\x00\x01\x00\x01\x00\x00"
    assert jpeg.endswith(b"\xff\xd9")


@pytest.mark.parametrize("shape", [(4, 7), (0, 4), (65536, 2), (1, 131072 + 2)])
def test_what_a_jpeg_cannot_hold_is_refused(shape):
    with pytest.raises(ValueError, match="no picture"):
        ljpeg_bytes(np.zeros(shape, np.uint16), 2)


@given(
    st.integers(32, 200), st.integers(32, 200), st.booleans(), st.sampled_from(("noise", "ramp"))
)
@settings(max_examples=60, deadline=None)
def test_tiles_cover_the_picture_and_hold_it(height, width, coloured, kind):
    shape = (height, width, 3) if coloured else (height, width)
    samples = _samples(kind, shape)
    tiles = ljpeg_tiles(samples)
    # Readers wrap a tile wider than the picture; TIFF wants multiples of 16.
    assert tiles.width <= width and tiles.length <= height
    assert tiles.width % 16 == tiles.length % 16 == 0
    across, down = -(-width // tiles.width), -(-height // tiles.length)
    assert len(tiles.blobs) == across * down
    whole = np.empty((down * tiles.length, across * tiles.width, *shape[2:]), np.uint16)
    for number, blob in enumerate(tiles.blobs):
        top, left = number // across * tiles.length, number % across * tiles.width
        part = whole[top : top + tiles.length, left : left + tiles.width]
        part[...] = _decoded(blob, part.shape)
    np.testing.assert_array_equal(whole[:height, :width], samples)


def test_a_photograph_takes_many_tiles_of_little_waste():
    tiles = ljpeg_tiles(np.zeros((2001, 9001), np.uint16))
    assert len(tiles.blobs) > 8
    across, down = -(-9001 // tiles.width), -(-2001 // tiles.length)
    assert across * tiles.width * down * tiles.length < 1.05 * 9001 * 2001


def test_a_smooth_mosaic_of_four_levels_becomes_smaller():
    mosaic = _samples("ramp", (256, 256)) // 64
    mosaic[::2, ::2] += 20000
    mosaic[1::2, 1::2] += 9000
    assert sum(map(len, ljpeg_tiles(mosaic).blobs)) < 0.2 * mosaic.nbytes
