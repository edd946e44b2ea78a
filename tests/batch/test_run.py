import contextlib
import hashlib
import os
import signal
import struct
import threading
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from ledcli.batch.photo import PhotoStages
from ledcli.batch.pipeline import Pipeline
from ledcli.batch.plan import plan_names
from ledcli.batch.run import DenoiseRun
from ledcli.batch.settings import Engine, Settings, Status
from ledcli.errors import LedError, MetadataError, OutputError, RawError
from ledcli.metadata.dng_mosaic import read_opcodes
from ledcli.metadata.xmp import read_note
from ledcli.output import atomic as files
from ledcli.output.atomic import unique_name
from ledcli.output.formats import FORMATS
from ledcli.raw.inputs import find_raws
from ledcli.raw.reader import read_raw
from ledcli.reporting import SILENT
from ledcli.zoo.model_file import file_sha256
from ledcli.zoo.selection import BestModel, NamedModel
from tests.inference.models import noise_profile, write_model
from tests.shoot import BLACK_LEVEL, make_raw, numbers_tag

ENGINE = Engine("cpu", "float32")


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return NamedModel(write_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


def planned_run(chooser, formats=("dng",), **settings):
    jobs = plan_names(find_raws(["raw"]), formats)
    return DenoiseRun(jobs, Settings(**settings), chooser, ENGINE)


def run_all(chooser, formats=("dng",), overwrite=False, **settings):
    return list(replace(planned_run(chooser, formats, **settings), overwrite=overwrite).run())


def test_a_bad_photo_does_not_stop_the_others_and_no_source_is_touched(here, tiny):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (here / "raw" / "b.ARW").write_bytes(b"no raw")
    make_raw(here / "raw" / "c.ARW", shape=(127, 161), phase="GBRG")
    before = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in (here / "raw").iterdir()}
    first, bad, last = run_all(tiny, ratio=2.0)
    assert first.error is None and last.error is None
    assert isinstance(bad.error, RawError) and bad.outputs == []
    assert visible(here / "denoised") == ["a.dng", "c.dng"]
    after = {p.name: hashlib.sha256(p.read_bytes()).digest() for p in (here / "raw").iterdir()}
    assert after == before
    assert set(first.seconds) == {"decode", "pack", "model", "network", "encode"}
    assert first.ratio == 2.0 and first.noise.gain > 0
    (path,) = last.outputs
    again = read_raw(path)
    assert again.mosaic.shape == (127, 161) and again.phase == "GBRG"


def test_the_result_says_what_was_done(here, tiny):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(tiny, ratio=3.0, strength=0.5)
    note = read_note(result.outputs[0])
    assert (note["model"], note["csa_set"]) == ("tiny.safetensors", "a")
    assert float(note["ratio"]) == 3 and float(note["strength"]) == 0.5


def test_without_denoising_the_dng_is_the_photo_times_the_ratio(here, tiny):
    (here / "raw").mkdir()
    light = np.linspace(0.01, 0.2, 160)[None, :].repeat(128, 0)
    make_raw(here / "raw" / "a.ARW", light=light, phase="BGGR")
    (result,) = run_all(tiny, ratio=4.0, strength=0.0)
    source, out = read_raw(here / "raw" / "a.ARW"), read_raw(result.outputs[0])
    np.testing.assert_allclose(out.normalised(), source.normalised() * 4, atol=2e-5)


def test_a_black_level_far_too_low_and_a_missing_white_balance_get_a_warning(here, tiny):
    (here / "raw").mkdir()
    light = np.linspace(0, 0.03, 160)[None, :].repeat(128, 0)
    make_raw(here / "raw" / "a.dng", light=light)
    make_raw(here / "raw" / "b.dng", light=light, more_tags=[numbers_tag(BLACK_LEVEL, [0] * 4)])
    make_raw(here / "raw" / "c.dng", light=light, neutral=None)
    sound, foggy, unbalanced = run_all(tiny, ratio=20.0, strength=0.0)
    assert sound.warnings == []
    (warning,) = unbalanced.warnings
    assert warning.endswith("c.dng: no white balance in the file: daylight used")
    (warning,) = foggy.warnings
    assert "b.dng" in warning and "DN above its black level of 0 DN" in warning


