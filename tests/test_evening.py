"""The photographer's evening: three lines in an empty folder, on a shoot as people shoot."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from ledcli.pairs.list_file import read_list
from ledcli.raw.reader import read_raw
from tests.shoot import make_raw, scene, truncate

SHAPE = (384, 512)
SHIFT = 3


@pytest.fixture(scope="module")
def evening(tmp_path_factory):
    """An empty folder but for the shoot and the photos."""
    folder = tmp_path_factory.mktemp("evening")
    (folder / "shots" / "card one").mkdir(parents=True)
    (folder / "raw").mkdir()
    number = 0

    def frame(name, light, iso, time, seed, **how):
        gain = (iso or 6400) / 400
        make_raw(
            folder / "shots" / name, shape=SHAPE, light=light, iso=iso, exposure_time=time,
            gain=gain, read_noise=2 + 1.5 * gain, seed=seed, **how,
        )  # fmt: skip

    for ratio in (100, 300):
        for iso in (400, 6400):
            light = scene(SHAPE, number)
            blank = "card one/IMG " if number == 1 else "IMG_"
            time = Fraction(1000, iso * ratio)
            frame(f"{blank}{number}s.ARW", light / ratio, iso, time, number)
            frame(f"IMG_{number}l.ARW", light, 100, 10, 100 + number)
            number += 1
    whole = scene((SHAPE[0], SHAPE[1] + SHIFT), 77)
    frame("kicked_s.ARW", whole[:, SHIFT:] / 100, 6400, Fraction(1, 640), 20)
    frame("kicked_l.ARW", whole[:, :-SHIFT], 100, 10, 21)
    frame("noexif.ARW", scene(SHAPE, 5) / 100, None, None, 30)
    frame("cut.ARW", scene(SHAPE, 6) / 100, 6400, Fraction(1, 640), 31)
    truncate(folder / "shots" / "cut.ARW", 0.4)
    for seed, iso in ((200, 1600), (201, 400)):
        make_raw(
            folder / "raw" / f"photo{iso}.ARW", shape=SHAPE, light=scene(SHAPE, seed) / 100,
            iso=iso, exposure_time=Fraction(10, iso), gain=iso / 400, read_noise=6, seed=seed,
        )  # fmt: skip
    return folder


def led(folder, *words):
    """Run a line as it is typed, in the folder, without a network."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | nowhere | {"LED_HOME": str(folder / "home"), "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-m", "ledcli", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_three_lines(evening):
    scan = led(evening, "pairs", "scan", "./shots")
    assert "Traceback" not in scan.stderr
    # One file of the shoot cannot be read, and the status says so; the list is there.
    assert scan.returncode == 1
    pairs = read_list(evening / "pairs.txt")
    names = {(pair.short.name, pair.long.name) for pair in pairs}
    assert names == {
        ("IMG_0s.ARW", "IMG_0l.ARW"),
        ("IMG 1s.ARW", "IMG_1l.ARW"),
        ("IMG_2s.ARW", "IMG_2l.ARW"),
        ("IMG_3s.ARW", "IMG_3l.ARW"),
    }
    for left_out in ("noexif.ARW", "cut.ARW", "kicked_s.ARW"):
        line = next(line for line in scan.stderr.splitlines() if left_out in line)
        assert ("shifted by 3" in line) == (left_out == "kicked_s.ARW")
    assert "blank" in scan.stderr or "quote" in scan.stderr
    table = scan.stdout
    assert "100" in table and "300" in table and "400" in table and "6400" in table

    # Verbatim but for the length: 1,500 iterations of 16 crops take an hour on two slow cores.
    short = ("--iters", "6", "--crops", "4")
    tune = led(evening, "finetune", "--pretrained", "sony", *short)
    assert tune.returncode == 0, tune.stderr
    assert "proof" in tune.stderr
    (model,) = (evening / "home" / "models").iterdir()
    assert model.name == "led-testcam-one.safetensors"

    clean = led(evening, "denoise", "./raw", "--ratio", "100", "--json")
    assert clean.returncode == 0, clean.stderr
    for line in clean.stdout.splitlines():
        record = json.loads(line)
        assert record["status"] == "done"
        assert "led-testcam-one" in line and '"profile"' in line
        denoised = read_raw(Path(evening, record["outputs"][0]))
        assert denoised.mosaic.shape == SHAPE
    assert "tuned to" in clean.stderr
