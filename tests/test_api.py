"""What the Python API is given: one line of `LedError` for what it does not take."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ledcli import api
from ledcli.batch.settings import Settings
from ledcli.errors import ModelError, UsageError
from ledcli.training.settings import FinetuneSettings
from tests.shoot import make_raw


@pytest.mark.parametrize(
    "wrong",
    [
        {"highlights": "nope"},
        {"quality": "nope"},
        {"compression": "nope"},
        {"ratio": "auto"},
        {"ratio": 10**400},
        {"strength": None},
        {"noise": "1,2"},
        {"noise": "12"},
        {"noise": (1,)},
        {"noise": (1, 2, 3)},
        {"noise": 1},
        {"exposure": math.inf},
        {"exposure": math.nan},
        {"steps": 0},
        {"steps": 21},
        {"steps": 1.5},
        {"linear": "no"},
        {"again": 1},
        {"luma": 3},
    ],
)
def test_what_denoise_does_not_take_is_named(tmp_path, wrong):
    make_raw(tmp_path / "a.dng")
    (name,) = wrong
    with pytest.raises(UsageError, match=rf"{name}.* (from|not|above) ") as error:
        api.denoise(tmp_path, dry_run=True, **wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"ratios": [value]} for value in (0, math.nan, -5, math.inf, "x")),
        *({"gains": [value]} for value in (0, math.nan, -5, math.inf, None)),
        {"quality": "nope"},
    ],
)
def test_what_evaluate_does_not_take_is_named(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=rf"{name} takes .*, not "):
        api.evaluate(pairs=tmp_path / "pairs.txt", **wrong)


@pytest.mark.parametrize("wrong", [5, [None], b"x"])
@pytest.mark.parametrize(
    ("function", "names"),
    [
        (api.denoise, ("paths", "out", "shard", "dark", "model", "ray", "formats")),
        (api.evaluate, ("sid", "pairs", "list_file", "cameras", "models", "ray")),
        (api.scan_pairs, ("folder", "out")),
        (api.finetune, ("pairs", "out", "sources", "name", "pretrained")),
        (api.load_model, ("name",)),
    ],
)
def test_what_is_no_text_or_path_is_named(tmp_path, function, names, wrong):
    needed = {api.denoise: {"paths": tmp_path}, api.scan_pairs: {"folder": tmp_path}}
    for name in names:
        with pytest.raises(UsageError, match=rf"^{name} takes (a )?(path|text)s?, not "):
            function(**needed.get(function, {}) | {name: wrong})


def test_denoise_takes_the_precision_of_the_command(tmp_path):
    make_raw(tmp_path / "a.dng")
    planned = api.denoise(tmp_path, precision="float32", dry_run=True)
    assert [each.status for each in planned] == ["planned"]
    with pytest.raises(UsageError, match="no precision 'int9': choose auto, bf16 or float32"):
        api.denoise(tmp_path, precision="int9", dry_run=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "20000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"), ({"GOMP_SPINCOUNT": "9"}, "9")],
)
def test_waiting_threads_give_way_unless_the_environment_says_otherwise(given, expected):
    kept = {n: v for n, v in os.environ.items() if n not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    show = "import ledcli, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    how = {"env": kept | given, "capture_output": True, "text": True}
    assert subprocess.run([sys.executable, "-c", show], **how).stdout.strip() == expected


def test_load_model_names_a_quality_that_is_none():
    with pytest.raises(UsageError, match="quality takes fast, standard, best, not 'nope'"):
        api.load_model(quality="nope")


def test_one_value_does_for_several(tmp_path):
    make_raw(tmp_path / "a.dng")
    (planned,) = api.denoise(str(tmp_path), formats="png", dry_run=True)
    assert [path.suffix for path in planned.outputs] == [".png"]
    with pytest.raises(UsageError, match="no format 'sad'"):
        api.denoise(tmp_path, formats="sad", dry_run=True)
    assert api._numbers(100, "ratios") == api._numbers("100", "ratios") == [100.0]
    assert Settings(noise=[4, "8"]).noise == (4.0, 8.0)


def test_planes_of_another_sensor_are_refused_in_a_line():
    with pytest.raises(ModelError, match="generic is for Bayer sensors, not for photos with 9"):
        api.load_model().denoise(np.zeros((9, 64, 64), np.float32))


def test_options_of_a_tuning_replace_those_of_its_settings(tmp_path):
    settings = FinetuneSettings(method="led")
    with pytest.raises(UsageError, match="nope"):
        api.finetune(tmp_path / "pairs.txt", settings, method="nope")


def test_a_ratio_and_an_exposure_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        api.denoise(tmp_path, ratio=100, exposure=1000)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"iterations": "5"}, "iterations takes a whole number"),
        ({"iterations": -1}, "iterations must be 1 or more"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"side": 2.5}, "side takes a whole number"),
        ({"seed": 1.5}, "seed takes a whole number"),
        ({"foo": 1}, "no option 'foo' of --method led"),
    ],
)
def test_what_a_tuning_does_not_take_is_named(tmp_path, option, why):
    with pytest.raises(UsageError, match=why):
        api.finetune(tmp_path / "pairs.txt", options=option)


def test_a_tuning_takes_plain_values():
    settings = FinetuneSettings(out="m.safetensors", ratios=100, sources="a.txt")
    assert (settings.out, settings.sources) == (Path("m.safetensors"), (Path("a.txt"),))
    assert settings.ratios == (100.0,)
