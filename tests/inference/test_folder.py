import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ledcli.errors import MetadataError, OutputError, RawError, UsageError
from ledcli.inference.choice import PerPhoto
from ledcli.inference.engine import Denoiser
from ledcli.inference.folder import Settings, plan, run
from ledcli.photo.inputs import find_raws
from ledcli.photo.raw import read_raw
from ledcli.photo.xmp import read_note
from ledcli.zoo.modelfile import file_sha256
from tests.inference.models import noise_lines, write_model
from tests.photo.test_render import png_note
from tests.shoot import make_raw


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(*inputs, **how):
    return [str(raw.file) for raw in find_raws(inputs, **how)]


def planned(*inputs, formats=("dng",), out=None, **how):
    """Source: results, as text."""
    jobs = plan(find_raws(inputs, **how), formats, out)
    return {str(j.source): [str(p) for p in j.outputs.values()] for j in jobs}


def test_a_folder_stands_for_the_raws_in_it(here):
    touch("raw/b.CR2", "raw/a.nef", "raw/c.jpg", "raw/.d.CR2", "raw/sub/e.ARW", "raw/notes.txt")
    assert found("raw") == ["raw/a.nef", "raw/b.CR2"]
    assert found("./raw/") == ["raw/a.nef", "raw/b.CR2"]
    assert found("raw", recursive=True) == ["raw/a.nef", "raw/b.CR2", "raw/sub/e.ARW"]


def test_patterns_that_the_shell_left_alone(here):
    touch("raw/a.CR2", "raw/b.CR2", "raw/c.NEF")
    assert found("raw/*.CR2") == ["raw/a.CR2", "raw/b.CR2"]
    assert found("*/c.*") == ["raw/c.NEF"]


def test_a_file_is_taken_whatever_its_name_even_with_a_pattern_s_letters(here):
    touch("IMG [1].CR2", "scan.data")
    assert found("IMG [1].CR2", "scan.data") == ["IMG [1].CR2", "scan.data"]


def test_no_raw_is_taken_twice(here):
    touch("raw/a.CR2", "raw/b.CR2")
    assert found("raw/b.CR2", "raw", "./raw/a.CR2") == ["raw/b.CR2", "raw/a.CR2"]
    assert len(found("raw", str(here / "raw"))) == 2


def test_what_led_wrote_is_no_input(here):
    touch("raw/a.CR2", "raw/denoised/a.dng", "denoised/a.dng")
    assert found("raw", recursive=True) == ["raw/a.CR2"]
    assert found(".", recursive=True) == ["raw/a.CR2"]
    assert found("denoised") == ["denoised/a.dng"]  # unless it is named


@pytest.mark.parametrize("missing", ["nothing", "no/such/file.CR2", "*.CR2", ""])
def test_what_is_not_there_is_an_error(here, missing):
    with pytest.raises(UsageError):
        find_raws([missing])


def test_an_empty_folder_is_an_error_that_tells_of_recursive(here):
    touch("raw/sub/a.CR2")
    with pytest.raises(UsageError, match="--recursive"):
        find_raws(["raw"])
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no raw files in this folder$"):
        find_raws(["empty"], recursive=True)


def test_results_lie_in_denoised_beside_the_input(here):
    touch("shoot/raw/a.CR2", "b.NEF")
    assert planned("shoot/raw") == {"shoot/raw/a.CR2": ["shoot/denoised/a.dng"]}
    assert planned("shoot/raw/a.CR2") == {"shoot/raw/a.CR2": ["shoot/raw/denoised/a.dng"]}
    assert planned("b.NEF") == {"b.NEF": ["denoised/b.dng"]}
    # Beside the folder we are in would be out of sight.
    assert planned(".") == {"b.NEF": ["denoised/b.dng"]}


def test_another_folder_and_several_formats(here):
    touch("raw/a.CR2")
    results = planned("raw", formats=("dng", "png", "tiff"), out=Path("clean"))
    assert results == {"raw/a.CR2": ["clean/a.dng", "clean/a.png", "clean/a.tif"]}


def test_subfolders_are_kept(here):
    touch("raw/1/a.CR2", "raw/2/a.CR2")
    assert planned("raw", recursive=True) == {
        "raw/1/a.CR2": ["denoised/1/a.dng"],
        "raw/2/a.CR2": ["denoised/2/a.dng"],
    }