@pytest.mark.parametrize("light", [0.01, 0.1, 0.4])
def test_an_automatic_ratio_replaces_as_much_baseline_exposure(here, tiny, light):
    """No photo opens darker than its source, and one that is not brightened opens like it."""
    (here / "raw").mkdir()
    flat = np.full((128, 160), light) * np.linspace(1, 1.5, 160)
    for own in (1, -2, 2):
        more = [(50730, 10, 1, (own, 1)), (51109, 10, 1, (1, 2))]
        make_raw(here / "raw" / f"{abs(own)}{own}.dng", light=flat, more_tags=more)
    results = run_all(tiny, ratio=None, strength=0.0)
    outs = [read_raw(result.outputs[0]) for result in results]
    assert len({result.ratio for result in results}) == 1
    gain = np.log2(results[0].ratio)
    assert (gain > 0) == (light < 0.4)
    for out in outs:
        np.testing.assert_array_equal(out.mosaic, outs[0].mosaic)
    shown = [
        sum(
            out.carried.image[tag].numbers()[0] for tag in {50730, 51109} & out.carried.image.keys()
        )
        for out in outs
    ]
    wanted = [max(own + 0.5 - gain, 0) if gain else own + 0.5 for own in (1, -2, 2)]
    assert shown == pytest.approx(wanted, abs=1e-5)


def test_an_exposure_level_gives_each_photo_its_own_ratio(here, tiny):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW", iso=800, exposure_time=Fraction(1, 100))
    make_raw(here / "raw" / "b.ARW", iso=1600, exposure_time=Fraction(1, 50))
    make_raw(here / "raw" / "c.ARW", iso=None)
    first, second, untagged = run_all(tiny, exposure=80.0)
    assert first.ratio == pytest.approx(10) and second.ratio == pytest.approx(2.5)
    assert isinstance(untagged.error, MetadataError)
    assert "c.ARW" in str(untagged.error) and "ISO" in str(untagged.error)
    assert not (here / "denoised" / "c.dng").exists()


@pytest.mark.parametrize("tag,warned", [(51009, ["DNG", "PNG"]), (51022, ["PNG"])])
def test_corrections_that_a_result_lacks_get_a_warning(here, tiny, tag, warned):
    data = struct.pack(">5I", 1, 3, 0, 0, 0)
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.dng", more_tags=[(tag, 7, len(data), data)])
    (result,) = run_all(tiny, ("dng", "png"), linear=True, strength=0.0)
    told = [text for text in result.warnings if "corrections" in text]
    for name, text in zip(warned, told, strict=True):
        assert f"(opcodes 3), and the {name} lacks them" in text
    (result,) = run_all(tiny, overwrite=True, strength=0.0)
    assert not [text for text in result.warnings if "corrections" in text]


def test_constants_that_a_reader_adds_are_brightened_too(here, tiny):
    """DeltaPerRow, in steps of the file's white."""
    body = struct.pack(">9If", 0, 0, 128, 160, 0, 1, 1, 1, 1, 0.01)
    data = struct.pack(">5I", 1, 10, 0x1030000, 1, len(body)) + body
    (here / "raw").mkdir()
    light = np.full((128, 160), 0.9)
    make_raw(here / "raw" / "a.dng", light=light, more_tags=[(51022, 7, len(data), data)])
    for highlights, gain in (("clip", 8), ("keep", 1)):
        settings = {"ratio": 8.0, "strength": 0.0, "highlights": highlights}
        (result,) = run_all(tiny, overwrite=True, **settings)
        (found,) = read_opcodes(read_raw(result.outputs[0]).carried.raw[51022].data)
        (delta,) = struct.unpack(">f", found.data[36:])
        assert delta == pytest.approx(0.01 * 8 / result.headroom)
        assert 8 / result.headroom == pytest.approx(gain, rel=0.2)


def test_every_format_is_written(here, tiny):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(tiny, formats=("dng", "png", "tiff"))
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
    return run_all(BestModel(), **settings)


