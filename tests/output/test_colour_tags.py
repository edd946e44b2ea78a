import dataclasses
import struct
from fractions import Fraction

import numpy as np
import pytest

from ledcli.metadata.carried import Carried
from ledcli.metadata.tiff import Directory, Field, FieldType
from ledcli.output.tags import put_colour
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw

MATRIX = (0.9, -0.3, -0.1, -0.4, 1.2, 0.2, -0.1, 0.2, 0.6)
OTHER = (0.8, -0.1, -0.1, -0.3, 1.1, 0.2, -0.1, 0.3, 0.5)
A, D65 = 17, 21
NOT_A_MATRIX = [
    (1.0,) * 9,
    (0.0,) * 9,
    (*MATRIX[:8], 1000.0),
    MATRIX[:6],
]


def _fractions(values, kind=FieldType.SRATIONAL):
    parts = [
        part
        for value in values
        for part in Fraction(value).limit_denominator(1000).as_integer_ratio()
    ]
    return Field.of_words(kind, parts)


def _short(value):
    return Field(FieldType.SHORT, struct.pack("<H", value))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("colour") / "a.dng"
    make_raw(path)
    return dataclasses.replace(read_raw(path), carried=Carried())


def _tags(photo, image, headroom=1.0):
    root = Directory()
    put_colour(root, dataclasses.replace(photo, carried=Carried(image=image)), headroom)
    return root.fields


def _numbers(field):
    return np.array(field.numbers())


TWO = {
    50721: _fractions(MATRIX),
    50722: _fractions(OTHER),
    50723: _fractions((1.01, 0, 0, 0, 1, 0, 0, 0, 0.99)),
    50724: _fractions((1.02, 0, 0, 0, 1, 0, 0, 0, 0.98)),
    50727: _fractions((1, 1.1, 0.9), FieldType.RATIONAL),
    50728: _fractions((0.5, 1, 0.7), FieldType.RATIONAL),
    50730: _fractions((0.35,)),
    50732: _fractions((1.33,), FieldType.RATIONAL),
    50734: _fractions((0.95,), FieldType.RATIONAL),
    50778: _short(A),
    50779: _short(D65),
    50931: Field(FieldType.ASCII, b"sig\0"),
    50936: Field(FieldType.ASCII, b"name\0"),
    50964: _fractions(MATRIX),
    50965: _fractions(OTHER),
}


def test_the_sources_own_colour_tags_come_first(photo):
    tags = _tags(photo, TWO)
    assert tags.keys() == TWO.keys()
    assert {tag: tags[tag] for tag in TWO if tag != 50730} == {
        tag: TWO[tag] for tag in TWO if tag != 50730
    }
    assert _numbers(tags[50730]) == pytest.approx([0.35])


def test_without_colour_tags_the_matrix_is_libraws_for_daylight(photo):
    tags = _tags(photo, {})
    np.testing.assert_allclose(_numbers(tags[50721]), photo.colour_matrix.ravel(), atol=1e-6)
    assert tags[50778] == _short(D65)
    np.testing.assert_allclose(_numbers(tags[50728]), 1 / photo.as_shot_wb, atol=1e-6)
    assert _numbers(tags[50730]) == [0]


@pytest.mark.parametrize("values", NOT_A_MATRIX)
def test_an_impossible_matrix_is_not_used(photo, values):
    tags = _tags(photo, TWO | {50721: _fractions(values)})
    np.testing.assert_allclose(_numbers(tags[50721]), photo.colour_matrix.ravel(), atol=1e-6)
    # Nor is what belonged to it; LibRaw's is for daylight.
    assert tags.keys() == {50721, 50728, 50730, 50732, 50734, 50778}
    assert tags[50778] == _short(D65)


def test_zero_denominators_are_not_used(photo):
    broken = Field(FieldType.SRATIONAL, struct.pack("<18i", *(1, 0) * 9))
    tags = _tags(
        photo, {50721: broken, 50728: Field(FieldType.RATIONAL, struct.pack("<6I", *(1, 0) * 3))}
    )
    np.testing.assert_allclose(_numbers(tags[50721]), photo.colour_matrix.ravel(), atol=1e-6)
    np.testing.assert_allclose(_numbers(tags[50728]), 1 / photo.as_shot_wb, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{50722: _fractions((1.0,) * 9)}, {50779: _short(A)}, {50779: _short(0)}]
)
def test_a_second_illuminant_needs_its_own_matrix_and_name(photo, wrong):
    tags = _tags(photo, TWO | wrong)
    assert tags[50721] == TWO[50721] and tags[50778] == TWO[50778]
    assert not tags.keys() & {50722, 50724, 50779, 50965}


def _illuminant(x):
    """IlluminantData, a chromaticity."""
    return Field(FieldType.UNDEFINED, struct.pack("<H4I", 0, x, 1000, 350, 1000))


def test_an_illuminant_without_a_number_needs_its_description(photo):
    assert _tags(photo, TWO | {52533: _illuminant(330)}) == _tags(photo, TWO)
    tags = _tags(photo, TWO | {50778: _short(255)})
    assert tags[50721] == TWO[50721] and not tags.keys() & {50722, 50778, 50779, 50965}
    both = {50778: _short(255), 52533: _illuminant(330)}
    assert _tags(photo, TWO | both) == _tags(photo, TWO) | both
    both |= {50779: _short(255), 52534: _illuminant(330)}  # the same
    assert not _tags(photo, TWO | both).keys() & {50722, 50779, 52534}
    both |= {52534: _illuminant(440)}
    assert _tags(photo, TWO | both) == _tags(photo, TWO) | both


def test_forward_matrices_are_kept_for_both_illuminants_or_none(photo):
    tags = _tags(photo, TWO | {50965: _fractions((1.0,) * 9)})
    assert tags.keys() & {50721, 50722} and not tags.keys() & {50964, 50965}


def test_a_dng_has_either_a_neutral_or_a_white_point(photo):
    image = {50729: _fractions((0.3457, 0.3585), FieldType.RATIONAL)}
    assert _tags(photo, image).keys() & {50728, 50729} == {50728}
    unknown = dataclasses.replace(photo, as_shot_wb=None)
    assert _tags(unknown, image).keys() & {50728, 50729} == {50729}
    assert _tags(photo, TWO | image).keys() & {50728, 50729} == {50728}
    image = {50729: _fractions((0.9, 0.9), FieldType.RATIONAL)}
    assert _tags(photo, image).keys() & {50728, 50729} == {50728}


@pytest.mark.parametrize(("said", "headroom", "stops"), [(None, 4, 2), (0.5, 8, 3.5), (500, 2, 1)])
def test_baseline_exposure_makes_up_for_the_headroom(photo, said, headroom, stops):
    image = {} if said is None else {50730: _fractions((said,))}
    assert _numbers(_tags(photo, image, headroom)[50730]) == pytest.approx([stops])