def all_different(results):
    paths = [path.casefold() for outputs in results.values() for path in outputs]
    return len(set(paths)) == len(paths)


def test_no_two_photos_share_a_result(here):
    touch("raw/a.CR2", "raw/a.NEF", "raw/A.ARW", "raw/b.CR2", "more/b.CR2", "raw/a.CR2.dng")
    results = planned("raw", "more/b.CR2", out=Path("out"))
    assert len(results) == 6 and all_different(results)
    assert results["raw/a.NEF"] == ["out/a.NEF.dng"]
    assert all(Path(name).stem in outputs[0] for name, outputs in results.items())


def test_photos_of_one_name_from_two_folders(here):
    touch("1/a.CR2", "2/a.CR2", "3/a.CR2")
    results = planned("1/a.CR2", "2/a.CR2", "3/a.CR2", out=Path("out"))
    assert all_different(results)


@pytest.mark.parametrize("name", ["a.dng", "a.DNG"])
def test_a_result_never_lies_on_a_source(here, name):
    # a.dng is a.DNG where the file system does not tell them apart.
    touch(f"raw/{name}")
    with pytest.raises(OutputError, match="--out"):
        planned("raw", out=Path("raw"))
    with pytest.raises(OutputError, match="--out"):
        planned(f"raw/{name}", out=here / "raw" / ".." / "raw")


def test_a_result_never_lies_on_a_source_through_a_link(here):
    touch("raw/a.dng")
    (here / "link").symlink_to("raw", target_is_directory=True)
    with pytest.raises(OutputError):
        planned("raw", out=Path("link"))


def test_an_unknown_format_is_refused(here):
    touch("a.CR2")
    with pytest.raises(UsageError, match="no format 'jpeg': choose dng, png, tiff"):
        planned("a.CR2", formats=("jpeg",))


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory):
    path = write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return Denoiser(path, "a", device="cpu", precision="float32")


def run_all(denoiser, formats=("dng",), **settings):
    return list(run(denoiser, plan(find_raws(["raw"]), formats), Settings(**settings)))


def test_a_bad_photo_does_not_stop_the_others_and_no_source_is_touched(here, denoiser):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (here / "raw" / "b.ARW").write_bytes(b"no raw")
    make_raw(here / "raw" / "c.ARW", shape=(127, 161), phase="GBRG")
    before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in (here / "raw").iterdir()}
    first, bad, last = run_all(denoiser, ratio=2.0)
    assert first.error is None and last.error is None
    assert isinstance(bad.error, RawError) and bad.outputs == []
    assert sorted(p.name for p in (here / "denoised").iterdir()) == ["a.dng", "c.dng"]
    after = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in (here / "raw").iterdir()}
    assert after == before
    assert set(first.seconds) == {"decode", "model", "estimate", "network", "encode"}
    assert first.ratio == 2.0 and first.noise.gain > 0
    (path,) = last.outputs
    again = read_raw(path)
    assert again.mosaic.shape == (127, 161) and again.phase == "GBRG"


def test_the_result_says_what_was_done(here, denoiser):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(denoiser, ratio=3.0, strength=0.5)
    note = read_note(result.outputs[0])
    assert note["model"] == "tiny/a" and note["sha256"] == denoiser.sha256
    assert float(note["ratio"]) == 3 and float(note["strength"]) == 0.5


def test_without_denoising_the_dng_is_the_photo_times_the_ratio(here, denoiser):
    (here / "raw").mkdir()
    light = np.linspace(0.01, 0.2, 160)[None, :].repeat(128, 0)
    make_raw(here / "raw" / "a.ARW", light=light, phase="BGGR")
    (result,) = run_all(denoiser, ratio=4.0, strength=0.0)
    source, out = read_raw(here / "raw" / "a.ARW"), read_raw(result.outputs[0])
    np.testing.assert_allclose(out.normalised(), source.normalised() * 4, atol=2e-5)


