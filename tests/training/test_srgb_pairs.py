"""Pairs with their pictures: every pixel of a crop is where it belongs, however it is flipped."""

import numpy as np
import pytest

from ledcli.errors import PairError
from ledcli.noise.camera_profile import CameraNoiseProfile, DarkShading
from ledcli.output.render import develop_mosaic
from ledcli.sensor.cfa import PHASES, STANDARD_PHASE, Phase, colour_pattern, pattern, unpack
from ledcli.sensor.symmetry import Flip
from ledcli.training.data.pairs import VALIDATION_PER_PAIR
from ledcli.training.methods.sid import SrgbCollector, SrgbPair, SrgbPairs
from tests.shoot import MONO
from tests.training.shoots import photos_of, shoot_pair

SOME_PHASES = [*Phase, *PHASES["xtrans"][::4]]
SHAPE, HELD = (150, 171), 59
FLIPS = [Flip(bool(n & 1), bool(n & 2), bool(n & 4)) for n in range(8)]


def numbered(phase):
    """Make a pair whose mosaic shows each pixel's colour, and whose picture its place."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    cell = pattern(phase)
    colours = np.array(phase.layout.colours)[cell]
    mosaic = colours[rows % len(cell), cols % len(cell)] + (rows * 3 + cols) % 512 / 512
    picture = np.stack([rows, cols, rows + cols], 2).astype(np.uint16)
    return SrgbPair(mosaic.astype(np.float16), phase, picture, picture[-HELD:], 100.0)


def lines_of(photo, black):
    """Make lines by which black is off by so much in every plane."""
    grid = np.full((len(photo.black), 1, 1), black, np.float32)
    shape = photo.planes().shape[1:]
    return CameraNoiseProfile(
        (400.0,), (1.0, -12.0), (0.0, -14.0), (DarkShading(400.0, grid),), shape
    )


def check(pair, planes, picture):
    """Each sample of the planes is that of the mosaic at the place which the picture names."""
    first = STANDARD_PHASE[pair.phase.layout.name]
    mosaic = unpack(planes, first, picture.shape[:2])
    rows, cols = picture[..., 0].astype(int), picture[..., 1].astype(int)
    np.testing.assert_array_equal(mosaic, pair.mosaic[rows, cols])
    period = len(pattern(first))
    expected = colour_pattern(first)
    shown = np.floor(mosaic[:period, :period]).astype(int)
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("phase", SOME_PHASES)
def test_a_flipped_crop_is_of_the_same_sensor_and_its_picture_is_flipped_with_it(phase):
    pair = numbered(phase)
    for number, flip in enumerate(FLIPS):
        planes, picture = pair.cut(2 + number % 3, 5 - number % 2, 16, flip)
        assert planes.shape == (phase.layout.planes, 16, 16)
        check(pair, planes, picture)


@pytest.mark.parametrize("phase", SOME_PHASES)
def test_drawn_crops_stay_clear_of_the_validation_windows(phase):
    pair, rng = numbered(phase), np.random.default_rng(0)
    seen = []
    for _ in range(40):
        planes, picture = pair.draw(rng, 16)
        check(pair, planes, picture)
        assert picture[..., 0].max() < SHAPE[0] - HELD
        seen.append(tuple(picture[0, 0]))
    assert len(set(seen)) > 30
    planes, picture = pair.draw(rng, pair.side)
    check(pair, planes, picture)


@pytest.mark.parametrize("phase", SOME_PHASES)
def test_validation_windows_lie_in_the_last_rows_and_are_the_same_in_the_noisy_picture(phase):
    pair = numbered(phase)
    windows = pair.validation_windows()
    assert 1 <= len(windows) <= VALIDATION_PER_PAIR
    for planes, picture, noisy in windows:
        check(pair, planes, picture)
        np.testing.assert_array_equal(picture, noisy)
        assert picture[..., 0].min() >= SHAPE[0] - HELD


@pytest.mark.parametrize("phase", ["RGGB", "GBRG", (2, 4)])
def test_a_pair_as_it_is_read(tmp_path, phase):
    short, long = photos_of(shoot_pair(tmp_path, "a", 400, 20, 1, phase=phase))
    collector = SrgbCollector(1)
    collector(short, long, 20.0, 400.0)
    (pair,) = collector.pairs(lines_of(short, 0.01)).pairs
    np.testing.assert_allclose(pair.mosaic, short.normalised() - 0.01, atol=2e-3)
    np.testing.assert_array_equal(pair.picture, develop_mosaic(long, long.normalised()))
    noisy = develop_mosaic(short, short.normalised() * np.float32(20))
    np.testing.assert_array_equal(pair.noisy, noisy[-len(pair.noisy) :])
    assert pair.phase == short.phase and pair.validation_side % 16 == 0


def test_of_a_large_frame_the_middle_rows_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("ledcli.training.methods.sid.MAX_PIXELS", 2 * 151 * 320)
    short, long = photos_of(shoot_pair(tmp_path, "a", 400, 20, 1))
    collector = SrgbCollector(2)
    collector(short, long, 20.0, 400.0)
    (pair,) = collector.pairs(lines_of(short, 0.0)).pairs
    top = (256 - 151) // 2
    assert pair.mosaic.shape == (151, 320) and pair.picture.shape == (151, 320, 3)
    kept = short.normalised()[top : top + 151]
    np.testing.assert_allclose(pair.mosaic, kept, atol=2e-3)
    assert pair.phase == (Phase.RGGB if top % 2 == 0 else Phase.GBRG)


def test_frames_that_are_too_small_are_refused(tmp_path):
    short, long = photos_of(shoot_pair(tmp_path, "a", 400, 20, 1, shape=(100, 200)))
    with pytest.raises(PairError, match="too few"):
        SrgbCollector(1)(short, long, 20.0, 400.0)


def test_monochrome_frames_are_refused(tmp_path):
    short, long = photos_of(shoot_pair(tmp_path, "a", 400, 20, 1, phase=MONO))
    with pytest.raises(PairError, match="monochrome"):
        SrgbCollector(1)(short, long, 20.0, 400.0)


def test_a_batch_has_planes_and_pictures_of_every_pair():
    pairs = tuple(numbered(phase) for phase in Phase)
    batch = SrgbPairs(pairs).batch(np.random.default_rng(0), 6, 16)
    assert batch.x.shape == (6, 4, 16, 16) and batch.clean.shape == (6, 3, 32, 32)
    assert batch.ratio.tolist() == [100.0] * 6
    assert batch.clean.min() >= 0 and batch.clean.max() <= 1
