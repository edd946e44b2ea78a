import pytest
import torch

from ledcli.errors import TrainingError
from ledcli.nets.network import build
from ledcli.nets.repnr import convert
from ledcli.training.pretrain import initialise_from
from ledcli.zoo.model_file import save_model
from ledcli.zoo.spec import ModelSpec

TINY = {"in_planes": 9, "channels": [4, 8, 12], "encoder": [1, 1, 1], "decoder": [1, 1]}
SETS = ("generic", "sony")


def network(**changes):
    return convert(build("resunet", TINY | changes), SETS)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    path, net = tmp_path / "m.safetensors", network()
    spec = ModelSpec(
        name="m",
        architecture="resunet",
        arguments=TINY,
        input_form="stabilised",
        csa_sets=SETS,
        ratio_range=(1.0, 300.0),
        method="led pretraining",
        licence="x",
        source="x",
    )
    save_model(path, spec, net.state_dict())
    return path, net


def test_the_same_network_starts_as_the_same_function(model):
    path, old = model
    torch.manual_seed(1)
    new = network()
    assert initialise_from(new, path) == ()
    x = torch.rand(1, 9, 16, 16)
    torch.testing.assert_close(new(x), old(x))


def test_a_head_that_chooses_starts_with_the_old_residual(model):
    path, old = model
    new = network(out_planes=8)
    torch.nn.init.zeros_(new.tail.weight)
    torch.nn.init.zeros_(new.tail.bias)
    assert initialise_from(new, path) == ()
    x = torch.rand(1, 9, 16, 16)
    torch.testing.assert_close(new(x)[:, :4], old(x))
    assert not new(x)[:, 4:].any()


def test_another_way_up_starts_with_the_mean_of_the_taps(model):
    path, old = model
    new = network(up="bilinear")
    assert initialise_from(new, path) == ()
    x = torch.rand(1, 12, 1, 1)
    mean = old.up[1](x).mean((2, 3), keepdim=True)
    torch.testing.assert_close(new.up[1](x), mean.expand(-1, -1, 2, 2))


def test_what_does_not_fit_keeps_its_own_values_and_nothing_at_all_is_refused(model):
    path, _ = model
    kept = initialise_from(network(encoder=[1, 2, 1]), path)
    assert {name.partition(".0")[0].split(".")[0] for name in kept} == {"encoder"}
    other = convert(build("unet", {"in_planes": 5, "channels": 2}), ("other",))
    with pytest.raises(TrainingError, match="no weights that fit"):
        initialise_from(other, path)
