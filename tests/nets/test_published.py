"""NAFNet and Restormer: published tensors, exact folds, precision."""

import pytest
import torch
from torch import nn

from ledcli.errors import ModelError
from ledcli.nets.network import ChannelNorm, build
from ledcli.nets.registry import ARCHITECTURES
from ledcli.nets.repnr import RepNRConv, blocks, convert, select
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.model_file import load_model, save_model
from tests.nets import published
from tests.nets.random_nets import random_net, spec

NAMES = ("nafnet", "restormer")
LEFT_ALONE = {
    "nafnet": ("ending", "dwconv2", "downconv", "upconv"),
    "restormer": ("output", "dwconv", "qkv_dwconv"),
}
PUBLISHED = {
    "nafnet": published.nafnet(4, 32, [2, 2, 2, 2], 2, [2, 2, 2, 2]),
    "restormer": published.restormer(4, 32, [2, 2, 2, 2], 1),
}
SIX = tuple(str(n) for n in range(6))


def shapes(net):
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("name,parameters", [("nafnet", 7_600_228), ("restormer", 4_531_405)])
def test_the_plain_tensors_are_the_published_ones(name, parameters):
    with torch.device("meta"):
        net = build(name, {})
    assert shapes(net) == PUBLISHED[name]
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("omnr", [False, True])
@pytest.mark.parametrize("name,count", [("nafnet", 91), ("restormer", 69)])
def test_repnr_takes_the_convolutions_that_the_published_code_takes(name, count, omnr):
    with torch.device("meta"):
        net = convert(build(name, {}), SIX, omnr)
    assert shapes(net) == published.repnr(PUBLISHED[name], LEFT_ALONE[name], SIX, omnr)
    assert len(blocks(net)) == count
    # Depthwise convolutions cannot be blocks.
    assert all(m.groups == m.in_channels for n, m in net.named_modules()
               if isinstance(m, nn.Conv2d) and "dwconv" in n)  # fmt: skip


@pytest.mark.parametrize("rows,cols", [(8, 8), (16, 40)])
@pytest.mark.parametrize("planes", [4, 9])
@pytest.mark.parametrize("name", NAMES)
def test_the_output_has_the_input_s_size_in_float32(name, planes, rows, cols):
    net = random_net(name, planes)
    assert rows % net.architecture.size_multiple == 0
    assert net(torch.rand(2, planes, rows, cols)).shape == (2, 4, rows, cols)
    for child, layer in net.named_children():
        if child not in net.architecture.float32_layers:
            layer.to(torch.bfloat16)
    assert net(torch.rand(1, planes, rows, cols)).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_added_only_where_it_is_the_same_planes(name):
    for planes in (4, 9):
        net = random_net(name, planes, sets=())
        for weight in net.get_submodule(net.architecture.last_layer).parameters():
            weight.zero_()
        x = torch.rand(1, planes, 16, 8)
        assert torch.equal(net(x), x if planes == 4 else torch.zeros(1, 4, 16, 8))


@pytest.mark.parametrize("omnr", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_block_folds_exactly_border_included(name, omnr):
    """1x1 convolutions and those without a bias too, against pad, align, convolve."""
    net = random_net(name, omnr=omnr)
    assert {tuple(b.main_weight.shape[2:]) for b in blocks(net)} == {(1, 1), (3, 3)}
    for block in blocks(net):
        x = torch.randn(1, block.main_weight.shape[1], 9, 7)
        block.selected = "b"
        torch.testing.assert_close(block(x), block.forward_unfolded(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_model_is_the_same_function_and_loads_again(name, tmp_path):
    """Restormer's convolutions have no bias until the fold puts the CSA's shift there."""
    given, net = spec(name, omnr=True), random_net(name, omnr=True)
    folded, plain = fold(given, net, "b")
    proof = prove(net, "b", plain, network_inputs(given, net))
    assert proof.holds, proof
    save_model(tmp_path / "folded.safetensors", folded, plain.state_dict())
    _, again = load_model(tmp_path / "folded.safetensors")
    x = torch.rand(1, 4, 24, 16)
    select(net, "b")
    torch.testing.assert_close(again(x), net(x), atol=1e-5, rtol=1e-5)
    # And it can be tuned once more.
    convert(again, ("target",))
    torch.testing.assert_close(again(x), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_first_and_last_layer_run_in_float32_under_autocast(name):
    net, seen = random_net(name), {}
    for layer, module in net.named_modules():
        if isinstance(module, nn.Conv2d | RepNRConv):
            module.register_forward_hook(lambda _m, _i, out, n=layer: seen.update({n: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 4, 16, 16)).dtype == torch.float32
    first = next(layer for layer in seen if layer.startswith(net.architecture.float32_layers[0]))
    assert seen.pop(first) == seen.pop(net.architecture.last_layer) == torch.float32
    assert set(seen.values()) == {torch.bfloat16}


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_norms_are_computed_in_float32_whatever_their_type(offset):
    """A mean far above the spread: sums in bfloat16 would lose the spread."""
    torch.manual_seed(0)
    norm, x = ChannelNorm(64, 1e-6), torch.randn(1, 64, 4, 4).bfloat16() + offset
    there = norm.to(torch.bfloat16)(x)
    assert there.dtype == torch.bfloat16
    double = x.double()
    exact = (double - double.mean(1)) / double.var(1, correction=0).sqrt()
    torch.testing.assert_close(there.double(), exact, atol=1e-2, rtol=4e-3)


def test_attention_is_computed_in_float32_whatever_is_around():
    net = random_net("restormer")
    query, key = torch.rand(2, 1, 2, 8, 100_000).bfloat16() + 0.5
    attention = net.encoder_level2[0].attn
    attention.temperature.fill_(20)
    with torch.autocast("cpu", torch.bfloat16):
        weights = attention.weights(query, key)
    assert weights.dtype == torch.float32
    unit = [each.double() / each.double().norm(dim=-1, keepdim=True) for each in (query, key)]
    exact = (20 * unit[0] @ unit[1].mT).softmax(-1)
    torch.testing.assert_close(weights.double(), exact, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_inside_stays_near_float32(name):
    net = random_net(name)
    x = torch.rand(1, 4, 48, 48)
    exact = net(x)
    changed = (exact - x).square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        error = (net(x) - exact).square().mean().sqrt()
    assert error < 0.01 * changed


def test_a_width_for_the_table_and_numbers_that_do_not_go_together():
    for name in NAMES:
        with torch.device("meta"):
            net = build(name, ARCHITECTURES[name].arguments("bayer", 24))
        assert (
            net.get_submodule(net.architecture.last_layer).in_channels
            == {"nafnet": 24, "restormer": 48}[name]
        )
    for name, arguments in (
        ("nafnet", {"encoder": [1, 1], "decoder": [1]}),
        ("nafnet", {"encoder": [], "decoder": []}),
        ("restormer", {"width": 7}),
        ("restormer", {"blocks": [1, 1]}),
        ("restormer", {"blocks": [1, 1, 0, 1]}),
    ):
        with pytest.raises(ModelError, match="does not take"):
            build(name, arguments)
