"""Raw developers show the result as they show the source: ratio 1 and strength 0.

`LED_CONFORMANCE=all` asks the slow ones about every camera too.
"""

import functools
import os

import pytest

from tests.conformance import judges
from tests.conformance.cameras import CAMERAS, FEW

ALL = os.environ.get("LED_CONFORMANCE") == "all"
MOST = 1.0
"""Of 255, on the mean."""
MOST_LINEAR, MOST_LINEAR_SHIFT = 8.0, 2.0
"""A demosaiced DNG has LibRaw's demosaic, not the developer's own: noise looks otherwise."""
BORDER = 8
"""Pixels at each edge of a mosaic that a developer may not show."""

every = pytest.mark.parametrize("camera", CAMERAS, ids=str)
some = pytest.mark.parametrize("camera", CAMERAS if ALL else FEW, ids=str)
forms = pytest.mark.parametrize("form", ["ljpeg", "none", "linear"])
few_forms = pytest.mark.parametrize("form", ["ljpeg", "none", "linear"] if ALL else ["ljpeg"])
needs_dcraw = pytest.mark.skipif(judges.MISSING["dcraw"], reason="no dcraw here")
needs_darktable = pytest.mark.skipif(judges.MISSING["darktable-cli"], reason="no darktable here")
needs_rawtherapee = pytest.mark.skipif(
    judges.MISSING["rawtherapee-cli"], reason="no RawTherapee here"
)


@pytest.fixture(scope="module")
def develop(tmp_path_factory):
    """Render a file with a program by name; each is rendered once."""
    folder = tmp_path_factory.mktemp("developed")

    @functools.cache
    def rendered(program, path, **how):
        if program == "dcraw":
            return judges.dcraw(path)
        return getattr(judges, program)(path, folder, **how)

    return rendered


def check(develop, program, shoot, camera, form):
    how = {"plain": True} if (program, form) == ("darktable", "linear") else {}
    path = shoot.source(camera.name)
    if (program, form) == ("darktable", "linear") and camera.crop:
        pytest.skip("darktable 4.2 shows a linear DNG's crop from the frame's corner")
    if program == "darktable" and camera.area:
        # darktable 4.2 gives a DNG with odd margins other colours at its edges (by up to 4 of 255
        # on the mean) than the same DNG without them.
        path = shoot.trimmed(camera)
    source = develop(program, path, **how)
    result = develop(program, shoot.result(form, camera.name), **how)
    looks_alike(source, result, form)


def looks_alike(source, result, form):
    if form == "linear":
        # What demosaics by itself may leave out the mosaic's edge, but not a linear one's.
        assert judges.difference(source, result, BORDER) < MOST_LINEAR
        assert judges.shift(source, result) < MOST_LINEAR_SHIFT
    else:
        assert judges.difference(source, result) < MOST


@every
@forms
def test_libraw(shoot, camera, form):
    top, left = (camera.area or (0, 0))[:2]
    # LibRaw 0.22 leaves out the first row and column of a source where they have an odd place,
    # and turns its black by one pixel.
    if (top % 2 or left % 2) and len(set(camera.black)) > 1:
        pytest.skip("LibRaw takes the black of one colour for another's")
    source = judges.libraw(shoot.source(camera.name), flip=0)
    result = judges.libraw(shoot.result(form, camera.name), flip=0)[top % 2 :, left % 2 :]
    looks_alike(source, result, form)


@needs_dcraw
@every
@forms
def test_dcraw(develop, shoot, camera, form):
    check(develop, "dcraw", shoot, camera, form)


@needs_rawtherapee
@some
@forms
def test_rawtherapee(develop, shoot, camera, form):
    check(develop, "rawtherapee", shoot, camera, form)


@needs_darktable
@some
@few_forms
def test_darktable(develop, shoot, camera, form):
    check(develop, "darktable", shoot, camera, form)


@needs_darktable
@pytest.mark.parametrize("form", ["none", "linear"])
def test_darktable_opens_the_other_forms(develop, shoot, form):
    check(develop, "darktable", shoot, FEW[0], form)
