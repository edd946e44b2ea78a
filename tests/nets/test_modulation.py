"""Channel-wise modulation: identity at first and for the unknown, and folded for a shot."""

import pytest
import torch

from ledcli.nets.modulation import ModulatedConv, ModulatedNet
from ledcli.nets.network import build

SENSORS = ("Sony A7S2", "Nikon D850")


def network(architecture="resunet", **arguments):
    torch.manual_seed(0)
    values = {"channels": [4, 8, 8, 8]} if architecture == "resunet" else {"channels": 4}
    return build(architecture, values | arguments)


def modulated(trained=True, **how):
    net = ModulatedNet(network(**how), SENSORS)
    if trained:
        generator = torch.Generator().manual_seed(1)
        for layers in (net.scale, net.shift):
            for weight in layers[-1].parameters():
                torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return net.eval()


X = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("architecture", ["resunet", "unet"])
def test_before_training_it_is_the_network_itself(architecture):
    net = modulated(trained=False, architecture=architecture)
    net.set_shots(["Sony A7S2", "Nikon D850"], [100, 6400])
    assert torch.equal(net(X), network(architecture)(X))


def test_an_unknown_sensor_leaves_the_network_as_it_is():
    net = modulated()
    net.set_shots([None, "Canon 70D"], [100, 6400])
    assert torch.allclose(net(X), network()(X), atol=1e-6)


def test_sensor_and_iso_change_it_and_each_frame_has_its_own():
    net = modulated()

    def frame(sensor, iso):
        net.set_shots([sensor], [iso])
        return net(X[:1])

    sony, nikon, fast = frame("Sony A7S2", 100), frame("Nikon D850", 100), frame("Sony A7S2", 6400)
    assert (sony - nikon).abs().max() > 1e-3 and (sony - fast).abs().max() > 1e-3
    net.set_shots(["Sony A7S2", "Nikon D850"], [6400, 100])
    both = net(X[:1].expand(2, -1, -1, -1))
    assert torch.allclose(both[:1], fast, atol=1e-5) and torch.allclose(both[1:], nikon, atol=1e-5)


@pytest.mark.parametrize("architecture", ["resunet", "unet"])
def test_for_a_shot_it_folds_into_the_plain_network(architecture):
    net = modulated(architecture=architecture)
    plain = net.folded("Nikon D850", 1600)
    net.set_shots(["Nikon D850"] * 2, [1600, 1600])
    assert torch.allclose(plain(X), net(X), atol=1e-5)
    assert not any(isinstance(layer, ModulatedConv) for layer in plain.modules())
    assert plain.state_dict().keys() == network(architecture).state_dict().keys()


def test_folded_without_a_known_sensor_it_is_the_network_itself():
    for shot in ((None, None), ("Canon 70D", 100.0), ("Nikon D850", None)):
        assert torch.equal(modulated().folded(*shot)(X), network()(X))


def test_the_equations():
    """Eq. 4 to 6: gamma is one and a hyperbolic tangent, both come from sensor and ISO."""
    net = modulated()
    net.set_shots(["Sony A7S2"], [6400])
    inputs = torch.tensor([[1.0, 0.0, 0.75, 0.75]])  # three stops over ISO 800, of four
    conv = next(layer for layer in net.modules() if isinstance(layer, ModulatedConv))
    channels = conv.out_channels
    assert torch.allclose(conv.scale.flatten(), 1 + net.scale(inputs)[0, :channels].tanh())
    assert torch.allclose(conv.shift.flatten(), net.shift(inputs)[0, :channels])
    assert sum(isinstance(layer, torch.nn.Linear) for layer in net.scale) == 4


def test_the_last_layer_is_not_modulated():
    names = {n for n, layer in modulated().net.named_modules() if isinstance(layer, ModulatedConv)}
    assert "head" in names and "tail" not in names
