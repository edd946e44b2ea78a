import itertools

import imagecodecs
import numpy as np
import pytest

from ledcli.batch.settings import Compression, Settings, choose_formats
from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.output.formats import FORMATS, Format, Size, find_formats
from tests.inference.models import write_model
from tests.shoot import make_raw


def test_formats_are_found_by_name_and_unknown_ones_listed():
    assert [each.suffix for each in find_formats(["tiff", "dng"])] == [".tif", ".dng"]
    with pytest.raises(UsageError, match="'jpg': choose dng, png, tiff"):
        find_formats(["dng", "jpg"])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_a_size_for_all_settings_and_names_real_ones(name):
    for compression, linear in itertools.product(Compression, (False, True)):
        settings = Settings(compression=compression, linear=linear)
        least, usual = FORMATS[name].size(**FORMATS[name].options(settings))
        assert 0 < least < usual
        assert all(hasattr(settings, setting) for setting in FORMATS[name].settings)


@pytest.mark.parametrize("option", ["strength", "luma", "chroma"])
def test_a_picture_has_all_its_noise_removed(option):
    with pytest.raises(UsageError, match=f"--{option}.* my-pictures makes pictures"):
        choose_formats([], Settings(**{option: 0.5}), "my-pictures")


def test_one_line_in_the_table_adds_a_format_to_the_command(tmp_path, monkeypatch, capsys):
    if not imagecodecs.JPEGXL.available:
        pytest.skip("no JPEG XL in this build of imagecodecs")

    def encode(photo):
        return imagecodecs.jpegxl_encode(photo.picture, lossless=True)

    jxl = Format("jxl", ".jxl", encode, lambda: Size(1.0, 3.0))
    monkeypatch.setitem(FORMATS, "jxl", jxl)
    raw = tmp_path / "a.ARW"
    make_raw(raw)
    model = write_model(tmp_path / "m.safetensors", sets=())
    words = ["denoise", raw, "--model", model, "--format", "jxl,png", "--device", "cpu"]
    assert run([str(word) for word in words]) == 0
    results = tmp_path / "denoised"
    picture = imagecodecs.jpegxl_decode((results / "a.jxl").read_bytes())
    np.testing.assert_array_equal(picture, imagecodecs.png_decode((results / "a.png").read_bytes()))
    assert run([*map(str, words), "--linear"]) == 2
    assert "--linear is for DNGs" in capsys.readouterr().err
    assert run([*map(str, words), "--highlights", "keep"]) == 2
    assert "--highlights keep is for DNGs: add --format dng" in capsys.readouterr().err
