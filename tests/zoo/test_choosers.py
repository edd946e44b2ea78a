import functools
import gc
import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from ledcli.batch.photo import DecodedFrame, choose_model
from ledcli.errors import ModelError, UsageError
from ledcli.inference.denoiser import Denoiser, DenoiserCache
from ledcli.raw.exif import Exif
from ledcli.zoo import selection
from ledcli.zoo import store as bundled
from ledcli.zoo.model_file import file_sha256, load_model, read_spec
from ledcli.zoo.selection import BestModel, NamedModel, camera_noise
from tests.inference.models import noise_profile, write_model

ONE = Exif(make="Led", model="Testcam One", iso=800.0)
TWO = Exif(make="Led", model="Testcam Two", iso=800.0)
OTHER = Exif(make="Sony", model="ILCE-7SM2", iso=800.0)
DENOISERS = DenoiserCache("cpu", "float32")


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


def load(models, exif, ratio=100, denoisers=None):
    """Choose and load, as a run does: a damaged model is skipped."""
    frame = DecodedFrame(SimpleNamespace(exif=exif, cfa="bayer", path="a.dng"), None, None, 1.0)
    warnings = []
    denoiser, chosen = choose_model(frame, ratio, models, denoisers or DENOISERS, warnings)
    return denoiser, chosen, warnings


def test_each_photo_gets_its_model_and_the_choice_says_which(led_home):
    path = tune(led_home, "mine", training={"date": "2026-11-20"})
    models = BestModel()
    denoiser, chosen, warnings = load(models, ONE)
    assert (chosen.name, chosen.path.name, chosen.csa_set) == ("mine", "mine.safetensors", "")
    assert warnings == []
    assert chosen.sha256 == denoiser.sha256 == file_sha256(path)
    assert chosen.reason == "tuned to Led Testcam One on 2026-11-20"
    assert models.choose(ONE, 1).name == "generic"
    other = models.choose(OTHER, 100).record()
    assert (other["model"], other["model_file"], other["csa_set"]) == (
        "sony",
        "b.safetensors",
        "sony",
    )
    assert models.choose(TWO, 100).reason == "the bundled default"


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
    monkeypatch.setattr("ledcli.inference.denoiser.Denoiser", Counted)
    models, denoisers = BestModel(), DenoiserCache("cpu", "float32")
    for exif in (ONE, TWO, ONE, TWO, ONE):
        load(models, exif, denoisers=denoisers)
    assert made == ["mine", "yours"]
    load(models, OTHER, denoisers=denoisers)  # the one used longest ago makes room: yours
    load(models, ONE, denoisers=denoisers)
    assert made == ["mine", "yours", "b"]
    load(models, TWO, denoisers=denoisers)
    assert made == ["mine", "yours", "b", "yours"]
    assert max(kept) <= 1  # never a third beside the new one


def test_a_model_that_is_installed_meanwhile_is_for_the_next_run(led_home):
    models = BestModel()
    assert models.choose(ONE, 100).name == "generic"
    tune(led_home, "mine")
    assert models.choose(ONE, 100).name == "generic"
    assert BestModel().choose(ONE, 100).name == "mine"


def test_the_choice_has_the_name_of_the_file_not_of_the_header(led_home):
    tune(led_home, "mine").rename(led_home / "models" / "renamed.safetensors")
    assert BestModel().choose(ONE, 100).name == "renamed"


def test_a_photo_beyond_the_model_s_isos_goes_to_the_bundled_one(led_home):
    tune(led_home, "mine", noise_profile=noise_profile(isos=(6400.0,)))
    models = BestModel()
    low, near, unknown = (
        models.choose(Exif(make="Led", model="Testcam One", iso=iso), 100)
        for iso in (400.0, 12800.0, None)
    )
    assert (low.name, near.name, unknown.name) == ("generic", "mine", "mine")
    assert low.reason == "the bundled default; mine is tuned to this camera, but for ISO 6400"


def spoil(path):
    """Leave the header good and the last weight no number."""
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(data)


def test_a_model_whose_weights_are_damaged_is_skipped_with_one_warning(led_home):
    for name in ("mine", "newer"):
        spoil(tune(led_home, name, training={"date": f"2026-11-2{len(name)}"}))
    tune(led_home, "older", training={"date": "2026-11-01"})
    models = BestModel()
    _, chosen, warnings = load(models, ONE)
    assert chosen.name == "older"
    for warning, name in zip(warnings, ("newer", "mine"), strict=True):
        assert warning.startswith("an installed model was skipped: ") and "\n" not in warning
        assert f"{name}.safetensors" in warning and "not finite" in warning
    _, again, warnings = load(models, ONE)
    assert (again.name, warnings) == ("older", [])


