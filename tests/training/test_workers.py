import torch
from torch import nn

from ledcli.nets.repnr import convert, select
from ledcli.training.optim import Workers


def network():
    torch.manual_seed(0)
    return convert(nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3)), ("a", "b"))


def part(number):
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(number))


def test_the_workers_gradient_is_that_of_their_sum():
    net = network()
    weights = list(net.parameters())
    loss = lambda n, i: n(part(i)).square().mean()  # noqa: E731
    value, gradients = Workers(net, 3).gradients(loss, weights, 2)
    whole = net(part(0)).square().mean() + net(part(1)).square().mean()
    torch.testing.assert_close(value, whole.detach())
    expected = torch.autograd.grad(whole, weights, allow_unused=True)
    for ours, theirs in zip(gradients, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_each_worker_selects_its_own_csa_set_of_the_same_weights():
    net = network()
    named = dict(net.named_parameters())

    def loss(own, worker):
        select(own, "ab"[worker])
        return own(part(worker)).square().mean()

    _, gradients = Workers(net, 2).gradients(loss, list(named.values()), 2)
    given = {n for n, g in zip(named, gradients, strict=True) if g is not None}
    assert {n for n in named if n.endswith(".a")} < given
    assert {n for n in named if n.endswith(".b")} < given


def test_workers_see_a_step_of_the_shared_weights():
    net = network()
    workers = Workers(net, 2)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(0.0)
    value, _ = workers.gradients(lambda n, i: n(part(i)).abs().mean(), list(net.parameters()), 2)
    assert float(value) == 0
