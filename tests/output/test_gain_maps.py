"""Gain maps, the maker's crop where led itself demosaics, and corrections left to readers."""

import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tifffile

from ledcli.metadata.carried import Carried
from ledcli.metadata.dng_mosaic import read_opcodes
from ledcli.metadata.tiff import Field, FieldType
from ledcli.output.dng import dng_bytes
from ledcli.output.gain_maps import (
    IMAGE_LIST,
    MAX_MAPS,
    MOSAIC_LIST,
    apply_gain_maps,
    missing_corrections,
    read_gain_maps,
    scaled_corrections,
)
from ledcli.output.render import DenoisedPhoto
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase, XTransPhase, colour_map, pack
from tests.shoot import make_raw

SHAPE = (96, 132)
CORNERS = np.array([[4.0, 2.5, 4.0], [2.5, 1.0, 2.5], [4.0, 2.5, 4.0]])
GREY = np.full(SHAPE, 0.1, np.float32)


def shading():
    """Gains at the middles of pixels, of a map whose points lie on the image's edges."""
    across, down = (np.abs((np.arange(n) + 0.5) / n * 2 - 1) for n in SHAPE[::-1])
    return 1 + 1.5 * (down[:, None] + across)


def opcode(points=CORNERS, area=(0, 0, *SHAPE), planes=(0, 1), pitch=(1, 1)):
    points = np.asarray(points, ">f4")
    points = points.reshape(*points.shape[:2], -1)
    rows, cols, depth = points.shape
    body = struct.pack(">10I", *area, *planes, *pitch, rows, cols)
    body += struct.pack(">4dI", 1 / max(rows - 1, 1), 1 / max(cols - 1, 1), 0, 0, depth)
    body += points.tobytes()
    return struct.pack(">4I", 9, 0x1030000, 1, len(body)) + body


def listed(*opcodes):
    return struct.pack(">I", len(opcodes)) + b"".join(opcodes)


def applied(data, phase=Phase.RGGB, tag=MOSAIC_LIST):
    carried = Carried(raw={tag: Field(FieldType.UNDEFINED, data)})
    return apply_gain_maps(GREY, phase, carried) / GREY


def photo_of(folder, *tags, crop=None, **how):
    if crop:
        top, left, height, width = crop
        tags = (*tags, (50719, 4, 2, (left, top)), (50720, 4, 2, (width, height)))
    make_raw(folder / "a.dng", shape=SHAPE, more_tags=tags, **how)
    return read_raw(folder / "a.dng")


def test_a_map_is_interpolated_over_the_image():
    np.testing.assert_allclose(applied(listed(opcode())), shading(), rtol=1e-5)


def test_maps_of_four_colours_each_take_their_own_samples():
    maps = [
        opcode([[gain]], area=(row, col, *SHAPE), pitch=(2, 2))
        for gain, (row, col) in zip((2, 3, 4, 5), np.ndindex(2, 2), strict=True)
    ]
    gains = applied(listed(*maps))
    assert [np.unique(gains[r::2, c::2]).round(5).tolist() for r, c in np.ndindex(2, 2)] == [
        [2.0], [3.0], [4.0], [5.0]
    ]  # fmt: skip


@pytest.mark.parametrize("phase", [Phase.GBRG, XTransPhase(1, 2)])
def test_a_map_of_the_image_multiplies_each_colour(phase):
    gains = applied(listed(opcode([[[2, 3, 4]]], planes=(0, 3))), phase, IMAGE_LIST)
    np.testing.assert_allclose(gains, colour_map(phase, SHAPE) + 2, rtol=1e-5)
    one = applied(listed(opcode([[5]], planes=(1, 1), area=(10, 0, 50, 30))), phase, IMAGE_LIST)
    assert set(np.unique(one).round(4)) == {1.0, 5.0} and (one[:10] == 1).all()
    assert ((one > 1)[10:50, :30] == (colour_map(phase, SHAPE) == 1)[10:50, :30]).all()


@pytest.mark.parametrize("phase", ["RGGB", (1, 2)])
def test_where_led_demosaics_the_maps_are_applied_once(tmp_path, phase):
    data = listed(opcode())
    photo = photo_of(tmp_path, (MOSAIC_LIST, 7, len(data), data), phase=phase)
    bare = replace(photo, carried=Carried())
    balanced = (GREY / np.max(photo.as_shot_wb)).astype(np.float32)
    shaded = (balanced * shading()).astype(np.float32)
    planes, wanted = (pack(x, photo.phase) for x in (balanced, shaded))
    picture, expected = DenoisedPhoto(photo, {}, planes), DenoisedPhoto(bare, {}, wanted)
    assert np.abs(picture.picture.astype(int) - expected.picture).max() <= 2
    (tmp_path / "linear.dng").write_bytes(dng_bytes(photo, balanced, software="t", linear=True))
    with tifffile.TiffFile(tmp_path / "linear.dng") as file:
        page = next(p for p in file.pages[0].pages if p.photometric == 34892)
        assert MOSAIC_LIST not in page.tags
        samples = page.asarray()[8:-8, 8:-8, 1] / 65535
    np.testing.assert_allclose(samples, shaded[8:-8, 8:-8], rtol=0.05)


