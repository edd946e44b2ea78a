import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledcli.metadata.tiff import Directory
from ledcli.output.dng import put_tiles

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


def _tiles(samples):
    """Compress an image; returns the tiles' width, height and bytes."""
    ifd = Directory()
    put_tiles(ifd, samples)
    assert ifd.tiled and ifd.fields[259].words() == (7,)
    return int(ifd.fields[322].words()[0]), int(ifd.fields[323].words()[0]), ifd.strips


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_tile_of_any_content_comes_back(kind):
    samples = _samples(kind, (256, 2048))
    width, height, (tile,) = _tiles(samples)
    assert (width, height) == (2048, 256)
    np.testing.assert_array_equal(_decoded(tile, samples.shape), samples)


def test_the_header_says_two_components_predictor_one_and_sixteen_bits():
    _, _, (jpeg,) = _tiles(_samples("noise", (32, 48)))
    assert jpeg.startswith(b"\xff\xd8\xff\xc3\x00\x0e\x10\x00\x20\x00\x18\x02")
    scan = jpeg.index(b"\xff\xda")
    assert jpeg[scan + 2 : scan + 12] == b"\x00\x0a\x02\x00\x00\x01\x00\x01\x00\x00"
    assert jpeg.endswith(b"\xff\xd9")


@given(st.integers(32, 200), st.integers(32, 200), st.booleans(), st.sampled_from(KINDS))
@settings(max_examples=60)
def test_tiles_cover_the_picture_and_hold_it(height, width, coloured, kind):
    shape = (height, width, 3) if coloured else (height, width)
    samples = _samples(kind, shape)
    tile_width, tile_height, tiles = _tiles(samples)
    # Readers misread a tile wider than the image; TIFF wants multiples of 16.
    assert tile_width <= width and tile_height <= height
    assert tile_width % 16 == tile_height % 16 == 0
    across, down = -(-width // tile_width), -(-height // tile_height)
    assert len(tiles) == across * down
    whole = np.empty((down * tile_height, across * tile_width, *shape[2:]), np.uint16)
    for number, blob in enumerate(tiles):
        top, left = number // across * tile_height, number % across * tile_width
        part = whole[top : top + tile_height, left : left + tile_width]
        part[...] = _decoded(blob, part.shape)
    np.testing.assert_array_equal(whole[:height, :width], samples)


def test_a_photograph_takes_many_tiles_of_little_waste():
    width, height, tiles = _tiles(np.zeros((2001, 9001), np.uint16))
    assert len(tiles) > 8
    across, down = -(-9001 // width), -(-2001 // height)
    assert across * width * down * height < 1.05 * 9001 * 2001


def test_a_smooth_mosaic_of_four_levels_becomes_smaller():
    mosaic = _samples("ramp", (256, 256)) // 64
    mosaic[::2, ::2] += 20000
    mosaic[1::2, 1::2] += 9000
    assert sum(map(len, _tiles(mosaic)[2])) < 0.2 * mosaic.nbytes
