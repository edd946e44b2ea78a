"""A run with dark frames: which fit a photo, what becomes of the others, record and resume."""

import os
import pickle
from fractions import Fraction

import numpy as np
import pytest

from ledcli import denoise
from ledcli.batch.darks import DarkFrames
from ledcli.batch.settings import Engine, Status
from ledcli.cli.app import run
from ledcli.errors import OutputError, RawError, UsageError
from ledcli.metadata.xmp import read_note
from ledcli.raw.exif import Exif
from ledcli.raw.reader import read_raw
from tests.inference.models import noise_profile, write_model
from tests.shoot import make_raw

SHAPE = (128, 160)
BLACK = 512
OFFSET = 40.0
"""DN that every pixel lies above the black of the file."""
ENGINE = Engine("cpu", "float32")


def shoot(path, *, light=0.0, seed=0, shape=SHAPE, **how):
    """Write a photo, or a dark frame, of a camera whose black is wrong and whose columns differ."""
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    error = OFFSET + rng.integers(-3, 4, shape[1])
    signal = light * (16383 - BLACK)
    noise = np.random.default_rng(seed).normal(0, (signal + 9) ** 0.5, shape)
    mosaic = (BLACK + error + signal + noise).round().astype(np.uint16)
    make_raw(path, mosaic=mosaic, **how)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "tiny.safetensors")
    return tmp_path


def run_with(*darks, photos="raw", model="tiny.safetensors", **how):
    return denoise(photos, dark=darks, ratio=10, model=model, engine=ENGINE, **how)


def brightness(result):
    """Return the mean of the result over that of a photo with right black, in DN of the photo."""
    return float(read_raw(result.outputs[0]).normalised().mean()) / 10 * (16383 - BLACK)


def test_black_is_that_of_the_dark_frames_and_the_record_says_so(here):
    shoot(here / "raw" / "a.ARW", light=0.01)
    shoot(here / "darks" / "d.ARW", seed=1)
    (plain,) = run_with(out="plain")
    (result,) = run_with("darks", out="out")
    assert brightness(plain) - brightness(result) == pytest.approx(OFFSET, abs=1.5)
    assert result.warnings == [] and result.noise.read_variance == pytest.approx(
        ((9 + 1 / 12) / (16383 - BLACK) ** 2), rel=0.05
    )
    note = read_note(result.outputs[0])["dark"]
    assert note == result.dark_note and note.startswith("1 dark frame: black +")
    assert "dark" not in read_note(plain.outputs[0])


def test_a_tuned_model_s_own_black_is_not_subtracted_twice(here, led_home):
    write_model(
        led_home / "models" / "mine.safetensors",
        sets=(),
        name="mine",
        cameras=("Led Testcam One",),
        noise_profile=noise_profile(OFFSET / (16383 - BLACK)),
    )
    shoot(here / "raw" / "a.ARW", light=0.01)
    shoot(here / "darks" / "d.ARW", seed=1)
    (plain,), (result,) = (run_with(*d, model="mine", out=f"o{len(d)}") for d in ((), ("darks",)))
    assert plain.noise_from == result.noise_from == "profile"
    assert brightness(plain) == pytest.approx(brightness(result), abs=2)


def test_a_photo_that_no_dark_frame_fits_is_denoised_without_and_one_line_says_why(here):
    shoot(here / "raw" / "a.ARW", light=0.01, iso=400)
    shoot(here / "raw" / "b.ARW", light=0.01, model="Other")
    shoot(here / "raw" / "c.ARW", light=0.01, shape=(126, 160))
    shoot(here / "raw" / "d.ARW", light=0.01, exposure_time=Fraction(1, 60))
    shoot(here / "darks" / "d.ARW", seed=1)
    results = run_with("darks")
    assert [r.status for r in results] == [Status.DONE] * 4
    said = ("it has ISO 400, they have 800", "none is of the Led Other", "differ from it in size")
    for result, why in zip(results, said, strict=False):
        (line,) = result.warnings
        assert why in line and str(result.source) in line and result.dark_note == ""
    assert results[3].warnings == [] and results[3].dark_note
    again = run_with("darks")
    assert {r.status for r in again} == {Status.SKIPPED}
    # The manifest has no size.
    assert [r.warnings for r in again] == [*(r.warnings for r in results[:2]), [], []]


def test_frames_of_the_nearest_exposure_time_and_the_same_body_are_used(here):
    for name, how in {
        "a": {"exposure_time": Fraction(1, 60)},
        "b": {"exposure_time": Fraction(1, 60), "seed": 1},
        "c": {"exposure_time": 30},
    }.items():
        shoot(here / "darks" / f"{name}.ARW", **how)
    found = DarkFrames.find(["darks"])
    exif = found.frames[0].exif

    def names(**how):
        frames, why = found.of(Exif(**{**exif.__dict__, **how}))
        return "".join(frame.file.stem for frame in frames) or why

    assert (names(), names(exposure_time=None)) == ("ab", "abc")
    assert names(exposure_time=10.0) == "c" and names(exposure_time=1 / 1000) == "ab"
    long = DarkFrames(found.frames[2:])
    assert "8 times longer" in long.of(exif)[1] and not long.of(exif)[0]