def test_each_photo_is_denoised_by_its_own_model_and_the_record_says_which(here, led_home):
    path = tune(led_home)
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    make_raw(here / "raw" / "b.ARW", model="Testcam Two")
    make_raw(here / "raw" / "c.ARW", make="SONY", model="ILCE-7SM2")
    first, second, third = run_per_photo(ratio=3.0)
    assert first.model.name == "mine"
    assert second.model.name == "generic"
    assert third.model.name == "sony"
    note = read_note(first.outputs[0])
    assert note["model"] == "mine" and note["csa_set"] == ""
    assert note["sha256"] == file_sha256(path)
    assert "tuned to Led Testcam One" in note["choice"]
    note = read_note(third.outputs[0])
    assert (note["model"], note["csa_set"]) == ("sony", "sony")
    assert note["model_file"] == "led-bayer.safetensors"


def test_the_camera_noise_profile_is_used_before_the_blind_estimate(here, led_home):
    tune(led_home, noise_profile=noise_profile(0.01, isos=(400.0, 1600.0)))
    (here / "raw").mkdir()
    for name, iso in (("a", 800), ("b", 3200), ("c", None)):
        make_raw(here / "raw" / f"{name}.ARW", iso=iso, light=np.full((128, 160), 0.1))
    inside, outside, unknown = run_per_photo(ratio=3.0)
    assert inside.noise_from == "profile"
    assert inside.noise == noise_profile(isos=(400.0, 1600.0)).at(800).profile
    assert outside.noise_from == unknown.noise_from == "blind"
    for result in (inside, outside):
        assert read_note(result.outputs[0])["noise"] == result.noise_from
    # Black is off by 0.01 of white: taken out of the one, not of the other.
    means = [float(read_raw(r.outputs[0]).normalised().mean()) for r in (inside, outside)]
    sources = [float(read_raw(r.source).normalised().mean()) for r in (inside, outside)]
    lost = [3 * s - m for s, m in zip(sources, means, strict=True)]
    assert lost[0] - lost[1] == pytest.approx(0.03, abs=0.003)


def test_the_noise_that_is_given_goes_before_all_and_is_recorded(here, led_home):
    tune(led_home, noise_profile=noise_profile(0.01))
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW", iso=800, light=np.full((128, 160), 0.1))
    (own,), (given,) = (run_per_photo(ratio=3.0, noise=n) for n in (None, (4.0, 8.0)))
    span = 16383 - 512
    assert (own.noise_from, given.noise_from) == ("profile", "given")
    assert given.noise == pytest.approx((4 / span, (8 / span) ** 2))
    note = read_note(given.outputs[0])
    assert (note["noise"], note["given_noise"]) == ("given", "4,8")


def test_a_ratio_a_little_beyond_the_model_s_is_no_warning(here, led_home):
    tune(led_home)
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_per_photo(ratio=5.0)
    assert result.model.name == "mine" and result.warnings == []


def test_a_damaged_tuned_model_is_skipped_and_reported_once(here, led_home):
    path = tune(led_home)
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)
    (here / "raw").mkdir()
    for name in "abc":
        make_raw(here / "raw" / f"{name}.ARW")
    results = run_per_photo(ratio=3.0)
    assert [r.error for r in results] == [None] * 3
    assert {r.model.name for r in results} == {"generic"}
    (warning,) = [w for r in results for w in r.warnings]
    assert "mine.safetensors" in warning


def test_every_format_carries_the_same_note(here, tiny):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW")
    (result,) = run_all(tiny, formats=("dng", "png", "tiff"), ratio=2.0)
    dng, png, tiff = result.outputs
    note = read_note(dng)
    assert note["choice"] == "named" and len(note["sha256"]) == 64
    assert read_note(tiff) == note
    assert read_note(png) == note


def statuses(results):
    return [str(result.status) for result in results]


def shoot(here, *names):
    (here / "raw").mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        make_raw(here / "raw" / name, seed=seed)


def test_run_again_it_does_only_what_is_missing_or_changed(here, tiny, monkeypatch):
    shoot(here, "a.ARW", "b.ARW", "c.ARW")
    assert statuses(run_all(tiny)) == ["done"] * 3
    with monkeypatch.context() as patched:
        patched.setattr("ledcli.raw.decoder.Decoders.run", None)  # nothing is even opened
        again = run_all(tiny)
    assert statuses(again) == ["skipped"] * 3
    assert [r.outputs[0].name for r in again] == ["a.dng", "b.dng", "c.dng"]
    (here / "denoised" / "b.dng").unlink()
    make_raw(here / "raw" / "c.ARW", seed=9, shape=(130, 160))
    assert statuses(run_all(tiny)) == ["skipped", "done", "done"]
    assert read_raw(here / "denoised" / "c.dng").mosaic.shape == (130, 160)


