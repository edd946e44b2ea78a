import pytest
import torch

from ledcli.errors import ModelError
from ledcli.nets.network import Network, build, network_class
from ledcli.nets.registry import ARCHITECTURES
from ledcli.nets.unet import UNet

PARAMETERS = 7_760_484
"""Of the published LED UNet, 4 planes in and out, 32 channels."""


def published_shapes():
    """Tensor names and shapes of the published UNet, from its description."""
    shapes = {}

    def layer(name, *weight, bias):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, (bias,)

    before = 4
    for level, width in enumerate((32, 64, 128, 256, 512), start=1):
        layer(f"conv{level}_1", width, before, 3, 3, bias=width)
        layer(f"conv{level}_2", width, width, 3, 3, bias=width)
        before = width
    for level, width in enumerate((256, 128, 64, 32), start=6):
        layer(f"upv{level}", 2 * width, width, 2, 2, bias=width)
        layer(f"conv{level}_1", width, 2 * width, 3, 3, bias=width)
        layer(f"conv{level}_2", width, width, 3, 3, bias=width)
    layer("conv10_1", 4, 32, 1, 1, bias=4)
    return shapes


def test_names_and_shapes_are_those_of_the_published_unet():
    state = UNet().state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == published_shapes()
    assert sum(t.numel() for t in state.values()) == PARAMETERS


@pytest.mark.parametrize("rows,cols", [(16, 16), (32, 48)])
def test_the_output_has_the_input_s_size_in_float32(rows, cols):
    net = UNet(in_planes=9, channels=4)
    assert net(torch.rand(2, 9, rows, cols)).shape == (2, 4, rows, cols)
    net.to(torch.bfloat16)
    for name in net.architecture.float32_layers:
        net.get_submodule(name).float()
    assert net(torch.rand(1, 9, rows, cols)).dtype == torch.float32


def test_first_and_last_layer_run_in_float32_under_autocast():
    net, seen = UNet(channels=4), {}
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda _m, _i, out, n=name: seen.update({n: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 4, 16, 16)).dtype == torch.float32
    assert seen.pop("conv1_1") == seen.pop("conv10_1") == torch.float32
    assert set(seen.values()) == {torch.bfloat16}


def test_skips_join_the_upsampled_first():
    """Upstream's weights expect (upsampled, skip): the skip alone reaches the later channels."""
    net = UNet(channels=4)
    with torch.no_grad():
        net.conv9_1.weight[:, :4].zero_()  # what comes from below
        x = torch.rand(1, 4, 32, 32)
        first = net(x)
        net.upv9.weight.normal_()
        assert torch.equal(net(x), first)


def test_activations_are_leaky_by_a_fifth():
    net = UNet(channels=4)
    seen = []
    net.conv1_2.register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
    before = []
    # The activation works in place: keep the convolution's own output.
    net.conv1_1.register_forward_hook(lambda _m, _i, out: before.append(out.clone()))
    net(torch.randn(1, 4, 16, 16))
    expected = torch.where(before[0] < 0, 0.2 * before[0], before[0])
    torch.testing.assert_close(seen[0], expected)


def test_the_table_builds_what_it_lists_and_refuses_the_rest():
    assert isinstance(build("unet", {"channels": 4}), UNet)
    for name, architecture in ARCHITECTURES.items():
        assert issubclass(network_class(architecture), Network) and architecture.name == name
    with pytest.raises(ModelError, match=r"unknown architecture 'resnet'.*unet"):
        build("resnet", {})
    with pytest.raises(ModelError, match="does not take"):
        build("unet", {"depth": 5})