def test_a_mosaic_keeps_its_list_and_its_samples(tmp_path):
    data = listed(opcode())
    photo = photo_of(tmp_path, (MOSAIC_LIST, 7, len(data), data))
    (tmp_path / "cfa.dng").write_bytes(dng_bytes(photo, photo.normalised(), software="t"))
    again = read_raw(tmp_path / "cfa.dng")
    np.testing.assert_allclose(again.normalised(), photo.normalised(), atol=1e-4)
    assert again.carried.raw[MOSAIC_LIST].data == data


@pytest.mark.parametrize("orientation", [1, 6])
def test_pictures_have_the_makers_crop(tmp_path, orientation):
    photo = photo_of(tmp_path, crop=(6, 10, 80, 100), orientation=orientation)
    planes = pack(photo.normalised(), photo.phase)
    whole = DenoisedPhoto(replace(photo, crop=None, orientation=1), {}, planes).picture
    shown = DenoisedPhoto(photo, {}, planes).picture
    wanted = whole[6:86, 10:110]
    np.testing.assert_array_equal(shown, wanted if orientation == 1 else np.rot90(wanted, -1))


def test_a_list_of_maps_without_end_is_cut_off():
    assert applied(listed(*[opcode([[2.0]])] * 99)).max() == 2.0**MAX_MAPS


def test_corrections_that_must_be_made_are_named_and_gain_maps_are_not():
    asked = [struct.pack(">4I", number, 0, flags, 0) for number, flags in ((1, 0), (3, 0), (7, 1))]
    data = listed(opcode(), *asked, asked[0])
    carried = Carried(raw={IMAGE_LIST: Field(FieldType.UNDEFINED, data)})
    missing = partial(missing_corrections, carried)
    assert missing((MOSAIC_LIST, IMAGE_LIST), gain_maps=True) == "1, 3"
    assert missing((MOSAIC_LIST,), gain_maps=True) == missing((), gain_maps=False) == ""
    assert missing((IMAGE_LIST,), gain_maps=False) == "9, 1, 3"


def test_functions_of_the_samples_suit_the_brightened_ones():
    gain, y = 4.0, np.linspace(0, 1, 9)
    curve = (np.arange(30_000) ** 0.9).astype(int)
    given = {7: (">u2", curve), 8: (">f8", [0.01, 0.8, 0.3, -0.1]), 10: (">f4", [0.25, -0.5])}
    opcodes = [opcode()]
    for number, (kind, values) in given.items():
        stored = np.array(values, kind)
        count = len(stored) - (number == 8)  # the degree
        body = struct.pack(">9I", 0, 0, *SHAPE, 0, 1, 1, 1, count) + stored.tobytes()
        opcodes.append(struct.pack(">4I", number, 0x1030000, 2, len(body)) + body)
    carried = Carried(raw={MOSAIC_LIST: Field(FieldType.UNDEFINED, listed(*opcodes))})
    assert scaled_corrections(carried, 1.0) == carried
    first, *rest = read_opcodes(scaled_corrections(carried, gain).raw[MOSAIC_LIST].data)
    assert struct.pack(">4I", *first[:3], len(first.data)) + first.data == opcode()
    assert [each[:3] for each in rest] == [(number, 0x1030000, 2) for number in given]
    table, polynomial, deltas = (
        np.frombuffer(each.data[36:], given[each.number][0]) for each in rest
    )
    assert struct.unpack(">I", rest[0].data[32:36]) == (len(table),) == (65536,)
    for dn in (0, 1000, 20_001, 65_535):
        assert abs(table[dn] - gain * np.interp(dn / gain, np.arange(30_000), curve)) <= 0.5
    wanted = gain * np.polyval(given[8][1][::-1], y / gain)
    np.testing.assert_allclose(np.polyval(polynomial[::-1], y), wanted)
    assert deltas.tolist() == [1.0, -2.0]


@pytest.mark.parametrize("number", [7, 8, 9, 10, 11])
def test_a_damaged_function_stays_as_it_is(number):
    for size in (0, 20, 36):
        data = listed(struct.pack(">4I", number, 0, 0, size) + bytes(size))
        carried = Carried(raw={IMAGE_LIST: Field(FieldType.UNDEFINED, data)})
        assert scaled_corrections(carried, 4.0) == carried


def test_damaged_maps_are_left_out():
    good = opcode()
    bad = [good[:cut] for cut in (0, 10, 40, len(good) - 1)]
    bad += [opcode([[np.nan]]), opcode([[-1.0]]), opcode(pitch=(0, 1)), opcode(planes=(0, 0))]
    for data in bad:
        assert (applied(listed(data)) == 1).all()
    huge = struct.pack(">10I4dI", 0, 0, 9, 9, 0, 1, 1, 1, 2**31, 2**31, 1, 1, 0, 0, 4)
    assert not list(read_gain_maps(listed(struct.pack(">4I", 9, 0, 0, len(huge)) + huge)))
