import gc
import json
import weakref

import numpy as np
import pytest

from ledcli.errors import ModelError, UsageError
from ledcli.inference import choice
from ledcli.inference.choice import Named, PerPhoto, camera_noise
from ledcli.inference.engine import Denoiser
from ledcli.photo.exif import Exif
from ledcli.zoo import bundled
from ledcli.zoo.modelfile import file_sha256, read_spec
from tests.inference.models import noise_lines, write_model

ONE = Exif(make="Led", model="Testcam One", iso=800.0)
TWO = Exif(make="Led", model="Testcam Two", iso=800.0)
OTHER = Exif(make="Sony", model="ILCE-7SM2", iso=800.0)


@pytest.fixture(autouse=True)
def come_with_led(tmp_path, monkeypatch):
    folder = tmp_path / "bundled"
    write_model(folder / "b.safetensors", sets=("generic", "sony"), name="bayer")
    names = {"file": "b.safetensors", "names": ["generic", "sony"]}
    (folder / "registry.json").write_text(json.dumps({"default": "generic", "models": [names]}))
    monkeypatch.setattr(bundled, "bundled_dir", lambda: folder)


def tune(home, name, camera=ONE, **how):
    return write_model(
        home / "models" / f"{name}.safetensors",
        sets=(),
        name=name,
        **{"cameras": (camera.camera,), "ratio_range": (100.0, 300.0)} | how,
    )


def chooser(**how):
    return PerPhoto(device="cpu", precision="float32", **how)


def test_each_photo_gets_its_model_and_the_choice_says_which(led_home):
    path = tune(led_home, "mine", training={"date": "2026-11-20"})
    models = chooser()
    denoiser, chosen, warnings = models.choose(ONE, 100)
    assert (chosen.model, chosen.file, chosen.branch) == ("mine", "mine.safetensors", "")
    assert warnings == ()
    assert chosen.sha256 == denoiser.sha256 == file_sha256(path)
    assert chosen.reason == "tuned to Led Testcam One on 2026-11-20"
    assert models.choose(ONE, 1).choice.model == "generic"
    other = models.choose(OTHER, 100).choice.record()
    assert (other["model"], other["model_file"], other["set"]) == ("sony", "b.safetensors", "sony")
    assert models.choose(TWO, 100).choice.reason == "the bundled default"


def test_a_denoiser_is_made_once_and_two_are_kept(led_home, monkeypatch):
    tune(led_home, "mine")
    tune(led_home, "yours", TWO)
    made, kept = [], []

    class Counted(Denoiser):
        def __init__(self, *given, **how):
            gc.collect()
            made.append(given[0].stem)
            kept.append(sum(ref() is not None for ref in alive))
            super().__init__(*given, **how)
            alive.append(weakref.ref(self))

    alive = []
    monkeypatch.setattr(choice, "Denoiser", Counted)
    models = chooser()
    for exif in (ONE, TWO, ONE, TWO, ONE):
        models.choose(exif, 100)
    assert made == ["mine", "yours"]
    models.choose(OTHER, 100)  # the one used longest ago makes room: yours
    models.choose(ONE, 100)
    assert made == ["mine", "yours", "b"]
    models.choose(TWO, 100)
    assert made == ["mine", "yours", "b", "yours"]
    assert max(kept) <= 1  # never a third beside the new one


def test_a_model_that_is_installed_meanwhile_is_used(led_home):
    models = chooser()
    assert models.choose(ONE, 100).choice.model == "generic"
    tune(led_home, "mine")
    assert models.choose(ONE, 100).choice.model == "mine"


def test_the_choice_has_the_name_of_the_shelf_not_of_the_header(led_home):
    tune(led_home, "mine").rename(led_home / "models" / "renamed.safetensors")
    assert chooser().choose(ONE, 100).choice.model == "renamed"


