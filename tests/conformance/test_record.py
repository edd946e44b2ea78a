"""What was done stands in the DNG, and a second run knows by it."""

import re

import pytest

from ledcli import __version__
from ledcli.cli.app import run
from ledcli.metadata.xmp import read_note
from ledcli.zoo.model_file import file_sha256
from tests.conformance.cameras import FEW

NAME = FEW[0].name


@pytest.mark.parametrize("form,suffix", [("ljpeg", ".dng"), ("linear", ".dng")])
def test_the_record_says_model_ratio_strength_version_and_when(shoot, form, suffix):
    note = read_note(shoot.result(form, NAME, suffix))
    assert note["sha256"] == file_sha256(shoot.model)
    assert note["model"] == shoot.model.name
    assert (float(note["ratio"]), float(note["strength"])) == (1, 0)
    assert note["version"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\+00:00|Z)", note["when"])


def again(shoot, path, out, *options):
    words = ["denoise", path, "--out", out, "--model", shoot.model, "--quiet", *options]
    return run([str(word) for word in words])


def test_a_denoised_dng_is_not_denoised_twice(shoot, tmp_path, capsys):
    path = shoot.result("ljpeg", NAME)
    assert again(shoot, path, tmp_path / "o") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert path.name in line
    assert "already denoised by" in line
    assert "--again" in line
    assert not list(tmp_path.rglob("*.dng"))


def test_unless_it_is_asked_for(shoot, tmp_path):
    path = shoot.result("ljpeg", NAME)
    assert again(shoot, path, tmp_path / "o", "--again") == 0
    assert (tmp_path / "o" / path.name).is_file()
