import json
import math

import pytest
import torch

from ledcli.noise.cameras import (
    COLOUR_BIASES,
    MAKERS,
    VIRTUAL_GAIN,
    VIRTUAL_RANGES,
    calibrated_cameras,
    random_camera,
    virtual_cameras,
)
from tests.shoot import SHARED

CALIBRATIONS = SHARED / "cameras" / "eld_calibrations.json"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_cameras_with_a_public_calibration():
    cameras = calibrated_cameras()
    assert set(cameras) == {"SonyA7S2", "NikonD850", "CanonEOS700D", "CanonEOS70D"}
    for name, camera in cameras.items():
        assert camera.name == name
        low, high = camera.gain_range
        assert 0 < low < high
        assert len(camera.colour_bias) == (18 if name == "SonyA7S2" else 16)
        assert all(len(bias) == 4 for bias in camera.colour_bias)
        assert -0.25 < min(camera.tukey_lambdas) <= max(camera.tukey_lambdas) < 0.25
    # Two lambdas of this camera are the limit, the logistic.
    assert list(cameras["SonyA7S2"].tukey_lambdas).count(0) == 2
    assert {name for names in MAKERS.values() for name in names} == set(cameras)


@pytest.mark.skipif(not CALIBRATIONS.is_file(), reason="no ../shared/data/cameras here")
def test_the_figures_are_those_published():
    for name, entry in json.loads(CALIBRATIONS.read_text()).items():
        camera = calibrated_cameras()[name]
        profile = entry["Profile-1"]
        for line, key in ((camera.read, "G_scale"), (camera.row, "R_scale")):
            for figure in ("slope", "bias", "sigma"):
                assert getattr(line, figure) == pytest.approx(profile[key][figure], abs=1e-5)
        assert camera.gain_range == pytest.approx((entry["Kmin"], entry["Kmax"]), rel=1e-4)
        assert list(camera.tukey_lambdas) == pytest.approx(entry["G_shape"], abs=1e-5)
        flat = [value for bias in camera.colour_bias for value in bias]
        assert flat == pytest.approx([v for b in entry["color_bias"] for v in b], abs=1e-5)


def test_the_d850_has_its_first_profile():
    # Profile-2 of the published file is another measurement of the same camera.
    camera = calibrated_cameras()["NikonD850"]
    assert (camera.read.slope, camera.read.bias) == pytest.approx((0.477390, -0.090445))
    assert (camera.row.slope, camera.row.bias) == pytest.approx((0.448292, -1.797710))


def test_without_spread_a_frame_has_the_expected_scales():
    camera = calibrated_cameras()["NikonD850"]
    noise = camera.sample(3, generator(), gain=10.0, spread=False, colour_bias=False)
    assert noise.gain.tolist() == [10.0] * 3
    for drawn, line in ((noise.read, camera.read), (noise.row, camera.row)):
        expected = math.exp(line.slope * math.log(10) + line.bias)
        assert drawn.tolist() == pytest.approx([expected] * 3, rel=1e-5)
    assert noise.tukey_lambda.tolist() == pytest.approx(
        [sum(camera.tukey_lambdas) / len(camera.tukey_lambdas)] * 3
    )
    assert not noise.colour_bias.any()
    assert noise.step.tolist() == [1.0] * 3


def test_frames_spread_around_the_expected_scales_as_calibrated():
    camera = calibrated_cameras()["SonyA7S2"]
    noise = camera.sample(20_000, generator())
    low, high = (math.log(k) for k in camera.gain_range)
    place = (noise.gain.log() - low) / (high - low)
    assert float(place.min()) > -1e-4 and float(place.max()) < 1 + 1e-4
    assert float(place.mean()) == pytest.approx(0.5, abs=0.01)  # even in the logarithm
    for drawn, line in ((noise.read, camera.read), (noise.row, camera.row)):
        off = drawn.log() - line.slope * noise.gain.log() - line.bias
        assert float(off.std()) == pytest.approx(line.sigma, rel=0.03)
        assert abs(float(off.mean())) < 0.01
    biases = torch.tensor(camera.colour_bias)
    index = (place * (len(biases) - 1)).round().long().clamp(0, len(biases) - 1)
    assert (noise.colour_bias == biases[index]).all(1).float().mean() > 0.99


@pytest.mark.parametrize("count", [1, 5, 10])
def test_virtual_cameras_cover_every_range_evenly(count):
    cameras = virtual_cameras(count, seed=3)
    taken = {
        "read_slope": [c.read.slope for c in cameras],
        "read_bias": [c.read.bias for c in cameras],
        "read_sigma": [c.read.sigma for c in cameras],
        "shape": [c.tukey_lambdas[0] for c in cameras],
        "row_slope": [c.row.slope for c in cameras],
        "row_bias": [c.row.bias for c in cameras],
        "row_sigma": [c.row.sigma for c in cameras],
    }
    for name, values in taken.items():
        low, high = VIRTUAL_RANGES[name]
        middles = [low + (high - low) * (i + 0.5) / count for i in range(count)]
        assert sorted(values) == pytest.approx(middles, abs=1e-5), name
    for camera in cameras:
        assert camera.gain_range == VIRTUAL_GAIN
        assert torch.tensor(camera.colour_bias).shape == (COLOUR_BIASES, 4)


def test_virtual_cameras_differ_in_order_and_are_the_same_for_a_seed():
    assert virtual_cameras(5, seed=1) == virtual_cameras(5, seed=1)
    assert virtual_cameras(5, seed=1) != virtual_cameras(5, seed=2)
    cameras = virtual_cameras(5)
    orders = {
        tuple(sorted(range(5), key=values.__getitem__))
        for values in (
            [c.read.slope for c in cameras],
            [c.read.bias for c in cameras],
            [c.row.slope for c in cameras],
            [c.row.bias for c in cameras],
        )
    }
    assert len(orders) > 1


def test_a_random_camera_lies_within_the_ranges():
    for seed in range(20):
        camera = random_camera(generator(seed))
        for name, value in (
            ("read_slope", camera.read.slope),
            ("row_bias", camera.row.bias),
            ("shape", camera.tukey_lambdas[0]),
        ):
            low, high = VIRTUAL_RANGES[name]
            assert low <= value <= high
