"""Networks that take means over all that they see: tiles against the whole frame."""

import numpy as np
import pytest
import torch

from ledcli.inference.denoiser import Denoiser
from ledcli.inference.tiles import FADE, tiled
from ledcli.nets.nafnet import GlobalMean
from ledcli.nets.network import build
from ledcli.nets.registry import ARCHITECTURES, tile_note
from ledcli.nets.restormer import ChannelAttention
from ledcli.noise.estimate import NoiseProfile
from tests.inference.models import scene, shoot, write_model
from tests.nets.random_nets import random_net, write_random

NAMES = ("nafnet", "restormer")
RATIO = 100.0
LARGEST = {"nafnet": (0.003, 0.03), "restormer": (0.07, 0.6)}
"""RMS and largest difference of tiles of 64 from a frame of 96 x 512, over the RMS of what the
network changes at all."""


def short_planes(rows=96, cols=512):
    return shoot(scene(rows, cols), RATIO)


def network_input(rows=96, cols=512):
    return (torch.from_numpy(short_planes(rows, cols)) * RATIO).clamp_max(1)


def frozen(net):
    """Have the network's means and attentions stay as they are the first time."""
    kept = {}
    for module in net.modules():
        if isinstance(module, GlobalMean):
            module.register_forward_hook(lambda m, _given, out: kept.setdefault(m, out))
        elif isinstance(module, ChannelAttention):
            own = module.weights
            module.weights = lambda q, k, m=module, own=own: kept.setdefault(m, own(q, k))
    return net


def in_tiles(net, x, tile=64):
    said = net.architecture
    return tiled(net, x, tile=tile, halo=said.halo, multiple=said.size_multiple, fade=FADE)


def test_the_architectures_say_so_themselves():
    with torch.device("meta"):
        nets = {name: build(name, {}) for name in ARCHITECTURES}
    # The table holds what the networks of the default arguments say.
    assert {name: net.architecture for name, net in nets.items()} == ARCHITECTURES
    assert {name for name in ARCHITECTURES if tile_note(name)} == set(NAMES)
    tilings = {name: (each.tile, each.halo) for name, each in ARCHITECTURES.items()}
    assert tilings["resunet"] == (640, 96)
    assert tilings["nafnet"] == (640, 109)
    assert tilings["restormer"] == (448, 120)


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_the_halo_covers_all_but_the_means(name):
    """With the frame's means in every tile, tiles are the whole frame to the last bit or two."""
    net, x = frozen(random_net(name, sets=())), network_input(64, 384)
    whole = net(x[None])[0]
    torch.testing.assert_close(in_tiles(net, x), whole, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_what_the_means_of_a_tile_change_is_bounded(name):
    net, x = random_net(name, sets=()), network_input()
    whole = net(x[None])[0]
    changed = (whole - x).square().mean().sqrt()
    difference = (in_tiles(net, x) - whole) / changed
    rms, largest = LARGEST[name]
    assert 0 < difference.square().mean().sqrt() < rms
    assert difference.abs().max() < largest
    # Larger tiles are nearer.
    larger = (in_tiles(net, x, 128) - whole) / changed
    assert larger.square().mean() < difference.square().mean()


def test_neighbours_of_different_means_do_not_meet_in_a_step():
    """A slope of brightness, each window replaced by its mean: the result climbs evenly."""
    frame = torch.linspace(0, 1, 512).expand(1, 96, 512)

    def mean(window):
        return window.mean().expand_as(window)

    steps = {
        fade: tiled(mean, frame, tile=128, halo=32, multiple=16, fade=fade).diff(dim=2).abs().max()
        for fade in (0, FADE)
    }
    assert steps[0] > 0.15
    assert steps[FADE] < 1.01 * steps[0] / (2 * FADE)


@pytest.mark.parametrize("name", NAMES)
def test_the_denoiser_blends_tiles_and_reports_it(name, tmp_path):
    model = write_random(tmp_path / "model.safetensors", name)
    short, line = short_planes(), NoiseProfile(1e-4, 1e-7)
    engine = Denoiser(model, "a", precision="float32", tile=64)
    whole = Denoiser(model, "a", precision="float32", tile=0)
    assert (engine.halo, engine.fade) == (random_net(name).architecture.halo, FADE)
    assert engine.tile_note(short) == tile_note(name) != ""
    assert whole.tile_note(short) == engine.tile_note(short[:, :64, :64]) == ""
    there = whole.denoise(short, RATIO, noise=line)
    changed = np.sqrt(np.mean((there - np.minimum(short * RATIO, 1)) ** 2))
    difference = engine.denoise(short, RATIO, noise=line) - there
    assert 0 < np.sqrt(np.mean(difference**2)) < LARGEST[name][0] * changed


def test_local_networks_run_without_tiles_and_say_so_when_asked_for_some(tmp_path):
    model = write_model(tmp_path / "model.safetensors")
    assert Denoiser(model, "a").tile_note(short_planes()) == ""
    engine = Denoiser(model, "a", tile=64)
    assert engine.fade == 0
    assert engine.tile_note(short_planes()).endswith("--tile has no effect")
