"""`--quality` of `led denoise`, `led evaluate` and `led finetune`, with made-up bundled models."""

import json

import numpy as np
import pytest
from PIL import Image

from ledcli import api
from ledcli.batch import run as batch_run
from ledcli.cli.app import run
from ledcli.errors import UsageError
from ledcli.inference.denoiser import DenoiserCache
from ledcli.zoo import store
from ledcli.zoo.model_file import read_spec
from tests.inference.models import write_model
from tests.shoot import make_raw
from tests.training.shoots import SHAPE

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def come_with_led(tmp_path, monkeypatch, home):
    folder = tmp_path / "bundled"
    write_model(folder / "led.safetensors", sets=("generic",))
    fast = {"name": "quick", "training": {"quality": "fast"}}
    write_model(folder / "fast.safetensors", sets=("generic",), seed=4, **fast)
    names = {"generic-fast": "generic"}
    models = [
        {"file": "led.safetensors", "names": ["generic"]},
        {"file": "fast.safetensors", "quality": "fast", "names": [*names], "csa_sets": names},
    ]
    (folder / "registry.json").write_text(json.dumps({"default": "generic", "models": models}))
    monkeypatch.setattr(store, "bundled_dir", lambda: folder)


def test_what_is_typed_replaces_a_model_or_fast_from_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_raw(tmp_path / "a.ARW")

    def model(text, *options):
        (tmp_path / "led.toml").write_text(f"[denoise]\n{text}")
        assert run(["denoise", "a.ARW", "--json", "--overwrite", *options]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        [made] = [line["model_file"] for line in lines if line.get("status") == "done"]
        return made

    named, fast = 'model = "generic"', 'quality = "fast"'
    assert model(named, "--quality", "fast") == "fast.safetensors"
    assert model(fast, "--model", "generic") == "led.safetensors"
    assert model(fast) == "fast.safetensors"
    (tmp_path / "led.toml").write_text(f"[evaluate]\n{fast}\n[finetune]\n{fast}")
    for command in (["evaluate", "missing", "--photos", "."], ["finetune", "--pretrained", "x"]):
        run(command)
        assert "--quality fast" not in capsys.readouterr().err


def test_denoise_takes_the_fast_model_and_makes_the_result_again(tmp_path, capsys):
    make_raw(tmp_path / "a.ARW")

    def models(*options):
        assert run(["denoise", "a.ARW", "--json", "-q", *options]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return [line["model_file"] for line in lines if line["status"] == "done"]

    assert models("--quality", "fast") == ["fast.safetensors"]
    assert models("--quality", "fast") == []
    assert models() == ["led.safetensors"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["denoise", "a.ARW", "--model", "generic"],
        ["finetune", "--pretrained", "generic"],
        ["evaluate", "generic", "--photos", "photos"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_named_model_and_fast_exclude_each_other(tmp_path, listed, capsys, arguments):
    make_raw(tmp_path / "a.ARW")
    photographs(tmp_path)
    assert run([*arguments, "--quality", "fast"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--quality fast chooses the model" in line


def test_what_is_tuned_from_the_fast_model_serves_fast(listed, tmp_path, home, capsys):
    tune = ["finetune", "--quality", "fast", "--iters", "2", "--force", "-q"]
    assert run(tune) == 0
    spec = read_spec(home / "led-testcam-one-fast.safetensors")
    assert spec.training["quality"] == "fast"
    assert spec.training["pretrained"]["name"] == "quick"
    make_raw(tmp_path / "photo.ARW", shape=SHAPE, iso=1600)
    capsys.readouterr()
    assert run(["denoise", "photo.ARW", "--ratio", "20", "--quality", "fast", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "led-testcam-one-fast"


def photographs(folder):
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "a.png")


def test_evaluate_measures_the_fast_model_and_self_ensemble(tmp_path):
    photographs(tmp_path)

    def psnr(**options):
        evaluation = api.evaluate(photos=tmp_path / "photos", ratios=[20], **options)
        _, model = evaluation.means()
        return model.model, model.metrics["psnr"]

    (name, standard), (fast, _), (again, best) = (
        psnr(quality=quality) for quality in ("standard", "fast", "best")
    )
    assert (name, fast, again) == ("tiny/generic", "quick/generic", "tiny/generic")
    assert best != standard


@pytest.mark.parametrize(
    "wrong", [{"ratio": 0}, {"ratio": 0.5}, {"exposure": 0}, {"strength": 2}, {"luma": -1}]
)
def test_the_api_refuses_what_the_command_line_refuses(wrong):
    with pytest.raises(UsageError, match=r"must be (from|above)"):
        api.denoise("raw", **wrong)


def test_the_api_loads_the_fast_model():
    assert api.load_model(quality="fast").name == "quick/generic"
    for name, quality in (("generic", "fast"), (None, "best")):
        with pytest.raises(UsageError, match=f"quality '{quality}'"):
            api.load_model(name, quality=quality)


@pytest.mark.parametrize("slow", [True, False])
def test_a_long_run_on_a_slow_processor_suggests_fast(tmp_path, monkeypatch, capsys, slow):
    make = DenoiserCache.__init__

    def init(self, *engine):
        make(self, *engine)
        self.slow = slow

    monkeypatch.setattr(DenoiserCache, "__init__", init)
    monkeypatch.setattr(batch_run, "LONG_RUN_S", 0.0)
    for name in ("a", "b"):
        make_raw(tmp_path / f"{name}.ARW")

    def suggested(*options):
        assert run(["denoise", ".", "--overwrite", *options]) == 0
        return capsys.readouterr().err.count("--quality fast is")

    assert suggested() == int(slow)
    assert not suggested("--json") and not suggested("-q")
    assert not suggested("--model", "generic") and not suggested("--quality", "fast")
