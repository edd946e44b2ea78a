"""NAFNet and Restormer through the same training, fine-tuning and folding as the others."""

from dataclasses import replace

import pytest
import torch

from ledcli.nets.network import build
from ledcli.nets.repnr import convert, select
from ledcli.training.data.crops import pack_crops
from ledcli.training.data.sampler import PretrainRecipe
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import TARGET, LedMethod, LedRecipe, groups, prepare
from ledcli.training.optim import Schedule, Workers
from ledcli.training.pretrain import pretrain
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.model_file import load_model
from tests.nets.random_nets import SMALL, random_net
from tests.training.cameras import shots

NAMES = ("nafnet", "restormer")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    path = tmp_path_factory.mktemp("crops") / "crops.npy"
    pack_crops(None, path, megabytes=8 * 48 * 48 * 7 / 1e6, side=48)
    return path


@pytest.fixture(scope="module")
def shot_pairs():
    return shots(ratios=(100.0,))


@pytest.mark.parametrize("form,optimiser", [("stabilised", "muon"), ("gain", "adam")])
@pytest.mark.parametrize("name", NAMES)
def test_pretrained_then_tuned_then_folded(name, form, optimiser, crops, shot_pairs, tmp_path):
    recipe = PretrainRecipe(
        form, name, dict(SMALL[name]), virtual=1, stages=((1.0, 2, 32),), optimiser=optimiser
    )
    out = tmp_path / "model.safetensors"
    lines = []
    pretrain(recipe, crops, out, Schedule(3), device=CPU, bf16=True, show=lines.append)
    assert lines[-1].step == 3
    spec, net = load_model(out)
    assert (spec.architecture, spec.input_form) == (name, form)

    prepare(spec, net, "generic")
    before = {n: w.clone() for n, w in net.state_dict().items()}
    tuning = LedRecipe(iterations=3, batch=2, side=32)
    method = LedMethod(tuning, MethodInputs(shot_pairs, CPU, input_form=form))
    trainer = Trainer(net, method, method.schedule(), CPU, bf16=False, groups=groups(net))
    list(trainer.run())
    moved = {n for n, w in net.state_dict().items() if not torch.equal(w, before[n])}
    parts = (f"align_weights.{TARGET}", f"align_biases.{TARGET}", "aux_weight", "aux_bias")
    assert moved
    assert all(n.endswith(parts) for n in moved)
    # The first layer's blocks take part as the others do.
    first = {"nafnet": "intro", "restormer": "patch_embed.proj"}[name]
    assert f"{first}.aux_weight" in moved

    tuned = replace(spec, csa_sets=(TARGET,), omnr=True)
    _, plain = fold(tuned, net, TARGET)
    proof = prove(net, TARGET, plain, network_inputs(tuned, plain))
    assert proof.holds, proof


@pytest.mark.parametrize("name", NAMES)
def test_the_workers_gradient_is_that_of_their_sum(name):
    net = random_net(name).requires_grad_(True)
    weights = list(net.parameters())

    def loss(own, worker):
        select(own, "ab"[worker])
        x = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(worker))
        return own(x).square().mean()

    value, gradients = Workers(net, 2).gradients(loss, weights, 2)
    whole = loss(net, 0) + loss(net, 1)
    torch.testing.assert_close(value, whole.detach())
    expected = torch.autograd.grad(whole, weights)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name,rate,steps", [("nafnet", 1e-2, 60), ("restormer", 3e-3, 30)])
def test_it_learns(name, rate, steps):
    """A fresh network learns to take the noise out of one frame, in bfloat16."""
    torch.manual_seed(0)
    net = convert(build(name, SMALL[name]), ("a",))
    clean = torch.rand(1, 4, 1, 1).expand(1, 4, 16, 16)
    noisy = clean + 0.1 * torch.randn(1, 4, 16, 16)
    adam = torch.optim.Adam(net.parameters(), rate)
    for _ in range(steps):
        adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (net(noisy) - clean).square().mean()
        loss.backward()
        adam.step()
    assert loss < 0.5 * (noisy - clean).square().mean()
