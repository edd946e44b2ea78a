"""RepNR blocks (LED, section 3.3): folding changes nothing, anywhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ledcli.nets.repnr import RepNRConv, blocks, convert, deploy, select
from ledcli.nets.unet import UNet

SETS = ("generic", "sony", "nikon")
REPNR_LAYERS = {f"conv{level}_{n}" for level in range(1, 10) for n in (1, 2)}
"""Every 3x3 of the UNet; published LED leaves conv10_1 and the transposed ones alone."""


def randomise(net):
    """Tuned weights: no CSA and no OMNR branch at its start."""
    with torch.no_grad():
        for block in blocks(net):
            for scale in block.align_weights.values():
                scale.uniform_(0.5, 1.5)
            for shift in block.align_biases.values():
                shift.uniform_(-0.5, 0.5)
            if block.aux_weight is not None:
                block.aux_weight.normal_(std=0.1)
                block.aux_bias.normal_(std=0.1)
    return net


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    kernel=st.sampled_from([(1, 1), (3, 3), (5, 5), (3, 1), (1, 3)]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    omnr=st.booleans(),
    padded=st.booleans(),
)
def test_the_folded_block_is_the_block_border_included(
    seed, channels, size, kernel, stride, dilation, bias, omnr, padded
):
    torch.manual_seed(seed)
    padding = tuple(dilation * (k // 2) if padded else 0 for k in kernel)
    if any(n + 2 * p <= dilation * (k - 1) for n, p, k in zip(size, padding, kernel, strict=True)):
        return
    plain = nn.Conv2d(*channels, kernel, stride, padding, dilation, bias=bias)
    block = RepNRConv(plain, SETS, omnr)
    randomise(block)
    x = torch.randn(2, channels[0], *size)
    for name in SETS:
        select(block, name)
        unfolded = block.forward_unfolded(x)
        torch.testing.assert_close(block(x), unfolded, atol=1e-5, rtol=1e-5)
        assert unfolded.shape == plain(x).shape


def test_the_shift_acts_on_the_border_too():
    """Pad, then shift: a constant input far from the border and at it gives different values."""
    plain = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    block = RepNRConv(plain, ["a"])
    with torch.no_grad():
        block.main_weight.fill_(1)
        block.align_biases["a"].fill_(1)
    # Nothing but the shift: nine taps of 1 everywhere, in the corner as in the middle.
    assert torch.equal(block(torch.zeros(1, 1, 5, 5)), torch.full((1, 1, 5, 5), 9.0))


@pytest.mark.parametrize("omnr", [False, True])
def test_new_csa_sets_and_branches_change_nothing(omnr):
    net = UNet(channels=4)
    x = torch.rand(1, 4, 32, 32)
    before = net(x)
    converted = convert(net, SETS, omnr)
    for name in SETS:
        select(converted, name)
        torch.testing.assert_close(converted(x), before, atol=1e-6, rtol=1e-6)


def test_adding_the_omnr_branch_changes_nothing():
    net = randomise(convert(UNet(channels=4), SETS))
    x = torch.rand(1, 4, 32, 32)
    before = net(x)
    for block in blocks(net):
        block.add_omnr()
        assert block.aux_weight.requires_grad and block.aux_bias.requires_grad
    assert torch.equal(net(x), before)


def test_every_3x3_is_replaced_and_nothing_else():
    net = convert(UNet(channels=4), SETS)
    replaced = {name for name, m in net.named_modules() if isinstance(m, RepNRConv)}
    assert replaced == REPNR_LAYERS
    assert len(blocks(net)) == 18
    assert type(net.conv10_1) is nn.Conv2d
    for level in range(6, 10):
        assert type(net.get_submodule(f"upv{level}")) is nn.ConvTranspose2d


def test_convolutions_in_nested_modules_are_replaced_too():
    net = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1)))
    assert len(blocks(convert(net, ["a"]))) == 2


def test_a_selected_set_is_used_by_every_block_and_an_unknown_one_is_refused():
    net = randomise(convert(UNet(channels=4), SETS))
    x = torch.rand(1, 4, 16, 16)
    outputs = []
    for name in SETS:
        select(net, name)
        assert {block.selected for block in blocks(net)} == {name}
        outputs.append(net(x))
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])
    with pytest.raises(KeyError, match="no CSA set 'leica'"):
        select(net, "leica")


def test_only_the_selected_set_is_trained_by_a_step():
    net = convert(UNet(channels=4), SETS)
    select(net, "sony")
    net(torch.rand(1, 4, 16, 16)).sum().backward()
    for block in blocks(net):
        assert block.main_weight.grad is not None
        for name in SETS:
            assert (block.align_weights[name].grad is not None) == (name == "sony")
            assert (block.align_biases[name].grad is not None) == (name == "sony")


@pytest.mark.parametrize("omnr", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_a_deployed_network_is_the_plain_one_with_the_same_function(name, omnr):
    net = randomise(convert(UNet(channels=4), SETS, omnr))
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    before = {block.selected for block in blocks(net)}
    plain = deploy(net, name)
    assert list(plain.state_dict()) == list(UNet(channels=4).state_dict())
    assert not blocks(plain)
    # The original is as it was, its choice included.
    assert {block.selected for block in blocks(net)} == before
    assert all(torch.equal(value, kept[key]) for key, value in net.state_dict().items())
    UNet(channels=4).load_state_dict(plain.state_dict())
    x = torch.rand(1, 4, 32, 48)
    select(net, name)
    torch.testing.assert_close(plain(x), net(x), atol=1e-5, rtol=1e-5)


def test_tensor_names_in_a_file():
    names = set(convert(UNet(channels=4), ("a", "b"), omnr=True).conv3_1.state_dict())
    assert names == {
        "main_weight",
        "main_bias",
        "aux_weight",
        "aux_bias",
        "align_weights.a",
        "align_weights.b",
        "align_biases.a",
        "align_biases.b",
    }


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(ValueError, match="ungrouped"):
        RepNRConv(nn.Conv2d(4, 4, 3, groups=4), ["a"])
    with pytest.raises(ValueError, match="zero-padded"):
        RepNRConv(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), ["a"])
    with pytest.raises(ValueError, match="at least one"):
        convert(UNet(channels=4), ())