@pytest.mark.parametrize(
    "changed",
    [
        {"ratio": 3.0},
        {"strength": 0.5},
        {"compression": "none"},
        {"linear": True},
        {"noise": (4.0, 8.0)},
    ],
)
def test_other_settings_make_the_photo_again(here, tiny, changed):
    shoot(here, "a.ARW")
    run_all(tiny)
    assert statuses(run_all(tiny, **changed)) == ["done"]
    assert statuses(run_all(tiny, **changed)) == ["skipped"]


def test_another_model_makes_the_photo_again(here, led_home):
    shoot(here, "a.ARW", "b.ARW")
    make_raw(here / "raw" / "b.ARW", model="Testcam Two")
    assert statuses(run_per_photo(ratio=3.0)) == ["done"] * 2
    tune(led_home)
    assert statuses(run_per_photo(ratio=3.0)) == ["done", "skipped"]


def test_a_format_that_is_asked_for_later_is_added_alone(here, tiny):
    shoot(here, "a.ARW")
    run_all(tiny)
    before = (here / "denoised" / "a.dng").stat().st_mtime_ns
    (result,) = run_all(tiny, formats=("dng", "png"))
    assert sorted(p.name for p in result.outputs) == ["a.dng", "a.png"]
    assert (here / "denoised" / "a.dng").stat().st_mtime_ns == before


def test_an_edited_result_is_kept(here, tiny):
    shoot(here, "a.ARW")
    run_all(tiny)
    dng = here / "denoised" / "a.dng"
    dng.write_bytes(dng.read_bytes() + b"edited")
    (kept,) = run_all(tiny)
    assert kept.status == Status.SKIPPED and "kept" in kept.why
    (refused,) = run_all(tiny, ratio=2.0)
    assert isinstance(refused.error, OutputError) and "--overwrite" in str(refused.error)
    assert dng.read_bytes().endswith(b"edited")
    assert statuses(run_all(tiny, ratio=2.0, overwrite=True)) == ["done"]


def test_a_stop_finishes_what_has_begun_and_the_next_run_goes_on(here, tiny):
    shoot(here, *(f"{n}.ARW" for n in range(6)))
    asked = iter([False] * 3)  # for the lock and before two photos
    told = list(planned_run(tiny).run(stop=lambda: next(asked, True)))
    assert statuses(told) == ["done"] * 2 + ["not started"] * 4
    assert visible(here / "denoised") == ["0.dng", "1.dng"]
    assert statuses(run_all(tiny)) == ["skipped"] * 2 + ["done"] * 4


def test_a_planned_run_can_be_run_again(here, tiny):
    shoot(here, "a.ARW")
    planned = planned_run(tiny)
    assert statuses(planned.run()) == ["done"]
    assert statuses(planned.run()) == ["skipped"]
    assert statuses(replace(planned, overwrite=True).run()) == ["done"]
    manifest = here / "denoised" / ".led" / "manifest.jsonl"
    assert len(manifest.read_text().splitlines()) == 2


def test_leaving_in_the_middle_leaves_no_part_of_a_file(here, tiny):
    shoot(here, *(f"{n}.ARW" for n in range(4)))
    going = planned_run(tiny).run()
    next(going)
    going.close()
    assert statuses(run_all(tiny))[0] == "skipped"
    assert visible(here / "denoised") == [f"{n}.dng" for n in range(4)]
    assert not list((here / "denoised").glob(".led-*"))


def test_a_full_disk_ends_the_run_and_is_reported_for_each_photo(here, tiny, monkeypatch):
    shoot(here, *(f"{n}.ARW" for n in range(5)))
    synced = []

    def full(number):
        synced.append(number)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    results = run_all(tiny)
    assert statuses(results) == ["failed"] * 5
    assert "disk is full" in str(results[0].error)
    assert "not started" in str(results[-1].error) and "4.ARW" in str(results[-1].error)
    assert len(synced) < 5
    assert not (here / "denoised").exists()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert statuses(run_all(tiny)) == ["done"] * 5


