"""Fixtures of the tests of `led finetune`: a home, a tiny pretrained model, and a list of pairs."""

import pytest
import torch

from ledcli.nets.network import build
from ledcli.nets.repnr import blocks, convert
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec
from tests.training.shoots import make_pair

TINY = {"in_planes": 9, "channels": 4}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LED_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "models"


@pytest.fixture
def tiny(tmp_path):
    """A pretrained model that is the identity until it is tuned."""
    torch.manual_seed(0)
    net = convert(build("unet", TINY), ("generic", "sony"))
    torch.nn.init.normal_(net.conv10_1.weight, std=0.02)
    torch.nn.init.zeros_(net.conv10_1.bias)
    assert blocks(net)
    spec = ModelSpec(
        name="tiny",
        architecture="unet",
        arguments=TINY,
        input_form="stabilised",
        csa_sets=("generic", "sony"),
        ratio_range=(1.0, 300.0),
        method="pretrain",
        licence="CC0-1.0",
        source="tests",
    )
    path = tmp_path / "tiny.safetensors"
    save_model(path, spec, net.state_dict())
    return path


@pytest.fixture
def listed(tmp_path):
    """Pairs by LED's rule, at ratio 20."""
    lines = [make_pair(tmp_path, f"p{iso}", iso, 20, seed) for seed, iso in enumerate((400, 6400))]
    path = tmp_path / "pairs.txt"
    path.write_text("".join(lines))
    return path
