import os
from contextlib import closing
from pathlib import Path

import pytest

from ledcli.batch import plan as module
from ledcli.batch.journal import Stamp
from ledcli.batch.manifest import Manifest, Manifests
from ledcli.batch.plan import plan_names, plan_photo, plan_photos, split_results
from ledcli.batch.settings import Quality, Settings
from ledcli.errors import LedError, ModelError, OutputError
from ledcli.output.atomic import atomic_write
from ledcli.output.dng import dng_bytes
from ledcli.raw.inputs import find_raws
from ledcli.raw.reader import read_raw
from ledcli.zoo.selection import BestModel
from tests.shoot import make_raw

MADE = {"ratio": 2.0, "model": "ab", "range": (1, 300)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    Path("raw/a.CR2").write_bytes(b"a raw")
    return tmp_path


def jobs_of(*inputs, formats=("dng",), out=None):
    return plan_names(find_raws(inputs or ["raw"]), formats, out)


def make(job, made=MADE, photo=None, formats=None):
    """Write a photo's outputs as a run does."""
    job.root.mkdir(exist_ok=True, parents=True)
    with closing(Manifest(job.root)) as manifest:
        stamp = Stamp.of(os.stat(job.source))
        for name in formats or job.outputs:
            path = job.outputs[name]
            entry = (path, job.source, stamp, made, photo or {})
            atomic_write(
                path,
                b"x",
                before_rename=lambda s, e=entry: manifest.record(manifest.new_entry(*e, s)),
            )


def decide(job, made=MADE, overwrite=False):
    return plan_photo(job, Manifest(job.root), lambda photo: made, overwrite)


def test_the_first_run_makes_all_the_second_nothing(here):
    (job,) = jobs_of(formats=("dng", "png"))
    assert decide(job)[:4] == (("dng", "png"), (), module.MISSING, None)
    make(job)
    assert decide(job)[:4] == ((), tuple(job.outputs.values()), module.UP_TO_DATE, None)


def test_what_is_missing_is_made_and_the_rest_kept(here):
    (job,) = jobs_of(formats=("dng", "png", "tiff"))
    make(job, formats=["dng", "tiff"])
    assert decide(job)[:3] == (("png",), (job.outputs["dng"], job.outputs["tiff"]), module.MISSING)
    job.outputs["dng"].unlink()
    assert decide(job).make == ("dng", "png")


@pytest.mark.parametrize(
    "made", [MADE | {"ratio": 3.0}, MADE | {"model": "cd"}, {}, MADE | {"new": None}]
)
def test_other_settings_make_it_again(here, made):
    (job,) = jobs_of()
    make(job)
    assert decide(job, made)[:3] == (("dng",), (), module.SETTINGS_CHANGED)


def test_what_is_expected_goes_by_what_the_run_found_in_the_photo(here):
    (job,) = jobs_of()
    make(job, {"model": "sony"}, {"make": "SONY", "iso": 800})
    asked = []

    def expected(photo):
        asked.append(dict(photo))
        return {"model": photo["make"].lower()}

    assert plan_photo(job, Manifest(job.root), expected).why == module.UP_TO_DATE
    assert asked == [{"make": "SONY", "iso": 800}]


@pytest.mark.parametrize("wrong", [{"make": 1}, {"model": []}, {"iso": "x"}, {"ratio": 10**400}])
def test_a_damaged_line_of_the_manifest_makes_it_again(here, wrong):
    (job,) = jobs_of()
    shot = {"make": "SONY", "model": "A", "iso": 800, "ratio": 1.0, "format": "dng"}
    make(job, photo=shot | wrong)
    (planned,) = plan_photos([job], Settings(), BestModel(), Manifests())
    assert planned.why == module.SETTINGS_CHANGED


def test_a_changed_photo_is_made_again(here):
    (job,) = jobs_of()
    make(job)
    job.source.write_bytes(b"another raw")
    assert decide(job)[:3] == (("dng",), (), module.PHOTO_CHANGED)


def test_overwrite_makes_all(here):
    (job,) = jobs_of(formats=("dng", "png"))
    make(job)
    job.outputs["png"].write_bytes(b"edited")
    assert decide(job, overwrite=True)[:4] == (("dng", "png"), (), module.OVERWRITE, None)


def test_a_file_that_led_did_not_write_is_never_replaced_unasked(here):
    (job,) = jobs_of(formats=("dng", "png"))
    make(job, formats=["dng"])
    job.outputs["png"].write_bytes(b"a photographer's")
    found = decide(job)
    assert found.make == () and isinstance(found.error, OutputError)
    assert str(found.error) == (
        "denoised/a.png: already exists and was not written by led: "
        "use --overwrite to replace it, or another --out"
    )
    assert decide(job, overwrite=True).make == ("dng", "png")


def test_an_edited_result_is_kept_and_said_so(here):
    (job,) = jobs_of(formats=("dng", "png"))
    make(job)
    job.outputs["dng"].write_bytes(b"edited with care")
    assert decide(job)[:4] == ((), tuple(job.outputs.values()), module.EDITED, None)


def test_an_edited_result_is_not_replaced_by_one_of_other_settings(here):
    (job,) = jobs_of(formats=("png",))
    make(job)
    job.outputs["png"].write_bytes(b"edited with care")
    found = decide(job, {"ratio": 3.0})
    assert found.make == () and str(found.error) == (
        "denoised/a.png: was edited, or copied without its time, since led wrote it; and it was "
        "made with other settings or another model: use --overwrite to replace it, or another --out"
    )
    job.source.write_bytes(b"another raw")
    assert "since led wrote it; and the photo has changed: use --over" in str(decide(job).error)


def test_a_camera_s_dng_is_not_replaced_even_with_overwrite(here):
    """One that is not among the inputs, or took the place of a result."""
    (job,) = jobs_of(formats=("dng", "png"))
    for there in (False, True):
        if there:
            make(job)
        job.outputs["dng"].parent.mkdir(exist_ok=True)
        job.outputs["dng"].write_bytes(b"a camera's own DNG")
        found = decide(job, overwrite=True)
        assert found.make == () and str(found.error) == (
            "denoised/a.dng: already exists and was not written by led: move it away, or use "
            "another --out"
        )
        assert "--overwrite" not in str(decide(job, {"ratio": 3.0}).error)


@pytest.mark.parametrize("known", [False, True])
def test_an_empty_dng_is_replaced_with_overwrite(here, known):
    (job,) = jobs_of()
    if known:
        make(job)
    job.outputs["dng"].parent.mkdir(exist_ok=True)
    job.outputs["dng"].write_bytes(b"")
    assert "use --overwrite" in str(decide(job, {"ratio": 3.0}).error)
    assert decide(job, overwrite=True).make == ("dng",)


def test_a_result_of_led_that_no_manifest_knows_is_replaced_with_overwrite(here):
    (job,) = jobs_of()
    make_raw(Path("b.dng"))
    photo = read_raw(Path("b.dng"))
    job.root.mkdir()
    note = {"model": "m"}
    job.outputs["dng"].write_bytes(dng_bytes(photo, photo.normalised(), software="led", note=note))
    assert "use --overwrite" in str(decide(job).error)
    assert decide(job, overwrite=True).make == ("dng",)


def test_another_photo_s_result_is_not_replaced(here):
    """IMG_1.CR2 and IMG_1.NEF, named in two runs, ask for one name."""
    Path("raw/a.NEF").write_bytes(b"a raw of another camera")
    (job,) = jobs_of("raw/a.CR2")
    make(job)
    (other,) = jobs_of("raw/a.NEF")
    assert other.outputs == job.outputs
    found = decide(other)
    assert found.make == () and "another photo (../a.CR2)" in str(found.error)


def test_photos_that_moved_are_known_again(here):
    (job,) = jobs_of(out=Path("clean"))
    make(job)
    os.rename("raw", "archive")
    (job,) = jobs_of("archive", out=Path("clean"))
    assert decide(job).why == module.UP_TO_DATE


def test_a_result_whose_newer_version_never_came_is_known_by_its_own_line(here):
    """The last run was killed between its line and its file."""
    (job,) = jobs_of()
    make(job)
    with closing(Manifest(job.root)) as manifest:
        late = Path("late")
        late.write_bytes(b"newer")
        path = job.outputs["dng"]
        stamp = Stamp.of(os.stat(job.source))
        newer = MADE | {"ratio": 3.0}
        manifest.record(manifest.new_entry(path, job.source, stamp, newer, {}, late.stat()))
    assert decide(job).why == module.UP_TO_DATE
    assert decide(job, newer)[:3:2] == (("dng",), module.SETTINGS_CHANGED)


def test_a_photo_that_is_gone_is_left_to_the_reading(here):
    (job,) = jobs_of()
    job.source.unlink()
    assert decide(job).make == ("dng",)


def test_a_model_that_is_missing_is_one_error_of_the_photo(here):
    (job,) = jobs_of()
    make(job)

    def expected(photo):
        raise ModelError("no such model")

    error = plan_photo(job, Manifest(job.root), expected).error
    assert isinstance(error, LedError) and str(error) == "no such model"


def test_nothing_is_opened_to_decide(here, monkeypatch):
    (job,) = jobs_of(formats=("dng", "png"))
    make(job)
    manifest = Manifest(job.root)

    def never(*_, **__):
        raise AssertionError("opened a file")

    for name in ("open", "scandir", "listdir"):
        monkeypatch.setattr(os, name, never)
    monkeypatch.setattr("builtins.open", never)
    assert plan_photo(job, manifest, lambda photo: MADE).why == module.UP_TO_DATE


def test_results_among_the_photos_are_no_photos(here):
    """With --out as the photos' own folder, the second run finds what the first did."""
    Path("raw/b.dng").write_bytes(b"the camera's own")
    Path("raw/sub").mkdir()
    Path("raw/sub/c.CR2").write_bytes(b"c")
    out = Path("raw")

    def found():
        return split_results(find_raws(["raw"], recursive=True), out)[0]

    names = [str(raw.file) for raw in found()]
    assert names == ["raw/a.CR2", "raw/b.dng", "raw/sub/c.CR2"]
    jobs = plan_names(found(), ["dng"], out, "{stem}-led{ext}")
    for job in jobs:
        make(job)
    assert Path("raw/a-led.dng").exists() and Path("raw/sub/c-led.dng").exists()
    assert [str(raw.file) for raw in found()] == names
    assert plan_names(found(), ["dng"], out, "{stem}-led{ext}") == jobs
    assert {decide(job).why for job in jobs} == {module.UP_TO_DATE}
    again = plan_names(
        found(), ["dng"], out, "{stem}-led{ext}", sources=find_raws(["raw"], recursive=True)
    )
    assert again == jobs


def test_a_camera_s_file_in_a_result_s_place_is_a_photo_and_never_replaced(here):
    """A card emptied into the folder once more, over the results."""
    out = Path("raw")
    (job,) = jobs_of(out=out)
    make(job)
    Path("raw/a.dng").write_bytes(b"a camera's own DNG")
    raws = find_raws(["raw"])
    photos = split_results(raws, out)[0]
    assert [raw.file.name for raw in photos] == ["a.CR2", "a.dng"]
    camera = Path("raw/a.dng")
    for jobs in (plan_names(photos, ["dng"], out), plan_names(photos, ["dng"], out, sources=raws)):
        assert all(camera not in job.outputs.values() for job in jobs)
    # Even where it was left out, as when it came after the look.
    with pytest.raises(OutputError, match=r"a\.dng is one of the photos"):
        plan_names(photos[:1], ["dng"], out, sources=raws)


def test_a_result_that_was_edited_is_still_no_photo(here):
    out = Path("raw")
    (job,) = jobs_of(out=out)
    make(job)
    make_raw(Path("raw/a.dng"))
    photo = read_raw(Path("raw/a.dng"))
    data = dng_bytes(photo, photo.normalised(), software="led 1", note={"model": "m"})
    Path("raw/a.dng").write_bytes(data)
    raws = find_raws(["raw"])
    assert [raw.file.name for raw in split_results(raws, out)[0]] == ["a.CR2"]
    assert plan_names(split_results(raws, out)[0], ["dng"], out, sources=raws) == [job]
    assert decide(job).why == module.EDITED


def test_a_result_that_the_user_named_is_reported(here):
    out = Path("raw")
    (job,) = jobs_of(out=out)
    make(job)
    for names in (["raw/a.dng"], ["raw", "raw/a.dng"]):
        photos, results = split_results(find_raws(names), out)
        assert [raw.file for raw in results] == [Path("raw/a.dng")]
        assert Path("raw/a.dng") not in [raw.file for raw in photos]


def test_default_quality_steps_and_noise_are_not_recorded_as_before_they_existed():
    """So that results of earlier versions, whose default was called "fast", are up to date."""
    assert not {"quality", "steps", "given_noise"} & set(Settings().made_with("dng", None))
    assert Settings(quality=Quality.BEST, steps=2).made_with("png", None)["quality"] == "best"
