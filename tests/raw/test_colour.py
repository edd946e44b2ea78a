import dataclasses

import numpy as np
import pytest

from ledcli.metadata.carried import Carried
from ledcli.raw.colour import (
    linear_from_srgb,
    srgb_from_camera,
    srgb_from_linear,
    wb_note,
    white_balance_of,
)
from ledcli.raw.libraw import XYZ_FROM_SRGB
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import MonoPhase
from tests.shoot import make_raw


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("colour") / "a.dng"
    make_raw(path)
    return dataclasses.replace(read_raw(path), carried=Carried())


def test_the_matrix_to_srgb_keeps_white(photo):
    np.testing.assert_allclose(srgb_from_camera(photo) @ np.ones(3), np.ones(3), atol=1e-9)
    srgb = dataclasses.replace(photo, colour_matrix=np.linalg.inv(XYZ_FROM_SRGB))
    np.testing.assert_allclose(srgb_from_camera(srgb), np.eye(3), atol=1e-6)
    np.testing.assert_array_equal(
        srgb_from_camera(dataclasses.replace(photo, colour_matrix=None)), np.eye(3)
    )


def test_white_balance_is_as_shot_else_daylight_else_none(photo):
    daylight = np.array([1.9, 1.0, 1.4])
    other = dataclasses.replace(photo, daylight_wb=daylight)
    np.testing.assert_array_equal(white_balance_of(other), photo.as_shot_wb)
    assert wb_note(other) is None
    other = dataclasses.replace(other, as_shot_wb=None)
    np.testing.assert_array_equal(white_balance_of(other), daylight)
    assert wb_note(other) == "no white balance in the file: daylight used"
    other = dataclasses.replace(other, daylight_wb=None)
    np.testing.assert_array_equal(white_balance_of(other), np.ones(3))
    assert wb_note(other) == "no white balance in the file: none used"
    assert wb_note(dataclasses.replace(other, phase=MonoPhase.MONO)) is None


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_srgb_curve_has_its_standard_values_and_can_be_undone(precision):
    linear = np.array([0, 0.0031308, 0.2140411, 1], precision)
    coded = srgb_from_linear(linear)
    np.testing.assert_allclose(coded, [0, 0.0404499, 0.5, 1], atol=1e-6)
    np.testing.assert_allclose(linear_from_srgb(coded), linear, atol=1e-6)
    assert coded.dtype == linear_from_srgb(coded).dtype == precision
