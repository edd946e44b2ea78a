import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile

from ledcli import api
from ledcli.batch.folders import folder_lock
from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.metadata.xmp import read_note
from ledcli.raw.reader import read_raw
from ledcli.sensor.cfa import Phase
from ledcli.zoo import store as bundled
from ledcli.zoo.model_file import file_sha256
from tests.inference.models import noise_profile, write_model
from tests.shoot import SHARED, make_dark, make_raw, truncate


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def denoise(*arguments):
    return run(["denoise", *map(str, arguments)])


@pytest.mark.parametrize("phase", list(Phase))
def test_a_raw_comes_out_clean_brighter_and_with_its_colours(tmp_path, phase):
    raw = tmp_path / "IMG_1.NEF"
    make_raw(raw, phase=phase, shape=(131, 163), light=np.full((131, 163), 0.004), gain=2.0)
    before = digest(raw)

    assert denoise(raw, "--ratio", 50) == 0

    source, result = read_raw(raw), read_raw(tmp_path / "denoised" / "IMG_1.dng")
    assert digest(raw) == before
    assert result.phase == source.phase
    assert result.mosaic.shape == source.mosaic.shape
    np.testing.assert_allclose(result.as_shot_wb, source.as_shot_wb, rtol=1e-3)
    np.testing.assert_allclose(result.colour_matrix, source.colour_matrix, atol=1e-3)
    x, y = 50 * source.normalised(), result.normalised()
    assert y.mean() == pytest.approx(x.mean(), rel=0.01)
    assert y.std() < x.std() / 3


def test_png_and_tiff_have_sixteen_bits(tmp_path):
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--format", "png,tiff", "--out", tmp_path / "o") == 0
    png = imagecodecs.png_decode((tmp_path / "o" / "a.png").read_bytes())
    tiff = tifffile.imread(tmp_path / "o" / "a.tif")
    for picture in (png, tiff):
        assert picture.dtype == np.uint16
        assert picture.ndim == 3
        assert len(np.unique(picture & 0xFF)) > 200
    assert not list((tmp_path / "o").glob("*.dng"))


def test_a_bad_file_is_one_line_and_does_not_stop_the_others(tmp_path, capsys):
    folder = tmp_path / "raw"
    folder.mkdir()
    make_raw(folder / "1.ARW")
    make_raw(folder / "2.ARW")
    make_raw(folder / "3.ARW")
    truncate(folder / "2.ARW", 0.5)

    assert denoise(folder, "--quiet") == 1

    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert "2.ARW" in err
    assert "Traceback" not in err
    assert visible(tmp_path / "denoised") == ["1.dng", "3.dng"]
    assert len(out.splitlines()) == 2


@pytest.mark.skipif(not (SHARED / "raw/bad").is_dir(), reason="../shared/data is not there")
def test_real_bad_files_give_a_line_each_and_no_output(tmp_path, capsys):
    bad = sorted((SHARED / "raw/bad").iterdir())
    assert denoise(SHARED / "raw/bad", "--out", tmp_path / "o", "--quiet") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == len(bad)
    for path, line in zip(bad, err.splitlines(), strict=True):
        assert path.name in line
    assert not (tmp_path / "o").exists()


