"""Commands that read raws: a file that needs too much memory is named, the others are done."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from ledcli.cli.app import run
from ledcli.raw.decoder import decoders
from tests.shoot import make_raw, scene

pytestmark = [
    pytest.mark.usefixtures("home"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds memory so"),
]
LIMIT_BYTES = 64 << 20
SIDE = 4096


@pytest.fixture
def greedy(tmp_path, listed, monkeypatch):
    """A list of three pairs, of which one is of 16 MP, and children that may not take as much."""
    patch = np.random.default_rng(0).integers(520, 9000, (256, 256)).astype(np.uint16)
    mosaic = np.tile(patch, (SIDE // 256, SIDE // 256))
    for which, iso, time in (("short", 400, Fraction(1, 8)), ("long", 100, 10)):
        make_raw(tmp_path / f"huge_{which}.ARW", mosaic=mosaic, iso=iso, exposure_time=time)
    with listed.open("a") as lines:
        lines.write("huge_short.ARW huge_long.ARW\n")
    monkeypatch.setattr(decoders, "memory_bytes", LIMIT_BYTES)
    decoders.close()
    yield tmp_path
    decoders.close()


@pytest.mark.parametrize(
    "command",
    [
        ["info", "."],
        ["pairs", "scan", ".", "-o", "new.txt"],
        ["pairs", "check"],
        ["finetune", "--pretrained", "tiny.safetensors", "--iters", "1", "--crops", "1", "--force"],
        ["evaluate", "tiny.safetensors", "--pairs", "pairs.txt"],
        ["denoise", ".", "--model", "tiny.safetensors"],
    ],
    ids=" ".join,
)
def test_the_file_is_named_and_the_others_are_done(command, greedy, tiny, capsys):
    assert run([*command, "--json", "--quiet"]) == 1
    out, err = capsys.readouterr()
    about = [line for line in err.splitlines() if "huge_" in line]
    assert about and all("more memory than" in line for line in about)
    assert err.splitlines() == about
    assert "p400_short" in out or '"model": "led-testcam-one"' in out


def test_photographs_for_pretraining_are_read_without_it(greedy, capsys):
    for seed in (1, 2):
        make_raw(greedy / f"good{seed}.ARW", light=scene((520, 520), seed))
    small = ["--channels", "4", "--crops-size", "2", "--virtual", "1", "--iters", "1"]
    assert run(["pretrain", "--photos", ".", *small, "--quiet"]) == 1
    err = capsys.readouterr().err
    assert sum("huge_" in line and "more memory than" in line for line in err.splitlines()) == 2
    assert (greedy / "model.safetensors").is_file()
