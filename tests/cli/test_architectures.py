"""A model of another architecture: the same commands, and a word on tiles where it matters."""

import pytest

from ledcli.cli.app import run
from ledcli.raw.reader import read_raw
from ledcli.zoo.model_file import read_spec
from tests.nets.random_nets import write_random
from tests.shoot import make_raw

WORD = "with another --tile a large photo comes out a little different"


@pytest.mark.parametrize("name", ["nafnet", "restormer"])
def test_folded_denoised_and_explained(name, tmp_path, capsys):
    model, raw = write_random(tmp_path / "m.safetensors", name), tmp_path / "a.dng"
    make_raw(raw, shape=(160, 192))
    plain = tmp_path / "plain.safetensors"
    assert run(["reparam", str(model), "-o", str(plain), "--set", "b"]) == 0
    assert read_spec(plain).csa_sets == ()
    capsys.readouterr()

    for tile, said in (("64", 1), ("0", 0)):
        out = tmp_path / tile
        line = ["denoise", str(raw), "--model", str(plain), "--tile", tile, "--out", str(out)]
        assert run(line) == 0
        assert read_raw(out / "a.dng").mosaic.shape == read_raw(raw).mosaic.shape
        assert capsys.readouterr().err.count(WORD) == said

    assert run(["models", "info", str(plain)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert sum(WORD in line and line.startswith(f"tiles: {name}") for line in shown) == 1