def test_a_photo_beyond_the_model_s_isos_goes_to_the_bundled_one(led_home):
    tune(led_home, "mine", noise_lines=noise_lines(isos=(6400.0,)))
    models = chooser()
    low, near, unknown = (
        models.choose(Exif(make="Led", model="Testcam One", iso=iso), 100).choice
        for iso in (400.0, 12800.0, None)
    )
    assert (low.model, near.model, unknown.model) == ("generic", "mine", "mine")
    assert low.reason == "the bundled default; mine is tuned to this camera, but for ISO 6400"


def spoil(path):
    """Leave the header good and the last weight no number."""
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)


def test_a_model_whose_weights_are_damaged_is_passed_over_and_told_of_once(led_home):
    for name in ("mine", "newer"):
        spoil(tune(led_home, name, training={"date": f"2026-11-2{len(name)}"}))
    tune(led_home, "older", training={"date": "2026-11-01"})
    models = chooser()
    chosen = models.choose(ONE, 100)
    assert chosen.choice.model == "older"
    for warning, name in zip(chosen.warnings, ("newer", "mine"), strict=True):
        assert warning.startswith("an installed model is passed over: ") and "\n" not in warning
        assert f"{name}.safetensors" in warning and "not finite" in warning
    again = models.choose(ONE, 100)
    assert (again.choice.model, again.warnings) == ("older", ())


def test_a_bundled_model_whose_weights_are_damaged_is_an_error(led_home):
    spoil(bundled.find_bundled().path)
    models = chooser()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"b\.safetensors.*not finite"):
            models.choose(ONE, 100)


def test_a_model_that_vanishes_before_it_is_loaded_is_passed_over(led_home, monkeypatch):
    path = tune(led_home, "mine")
    pick = choice.pick_model

    def slow_pick(*given, **how):
        picked = pick(*given, **how)
        path.unlink(missing_ok=True)
        return picked

    monkeypatch.setattr(choice, "pick_model", slow_pick)
    models = chooser()
    chosen = models.choose(ONE, 100)
    assert chosen.choice.model == "generic"
    (warning,) = chosen.warnings
    assert "no such model file" in warning
    assert models.choose(ONE, 100).warnings == ()


def test_a_model_in_memory_outlives_its_file(led_home):
    path = tune(led_home, "mine")
    models = chooser()
    denoiser = models.choose(ONE, 100).denoiser
    path.unlink()
    assert models.choose(ONE, 100).choice.model == "generic"
    assert denoiser.name == "mine"


def test_a_damaged_model_is_told_of_once(led_home):
    tune(led_home, "mine").write_bytes(b"nothing")
    models = chooser()
    (warning,) = models.choose(ONE, 100).warnings
    assert "mine.safetensors" in warning
    assert models.choose(ONE, 100).warnings == ()
    assert models.choose(TWO, 100).warnings == ()


@pytest.mark.parametrize("how", [{"device": "gpu"}, {"precision": "fp16"}, {"tile": 7}])
def test_what_cannot_be_had_is_refused_before_the_first_photo(how):
    with pytest.raises(UsageError):
        PerPhoto(**how)


def test_a_named_model_serves_every_photo_and_says_so_when_it_is_another_camera_s(led_home):
    path = tune(led_home, "mine")
    models = Named(Denoiser(path, "", device="cpu", precision="float32"))
    assert models.choose(ONE, 1).choice.reason == "named"
    chosen = models.choose(OTHER, 100).choice
    assert (chosen.model, chosen.file) == ("mine", "")
    assert "tuned to another camera: Led Testcam One" in chosen.reason


def test_the_camera_s_own_noise_is_used_within_its_isos_and_for_no_other_camera(led_home):
    spec = read_spec(tune(led_home, "mine", noise_lines=noise_lines(isos=(400.0, 6400.0))))
    for iso in (400.0, 800.0, 6400.0):
        own = camera_noise(spec, Exif(make="Led", model="Testcam One", iso=iso))
        assert own.line == spec.noise_lines.at(iso).line
    for iso in (None, 399.0, 6401.0):
        assert camera_noise(spec, Exif(make="Led", model="Testcam One", iso=iso)) is None
    assert camera_noise(spec, TWO) is None
    assert camera_noise(read_spec(tune(led_home, "plain")), ONE) is None
