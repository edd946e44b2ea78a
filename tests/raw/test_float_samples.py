import zlib

import numpy as np
import pytest
import tifffile

from ledcli.metadata.tiff import Directory, FieldType, serialise
from ledcli.raw.dng import read_float_samples, to_whole_numbers
from ledcli.raw.reader import read_raw
from ledcli.sensor.levels import Levels
from tests.shoot import make_raw, scene

SHAPE = (70, 90)
SAMPLES = np.float32(np.random.default_rng(0).normal(0.2, 0.3, SHAPE))
DEFLATE = {"compression": "zlib", "predictor": 3}


def _half(samples):
    return samples.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stored", [{}, {"rowsperstrip": 16}, {"tile": (32, 64)}, DEFLATE])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_samples_come_back_as_written(tmp_path, order, stored, kind):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SAMPLES.astype(kind), byteorder=order, metadata=None, **stored)
    data = path.read_bytes()
    found = read_float_samples(data, Directory.first(data), SHAPE)
    np.testing.assert_array_equal(found, SAMPLES.astype(kind).astype(np.float32))


def _bytes_of(samples, bits):
    """Big-endian bytes (H, W, n) of floats; of 24 bits the sign, 7 bits and 16 bits."""
    if bits != 24:
        kind = f">f{bits // 8}"
        return samples.astype(kind).view(np.uint8).reshape(*samples.shape, -1)
    word = samples.view(np.uint32)
    sign, exponent, fraction = word >> 31, (word >> 23) & 255, (word >> 7) & 0xFFFF
    small = np.where(exponent > 0, sign << 23 | (exponent - 64) << 16 | fraction, 0)
    return small.astype(">u4").view(np.uint8).reshape(*samples.shape, 4)[..., 1:]


def _written(samples, bits, step):
    """A tile as DNG's floating-point predictors leave it; `step` 0 is none."""
    plain = np.ascontiguousarray(_bytes_of(samples, bits))
    if not step:
        return zlib.compress(plain[..., ::-1].tobytes())
    rows = plain.transpose(0, 2, 1).reshape(len(samples), -1)
    rows[:, step:] = rows[:, step:] - rows[:, :-step]
    return zlib.compress(rows.tobytes())


@pytest.mark.parametrize(("step", "predictor"), [(0, 1), (1, 3), (2, 34894), (4, 34895)])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_every_predictor_and_width(bits, step, predictor):
    samples = np.float32(np.round(SAMPLES * 4096) / 4096)  # exact in 24 bits
    samples = np.pad(_half(samples) if bits == 16 else samples, ((0, 0), (0, 6)))
    directory = Directory(strips=[_written(samples, bits, step)], tiled=True)
    for tag, value in ((258, bits), (259, 8), (317, predictor), (322, 96), (323, 70)):
        directory.set(tag, FieldType.LONG, value)
    data = serialise(directory)
    found = read_float_samples(data, Directory.first(data), SHAPE)
    np.testing.assert_array_equal(found, samples[:, :90])


def test_what_cannot_be_read_is_named(tmp_path):
    directory = Directory(strips=[zlib.compress(bytes(100))])
    directory.set(258, FieldType.SHORT, 32)

    def why(**tags):
        for tag, value in tags.items():
            directory.set(int(tag[1:]), FieldType.LONG, value)
        data = serialise(directory)
        with pytest.raises(ValueError) as caught:
            read_float_samples(data, Directory.first(data), SHAPE)
        return str(caught.value)

    assert "missing" in why(_259=8)
    assert "compression 52546" in why(_259=52546)
    assert "64 bits" in why(_258=64)
    assert "make up" in why(_278=8)
    assert "no possible size" in why(_278=0)


@pytest.mark.parametrize(
    ("black", "white", "brightest"), [(0, 1, 1), (0, 1, 4), (512, 16383, 1), (0, 60000, 1)]
)
def test_a_float_raw_is_as_bright_as_its_white_level_says(tmp_path, black, white, brightest):
    """LibRaw takes the brightest sample for white, and clips noise at 0."""
    path = tmp_path / "a.dng"
    x = scene((128, 160)) / 0.6 * 0.5
    x[:40] = np.random.default_rng(1).normal(0, 0.02, (40, 160))
    x[100:110, 20:30] = brightest
    samples = np.float32(black + x * (white - black))
    make_raw(path, mosaic=samples, black=black, white=white)
    photo = read_raw(path)
    shown = np.clip(x, None, 1.25)
    np.testing.assert_allclose(photo.normalised(), shown, atol=1e-4)
    assert photo.normalised()[:40].mean() == pytest.approx(x[:40].mean(), abs=1e-5)
    assert photo.mosaic.dtype == np.uint16 and photo.bits == 16


def test_samples_that_are_no_numbers_do_not_decide_the_scale():
    samples = np.float32([[0.1, np.inf, -np.inf, 0.9]])
    levels = Levels(np.zeros(4, np.float32), np.ones(4, np.float32))
    dn, levels = to_whole_numbers(samples, levels)
    black, white = levels.black[0], levels.white[0]
    np.testing.assert_allclose((dn - black) / (white - black), [[0.1, 1.25, -0.25, 0.9]], atol=2e-5)
