import pytest
import torch
from torch import nn

from ledcli.training.optim import STEP_RMS, Muon, orthogonal, suits_muon


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (16, 16)])
def test_a_step_has_the_singular_vectors_of_the_gradient_and_values_near_one(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    made = orthogonal(left * values @ right)
    inside = left.T @ made @ right.T
    assert torch.diagonal(inside).min() > 0.5 and torch.diagonal(inside).max() < 1.4
    assert (inside - torch.diag(torch.diagonal(inside))).abs().max() < 0.15


def test_a_kernel_moves_against_its_gradient_by_the_rate():
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(32, 16, 3, 3))
    kernel.grad = torch.randn_like(kernel)
    Muon([kernel], lr=0.01).step()
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.01 * STEP_RMS, rel=0.25)
    assert float((kernel.detach() * kernel.grad).sum()) < 0


def test_a_weight_without_a_gradient_stays():
    kernel = nn.Parameter(torch.ones(16, 16, 3, 3))
    Muon([kernel], lr=1.0).step()
    assert torch.equal(kernel, torch.ones_like(kernel))


def test_alignments_biases_and_small_kernels_are_left_to_adam():
    assert suits_muon(torch.zeros(64, 16, 3, 3)) and suits_muon(torch.zeros(64, 24, 1, 1))
    assert not suits_muon(torch.zeros(64))
    assert not suits_muon(torch.zeros(1, 64, 1, 1))
    assert not suits_muon(torch.zeros(4, 32, 3, 3))


def test_it_learns_what_rare_directions_hold():
    """A target that two directions of the input share unevenly: both are learnt."""
    torch.manual_seed(0)
    net = nn.Conv2d(16, 16, 1, bias=False)
    scale = torch.logspace(0, -1, 16).reshape(1, 16, 1, 1)
    wanted = torch.randn(16, 16, 1, 1)
    optimiser = Muon(net.parameters(), lr=0.4)
    for step in range(200):
        x = torch.randn(4, 16, 4, 4) * scale
        error = net(x) - nn.functional.conv2d(x, wanted)
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.param_groups[0]["lr"] = 0.4 * (1 - step / 200)
        optimiser.step()
    assert float((net.weight.detach() - wanted).abs().max()) < 0.1
