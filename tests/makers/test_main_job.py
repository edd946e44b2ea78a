"""From made-up CR2, NEF and ARW files to pairs, a tuned model, and clean DNGs."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ledcli.cli.app import run
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import read_spec
from tests.inference.models import write_model
from tests.makers.cameras import AREA, BALANCE, CAMERAS
from tests.shoot import scene

KINDS = ("sliced.CR2", "lossless14.NEF", "lossy12.NEF", "split14.NEF", "raw14.ARW", "arw2.ARW")
"""Tuned for; the others differ only in how their samples are coded."""


@pytest.fixture
def tiny(tmp_path):
    return str(write_model(tmp_path / "tiny.safetensors", sets=("generic", "sony")))


def test_denoised_with_strength_0_they_are_what_they_were(tmp_path, tiny):
    (tmp_path / "raw").mkdir()
    for camera in CAMERAS:
        camera.shoot(tmp_path / "raw", scene(AREA))
    words = ["denoise", tmp_path / "raw", "--out", tmp_path, "--model", tiny, "--ratio", 1]
    words += ["--strength", 0, "--device", "cpu", "--quiet"]
    assert run([str(word) for word in words]) == 0
    for camera in CAMERAS:
        source = read_raw(tmp_path / "raw" / camera.name)
        result = read_raw((tmp_path / camera.name).with_suffix(".dng"))
        np.testing.assert_allclose(result.normalised(), source.normalised(), atol=2e-5)
        assert (result.exif.camera, result.exif.exposure_level) == (
            source.exif.camera,
            source.exif.exposure_level,
        )
        assert (result.crop, result.orientation) == (source.crop, source.orientation)
        np.testing.assert_allclose(result.as_shot_wb, BALANCE, rtol=1e-4)
        np.testing.assert_allclose(result.colour_matrix, source.colour_matrix, atol=1e-3)


@pytest.mark.parametrize("camera", [one for one in CAMERAS if one.name in KINDS], ids=str)
def test_pairs_are_found_and_a_model_is_tuned(camera, tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    light, suffix = scene(AREA, 1), camera.name[-4:]
    camera.shoot(tmp_path, light, iso=100, time=Fraction(10), noise=0.1, name=f"long{suffix}")
    for iso in (400, 6400):
        how = {"iso": iso, "time": Fraction(50, iso), "noise": iso / 1600, "seed": iso}
        camera.shoot(tmp_path, light / 20, name=f"short{iso}{suffix}", **how)
    assert run(["pairs", "scan", ".", "-q"]) == 0
    lines = [f"short{iso}{suffix} long{suffix}" for iso in (400, 6400)]
    assert (tmp_path / "pairs.txt").read_text().splitlines() == lines
    capsys.readouterr()
    words = ["finetune", "--pretrained", tiny, "--iters", "2", "--crops", "2", "--force", "--json"]
    assert run([*words, "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert camera.model.split()[-1].lower() in record["model"]
    photo = read_raw(tmp_path / f"long{suffix}")
    gain = 4 / (1 << (14 - camera.bits)) / (photo.white - photo.black).mean()
    measured = read_spec(Path(record["file"])).noise_profile
    assert measured.at(6400).profile.gain == pytest.approx(gain, rel=0.1)