def test_a_bundled_model_whose_weights_are_damaged_is_an_error(led_home):
    spoil(bundled.find_bundled().path)
    models = BestModel()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"b\.safetensors.*not finite"):
            load(models, ONE)


def test_a_model_that_vanishes_before_it_is_loaded_is_skipped(led_home, monkeypatch):
    path = tune(led_home, "mine")
    pick = selection.best_model

    def slow_pick(*given, **how):
        picked = pick(*given, **how)
        path.unlink(missing_ok=True)
        return picked

    monkeypatch.setattr(selection, "best_model", slow_pick)
    models = BestModel()
    _, chosen, warnings = load(models, ONE)
    assert chosen.name == "generic"
    (warning,) = warnings
    assert "mine.safetensors" in warning
    assert load(models, ONE)[2] == []


def test_a_model_in_memory_outlives_its_file(led_home):
    path = tune(led_home, "mine")
    models = BestModel()
    denoiser, _, _ = load(models, ONE)
    path.unlink()
    again, chosen, _ = load(models, ONE)
    assert again is denoiser and chosen.name == "mine"


def test_a_damaged_model_is_told_of(led_home):
    tune(led_home, "mine").write_bytes(b"nothing")
    (warning,) = BestModel().choose(ONE, 100).warnings
    assert "mine.safetensors" in warning


@pytest.mark.parametrize("how", [{"device": "gpu"}, {"precision": "fp16"}, {"tile": 7}])
def test_what_cannot_be_had_is_refused_before_the_first_photo(how):
    with pytest.raises(UsageError):
        DenoiserCache(**how)


def test_a_named_model_serves_every_photo_and_says_so_when_it_is_another_camera_s(led_home):
    path = tune(led_home, "mine")
    models = NamedModel(path)
    assert models.choose(ONE, 1).reason == "named"
    chosen = models.choose(OTHER, 100)
    assert (chosen.name, chosen.path.name) == ("mine", "mine.safetensors")
    assert "tuned to another camera: Led Testcam One" in chosen.reason


def test_the_camera_s_own_noise_is_used_within_its_isos_and_for_no_other_camera(led_home):
    spec = read_spec(tune(led_home, "mine", noise_profile=noise_profile(isos=(400.0, 6400.0))))
    for iso in (400.0, 800.0, 6400.0):
        own = camera_noise(spec, Exif(make="Led", model="Testcam One", iso=iso))
        assert own.profile == spec.noise_profile.at(iso).profile
    for iso in (None, 399.0, 6401.0):
        assert camera_noise(spec, Exif(make="Led", model="Testcam One", iso=iso)) is None
    assert camera_noise(spec, TWO) is None
    assert camera_noise(read_spec(tune(led_home, "plain")), ONE) is None


def test_a_named_model_is_refused_for_another_kind_of_sensor(led_home):
    bayer, xtrans = (
        write_model(led_home / f"{cfa}.safetensors", cfa=cfa) for cfa in ("bayer", "xtrans")
    )
    assert NamedModel(xtrans).choose(ONE, 1, "xtrans").path == xtrans
    with pytest.raises(ModelError, match="photo is X-Trans: leave out --model"):
        NamedModel(bayer).choose(ONE, 1, "xtrans")
    with pytest.raises(ModelError, match="is for X-Trans sensors"):
        NamedModel(xtrans).choose(ONE, 1)
    with pytest.raises(ModelError, match="no model for X-Trans sensors"):
        BestModel().choose(ONE, 1, "xtrans")


def test_steps_are_refused_before_a_photo_is_read_unless_a_model_may_have_them(led_home):
    for models in (BestModel(), NamedModel("sony")):
        models.check_steps(1)
        with pytest.raises(UsageError, match="leave out --steps"):
            models.check_steps(2)
    path = tune(led_home, "mine", form="gain", output="adaptive", out_planes=9)
    for models in (BestModel(), NamedModel(path)):
        models.check_steps(2)


def rewritten(path, change):
    """Change the text of a model file's header."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    (key,) = head["__metadata__"]
    head["__metadata__"][key] = change(head["__metadata__"][key])
    text = json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return path


def test_a_number_beyond_all_floats_in_a_model_file_is_refused(tmp_path):
    path = write_model(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="ratio_range"):
        read_spec(rewritten(path, lambda text: text.replace("300.0", "1" + "0" * 400)))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"training": {"a": functools.reduce(lambda inner, _: [inner], range(900), 1)}},
            "training",
        ),
        ({"architecture": "nafnet", "arguments": {"width": 4, "middle": 65536}}, "middle blocks"),
    ],
)
def test_a_header_that_would_cost_much_is_refused_at_once(tmp_path, changed, why):
    path = write_model(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=why):
        load_model(rewritten(path, lambda text: json.dumps(json.loads(text) | changed)))
