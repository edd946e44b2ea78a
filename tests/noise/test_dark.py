"""Dark frames: what they show exactly, what of it is noise, and what is no dark frame."""

import numpy as np
import pytest

from ledcli.noise.dark import DarkMeasurement, fitting
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import estimate_photo_noise
from ledcli.sensor.cfa import Phase

SHAPE = (256, 384)
DN = 1 / 15871
OFFSETS = np.array([-2.25, 0.5, 1.0, 3.5])[:, None, None]


def planes_of(dn):
    """Return planes in DN above black as float32 for white - black = 1."""
    h, w = (n // 2 for n in SHAPE)
    return (np.broadcast_to(dn, (4, h, w)) * DN).astype(np.float32)


def measure(frames):
    measurement = DarkMeasurement(Phase.RGGB, SHAPE, DN)
    for frame in frames:
        assert measurement.add(planes_of(frame)) == ""
    return measurement.result()


def left(dark, pattern):
    """Return what is left of a pattern in DN."""
    planes = planes_of(pattern)
    dark.correct(planes)
    return planes / DN


def patterns(seed=0):
    """Return whole DN of columns, rows and pixels."""
    rng = np.random.default_rng(seed)
    h, w = (n // 2 for n in SHAPE)
    sizes = (4, 1, w), (4, h, 1), (4, h, w)
    return [rng.integers(-6, 7, size).astype(float) for size in sizes]


def test_one_frame_without_noise_gives_offsets_and_columns_exactly():
    columns, _, _ = patterns()
    pattern = OFFSETS + columns
    dark = measure([pattern])
    assert np.abs(left(dark, pattern)).max() < 1e-3
    assert dark.read_variance < (0.01 * DN) ** 2
    assert dark.pixels is None and not len(dark.hot)


def test_two_frames_without_noise_give_rows_and_pixels_too():
    columns, rows, pixels = patterns()
    pattern = OFFSETS + columns + rows
    assert np.abs(left(measure([pattern, pattern + 1e-3]), pattern)).max() < 2e-3
    pattern = pattern + pixels
    dark = measure([pattern, pattern + 1e-3])
    step = dark.step / DN
    assert step < 0.2 and np.abs(left(dark, pattern)).max() <= 0.51 * step + 2e-3


def test_a_copy_of_a_frame_counts_once():
    (frame,) = shots(1)
    dark = measure([frame, frame])
    assert dark.frames == 1 and dark.read_variance**0.5 / DN == pytest.approx(6, rel=0.03)


def test_rows_of_one_frame_are_left_as_they_may_be_its_noise():
    _, rows, _ = patterns()
    noise = np.random.default_rng(1).normal(0, 3, (4, *(n // 2 for n in SHAPE)))
    dark = measure([OFFSETS + rows + noise])
    assert not dark.rows.any()
    assert np.abs(dark.smooth.mean((1, 2)) / DN - OFFSETS.ravel() - rows.mean((1, 2))).max() < 0.1


def shots(count, *, sigma=6.0, row=2.0, fixed=0.0, seed=5):
    rng = np.random.default_rng(seed)
    h, w = (n // 2 for n in SHAPE)
    for _ in range(count):
        rows = rng.normal(0, row, (4, h, 1))
        yield fixed + OFFSETS + rows + rng.normal(0, sigma, (4, h, w))


def test_more_frames_leave_less_of_the_pattern_and_never_add_noise():
    columns, _, _ = patterns()
    pixels = np.random.default_rng(2).normal(0, 3, (4, *(n // 2 for n in SHAPE)))
    fixed = columns + pixels
    remaining = []
    for count in (1, 2, 8):
        dark = measure(shots(count, fixed=fixed))
        assert dark.frames == count and (dark.pixels is None) == (count == 1)
        remaining.append(left(dark, fixed + OFFSETS).std())
        (fresh,) = shots(1, fixed=fixed, row=0.0, seed=77)
        assert dark.read_variance**0.5 / DN == pytest.approx(left(dark, fresh).std(), rel=0.03)
    # Wiener: 3 sqrt(1 - w), w = 9 / (9 + 36 / N).
    assert remaining[0] == pytest.approx(3.0, abs=0.2)
    assert remaining[1] == pytest.approx(3 * (1 - 9 / 27) ** 0.5, abs=0.2)
    assert remaining[2] == pytest.approx(3 * (1 - 9 / 13.5) ** 0.5, abs=0.15)


def test_of_a_camera_without_patterns_nearly_nothing_is_subtracted():
    for count in (1, 4):
        dark = measure(shots(count))
        assert left(dark, OFFSETS).std() < 0.3 and dark.pixels is None


def test_hot_pixels_are_found_and_mended():
    (frame,) = shots(1)
    hot = np.zeros(frame.shape, np.bool_)
    hot.reshape(-1)[np.random.default_rng(3).choice(hot.size, 50, replace=False)] = True
    dark = measure([frame + 400 * hot])
    assert set(np.flatnonzero(hot)) <= set(dark.hot.tolist()) and len(dark.hot) < 60
    light = np.full(frame.shape, 1000.0)
    assert np.abs(left(dark, light + 400 * hot + OFFSETS) - 1000)[hot].max() < 10


def test_only_a_pattern_of_the_same_size_and_phase_fits():
    dark = measure([OFFSETS + patterns()[0]])
    assert fitting([dark], Phase.RGGB, SHAPE) is dark
    assert fitting([dark], Phase.GRBG, SHAPE) is None
    assert fitting([dark], Phase.RGGB, (254, 384)) is None


def scene():
    """A picture a hundred times too dark: 12 DN on average."""
    rng = np.random.default_rng(8)
    h, w = (n // 2 for n in SHAPE)
    light = np.kron(rng.uniform(0, 24, (h // 16, w // 16)), np.ones((16, 16)))
    return np.pad(light, [(0, n - m) for n, m in zip((h, w), light.shape, strict=True)], "edge")


@pytest.mark.parametrize(
    ("light", "why"),
    [
        (np.float64(200), "white from black"),
        (np.linspace(-60, 60, SHAPE[1] // 2), "light leaked in"),
        (scene(), "shows a picture"),
    ],
)
def test_what_shows_light_is_no_dark_frame(light, why):
    (frame,) = shots(1, sigma=3.0)
    assert why in DarkMeasurement(Phase.RGGB, SHAPE, DN).add(planes_of(frame + light))


def test_noise_that_is_cut_off_at_black_does_not_tell_black():
    (frame,) = shots(1)
    why = DarkMeasurement(Phase.RGGB, SHAPE, DN).add(planes_of(frame.clip(0)))
    assert "cuts noise off at black" in why
    # By colour: the others have other values.
    coloured = frame.clip(0) + np.array([0, 1, 2, 3])[:, None, None]
    assert "cuts noise off" in DarkMeasurement(Phase.RGGB, SHAPE, DN).add(planes_of(coloured))
    quiet = measure([(frame > OFFSETS).astype(float)])
    assert np.abs(left(quiet, np.full((4, 1, 1), 0.5))).mean() < 0.1


def test_strong_smooth_shading_is_no_light_and_is_corrected():
    h, w = (n // 2 for n in SHAPE)
    y, x = np.mgrid[:h, :w] / (h, w)[0]
    shading = 12 * np.sin(3 * x) * np.cos(2 * y)
    dark = measure(shots(2, fixed=shading))
    assert left(dark, shading + OFFSETS).std() < 0.15 * shading.std()


def test_the_read_variance_of_dark_frames_goes_before_the_estimate():
    rng = np.random.default_rng(4)
    h, w = (n // 2 for n in SHAPE)
    signal = np.linspace(20, 60, w) + np.zeros((4, h, 1))
    noisy = planes_of(rng.normal(signal, (4 * signal + 36.0) ** 0.5))
    read = 36.0 * DN**2
    found = estimate_photo_noise(noisy, DN, None, read)
    assert found.profile.read_variance == pytest.approx(read, rel=0.02) and found.read_known
    assert found.profile.gain == pytest.approx(4 * DN, rel=0.1)
    assert isinstance(found.profile, NoiseProfile) and found.black == 0
