from pathlib import Path

import pytest

from ledcli.errors import MetadataError, PairError
from ledcli.pairs.frames import nominal_ratio, ratio_of
from ledcli.raw.exif import Exif

PATHS = (Path("short.ARW"), Path("long.ARW"))


@pytest.mark.parametrize("ratio", [96.0, 98.7, 100.0, 101.594, 104.0])
def test_nearly_100_is_100(ratio):
    assert nominal_ratio(ratio) == 100


@pytest.mark.parametrize(
    ("ratio", "nominal"),
    [(128, 125), (250, 250), (300, 300), (312.5, 300), (322.54, 320), (4.6875, 4.69), (9.9, 10)],
)
def test_third_stops_snap_and_other_ratios_stay(ratio, nominal):
    assert nominal_ratio(ratio) == nominal


def test_the_paper_s_example():
    long = Exif(iso=100, exposure_time=30)
    short = Exif(iso=6400, exposure_time=1 / 10)
    assert ratio_of(short, long, PATHS) == pytest.approx(4.6875, abs=0.005)


def test_a_frame_without_tags_is_named_with_the_remedy():
    with pytest.raises(MetadataError, match=r"long\.ARW.*ISO.*third column"):
        ratio_of(Exif(iso=100, exposure_time=1), Exif(exposure_time=1), PATHS)


def test_swapped_frames_are_refused():
    with pytest.raises(PairError, match="in that order"):
        ratio_of(Exif(iso=100, exposure_time=10), Exif(iso=100, exposure_time=0.1), PATHS)
