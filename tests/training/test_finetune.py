"""LED's fine-tuning: what is trained, from where it starts, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ledcli.errors import ModelError, UsageError
from ledcli.nets.network import build
from ledcli.nets.repnr import blocks, convert, select
from ledcli.noise.estimate import NoiseProfile
from ledcli.noise.photo_noise import PhotoNoise
from ledcli.training.data.pairs import camera_pairs
from ledcli.training.loop import Trainer
from ledcli.training.methods import find_method
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.led import (
    CSA,
    OMNR,
    TARGET,
    LedMethod,
    LedRecipe,
    groups,
    prepare,
)
from ledcli.training.methods.start import Pretrained, Start, pretrained_model
from ledcli.zoo.model_file import load_model, read_spec, save_model
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import ChosenModel, find_model
from tests.inference.models import write_model, write_modulated
from tests.training.cameras import shot, shots

CPU = torch.device("cpu")
TINY = {"in_planes": 9, "channels": 4}


@pytest.fixture(scope="module")
def shot_pairs():
    return shots()


def spec(**how):
    values = {
        "name": "tiny",
        "architecture": "unet",
        "arguments": TINY,
        "input_form": "stabilised",
        "csa_sets": ("generic", "sony"),
        "ratio_range": (1.0, 300.0),
        "method": "pretrain",
        "licence": "CC0-1.0",
        "source": "tests",
    }
    return ModelSpec(**(values | how))


def network(sets=("generic", "sony")):
    torch.manual_seed(0)
    net = convert(build("unet", TINY), sets) if sets else build("unet", TINY)
    for block in blocks(net):
        for number, name in enumerate(sets):
            torch.nn.init.constant_(block.align_weights[name], 1 + 0.1 * number)
            torch.nn.init.constant_(block.align_biases[name], 0.05 * number)
    return net


def led(recipe, shot_pairs, form="stabilised"):
    return LedMethod(recipe, MethodInputs(shot_pairs, CPU, input_form=form))


def trainer(net, shot_pairs, recipe):
    return led(recipe, shot_pairs).trainer(Start(spec(), net, groups(net)), bf16=False)


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def changed(before, net):
    return {
        name for name, value in net.state_dict().items() if not torch.equal(before[name], value)
    }


@pytest.mark.parametrize("chosen", ["generic", "sony"])
def test_it_starts_as_the_chosen_set(chosen):
    net, x = network(), torch.randn(1, 9, 32, 32)
    select(net, chosen)
    expected = net(x)
    assert torch.allclose(prepare(spec(), net, chosen)(x), expected, atol=1e-6)


def test_without_a_choice_the_sets_are_averaged():
    net = prepare(spec(), network(), "")
    for block in blocks(net):
        assert torch.allclose(block.align_weights[TARGET], torch.tensor(1.05))
        assert torch.allclose(block.align_biases[TARGET], torch.tensor(0.025))


def test_a_plain_network_can_be_tuned_too():
    net, x = network(()), torch.randn(1, 9, 32, 32)
    expected = net(x)
    assert torch.allclose(prepare(spec(csa_sets=()), net, "")(x), expected, atol=1e-6)


def test_only_the_set_and_the_omnr_branch_are_trained(shot_pairs):
    net = prepare(spec(), network(), "sony")
    before = state(net)
    list(trainer(net, shot_pairs, LedRecipe(iterations=3, side=32)).run())
    moved = changed(before, net)
    assert any("align" in name for name in moved) and any("aux" in name for name in moved)
    assert all("align" in name or "aux" in name for name in moved)


def test_leds_schedule_trains_the_set_first_and_then_the_branch(shot_pairs):
    net = prepare(spec(), network(), "sony")
    at_start = state(net)
    tuning = trainer(net, shot_pairs, LedRecipe(schedule="led", iterations=6, side=32))
    steps = tuning.run(log_every=1)
    for _ in range(4):
        next(steps)
    after_set = state(net)
    assert changed(at_start, net) and all("align" in name for name in changed(at_start, net))
    list(steps)
    assert changed(after_set, net) and all("aux" in name for name in changed(after_set, net))


def test_the_published_schedule_is_the_published_one(shot_pairs):
    published = led(LedRecipe(schedule="led"), shot_pairs).schedule()
    assert published.iterations == 1500
    first, second = published.rates(999, 0.0), published.rates(1000, 1000 / 1500)
    assert first == {CSA: pytest.approx(1e-4)} and second == {OMNR: pytest.approx(1e-5)}
    assert published.rates(999, 999 / 1500)[CSA] < 0.02 * 1e-4
    assert published.rates(1499, 1499 / 1500)[OMNR] < 0.02 * 1e-5


def test_muon_trains_the_kernels_of_the_branch_and_adam_the_rest(shot_pairs):
    def optimisers(schedule):
        net = prepare(spec(), network(), "sony")
        recipe = LedRecipe(schedule=schedule, iterations=1, side=32, batch=1)
        tuning = trainer(net, shot_pairs, recipe)
        tuning.schedule = replace(tuning.schedule, warm_up=0)
        list(tuning.run())
        return {
            (type(each).__name__, group["name"]): (group["lr"], group["params"])
            for each in tuning.optimisers
            for group in each.param_groups
        }

    joint = optimisers("joint")
    assert joint["Muon", OMNR][1] and all(w.ndim == 4 for w in joint["Muon", OMNR][1])
    assert joint["Muon", CSA][1] == []
    assert joint["Adam", CSA][0] == pytest.approx(5e-4)
    assert {name for name, _ in optimisers("led")} == {"Adam"}


@pytest.mark.parametrize(("schedule", "kept"), [("joint", 0.8), ("led", 1.0)])
def test_a_joint_training_ends_with_a_smaller_branch(shot_pairs, schedule, kept):
    net = prepare(spec(), network(), "sony")
    for weight in groups(net)[OMNR]:
        torch.nn.init.ones_(weight)
    before = state(net)
    led(LedRecipe(schedule=schedule), shot_pairs).settle(net)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name] * (kept if "aux" in name else 1.0))


def test_an_unknown_schedule_is_named():
    with pytest.raises(UsageError, match=r"'adl'.*joint or led"):
        LedRecipe(schedule="adl")


@pytest.mark.parametrize("schedule", ["joint", "led"])
def test_stopped_and_gone_on_with_it_ends_with_the_same_weights(shot_pairs, tmp_path, schedule):
    recipe = LedRecipe(schedule=schedule, iterations=9, batch=2, side=32)
    whole = prepare(spec(), network(), "sony")
    list(trainer(whole, shot_pairs, recipe).run())
    for stopped_at in (1, 5, 7):
        cut = trainer(prepare(spec(), network(), "sony"), shot_pairs, recipe)
        list(cut.run(tmp_path / "c", stop=lambda cut=cut, at=stopped_at: cut.step == at))
        assert cut.step == stopped_at
        net = prepare(spec(), network(), "sony")
        rest = trainer(net, shot_pairs, recipe)
        rest.resume(tmp_path / "c")
        list(rest.run())
        assert not changed(state(whole), net)


def test_workers_tune_on_the_same_crops(shot_pairs):
    # On several cores a tuning takes the way it takes on one, and so on a GPU.
    nets = []
    for workers in (1, 2, 3, 8):
        torch.manual_seed(0)
        net = prepare(spec(), network(), "sony")
        inputs = MethodInputs(shot_pairs, CPU, workers=workers)
        method = LedMethod(LedRecipe(iterations=4, batch=4, side=32), inputs)
        start = Start(spec(), net, groups(net))
        list(method.trainer(start, bf16=False).run())
        nets.append(net.state_dict())
    for other in nets[1:]:
        for name, weight in nets[0].items():
            torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-6)


def test_tuning_teaches_the_bundled_model_a_camera(shot_pairs):
    found = find_model("generic")
    bundled, net = load_model(found.path)
    prepare(bundled, net, found.csa_set)
    tuning = trainer(net, shot_pairs, LedRecipe(iterations=20, side=32))

    def psnr():
        with torch.inference_mode():
            return tuning.method.psnr(net)

    before = psnr()
    list(tuning.run())
    # Its row noise is as strong as its read noise, more than any camera of the pretraining.
    with tuning.averaged():
        assert psnr() > before + 0.2


def test_what_is_clipped_in_the_long_frame_does_not_count():
    shot_pairs = shots(ratios=(100.0,))
    recipe = LedRecipe(side=32, batch=8)
    for frames in shot_pairs.pairs:
        frames.clean[:, :40] = 1.0

    def loss():
        method = led(recipe, shot_pairs)
        return method.loss(network(), 0.0, generator(0), range(8)).item()

    before = loss()
    for frames in shot_pairs.pairs:
        frames.clean[:, :40] = 0.99
    assert loss() == before


def test_the_gain_form_is_tuned_by_l1_on_gained_planes(shot_pairs):
    method = led(LedRecipe(side=32, batch=4), shot_pairs, "gain")
    batch = method.draw(np.random.default_rng([0, 0]))
    gained = (batch.x * batch.ratio.reshape(-1, 1, 1, 1)).clamp_max(1)
    counts = batch.clean < 0.98
    expected = float((gained - batch.clean).abs()[counts].mean())
    assert method.loss(torch.nn.Identity(), 0.0, generator(3), range(4)).item() == pytest.approx(
        expected
    )


def generator(seed):
    return torch.Generator().manual_seed(seed)


def test_validation_crops_say_how_good_a_network_is(shot_pairs):
    method = led(LedRecipe(side=32), shot_pairs)
    identity = network()
    for weight in identity.conv10_1.parameters():
        torch.nn.init.zeros_(weight)
    noisy = method.psnr(identity)
    batches = shot_pairs.validation_batches()
    by_hand = [
        float(
            -10
            * ((b.x * b.ratio.reshape(-1, 1, 1, 1)).clamp(0, 1) - b.clean).square().mean().log10()
        )
        for b in batches
    ]
    assert noisy == pytest.approx(np.mean(by_hand), abs=0.05)


def test_a_model_for_x_trans_is_tuned_with_pairs_of_an_x_trans(tmp_path):
    shot_pairs = shots(planes=9)
    path = write_model(tmp_path / "x.safetensors", cfa="xtrans", sets=("generic",))
    start = pretrained_model(ChosenModel(path, "generic"), shot_pairs.cfa)
    before = state(start.net)
    method = led(LedRecipe(iterations=3, side=32, batch=2), shot_pairs)
    began = method.begin(start)
    tuning = Trainer(began.net, method, method.schedule(), CPU, bf16=False, groups=began.groups)
    list(tuning.run())
    assert any(f".{TARGET}" in name for name in state(began.net).keys() - before.keys())
    assert np.isfinite(method.psnr(began.net))
    with pytest.raises(ModelError, match="is for X-Trans sensors and the pairs are Bayer"):
        pretrained_model(ChosenModel(path, "generic"))


@pytest.mark.parametrize("method", ["led", "adl", "exposure"])
def test_a_model_of_adl_is_tuned_without_its_modulation(tmp_path, shot_pairs, method):
    start = pretrained_model(ChosenModel(write_modulated(tmp_path / "adl.safetensors"), ""))
    found = find_method(method)
    inputs = MethodInputs(shot_pairs, CPU, "Test One", input_form="gain")
    began = found(found.recipe_type(), inputs).begin(start)
    assert "every weight is initialised" not in began.note
    save_model(tmp_path / "m.safetensors", began.spec, began.net.state_dict())


def test_a_model_of_exposure_diffusion_is_refused_in_a_line(tmp_path):
    path = write_model(tmp_path / "e.safetensors", form="gain", out_planes=9, output="adaptive")
    with pytest.raises(ModelError, match="--method led does not tune"):
        LedMethod.check_start(read_spec(path))


@pytest.mark.parametrize("form", ["stabilised", "gain"])
def test_the_untuned_model_is_measured_on_what_denoise_gives_it(form):
    """What the camera did is undone for models of the stabilised form, and for no others."""
    noise = PhotoNoise(NoiseProfile(1e-3, 1e-6))
    right = shot(400.0, 4.0)._replace(noise=noise)
    off = right._replace(short=right.short + np.float32(0.01), noise=noise._replace(black=0.01))
    seen, precise = [], []
    for pair in (right, off):
        net = build("unet", {**TINY, "in_planes": 9 if form == "stabilised" else 4})
        net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        net.register_forward_pre_hook(
            lambda *_: precise.append(not torch.backends.cudnn.allow_tf32)
        )
        pretrained = Pretrained(spec(input_form=form, csa_sets=()), net)
        led(LedRecipe(side=32), camera_pairs([pair])).before(pretrained, bf16=False)
    assert torch.allclose(*seen, atol=1e-3) == (form == "stabilised") and all(precise)