def test_exposure_sets_each_photo_s_ratio(tmp_path, capsys):
    make_raw(
        tmp_path / "short.dng", iso=800, exposure_time=1 / 100, light=np.full((128, 160), 0.02)
    )
    make_raw(tmp_path / "long.dng", iso=100, exposure_time=1.6)
    long = str(tmp_path / "long.dng")
    assert denoise(tmp_path / "short.dng", "--exposure", long, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["ratio"] == pytest.approx(20, rel=1e-3)
    again = ("--exposure", "80", "--json", "--quiet", "--overwrite")
    assert denoise(tmp_path / "short.dng", *again) == 0
    assert json.loads(capsys.readouterr().out)["ratio"] == pytest.approx(10, rel=1e-3)


def test_exposure_without_the_tag_names_file_and_tag(tmp_path, capsys):
    make_raw(tmp_path / "a.dng", iso=None)
    assert denoise(tmp_path / "a.dng", "--exposure", "80", "--quiet") == 1
    err = capsys.readouterr().err
    assert "a.dng" in err
    assert "ISO" in err
    assert not (tmp_path / "denoised").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--ratio", "2", "--exposure", "80"),
        ("--ratio", "0"),
        ("--ratio", "0.5"),
        ("--ratio", "nan"),
        ("--ratio", "automatic"),
        ("--compression", "zip"),
        ("--highlights", "burn"),
        ("--name", "{iso}{ext}"),
        ("--linear", "--format", "png"),
        ("--strength", "1.5"),
        ("--luma", "-0.1"),
        ("--format", "jpeg"),
        ("--device", "toaster"),
        ("--device", ""),
        ("--backend", "onnx", "--device", "nonsense"),
        ("--backend", "openvino", "--device", "npu.x"),
        ("--precision", "int3"),
        ("--exposure", "long.NEF"),
        ("--tile", "7"),
        ("--tile", "-3"),
        ("--noise", "4"),
        ("--noise", "-1,8"),
        ("--noise", "0,0"),
        ("--noise", "nan,8"),
    ],
)
def test_options_that_do_not_fit_are_bad_usage(tmp_path, capsys, options):
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", *options) == 2
    said = capsys.readouterr().err
    assert denoise(tmp_path / "a.dng", *options, "--dry-run") == 2
    assert not (tmp_path / "denoised").exists()
    assert said == capsys.readouterr().err and "Traceback" not in said


def test_the_api_refuses_an_impossible_noise(tmp_path):
    with pytest.raises(UsageError, match=r"not \(-1, 8\)"):
        api.denoise(tmp_path, noise=(-1, 8))


def test_inputs_may_come_from_a_list(tmp_path, capsys):
    make_raw(tmp_path / "a.dng")
    (tmp_path / "b").mkdir()
    make_raw(tmp_path / "b" / "b.dng")
    (tmp_path / "list").write_text(f"{tmp_path / 'b' / 'b.dng'}\n")
    how = ("--out", tmp_path / "o", "--quiet")
    assert denoise(tmp_path / "a.dng", "--files-from", tmp_path / "list", *how) == 0
    assert visible(tmp_path / "o") == ["a.dng", "b.dng"]
    assert denoise(*how) == 2
    assert "--files-from" in capsys.readouterr().err


def test_an_empty_folder_says_how_to_look_deeper(tmp_path, capsys):
    (tmp_path / "sub").mkdir()
    make_raw(tmp_path / "sub" / "a.dng")
    assert denoise(tmp_path) == 2
    assert "--recursive" in capsys.readouterr().err
    assert denoise(tmp_path, "--recursive", "--out", tmp_path / "o", "--quiet") == 0
    assert (tmp_path / "o" / "sub" / "a.dng").is_file()


