"""Bad pixels that a DNG lists: replaced by their neighbours, each once."""

import struct

import numpy as np
import pytest

from ledcli.metadata.dng_mosaic import read_opcodes
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw

SHAPE = (66, 90)
OPCODES_1 = 51008
LINES = np.arange(SHAPE[0])[:, None] + np.arange(SHAPE[1])[None]
SLOPE = (1000 + 4 * LINES).astype(np.uint16)
"""Every neighbourhood has its middle sample's value as its median."""


def opcode(number, *numbers, flags=0):
    return struct.pack(f">4I{len(numbers)}I", number, 0x1030000, flags, 4 * len(numbers), *numbers)


def listed(points=(), areas=()):
    flat = [n for place in (*points, *areas) for n in place]
    return opcode(5, 0, len(points), len(areas), *flat)


def photo_of(folder, mosaic, *opcodes, **how):
    data = struct.pack(">I", len(opcodes)) + b"".join(opcodes)
    make_raw(folder / "a.dng", mosaic=mosaic, more_tags=[(OPCODES_1, 7, len(data), data)], **how)
    return read_raw(folder / "a.dng")


@pytest.mark.parametrize("phase", ["RGGB", "GBRG", (1, 4)])
@pytest.mark.parametrize("byteorder", "<>")
def test_bad_pixels_take_the_median_of_their_neighbours(tmp_path, phase, byteorder):
    mosaic = SLOPE.copy()
    mosaic[20, 31] = mosaic[40, 50] = mosaic[40, 52] = 7
    points, areas = [(10, 11), (10_000, 3)], [(0, 60, 66, 61), (30, 20, 32, 22), (60, 80, 99, 99)]
    mosaic[10, 11] = mosaic[:, 60] = mosaic[30:32, 20:22] = 9000
    marked = [opcode(4, 7, 0), listed(points, areas)]
    photo = photo_of(tmp_path, mosaic, *marked, phase=phase, byteorder=byteorder)
    assert np.abs(photo.mosaic.astype(int) - SLOPE)[:58].max() <= 36
    inner = photo.mosaic[:58, :78].astype(int) - SLOPE[:58, :78]
    assert np.count_nonzero(inner) <= 58 + 8 and not photo.warnings


def test_the_list_counts_from_the_first_stored_sample(tmp_path):
    mosaic = SLOPE.copy()
    mosaic[10, 11] = 0
    photo = photo_of(tmp_path, mosaic, listed([(10, 11)]), active_area=(3, 5, 66, 90))
    assert photo.mosaic[7, 6] == SLOPE[10, 11]


def test_a_repaired_frame_is_written_without_the_list(tmp_path):
    photo = photo_of(tmp_path, SLOPE, opcode(4, 1200, 0))
    assert OPCODES_1 not in {**photo.carried.raw, **photo.carried.image}


def test_a_large_group_is_filled_as_far_as_its_neighbours_reach(tmp_path):
    mosaic = SLOPE.copy()
    mosaic[20:34, 20:34] = 7
    photo = photo_of(tmp_path, mosaic, listed(areas=[(20, 20, 34, 34)]))
    assert (photo.mosaic != 7).all()


def test_a_value_that_much_of_the_frame_has_is_no_defect(tmp_path):
    mosaic = SLOPE.copy()
    mosaic[:, :30] = 512
    photo = photo_of(tmp_path, mosaic, opcode(4, 512, 0))
    assert np.array_equal(photo.mosaic, mosaic)
    assert "33% of its pixels" in photo.warnings[0]


def test_other_corrections_are_named_unless_they_are_optional(tmp_path):
    told = photo_of(tmp_path, SLOPE, opcode(7, 1), opcode(8, 1, flags=1), opcode(4, 7, 0))
    assert "OpcodeList1: 7)" in told.warnings[0]


@pytest.mark.parametrize("cut", range(0, 44, 5))
def test_a_damaged_list_marks_nothing_beyond_its_end(tmp_path, cut):
    whole = struct.pack(">I", 9) + listed([(10, 11)], [(1, 2, 3, 4)])
    assert len(list(read_opcodes(whole[:cut]))) == 0
    data = opcode(5, 0, 2**31, 2**31, 10, 11, 12)
    photo = photo_of(tmp_path, SLOPE, data, opcode(4), b"\0" * cut)
    assert np.array_equal(np.delete(photo.mosaic, 10, 0), np.delete(SLOPE, 10, 0))