def test_an_exposure_level_gives_each_photo_its_own_ratio(here, denoiser):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW", iso=800, exposure_time=Fraction(1, 100))
    make_raw(here / "raw" / "b.ARW", iso=1600, exposure_time=Fraction(1, 50))
    make_raw(here / "raw" / "c.ARW", iso=None)
    first, second, untagged = run_all(denoiser, exposure=80.0)
    assert first.ratio == pytest.approx(10) and second.ratio == pytest.approx(2.5)
    assert isinstance(untagged.error, MetadataError)
    assert "c.ARW" in str(untagged.error) and "ISO" in str(untagged.error)
    assert not (here / "denoised" / "c.dng").exists()


def test_every_format_is_written(here, denoiser):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(denoiser, formats=("dng", "png", "tiff"))
    assert result.error is None
    assert [p.name for p in result.outputs] == ["a.dng", "a.png", "a.tif"]
    assert all(p.stat().st_size > 1000 for p in result.outputs)


def tune(home, **how):
    """Install a tiny model for the camera of `make_raw`."""
    return write_model(
        home / "models" / "mine.safetensors",
        sets=(),
        name="mine",
        **{"cameras": ("Led Testcam One",), "ratio_range": (2.0, 4.0)} | how,
    )


def run_per_photo(**settings):
    models = PerPhoto(device="cpu", precision="float32")
    return list(run(models, plan(find_raws(["raw"]), ["dng"]), Settings(**settings)))


def test_each_photo_is_denoised_by_its_own_model_and_the_record_says_which(here, led_home):
    path = tune(led_home)
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    make_raw(here / "raw" / "b.ARW", model="Testcam Two")
    make_raw(here / "raw" / "c.ARW", make="SONY", model="ILCE-7SM2")
    first, second, third = run_per_photo(ratio=3.0)
    assert first.choice.model == "mine"
    assert second.choice.model == "generic"
    assert third.choice.model == "sony"
    note = read_note(first.outputs[0])
    assert note["model"] == "mine" and note["set"] == ""
    assert note["sha256"] == file_sha256(path)
    assert "tuned to Led Testcam One" in note["choice"]
    note = read_note(third.outputs[0])
    assert (note["model"], note["set"]) == ("sony", "sony")
    assert note["model_file"] == "led-bayer.safetensors"


def test_the_camera_s_own_lines_go_before_the_blind_estimate(here, led_home):
    tune(led_home, noise_lines=noise_lines(0.01, isos=(400.0, 1600.0)))
    (here / "raw").mkdir()
    for name, iso in (("a", 800), ("b", 3200), ("c", None)):
        make_raw(here / "raw" / f"{name}.ARW", iso=iso, light=np.full((128, 160), 0.1))
    inside, outside, unknown = run_per_photo(ratio=3.0)
    assert inside.noise_from == "lines"
    assert inside.noise == noise_lines(isos=(400.0, 1600.0)).at(800).line
    assert outside.noise_from == unknown.noise_from == "blind"
    for result in (inside, outside):
        assert read_note(result.outputs[0])["noise"] == result.noise_from
    # Black is off by 0.01 of white: taken out of the one, not of the other.
    means = [float(read_raw(r.outputs[0]).normalised().mean()) for r in (inside, outside)]
    sources = [float(read_raw(r.source).normalised().mean()) for r in (inside, outside)]
    lost = [3 * s - m for s, m in zip(sources, means, strict=True)]
    assert lost[0] - lost[1] == pytest.approx(0.03, abs=0.003)


def test_a_ratio_a_little_beyond_the_model_s_is_no_warning(here, led_home):
    tune(led_home)
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_per_photo(ratio=5.0)
    assert result.choice.model == "mine" and result.warnings == []


def test_a_damaged_tuned_model_is_passed_over_and_told_of_once(here, led_home):
    path = tune(led_home)
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    (here / "raw").mkdir()
    for name in "abc":
        make_raw(here / "raw" / f"{name}.ARW")
    results = run_per_photo(ratio=3.0)
    assert [r.error for r in results] == [None] * 3
    assert {r.choice.model for r in results} == {"generic"}
    (warning,) = [w for r in results for w in r.warnings]
    assert "mine.safetensors" in warning


def test_every_format_carries_the_same_note(here, denoiser):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(denoiser, formats=("dng", "png", "tiff"), ratio=2.0)
    dng, png, tiff = result.outputs
    note = read_note(dng)
    assert note["choice"] == "named" and note["sha256"] == denoiser.sha256
    assert read_note(tiff) == note
    assert png_note(png.read_bytes()) == note
