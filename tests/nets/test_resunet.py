import copy

import pytest
import torch
from torch import nn

from ledcli.errors import ModelError
from ledcli.inference.backends.torch import FusedBlock, fuse
from ledcli.nets.network import build
from ledcli.nets.repnr import RepNRConv, blocks, convert, deploy
from ledcli.nets.unet import ResUNet

TINY = {"channels": (4, 8, 12), "encoder": (1, 0, 2), "decoder": (1, 1)}


@pytest.mark.parametrize("rows,cols", [(4, 4), (8, 20)])
def test_the_output_has_the_input_s_size_in_float32(rows, cols):
    net = ResUNet(9, **TINY)
    assert net.architecture.size_multiple == 4
    assert net(torch.rand(2, 9, rows, cols)).shape == (2, 4, rows, cols)
    net.to(torch.bfloat16)
    for name in net.architecture.float32_layers:
        net.get_submodule(name).float()
    assert net(torch.rand(1, 9, rows, cols)).dtype == torch.float32


def test_first_and_last_layer_run_in_float32_under_autocast():
    net, seen = ResUNet(4, **TINY), {}
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _m, _i, out, n=name: seen.update({n: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.rand(1, 4, 16, 16)).dtype == torch.float32
    assert seen.pop("head") == seen.pop("tail") == torch.float32
    assert set(seen.values()) == {torch.bfloat16}


def test_a_constant_skip_reaches_the_way_up():
    """With the deeper levels silent, what is left is the top level's own way."""
    net = ResUNet(4, **TINY).requires_grad_(False)
    for weight in net.up.parameters():
        weight.zero_()
    x = torch.rand(1, 4, 8, 8)
    top = net.decoder[0](net.encoder[0](net.head(x)))
    torch.testing.assert_close(net(x), net.tail(top))


def test_every_convolution_but_the_last_becomes_a_repnr_block_and_folds_back():
    torch.manual_seed(0)
    net = convert(ResUNet(9, **TINY), ("generic", "sony"))
    convolutions = [m for m in ResUNet(9, **TINY).modules() if isinstance(m, nn.Conv2d)]
    assert len(blocks(net)) == len(convolutions) - 1
    for block in blocks(net):
        nn.init.normal_(block.align_biases["generic"], std=0.1)
        nn.init.normal_(block.align_weights["generic"], mean=1, std=0.1)
    x = torch.rand(1, 9, 16, 12)
    torch.testing.assert_close(deploy(net, "generic")(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is not in this torch")
def test_fused_blocks_are_the_same_function():
    torch.manual_seed(0)
    net = ResUNet(9, **TINY).requires_grad_(False).eval()
    fused = copy.deepcopy(net).to(memory_format=torch.channels_last)
    fuse(fused)
    assert sum(isinstance(m, FusedBlock) for m in fused.modules()) == 5
    with torch.inference_mode():
        x = torch.rand(1, 9, 32, 24)
        torch.testing.assert_close(fused(x), net(x), rtol=1e-4, atol=1e-5)


def test_a_bilinear_way_up_leaves_no_pattern_of_period_two():
    torch.manual_seed(0)
    for up, flat in (("bilinear", True), ("transposed", False)):
        net = ResUNet(4, **TINY, up=up).requires_grad_(False)
        out = net(torch.ones(1, 4, 64, 64))[0, :, 24:40, 24:40]
        assert (float(out.std((1, 2)).max()) < 1e-5) is flat


def test_a_bilinear_way_up_has_one_tap_and_the_same_sizes():
    net = build("resunet", {"up": "bilinear", **TINY})
    assert {tuple(up.weight.shape[2:]) for up in net.up} == {(1, 1)}
    assert net(torch.rand(1, 4, 8, 20)).shape == (1, 4, 8, 20)
    assert not any(isinstance(up, RepNRConv) for up in convert(net, ("generic",)).up)
    with pytest.raises(ModelError, match="does not take"):
        build("resunet", {"up": "nearest"})


def test_numbers_that_do_not_go_together_are_refused():
    with pytest.raises(ModelError, match="does not take"):
        build("resunet", {"channels": [4, 8], "encoder": [1, 1], "decoder": [1, 1]})


def test_a_strided_network_keeps_the_size_and_folds_back():
    torch.manual_seed(0)
    net = ResUNet(9, 8, **TINY, up="bilinear", stride=2)
    assert net.architecture.size_multiple == 8
    x = torch.rand(1, 9, 24, 16)
    assert net(x).shape == (1, 8, 24, 16)
    net = convert(net, ("generic",))
    for block in blocks(net):
        nn.init.normal_(block.align_biases["generic"], std=0.1)
    expected = net(x)
    torch.testing.assert_close(deploy(net, "generic")(x), expected, rtol=1e-4, atol=1e-5)
    head = net.get_submodule("head")
    torch.testing.assert_close(head.forward_unfolded(x), head(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="does not take"):
        build("resunet", {"stride": 3})