def test_a_result_is_not_denoised_again(here, tiny):
    shoot(here, "a.ARW")
    (first,) = run_all(tiny, ratio=2.0)
    first.outputs[0].rename(here / "raw" / "b.dng")
    results = run_all(tiny)
    assert statuses(results) == ["done", "failed"]
    assert "already denoised by led" in str(results[1].error)
    assert "--again" in str(results[1].error)
    assert statuses(run_all(tiny, again=True)) == ["skipped", "done"]


def test_an_inferred_ratio_brings_a_dark_photo_to_the_brightness_of_a_light_one(here, tiny):
    (here / "raw").mkdir()
    light = np.linspace(0.05, 0.5, 512)[None, :].repeat(384, 0)
    make_raw(here / "raw" / "dark.ARW", light=light / 30)
    make_raw(here / "raw" / "light.ARW", light=light)
    dark, normal = run_all(tiny, ratio=None)
    assert dark.ratio == pytest.approx(30 * normal.ratio, rel=0.3)
    assert read_note(dark.outputs[0])["ratio_from"] == "auto"
    assert float(read_note(dark.outputs[0])["ratio"]) == dark.ratio


def test_an_inferred_ratio_stays_in_the_model_s_range(here, led_home):
    path = tune(led_home, ratio_range=(2.0, 4.0))
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW", light=np.full((128, 160), 0.001))
    (result,) = run_all(NamedModel(path), ratio=None)
    assert result.ratio == 4.0


def test_kept_highlights_open_as_bright_and_are_there_above_white(here, tiny):
    (here / "raw").mkdir()
    light = np.full((128, 160), 0.01)
    light[32:96, 40:120] = 0.5
    make_raw(here / "raw" / "a.ARW", light=light)
    (clip,) = run_all(tiny, ratio=10.0)
    clipped = read_raw(clip.outputs[0]).normalised()
    assert clipped[64, 80] == pytest.approx(1)
    (keep,) = run_all(tiny, ratio=10.0, highlights="keep")
    kept = read_raw(keep.outputs[0]).normalised()
    assert kept[60:68, 76:84].mean() / kept[4:28, 4:36].mean() == pytest.approx(50, rel=0.1)


def test_an_unexpected_error_is_one_failed_photo(here, tiny, monkeypatch):
    shoot(here, "a.ARW", "b.ARW")
    met = []

    def broken(*given, **how):
        met.append(1)
        if len(met) == 1:
            raise RuntimeError("out of luck")
        return b"file"

    dng = replace(FORMATS["dng"], encode=broken)
    monkeypatch.setattr("ledcli.batch.output_writer.FORMATS", {"dng": dng})
    first, second = run_all(tiny)
    assert isinstance(first.error, LedError) and "RuntimeError: out of luck" in str(first.error)
    assert second.status == Status.DONE


class SlowExiftool:
    """Stands in for MakerNotes: a copy lasts until it is aborted."""

    copying, aborted = threading.Event(), threading.Event()
    find = classmethod(lambda cls: cls())

    def copy(self, source, dng):
        self.copying.set()
        assert self.aborted.wait(60)

    def abort(self):
        self.aborted.set()

    def close(self):
        pass


def test_the_second_ctrl_c_ends_the_write_before_the_lock_is_released(here, tiny, monkeypatch):
    shoot(here, "a.ARW", "b.ARW", "c.ARW")
    monkeypatch.setattr("ledcli.batch.output_writer.MakerNotes", SlowExiftool)
    monkeypatch.setattr(
        "ledcli.batch.output_writer.OutputWriter._copy_maker_notes",
        lambda writer, photo, result: lambda dng: _notes_of(writer).copy(photo.path, dng),
    )
    asked = []

    def stop():
        asked.append(1)
        if len(asked) == 3:  # before the second photo: the first is being written
            assert SlowExiftool.copying.wait(60)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return False

    before = threading.enumerate()
    with pytest.raises(KeyboardInterrupt):
        list(planned_run(tiny).run(stop=stop))
    assert SlowExiftool.aborted.is_set()
    there = set(visible(here / "denoised"))
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("led-write")]
    monkeypatch.undo()
    monkeypatch.chdir(here)
    again = run_all(tiny)
    assert {r.outputs[0].name for r in again if r.status == Status.SKIPPED} == there