def test_dry_run_writes_nothing(tmp_path, capsys, monkeypatch):
    make_raw(tmp_path / "a.dng")
    monkeypatch.setattr("ledcli.inference.denoiser.DenoiserCache", None)  # would import torch
    assert denoise(tmp_path / "a.dng", "--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["status"] == "planned"
    assert planned["outputs"] == [str(tmp_path / "denoised" / "a.dng")]
    assert [p.name for p in tmp_path.iterdir()] == ["a.dng"]


def test_the_source_is_never_an_output(tmp_path, capsys):
    make_raw(tmp_path / "a.dng")
    before = digest(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--out", tmp_path) == 1
    assert "--out" in capsys.readouterr().err
    assert digest(tmp_path / "a.dng") == before


def test_what_is_there_is_replaced_only_when_asked(tmp_path, capsys):
    make_raw(tmp_path / "a.NEF")
    photo = (tmp_path / "a.NEF", "--format", "png", "--out", tmp_path)
    (tmp_path / "a.png").write_bytes(b"a photographer's")
    assert denoise(*photo) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == b"a photographer's"
    assert denoise(*photo, "--overwrite") == 0
    assert (tmp_path / "a.png").read_bytes() != b"a photographer's"


def test_a_camera_s_dng_is_never_replaced(tmp_path, capsys):
    make_raw(tmp_path / "a.NEF")
    make_raw(tmp_path / "a.dng", seed=1)
    before = digest(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.NEF", "--out", tmp_path, "--overwrite") == 1
    assert "move it away" in capsys.readouterr().err
    assert digest(tmp_path / "a.dng") == before


def test_a_brighter_photo_is_not_darkened_to_an_exposure(tmp_path, capsys):
    make_raw(tmp_path / "a.dng", iso=800, exposure_time=1)
    assert denoise(tmp_path / "a.dng", "--exposure", "80", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["ratio"] == 1
    assert "as bright" in err


def test_a_mistyped_name_does_not_stop_the_others(tmp_path, capsys):
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", tmp_path / "nope.dng", "--quiet") == 1
    assert "nope.dng" in capsys.readouterr().err
    assert (tmp_path / "denoised" / "a.dng").is_file()


def test_a_camera_that_clips_at_black_is_denoised(tmp_path):
    light = np.full((256, 256), 0.0005)
    how = {"shape": (256, 256), "light": light, "black": 0, "read_noise": 8.0}
    mosaic = make_raw(tmp_path / "a.dng", **how)
    assert (mosaic == 0).mean() > 0.05
    assert denoise(tmp_path / "a.dng", "--ratio", 100, "--quiet") == 0
    x = 100 * read_raw(tmp_path / "a.dng").normalised()
    y = read_raw(tmp_path / "denoised" / "a.dng").normalised()
    assert y.std() < x.std() / 3
    assert y.mean() == pytest.approx(x.mean(), rel=0.02)


def test_strength_blends_linearly_with_the_input(tmp_path):
    make_raw(tmp_path / "a.dng")
    results = {}
    for strength in (0, 0.5, 1):
        options = ("--strength", strength, "--out", tmp_path / "o", "--overwrite")
        assert denoise(tmp_path / "a.dng", *options) == 0
        results[strength] = read_raw(tmp_path / "o" / "a.dng").normalised()
    source = read_raw(tmp_path / "a.dng").normalised()
    np.testing.assert_allclose(results[0], source, atol=2e-5)
    np.testing.assert_allclose(results[0.5], (results[0] + results[1]) / 2, atol=5e-5)


def test_a_lens_cap_frame_is_no_error(tmp_path):
    make_dark(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--ratio", "100", "--quiet") == 0
    assert abs(float(read_raw(tmp_path / "denoised" / "a.dng").normalised().mean())) < 0.05


def tune(home, name="mine", **how):
    """Install a tiny model for the camera of `make_raw`."""
    return write_model(
        home / "models" / f"{name}.safetensors",
        sets=(),
        name=name,
        **{"cameras": ("LED  Testcam One",), "ratio_range": (100.0, 300.0)} | how,
    )


def test_the_model_tuned_to_the_camera_is_picked_and_told_of_once(tmp_path, led_home, capsys):
    path = tune(led_home, training={"date": "2026-11-20"}, noise_profile=noise_profile())
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("1.ARW", "2.ARW"):
        make_raw(folder / name)
    make_raw(folder / "3.ARW", model="Testcam Two")
    make_raw(folder / "4.ARW", make="NIKON CORPORATION", model="NIKON D850")
    make_raw(folder / "5.ARW", iso=12800)
    make_raw(folder / "6.ARW", iso=50)
    assert denoise(folder, "--ratio", "100", "--json", "--device", "cpu") == 0
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("model ")]
    assert told == [
        "model mine (tuned to Led Testcam One on 2026-11-20), noise profile of the camera",
        "model generic (the bundled default), noise estimated from the photo",
        "model nikon (the bundled set of the camera's maker), noise estimated from the photo",
        "model mine (tuned to Led Testcam One on 2026-11-20), noise estimated from the photo",
        "model generic (the bundled default; mine is tuned to this camera, but for "
        "ISO 400 to 6400), noise estimated from the photo",
    ]
    assert err.startswith("6 photos, cpu, ")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["model"] for r in records] == [
        "mine", "mine", "generic", "nikon", "mine", "generic",
    ]  # fmt: skip
    assert [r["csa_set"] for r in records] == ["", "", "generic", "nikon", "", "generic"]
    assert [r["noise"] for r in records] == ["profile"] * 2 + ["blind"] * 4
    files = ["mine.safetensors", "led-bayer.safetensors"]
    assert [r["model_file"] for r in records] == [files[n] for n in (0, 0, 1, 1, 0, 1)]
    assert records[0]["sha256"] == file_sha256(path)
    note = read_note(tmp_path / "denoised" / "1.dng")
    assert (note["model"], note["sha256"], note["noise"]) == ("mine", file_sha256(path), "profile")


def test_model_overrides_the_pick(tmp_path, led_home, capsys):
    tune(led_home)
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--ratio", 100, "--model", "generic", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "generic"
    assert "model generic (named)" in err
    make_raw(tmp_path / "b.dng", model="Testcam Two")
    assert denoise(tmp_path / "b.dng", "--ratio", 100, "--model", "mine", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "mine"
    assert "tuned to another camera: LED  Testcam One" in err


def test_a_ratio_that_the_tuned_model_does_not_cover_goes_to_the_bundled_one(
    tmp_path, led_home, capsys
):
    tune(led_home)
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "generic"
    assert "mine is tuned to this camera, but for ratios 100 to 300" in err


@pytest.mark.parametrize(
    "given,name",
    [
        ("Sony", "sony"),
        ("mine", "mine"),
        ("{home}/models/mine.safetensors", "mine"),
        ("{there}/other.safetensors", "other.safetensors"),
    ],
)
def test_the_name_that_is_recorded_is_that_of_the_list(tmp_path, led_home, capsys, given, name):
    tune(led_home)
    write_model(tmp_path / "other.safetensors", sets=())
    make_raw(tmp_path / "a.dng")
    given = given.format(home=led_home, there=tmp_path)
    how = ("--model", given, "--json", "--device", "cpu")
    assert denoise(tmp_path / "a.dng", "--ratio", 100, *how) == 0
    out, err = capsys.readouterr()
    assert f"model {name} (named" in err
    note = read_note(tmp_path / "denoised" / "a.dng")
    for record in (json.loads(out), note):
        assert record["model"] == name
        assert str(tmp_path) not in record["model_file"]
    assert note["model_file"].endswith(".safetensors")


def test_a_damaged_installed_model_is_a_warning_and_the_work_goes_on(tmp_path, led_home, capsys):
    path = tune(led_home)
    path.write_bytes(path.read_bytes()[:100])
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("1.ARW", "2.ARW"):
        make_raw(folder / name, light=np.zeros((128, 160)))
    assert denoise(folder, "--ratio", 100, "--quiet") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("led: warning: an installed model was skipped") and str(path) in line


def test_what_was_done_is_recorded_in_the_dng(tmp_path):
    make_raw(tmp_path / "a.dng")
    assert denoise(tmp_path / "a.dng", "--ratio", "3", "--strength", "0.5", "--quiet") == 0
    note = read_note(tmp_path / "denoised" / "a.dng")
    assert (note["model"], note["csa_set"]) == ("generic", "generic")
    assert note["model_file"] == "led-bayer.safetensors"
    assert note["noise"] == "blind"
    assert len(note["sha256"]) == 64
    assert float(note["ratio"]) == 3
    assert float(note["strength"]) == 0.5
    grain = ("--luma", "0.5", "--overwrite", "--quiet")
    assert denoise(tmp_path / "a.dng", *grain) == 0
    note = read_note(tmp_path / "denoised" / "a.dng")
    assert (float(note["luma"]), float(note["chroma"])) == (0.5, 1) and "strength" not in note


def results(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_run_again_it_says_what_it_skipped(tmp_path, capsys):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("1.ARW", "2.ARW"):
        make_raw(folder / name)
    assert denoise(folder) == 0
    capsys.readouterr()
    assert denoise(folder, "--json") == 0
    assert [(r["status"], r["why"]) for r in results(capsys)] == [("skipped", "up to date")] * 2
    make_raw(folder / "3.ARW")
    assert denoise(folder, "--dry-run", "--json") == 0
    assert [r["status"] for r in results(capsys)] == ["skipped", "skipped", "planned"]
    assert denoise(folder) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and "3.ARW" in out
    assert err.splitlines()[-1] == "1 done, 2 skipped, 0 failed"


def test_names_by_template(tmp_path, capsys):
    for name in ("IMG_1.CR2", "IMG_1.NEF", "IMG_2.NEF"):
        make_raw(tmp_path / name)
    options = ("--name", "{stem}-led{ext}", "--out", tmp_path / "o", "--format", "dng,tiff")
    assert denoise(tmp_path, *options) == 0
    written = visible(tmp_path / "o")
    assert len(written) == 6
    assert {"IMG_2-led.dng", "IMG_2-led.tif"} < set(written)
    assert denoise(tmp_path, "--name", "{nonsense}{ext}") == 2
    assert "{stem}" in capsys.readouterr().err


def test_an_output_is_not_denoised_again_unless_asked(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")
    assert denoise(tmp_path / "a.ARW", "--quiet") == 0
    result = tmp_path / "denoised" / "a.dng"
    assert denoise(result, "--out", tmp_path / "o", "--quiet") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "already denoised by led" in line and "--again" in line
    assert denoise(result, "--out", tmp_path / "o", "--quiet", "--again") == 0


@pytest.mark.parametrize("inputs", ["folder", "pattern", "names", "list"])
def test_results_beside_their_photos_are_skipped_with_another_out(tmp_path, capsys, inputs):
    folder = tmp_path / "raw"
    folder.mkdir()
    make_raw(folder / "a.ARW")
    assert denoise(folder, "--out", folder, "--quiet") == 0
    (folder / "a.dng").rename(folder / "copy of a.dng")
    names = sorted(map(str, folder.glob("[!.]*")))
    (tmp_path / "list").write_text("\n".join(names))
    given = {
        "folder": [folder],
        "pattern": [folder / "*"],
        "names": names,
        "list": ["--files-from", tmp_path / "list"],
    }[inputs]
    capsys.readouterr()
    assert denoise(*given, "--out", tmp_path / "o", "--dry-run", "--json") == 0
    skipped, planned = results(capsys)
    assert planned["outputs"] == [str(tmp_path / "o" / "a.dng")]
    assert skipped["file"] == str(folder / "copy of a.dng")
    assert skipped["status"] == "skipped" and "already denoised by led" in skipped["why"]


def test_a_folder_of_results_only_says_how_to_denoise_them_again(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")
    assert denoise(tmp_path / "a.ARW", "--quiet") == 0
    results = tmp_path / "denoised"
    assert denoise(results, "--quiet") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing to denoise" in line and "--again" in line and "--out" in line
    assert denoise(results, "--out", tmp_path / "o", "--quiet", "--again") == 0
    assert (tmp_path / "o" / "a.dng").exists()


def test_an_inferred_ratio_is_shown(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW", light=np.full((128, 160), 0.004))
    assert denoise(tmp_path / "a.ARW", "--ratio", "auto") == 0
    out, _ = capsys.readouterr()
    ratio = float(read_note(tmp_path / "denoised" / "a.dng")["ratio"])
    assert ratio > 5 and f"(x {ratio:g})" in out


COMMAND = """
import sys
from ledcli.__main__ import main
from ledcli.batch.photo import PhotoStages

denoise = PhotoStages.denoise


def waits(self, frame, result, moved):
    if result.source.name != "0.ARW":
        sys.stdin.read()
    return denoise(self, frame, result, moved)


PhotoStages.denoise = waits
sys.exit(main())
"""
"""A command whose second photo is in the network until standard input is closed."""


def start(*arguments):
    words = [sys.executable, "-c", COMMAND, "denoise", *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(words, **pipes, text=True)


def told(running, text):
    """Return what a run says until a line has the text."""
    lines = []
    while not lines or (lines[-1] and text not in lines[-1]):
        lines.append(running.stderr.readline())
    return "".join(lines)


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_photo_at_work_and_the_next_run_goes_on(tmp_path, number):
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in range(4):
        make_raw(folder / f"{n}.ARW", seed=n)
    with start(folder) as running:
        assert running.stdout.readline()
        running.send_signal(number)
        err = told(running, "stopping after the current photo")
        running.stdin.close()
        out, err = running.stdout.read(), err + running.stderr.read()
    assert running.returncode == 130
    assert "Traceback" not in err and "run the same command again" in err
    assert len(out.splitlines()) == 1 and visible(tmp_path / "denoised") == ["0.dng", "1.dng"]
    for name in ("0.dng", "1.dng"):
        read_raw(tmp_path / "denoised" / name)
    assert not list((tmp_path / "denoised").rglob("*.part"))


def test_two_runs_on_one_folder_share_the_work(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in range(8):
        make_raw(folder / f"{n}.ARW", seed=n)
    with folder_lock(tmp_path / "denoised", print, lambda: False):
        runs = [start(folder, "--json"), start(folder, "--json")]
        said = [told(each, "another led process") for each in runs]
    for each in runs:  # either may have come first, and the other waits for it
        each.stdin.close()
        each.stdin = None
    outs = [each.communicate()[0] for each in runs]
    assert [each.returncode for each in runs] == [0, 0], said
    records = [[json.loads(line)["status"] for line in out.splitlines()] for out in outs]
    assert sorted(records) == [["done"] * 8, ["skipped"] * 8]
    assert visible(tmp_path / "denoised") == [f"{n}.dng" for n in range(8)]


def test_a_dry_run_tells_of_what_would_fail(tmp_path, capsys):
    (tmp_path / "raw").mkdir()
    make_raw(tmp_path / "raw" / "a.NEF")
    make_raw(tmp_path / "raw" / "b.NEF")
    (tmp_path / "denoised").mkdir()
    (tmp_path / "denoised" / "b.dng").write_bytes(b"somebody's")
    names = (tmp_path / "raw", tmp_path / "nope.NEF")
    assert denoise(*names, "--dry-run", "--json", "--out", tmp_path / "denoised") == 1
    statuses = [(r["status"], "error" in r) for r in results(capsys)]
    assert statuses == [("failed", True), ("planned", False), ("failed", True)]
    assert visible(tmp_path / "denoised") == ["b.dng"]


def test_every_photo_has_its_json_line_and_it_says_what_was_written(tmp_path, capsys):
    make_raw(tmp_path / "a.NEF")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.png").mkdir()  # where the PNG should go
    options = ("--format", "dng,png", "--out", tmp_path / "o", "--json", "--quiet", "--overwrite")
    assert denoise(tmp_path / "a.NEF", tmp_path / "nope.NEF", *options) == 1
    missing, half = results(capsys)
    assert missing["status"] == half["status"] == "failed"
    assert half["outputs"] == [str(tmp_path / "o" / "a.dng")]
    assert "a.png" in half["error"]


def test_a_closed_standard_output_does_not_end_the_run(tmp_path):
    make_raw(tmp_path / "a.NEF")
    words = f'"{sys.executable}" -m ledcli denoise "{tmp_path}/a.NEF" >&-'
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert visible(tmp_path / "denoised") == ["a.dng"]


def test_a_shell_s_star_over_photos_and_results_does_the_same_as_the_folder(tmp_path, capsys):
    for name in ("a.NEF", "b.NEF"):
        make_raw(tmp_path / name)
    assert denoise(*sorted(tmp_path.glob("[!.]*")), "--out", tmp_path) == 0
    capsys.readouterr()
    assert denoise(*sorted(tmp_path.glob("[!.]*")), "--out", tmp_path, "--json", "--quiet") == 0
    records = results(capsys)
    assert [r["status"] for r in records] == ["skipped"] * 4
    assert len({r["file"] for r in records if "already denoised" in r["why"]}) == 2
    assert visible(tmp_path) == ["a.NEF", "a.dng", "b.NEF", "b.dng"]


@pytest.fixture
def come_with_led(tmp_path, monkeypatch):
    """Let tiny models for some kinds of sensors come with led."""

    def put(*cfas):
        models = []
        for cfa in cfas:
            write_model(tmp_path / "b" / f"{cfa}.safetensors", sets=("generic",), cfa=cfa)
            models.append({"file": f"{cfa}.safetensors", "cfa": cfa, "names": [cfa]})
            models[-1]["csa_sets"] = {cfa: "generic"}
        registry = {"default": cfas[0], "models": models}
        (tmp_path / "b" / "registry.json").write_text(json.dumps(registry))
        monkeypatch.setattr(bundled, "bundled_dir", lambda: tmp_path / "b")

    return put


def test_a_mixed_folder_gets_for_each_photo_the_model_of_its_sensor(
    tmp_path, come_with_led, capsys
):
    come_with_led("bayer", "xtrans")
    (tmp_path / "raw").mkdir()
    make_raw(tmp_path / "raw" / "a.NEF")
    make_raw(tmp_path / "raw" / "b.RAF", phase=(2, 5), shape=(131, 163))
    given = ["denoise", str(tmp_path / "raw"), "--ratio", "2", "--json"]
    assert run(given) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["model_file"] for record in records] == [
        "bayer.safetensors",
        "xtrans.safetensors",
    ]
    photo = read_raw(tmp_path / "denoised" / "b.dng")
    assert photo.cfa == "xtrans" and photo.mosaic.shape == (131, 163)
    assert photo.phase == read_raw(tmp_path / "raw" / "b.RAF").phase
    # A second run knows by the manifest which model each would get.
    assert run(given) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["status"] for record in records] == ["skipped", "skipped"]


def test_photos_that_self_ensemble_is_not_for_are_named(tmp_path, come_with_led, capsys):
    come_with_led("bayer", "xtrans")
    make_raw(tmp_path / "a.NEF")
    make_raw(tmp_path / "b.RAF", phase=(2, 5))
    photos = [str(tmp_path / name) for name in ("a.NEF", "b.RAF")]
    assert run(["denoise", *photos, "--quality", "best", "-q"]) == 1
    assert "b.RAF: --quality best is for Bayer sensors" in capsys.readouterr().err
    assert visible(tmp_path / "denoised") == ["a.dng"]


def test_without_a_model_for_x_trans_only_its_photos_fail_in_one_line(
    tmp_path, come_with_led, capsys
):
    come_with_led("bayer")
    (tmp_path / "raw").mkdir()
    make_raw(tmp_path / "raw" / "a.NEF")
    make_raw(tmp_path / "raw" / "b.RAF", phase=(2, 5))
    assert run(["denoise", str(tmp_path / "raw")]) == 1
    assert visible(tmp_path / "denoised") == ["a.dng"]
    said = [line for line in capsys.readouterr().err.splitlines() if "X-Trans" in line]
    assert len(said) == 1 and "b.RAF" in said[0] and "--model" in said[0]


def test_on_a_terminal_the_bar_moves_within_a_photo(tmp_path):
    pty = pytest.importorskip("pty")
    make_raw(tmp_path / "a.ARW", shape=(1280, 2000))  # seven strips
    model = write_model(tmp_path / "tiny.safetensors")
    words = ["denoise", str(tmp_path / "a.ARW"), "--model", str(model)]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "ledcli", *words],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    # Linux ends a terminal that nobody holds any more with an error.
    with open(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while part := terminal.read(1 << 16):
            shown += part
    assert child.wait() == 0
    bars = re.findall(r"denoising .*? (\d+)%([^%]*?) 1 of 1: a.ARW", shown.decode())
    assert len({percent for percent, _ in bars}) > 5
    assert re.search(r"MP/.*\d:\d\d left", bars[-1][1])  # rate and time left


def test_steps_of_a_model_without_any_are_one_error(tmp_path, capsys):
    (tmp_path / "a.dng").write_bytes(b"not read")
    for options in ((), ("--dry-run",), ("--model", "generic")):
        assert denoise(tmp_path, "--steps", 2, *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "no" in line and "--steps" in line
    with pytest.raises(UsageError, match="--steps"):
        api.denoise(tmp_path, steps=2)


def test_an_empty_name_of_the_output_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_raw(tmp_path / "a.dng")
    assert run(["denoise", "a.dng", "--out", ""]) == 2
    assert "an empty name" in capsys.readouterr().err and not (tmp_path / ".led").exists()