def test_a_frame_that_is_not_dark_ends_the_run_before_a_photo_is_made(here):
    shoot(here / "raw" / "a.ARW", light=0.01)
    shoot(here / "darks" / "d.ARW")
    shoot(here / "darks" / "bright.ARW", light=0.1, seed=2)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=r"bright\.ARW: not a usable dark frame: its mean is"):
            run_with("darks", dry_run=dry_run)
    assert not list(here.glob("denoised/*.dng"))
    make_raw(here / "no-iso.ARW", iso=None)
    with pytest.raises(UsageError, match=r"no-iso\.ARW: names no camera or ISO"):
        run_with("no-iso.ARW")
    (here / "notes.ARW").write_text("no raw")
    with pytest.raises(RawError, match=r"notes\.ARW: (?!names no camera)"):
        run_with("notes.ARW")
    with pytest.raises(UsageError, match=r"^--dark missing: no such"):
        run_with("missing")
    (here / "empty").mkdir()
    with pytest.raises(UsageError, match=r"^--dark empty: no raw files .*; subfolders are not"):
        run_with("empty")
    (made,) = run_with("darks/d.ARW")
    with pytest.raises(UsageError, match="is denoised by led"):
        run_with(made.outputs[0], out="out")


def test_another_choice_of_dark_frames_is_another_result(here):
    shoot(here / "raw" / "a.ARW", light=0.01)
    for number in range(2):
        shoot(here / "darks" / f"{number}.ARW", seed=number)
    shoot(here / "other.ARW", iso=100)
    status = [
        run_with(*darks)[0].status
        for darks in ((), ("other.ARW",), ("darks",), ("darks", "other.ARW"), ("darks/0.ARW",), ())
    ]
    done, skipped = Status.DONE, Status.SKIPPED
    assert status == [done, skipped, done, skipped, done, done]
    first = here / "darks" / "0.ARW"
    run_with("darks")
    os.utime(first, (1, 1))
    (result,) = run_with("darks", dry_run=True)
    assert result.status == Status.PLANNED and "other settings" in result.why


def test_dark_frames_beside_the_photos_are_no_photos(here, capsys):
    shoot(here / "raw" / "a.ARW", light=0.01)
    shoot(here / "raw" / "dark-1.ARW", seed=1)
    shoot(here / "raw" / "dark-2.ARW", seed=2)
    command = "denoise raw --dark raw/dark-1.ARW --dark raw/dark-2.ARW --model tiny.safetensors"
    assert run(command.split()) == 0
    shown = capsys.readouterr()
    assert [path.name for path in (here / "denoised").glob("*.dng")] == ["a.dng"]
    assert "2 dark frames: black +" in shown.out and "2 at ISO 800" in shown.err
    assert "2 inputs are among --dark" in shown.err


@pytest.mark.parametrize("verb", ["denoise", "preview"])
def test_inputs_that_are_all_among_the_dark_frames_are_an_error(here, capsys, verb):
    shoot(here / "mix" / "dark.ARW", seed=1)
    assert run([verb, "mix/dark.ARW", "--dark", "mix"]) == UsageError.exit_status
    assert "all inputs are among --dark" in capsys.readouterr().err
    shoot(here / "mix" / "photo.ARW", light=0.1)
    assert run([verb, "mix", "--dark", "mix"]) == UsageError.exit_status
    assert "photo.ARW: not a usable dark frame" in capsys.readouterr().err


def test_no_dark_frame_is_replaced_by_a_result(here):
    shoot(here / "raw" / "a.ARW", light=0.01)
    dark = shoot(here / "raw" / "a.dng", seed=1)
    before = dark.read_bytes()
    with pytest.raises(OutputError, match=r"a\.dng is one of the photos"):
        run_with("raw/a.dng", photos="raw/a.ARW", out="raw", overwrite=True)
    assert dark.read_bytes() == before


@pytest.mark.parametrize("phase", ["GBRG", (1, 4), "monochrome"])
def test_every_sensor_has_dark_frames(here, phase):
    shape = (132, 168)
    for name in ("raw/a.ARW", "darks/d.ARW"):
        shoot(here / name, shape=shape, phase=phase, seed=len(name))
    found = DarkFrames.find(["darks"]).measured()
    photo = read_raw(here / "raw" / "a.ARW")
    (pattern,), _ = pickle.loads(pickle.dumps(found)).patterns_for(photo.exif)
    left = photo.planes(pattern).mean((1, 2)) * photo.span
    assert np.abs(photo.planes().mean((1, 2)) * photo.span).min() > OFFSET - 3
    assert np.abs(left).max() < 0.3


def test_a_preview_is_of_the_corrected_photo_and_its_commands_have_the_frames(here, capsys):
    shoot(here / "raw" / "a.ARW", light=0.01)
    shoot(here / "darks" / "d.ARW", seed=1)
    (here / "led.toml").write_text('[preview]\ndark = ["darks"]\n')
    words = "preview raw --ratio 10 --strength 1 --quality standard --model tiny.safetensors"
    assert run(words.split()) == 0
    shown = capsys.readouterr()
    assert "--dark darks" in shown.out and "denoised without" not in shown.err
    shoot(here / "darks" / "d.ARW", light=0.2)
    assert run([*words.split(), "--overwrite"]) == UsageError.exit_status
    assert "not a usable dark frame" in capsys.readouterr().err