def _notes_of(writer):
    writer._maker_notes = writer._maker_notes or SlowExiftool()
    return writer._maker_notes


def test_a_stop_still_reports_what_is_up_to_date(here, tiny):
    shoot(here, "a.ARW", "b.ARW", "c.ARW")
    run_all(tiny)
    (here / "denoised" / "a.dng").unlink()
    asked = []
    stop = lambda: bool(asked) or asked.append(1)  # noqa: E731  (after the lock is had)
    told = list(planned_run(tiny).run(stop=stop))
    assert statuses(told) == ["not started", "skipped", "skipped"]


def test_part_files_of_a_killed_run_are_removed_even_when_all_is_done(here, tiny):
    shoot(here, "a.ARW")
    run_all(tiny)
    left = here / "denoised" / f".led-{unique_name()}.part"
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", "-9999999999-"))
    left.write_bytes(b"half")
    assert statuses(run_all(tiny)) == ["skipped"]
    assert not left.exists()


class Watched:
    """A reporter that keeps the messages about progress."""

    def __init__(self):
        self.total, self.done, self.notes = 0.0, [0.0], []

    @contextlib.contextmanager
    def progress(self, total, label, unit=""):
        assert (total, unit) == (None, "MP")
        yield self

    def info(self, text):
        pass

    def resize(self, total):
        self.total = total

    def advance(self, steps=1, note=""):
        self.done.append(self.done[-1] + steps)
        self.notes += [note] * (note not in self.notes)


def test_progress_is_in_megapixels_and_moves_within_a_photo(here, tiny, monkeypatch):
    (here / "raw").mkdir()
    make_raw(here / "raw" / "a.ARW", shape=(256, 320))
    (here / "raw" / "b.ARW").write_bytes(b"no raw")
    make_raw(here / "raw" / "c.ARW", shape=(512, 320))
    monkeypatch.setattr("ledcli.inference.network.rows_of", lambda *_: 16)
    planned, watched, moved = planned_run(tiny), Watched(), []
    for _ in planned.run(report=watched):
        moved.append(len(watched.done))
    assert watched.total == pytest.approx(0.32 * 0.768)
    assert watched.done[-1] == pytest.approx(watched.total)
    assert watched.done == sorted(watched.done)
    # The bar does not move for one that fails: its note may be replaced before it is shown.
    shown = [note for note in watched.notes if note != "2 of 3: b.ARW"]
    assert shown == ["1 of 3: a.ARW", "3 of 3: c.ARW"]
    assert moved[0] > 5


def test_a_photo_is_reported_when_it_is_written_and_not_one_later(here, tiny, monkeypatch):
    shoot(here, "a.ARW", "b.ARW")
    denoise, reported = PhotoStages.denoise, threading.Event()

    def after_the_first(self, frame, result, progress):
        if result.source.name == "b.ARW":
            assert reported.wait(60)
        return denoise(self, frame, result, progress)

    monkeypatch.setattr(PhotoStages, "denoise", after_the_first)
    for result in planned_run(tiny).run():
        assert result.error is None
        reported.set()


def test_a_photo_read_ahead_that_another_run_has_made_is_not_kept(here):
    (here / "raw").mkdir()
    for name in ("a", "b"):
        make_raw(here / "raw" / f"{name}.ARW")
    first, second = plan_names(find_raws(["raw"]), ["dng"])
    begun = []

    class Stages:
        writer = SimpleNamespace(abort=lambda: None)

        def denoise(self, frame, result, moved):
            begun.append(pipeline._begun)
            return frame

        def write(self, job, denoised, result):
            return result

    pipeline = Pipeline(Settings())
    with SILENT.progress(None, "", "MP") as bar, contextlib.closing(pipeline):
        pipeline.begin(first)
        results = list(pipeline.run([second], Stages(), lambda: False, bar))
    assert [result.source for result in results] == [second.source] and begun == [None]
