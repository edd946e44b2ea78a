"""`led preview` as its user meets it: the page, the sheet, and the command of a tile."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ledcli.cli.app import run
from ledcli.zoo import store
from tests.evaluation.browser import Browser, program
from tests.inference.models import write_model, write_pictures
from tests.shoot import MONO, make_raw

EVIL = "<script>fail()<script>\"'&amp;\u202e.ARW"


@pytest.fixture(autouse=True)
def bundled(tmp_path, monkeypatch):
    """Small models in place of the bundled ones, and two photos."""
    folder = tmp_path / "bundled"
    write_model(folder / "led.safetensors", sets=("generic",))
    fast = {"name": "quick", "training": {"quality": "fast"}}
    write_model(folder / "fast.safetensors", sets=("generic",), seed=4, **fast)
    write_model(folder / "x.safetensors", sets=("xtrans",), cfa="xtrans")
    names = {"generic-fast": "generic"}
    models = [
        {"file": "led.safetensors", "names": ["generic"]},
        {"file": "fast.safetensors", "quality": "fast", "names": [*names], "csa_sets": names},
        {"file": "x.safetensors", "cfa": "xtrans", "names": ["xtrans"]},
    ]
    (folder / "registry.json").write_text(json.dumps({"default": "generic", "models": models}))
    monkeypatch.setattr(store, "bundled_dir", lambda: folder)
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a.ARW", "b.ARW")):
        make_raw(tmp_path / name, gain=4.0, seed=number)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_command_of_a_tile_makes_what_the_tile_shows(capsys):
    options = ["a.ARW", "b.ARW", "--ratio", "3", "--strength", "0.4,1", "--json", "-q"]
    assert run(["preview", *options]) == 0
    found = lines(capsys)
    tiles = {line["tile"]: line for line in found if "tile" in line}
    assert [tiles[n]["label"] for n in (1, 4)] == ["fast, strength 0.4", "standard, strength 1"]
    assert [line["file"] for line in found if "crops" in line] == ["a.ARW", "b.ARW"]
    assert found[-1]["output"] == "preview.html"
    assert run([*tiles[1]["arguments"][1:], "--json", "-q"]) == 0
    made = lines(capsys)
    assert [(m["model_file"], m["ratio"]) for m in made] == [("fast.safetensors", 3.0)] * 2


def test_choose_prints_the_command_alone(capsys):
    assert run(["preview", "a.ARW", "-r", "--noise", "4,8", "--chroma", "1", "--choose", "2"]) == 0
    (command,) = capsys.readouterr().out.splitlines()
    assert command == (
        "led denoise a.ARW --ratio 1 --noise 4,8 --recursive --quality fast --luma 0.75 --chroma 1"
    )
    assert not Path("preview.html").exists()
    assert run(["preview", "a.ARW", "--choose", "7"]) == 2
    assert "1 to 6" in capsys.readouterr().err


def test_names_are_quoted_in_the_command(capsys):
    assert run(["preview", "my photo.ARW", "-x.ARW", "--choose", "1"]) == 2
    capsys.readouterr()
    assert run(["preview", "--choose", "1", "--", "my photo.ARW", "-x.ARW"]) == 0
    assert "'my photo.ARW' ./-x.ARW" in capsys.readouterr().out


def test_nothing_is_replaced_without_overwrite(capsys):
    Path("preview.html").write_text("mine")
    assert run(["preview", "a.ARW", "--quality", "fast"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "preview.html" in line and "--overwrite" in line
    assert Path("preview.html").read_text() == "mine"
    assert run(["preview", "a.ARW", "--quality", "fast", "--overwrite", "-q"]) == 0
    assert Path("preview.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["a.ARW", "--out", "a.jpg"], 2, ".html"),
        (["a.ARW", "--out", "none/a.png"], 1, "folder"),
        (["a.ARW", "--quality", "good"], 2, "fast"),
        (["a.ARW", "--strength", "0.5,2"], 2, "--strength"),
        (["a.ARW", "--model", "generic", "--quality", "fast"], 2, "--quality fast chooses"),
        (["a.ARW", "--strength", ",".join(map(str, np.linspace(0, 1, 21)))], 2, "fewer"),
        (["a.ARW", "--model", "nobody"], 2, "nobody"),
        (["nobody.ARW"], 2, "nobody.ARW"),
        (["a.ARW", "--steps", "2"], 2, "--steps"),
        (["a.ARW", "--model", "generic", "--steps", "2"], 2, "generic has no refinement steps"),
        (["a.ARW", "--dry-run", "--device", "foo"], 2, "foo"),
        (["a.ARW", "--dry-run", "--tile", "7"], 2, "tile"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_written(capsys, options, status, said):
    before = sorted(Path().iterdir())
    assert run(["preview", *options]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(Path().iterdir()) == before


def test_a_raw_is_never_written_to(capsys):
    Path("a.ARW").rename("a.png")
    before = Path("a.png").read_bytes()
    assert run(["preview", "a.png", "--out", "a.png", "--overwrite"]) == 2
    assert Path("a.png").read_bytes() == before


def test_a_dry_run_shows_the_commands_and_writes_nothing(capsys):
    before = sorted(Path().iterdir())
    assert run(["preview", "a.ARW", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("led denoise a.ARW") == 6
    assert sorted(Path().iterdir()) == before


def test_a_folder_that_led_wrote_has_nothing_to_preview(capsys):
    assert run(["denoise", "a.ARW", "--quiet"]) == 0
    assert run(["preview", "denoised", "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "led wrote every file found; name the camera's raws" in line


def test_results_beside_their_photos_are_not_previewed(capsys):
    assert run(["denoise", "a.ARW", "--out", ".", "--quiet"]) == 0
    capsys.readouterr()
    assert run(["preview", ".", "--dry-run", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out.splitlines()[-1])["photos"] == ["a.ARW", "b.ARW"]


def test_some_of_many_photos_are_shown_evenly_spread(capsys):
    for number in range(7):
        make_raw(Path(f"c{number}.ARW"))
    names = [f"c{number}.ARW" for number in range(7)]
    assert run(["preview", *names, "--photos", "3", "--dry-run", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out.splitlines()[-1])["photos"] == ["c0.ARW", "c3.ARW", "c6.ARW"]
    assert "3 of 7 photos" in found.err


def test_others_take_the_place_of_photos_that_cannot_be_read(capsys):
    for name in ("a0", "b0", "c0"):
        Path(f"{name}.ARW").write_bytes(b"nothing")
    options = ["--photos", "1", "--quality", "fast", "--strength", "1", "-q", "--json"]
    assert run(["preview", "a0.ARW", "b0.ARW", "b.ARW", "c0.ARW", *options]) == 1
    found = capsys.readouterr()
    assert [line.split(".ARW")[0] for line in found.err.splitlines()] == ["led: a0", "led: b0"]
    assert "b.ARW" in [json.loads(line).get("file") for line in found.out.splitlines()]


def test_a_photo_that_cannot_be_read_leaves_the_others(capsys):
    Path("b.ARW").write_bytes(b"nothing")
    assert run(["preview", "a.ARW", "b.ARW", "--quality", "fast", "-q"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "b.ARW" in line
    assert "b.ARW" in Path("preview.html").read_text()
    assert run(["preview", "b.ARW", "--out", "other.html"]) == 1
    assert not Path("other.html").exists()


def test_x_trans_and_monochrome_photos_are_shown_as_far_as_they_go(tmp_path, capsys):
    make_raw(tmp_path / "x.RAF", shape=(252, 318), phase=(0, 0))
    assert run(["preview", "x.RAF", "--strength", "1", "--quality", "best,fast", "--json"]) == 0
    found = capsys.readouterr()
    (photo,) = (json.loads(line) for line in found.out.splitlines() if "crops" in line)
    assert list(photo["not_shown"]) == ["1"]
    assert "tile 1: --quality best is for Bayer" in found.err
    assert "no fast model for X-Trans" in found.err
    make_raw(tmp_path / "m.dng", phase=MONO, colour_matrix=None, neutral=None)
    assert run(["preview", "m.dng", "--chroma", "0.5", "--overwrite"]) == 0
    assert "m.dng: is monochrome: --chroma has no effect" in capsys.readouterr().err


def test_a_model_that_makes_pictures_is_refused(tmp_path, capsys):
    write_pictures(tmp_path / "sid.safetensors")
    assert run(["preview", "a.ARW", "--model", "sid.safetensors"]) == 1
    assert "makes pictures straight from the raw" in capsys.readouterr().err


def test_defaults_of_a_preset_apply(capsys):
    Path("led.toml").write_text('[preset.concert.preview]\nratio = 20\nstrength = "0.8"\n')
    assert run(["preview", "a.ARW", "--preset", "concert", "--choose", "2", "-q"]) == 0
    assert capsys.readouterr().out.split()[3:] == (
        ["--ratio", "20", "--quality", "standard", "--strength", "0.8"]
    )


def test_the_sheet_has_a_tile_for_each_crop_and_variant():
    options = ["a.ARW", "b.ARW", "--quality", "fast", "--strength", "1", "--out", "s.png", "-q"]
    assert run(["preview", *options]) == 0
    with Image.open(io.BytesIO(Path("s.png").read_bytes())) as sheet:
        assert sheet.info["icc_profile"]
        pixels = np.asarray(sheet)
    # Tiles are not grey; rows of the sheet that have pixels of them come in six runs.
    coloured = (np.ptp(pixels, axis=2) > 8).mean(1) > 0.01
    assert np.count_nonzero(np.diff(coloured.astype(int)) == 1) == 6


@pytest.fixture
def page(tmp_path):
    Path("a.ARW").rename(EVIL)
    assert run(["preview", EVIL, "--strength", "0.5,1", "-q"]) == 0
    return tmp_path / "preview.html"


def test_the_page_shows_the_command_of_the_tile_that_is_chosen(page, tmp_path):
    if program() is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    browser = Browser(program(), tmp_path / "profile")
    try:
        browser.open(page)
        shown = "document.getElementById('command').textContent"
        assert browser.complaints() == []
        assert browser.requests() == [page.resolve().as_uri()]
        assert browser.run("document.querySelector('.photo h2').textContent") == EVIL
        assert browser.run(shown).endswith("--quality standard --strength 1")
        browser.run("document.querySelector('figure[data-key=\"1\"]').click()")
        assert browser.run(shown).endswith("--quality fast --strength 0.5")
        same = "(() => { const c = document.querySelector('.crop'); return c.querySelector("
        same += "'.stage .right').src === c.querySelector('[data-key=\"1\"] img').src; })()"
        assert browser.run(same)
        at = "document.querySelector('.stage').style.getPropertyValue('--at')"
        browser.run("document.querySelector('.viewer input').focus()")
        for _ in range(4):
            browser.key("ArrowRight", 39)
        assert browser.run(at) == "52%"
        for width in (1280, 360):
            browser.open(page, width=width)
            assert browser.run("document.documentElement.scrollWidth") <= width
        browser.open(page, scripts=False)
    finally:
        browser.close()


def test_the_page_is_one_file_and_runs_no_other_script(page):
    text = page.read_text()
    assert "<script>fail" not in text
    assert len(re.findall("<script", text)) == 1
    assert "http" not in re.sub(r"<meta http-equiv=", "", text)
    pictures = re.findall(r'src="data:image/png;base64,', text)
    assert len(pictures) == 3 * 5  # three crops, noisy and four variants
