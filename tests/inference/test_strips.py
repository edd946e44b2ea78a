"""Strips against the whole frame."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from ledcli.inference.backends import Target
from ledcli.inference.backends.torch import BACKEND, fuse
from ledcli.inference.strips import GPU_PIXELS, MIN_ROWS, StripNetwork, StripRun, rows_of
from ledcli.nets.forms import FrameParameters, form_of
from ledcli.nets.network import build

CPU = torch.device("cpu")
ROUNDING = {"float32": 2e-6, "bf16": 0.02}
"""By how much values near 1 may differ: a library computes a strip in another way than a frame."""
FIGURES = FrameParameters(*(torch.tensor([value]) for value in (100.0, 1e-4, 1e-7)))
RESUNET = {"channels": (8, 16, 24), "encoder": (1, 2, 2), "decoder": (1, 2)}
NETS = {
    "unet": ("unet", {"channels": 4}),
    "transposed": ("resunet", RESUNET),
    "bilinear": ("resunet", {**RESUNET, "up": "bilinear"}),
    "stride": ("resunet", {**RESUNET, "up": "bilinear", "stride": 2}),
    "levels without blocks": ("resunet", {**RESUNET, "encoder": (0, 1, 0), "decoder": (1, 0)}),
}


def ready(name="transposed", form="stabilised", output="planes", planes=4, precision="float32"):
    architecture, arguments = NETS[name]
    made = form_of(form, output, planes)
    out_planes = getattr(made, "out_planes", planes)
    torch.manual_seed(0)
    net = build(architecture, {**arguments, "in_planes": made.in_planes, "out_planes": out_planes})
    return BACKEND.prepare(None, net, Target("cpu", precision, CPU)), made


def frame(rows, cols, planes=4):
    return torch.rand(planes, rows, cols, generator=torch.Generator().manual_seed(1)) * 0.02


def in_strips(net, form, x, rows, progress=None):
    with torch.inference_mode():
        return StripRun(StripNetwork.of(net), form, x, FIGURES, rows).run(progress)


def whole(net, form, x):
    with torch.inference_mode():
        return form(net, x[None], *FIGURES)[0]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", ["float32", "bf16", "fused bf16"])
def test_strips_are_the_whole_frame_but_for_rounding(name, precision):
    kind = precision.removeprefix("fused ")
    net, form = ready(name, precision=kind)
    if kind != precision:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            pytest.skip("this processor fuses no bfloat16")
        fuse(net)
    x = frame(208, 112)
    expected = whole(net, form, x)
    for rows in (32, 48, 500):
        strips = in_strips(net, form, x, rows)
        torch.testing.assert_close(strips, expected, rtol=0, atol=ROUNDING[kind])


@pytest.mark.parametrize("name", NETS)
def test_strips_may_have_any_height(name):
    net, form = ready(name)
    x = frame(208, 32)
    expected = whole(net, form, x)
    for rows in (4, 8, 17, 34):
        strips = in_strips(net, form, x, rows)
        torch.testing.assert_close(strips, expected, rtol=0, atol=ROUNDING["float32"])


@pytest.mark.parametrize("planes", [4, 9])
@pytest.mark.parametrize("form,output", [
    ("gain", "planes"), ("stabilised", "planes"), ("gain", "adaptive"), ("gain", "srgb"),
])  # fmt: skip
def test_every_input_form_passes_through_strips(form, output, planes):
    net, made = ready("unet", form, output, planes)
    x = frame(96, 64, planes)
    strips, expected = in_strips(net, made, x, 32), whole(net, made, x)
    torch.testing.assert_close(strips, expected, rtol=0, atol=ROUNDING["float32"])


def test_no_halo_is_computed():
    """The convolutions' work is that of the whole frame and a few rows a strip."""
    form = form_of("stabilised")
    # Unfused, so that the hooks are called.
    net = build("resunet", {**RESUNET, "in_planes": form.in_planes}).requires_grad_(False)
    work = 0

    def count(layer, inputs, output):
        nonlocal work
        work += output[0, 0].numel() * layer.weight.numel()

    strips = StripNetwork.of(net)
    for each in strips:
        for layer in each.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(count)
    x = frame(256, 64)
    done = []
    for rows in (256, 64):
        work = 0
        with torch.inference_mode():
            StripRun(strips, form, x, FIGURES, rows).run()
        done.append(work)
    assert done[0] < done[1] < 1.05 * done[0]


def test_the_memory_does_not_grow_with_the_frame_s_height():
    net, form = ready()

    def kept(height):
        run = StripRun(StripNetwork.of(net), form, frame(height, 32), FIGURES, 16)
        run.run()
        return sum(rows._buffer.numel() for rows in run._results[1:-1])

    assert kept(1600) == kept(800)


def test_less_memory_counts_for_frames_of_every_width():
    gpu, most = torch.device("cuda"), 400 * 1000
    assert rows_of(1000, gpu) == GPU_PIXELS // 1000 and rows_of(1000, gpu, most) == 400
    assert rows_of(4000, gpu, most) == 100 and rows_of(10**6, gpu, most) == MIN_ROWS
    assert rows_of(4000, CPU, most) == rows_of(4000, CPU) == 25


def test_progress_moves_with_every_strip_to_the_end():
    net, form = ready()
    shares = []
    in_strips(net, form, frame(256, 32), 16, shares.append)
    assert len(shares) == 16 and shares[-1] == 1
    assert all(before < after for before, after in pairwise(shares))
