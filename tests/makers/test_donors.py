"""Real headers with made-up images are read as exiftool shows their tags.

The larger half, and the main job on all of them, only with `LED_CONFORMANCE=all`.
"""

import os

import numpy as np
import pytest

from ledcli.cli.app import run
from ledcli.raw.reader import read_raw
from tests.inference.models import write_model
from tests.makers.donors import DONORS
from tests.shoot import scene

ALL = os.environ.get("LED_CONFORMANCE") == "all"
HERE = [donor for donor in DONORS if donor.path.exists()]
SIDE = 256


@pytest.mark.parametrize("donor", HERE if ALL else HERE[:2], ids=str)
def test_a_completed_file_is_read_as_its_header_says(donor, tmp_path):
    path, decoded = donor.shoot(tmp_path, scene((SIDE, SIDE)), noise=2)
    photo = read_raw(path)
    (height, width), (top, left) = photo.mosaic.shape, (donor.lit or (0, 0))[:2]
    np.testing.assert_array_equal(photo.mosaic, decoded[top:, left:][:height, :width])
    np.testing.assert_allclose(photo.black, donor.black, atol=0.05)
    assert donor.white[0] <= photo.white.min() <= photo.white.max() <= donor.white[1]
    np.testing.assert_allclose(photo.as_shot_wb, [donor.balance[0], 1, donor.balance[1]], rtol=1e-5)
    crop = donor.crop and (donor.crop[0] - top, donor.crop[1] - left, *donor.crop[2:])
    assert photo.crop == crop
    exif = photo.exif
    assert exif.iso == donor.iso and exif.exposure_time == pytest.approx(donor.time)
    assert exif.datetime == donor.date
    assert photo.colour_matrix is not None and photo.warnings == ()


@pytest.mark.skipif(not ALL, reason="slow; LED_CONFORMANCE=all runs it")
@pytest.mark.parametrize("donor", HERE, ids=str)
def test_a_completed_file_goes_through_the_main_job(donor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LED_HOME", str(tmp_path / "home"))
    tiny = str(write_model(tmp_path / "tiny.safetensors", sets=("generic",)))
    light, suffix = scene((SIDE, SIDE), 1), donor.path.suffix
    donor.shoot(tmp_path, light / 20, name="short" + suffix)
    donor.shoot(tmp_path, light, name="long" + suffix, longer=20)
    assert run(["pairs", "scan", ".", "-q"]) == 0
    assert (tmp_path / "pairs.txt").read_text() == f"short{suffix} long{suffix}\n"
    words = ["--pretrained", tiny, "--iters", "2", "--crops", "2", "--force", "-q"]
    assert run(["finetune", *words]) == 0
    words = ["--ratio", "20", "--model", tiny, "--device", "cpu", "-q", "--out", "."]
    assert run(["denoise", f"short{suffix}", *words]) == 0
    assert read_raw(tmp_path / "short.dng").crop == read_raw(tmp_path / f"short{suffix}").crop
