"""Adaptive domain learning: what a step is made of, when it is kept, and that undoing is exact."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from ledcli.errors import UsageError
from ledcli.nets.network import build
from ledcli.sensor.cfa import Phase
from ledcli.training.data import sources
from ledcli.training.data.pairs import MAX_PIXELS, camera_pairs
from ledcli.training.data.sources import PairSource, SourceBatch, SyntheticSource, find_sources
from ledcli.training.loop import Trainer
from ledcli.training.methods.adl import (
    AdlMethod,
    AdlRecipe,
    DynamicValidation,
    ValidationWindow,
)
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.start import Pretrained
from ledcli.training.optim import optimisers, snapshot
from ledcli.zoo.model_file import load_model, save_model
from ledcli.zoo.spec import ModelSpec
from tests.training.cameras import shot, shots
from tests.training.shoots import make_pair

CPU = torch.device("cpu")
TINY = {"in_planes": 9, "channels": 4}


@pytest.fixture(scope="module")
def shot_pairs():
    return shots()


@pytest.fixture(scope="module")
def crops():
    generator = np.random.default_rng(0)
    return generator.integers(0, 40000, (6, 4, 64, 64)).astype(np.uint16)


def pretrained():
    torch.manual_seed(0)
    spec = ModelSpec(
        name="tiny",
        architecture="unet",
        arguments=TINY,
        input_form="stabilised",
        csa_sets=(),
        ratio_range=(1.0, 300.0),
        method="pretrain",
        licence="CC0-1.0",
        source="tests",
    )
    net = build("unet", TINY)
    for weight in net.conv10_1.parameters():
        torch.nn.init.zeros_(weight)  # it begins by giving back what it is given
    return Pretrained(spec, net)


class Odd:
    """A source that counts its draws and gives the shots of another."""

    def __init__(self, inner, name="odd"):
        self.inner, self.name, self.sensors, self.side = inner, name, ("Odd One",), inner.side
        self.draws = 0

    def draw(self, rng, count, side):
        self.draws += 1
        return SourceBatch(
            self.inner.draw(rng, count, side).batch, [self.name] * count, [800.0] * count
        )


def trained(shot_pairs, source, validator=None, **how):
    usual = {"iterations": 20, "batch": 4, "side": 32, "learning_rate": 1e-3, "modulated_from": 0}
    recipe = AdlRecipe(**usual | how)
    method = AdlMethod(recipe, MethodInputs(shot_pairs, CPU, "Test One", sources=[source]))
    if validator is not None:
        method.accepts = validator
    start = method.begin(pretrained())
    trainer = Trainer(start.net, method, method.schedule(), CPU, bf16=False)
    return method, trainer


def state(trainer):
    weights = [w.detach().clone() for w in trainer.trained]
    moments = [
        {k: v.clone() for k, v in o.state[w].items()}
        for o in trainer.optimisers
        for g in o.param_groups
        for w in g["params"]
        if w in o.state
    ]
    return weights, moments


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[0], b[0], strict=True)) and all(
        torch.equal(x[k], y[k]) for x, y in zip(a[1], b[1], strict=True) for k in x
    )


def test_the_three_parts_follow_each_other(shot_pairs):
    odd = Odd(PairSource("Odd One", shot_pairs))
    _, trainer = trained(shot_pairs, odd, validator=lambda net: True)
    list(trainer.run())
    # From three tenths of the way to seven, and in no other step.
    assert odd.draws == 8


def test_a_step_that_is_not_kept_leaves_no_trace(shot_pairs):
    odd = Odd(PairSource("Odd One", shot_pairs))
    validated = []

    def never(net):
        validated.append(True)
        return False

    _, trainer = trained(shot_pairs, odd, validator=never)
    steps = trainer.run(log_every=1)
    for _ in range(6):
        next(steps)
    before = state(trainer)
    for _ in range(6):
        next(steps)
    assert len(validated) == 6 and same(before, state(trainer))


def test_memory_brings_weights_and_moments_back():
    weight = torch.nn.Parameter(torch.randn(32, 32, 3, 3))
    for muon in (False, True):
        both = optimisers({"all": [weight]}, 1e-2, muon)

        def step(both=both):
            weight.grad = torch.randn_like(weight)
            for optimiser in both:
                optimiser.step()

        fresh = snapshot([weight], both)
        value = weight.detach().clone()
        step()
        fresh()
        assert torch.equal(weight, value) and not any(o.state for o in both)
        step()
        kept = snapshot([weight], both)
        torch.manual_seed(3)
        step()
        once = weight.detach().clone()
        kept()
        torch.manual_seed(3)
        step()
        assert torch.equal(weight, once)


def test_validation_begins_with_a_fifth_of_the_pairs_and_ends_with_half():
    many = shots(ratios=tuple(50.0 + 10 * i for i in range(10)), isos=(400.0, 6400.0))
    validation = DynamicValidation(many, 32, 3, lambda window: 30.0, 0)
    rng = np.random.default_rng(0)
    assert len(set(validation.draw(rng, 0.0))) == 4 and len(set(validation.draw(rng, 1.0))) == 10


def test_few_pairs_validate_by_how_different_their_gains_are(shot_pairs):
    validation = DynamicValidation(shot_pairs, 32, 3, lambda window: 30.0, 0)
    for seed in range(8):
        chosen = validation.draw(np.random.default_rng(seed), 1.0)
        assert {shot_pairs.pairs[i].iso for i in chosen} == {400.0, 6400.0}


def test_a_step_must_beat_the_mean_of_the_best_so_far(shot_pairs):
    validation = DynamicValidation(shot_pairs, 32, 2, lambda window: 30.0, 0)
    rng = np.random.default_rng(0)

    def accepts(psnr):
        return validation.accepts([0], rng, lambda window: psnr)

    assert not accepts(30.0) and not accepts(29.0)
    assert accepts(31.0)  # the best: 0, +1
    assert not accepts(30.4) and accepts(30.6)  # now +0.6, +1: the start has gone
    assert not accepts(30.7) and accepts(30.9)


def test_hard_pairs_are_not_compared_with_easy_ones(shot_pairs):
    level = {id(pair): 20.0 + 10 * number for number, pair in enumerate(shot_pairs.pairs)}
    validation = DynamicValidation(shot_pairs, 32, 5, lambda window: level[id(window.pair)], 0)
    rng = np.random.default_rng(0)
    for number in range(len(shot_pairs.pairs)):
        better = level[id(shot_pairs.pairs[number])] + 1 + number
        assert validation.accepts([number], rng, lambda window, better=better: better)


def test_steps_that_make_it_worse_are_rolled_back(shot_pairs, monkeypatch):
    learn = AdlMethod._loss

    def unlearn_sources(self, net, drawn):
        loss = learn(self, net, drawn)
        return -loss if "odd" in drawn.sensors else loss

    monkeypatch.setattr(AdlMethod, "_loss", unlearn_sources)
    found = []
    for validator in (None, lambda net: True):
        how = {"target_until": 0.0, "sources_until": 1.0, "learning_rate": 4e-3, "iterations": 40}
        method, trainer = trained(
            shot_pairs, Odd(PairSource("Odd One", shot_pairs)), validator, **how
        )
        before = method.psnr(trainer.net)
        list(trainer.run())
        found.append(method.psnr(trainer.net) - before)
    checked, unchecked = found
    assert checked > -0.2 and unchecked < checked - 0.5


def test_a_source_that_never_helps_is_used_less_often(shot_pairs):
    turns = []
    for helps in (False, True):
        odd = Odd(PairSource("Odd One", shot_pairs))
        how = {"iterations": 30, "target_until": 0.0, "sources_until": 1.0}
        method, trainer = trained(shot_pairs, odd, **how)
        method.validation = DynamicValidation(shot_pairs, 32, 3, lambda window: 30.0, 0)
        method.validation.accepts = lambda *_, helps=helps: helps
        list(trainer.run())
        assert odd.draws == method.tried["odd"] and method.kept["odd"] == helps * odd.draws
        turns.append(odd.draws)
    never, always = turns
    # About sqrt(2 n) of n turns: the share of a source that was tried k times for nothing is 1/k.
    assert 2 <= never <= 14 and always == 30


def test_a_resumed_training_remembers_how_often_each_source_helped(shot_pairs, tmp_path):
    def run(killed_at=None, checkpoint=None):
        how = {"target_until": 0.0, "sources_until": 1.0, "learning_rate": 4e-3}
        method, trainer = trained(shot_pairs, PairSource("Odd One", shot_pairs), **how)
        if checkpoint:
            trainer.resume(checkpoint)
        for line in trainer.run(tmp_path / "c", log_every=1, checkpoint_every=-1):
            if line.step == killed_at:
                break
        return method, trainer

    whole, unbroken = run()
    run(killed_at=12)
    resumed, trainer = run(checkpoint=tmp_path / "c")
    assert trainer.step == 20 and resumed.record() == whole.record() and whole.kept.total()
    assert resumed.validation.best == whole.validation.best
    assert same(state(unbroken), state(trainer))


def test_synthetic_cameras_have_the_noise_that_they_say(crops):
    source = SyntheticSource("scenes", crops, (100.0, 100.0))
    batch, sensors, isos = source.draw(np.random.default_rng(0), 16, 48)
    assert batch.x.shape == (16, 4, 48, 48) and (batch.ratio == 100).all()
    assert any(sensors) and not all(sensors) and set(sensors) - {None} <= set(source.sensors)
    assert np.argsort(isos).tolist() == torch.argsort(batch.gain).tolist()


def test_sources_are_lists_of_pairs_and_folders_of_photos(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))  # they need no disk
    monkeypatch.setattr(sources, "CROPS", 8)
    folders = [tmp_path / where / "photos" for where in ("a", "b")]
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)
    for folder in folders:
        folder.mkdir(parents=True)
        Image.fromarray(noise).save(folder / "photo.png")
    found = find_sources(folders, (50.0, 300.0))
    drawn = found[0].draw(np.random.default_rng(0), 2, 32)
    assert drawn.batch.clean.shape == (2, 4, 32, 32)
    # Each has a record of its own.
    assert [source.name for source in found] == ["photos", "photos (2)"]


def list_of_pairs(folder, **how):
    folder.mkdir()
    lines = [make_pair(folder, f"p{iso}", iso, 100, iso, **how) for iso in (400, 6400)]
    (folder / "pairs.txt").write_text("".join(lines))
    return folder / "pairs.txt"


def test_all_lists_together_keep_the_pixels_that_one_does(tmp_path, monkeypatch):
    lists, limits, load = [list_of_pairs(tmp_path / name) for name in "ab"], [], sources.load_pairs

    def noted(*given, max_pixels=MAX_PIXELS, **how):
        limits.append(max_pixels)
        return load(*given, max_pixels=max_pixels, **how)

    monkeypatch.setattr(sources, "load_pairs", noted)
    first, second = find_sources(lists, (100.0, 100.0))
    assert limits == [MAX_PIXELS // 3] * 2  # and the target's
    assert second.name == f"{first.name} (2)" and second.sensors == first.sensors == (first.name,)
    assert second.draw(np.random.default_rng(0), 1, 32).sensors == [first.name]


def test_a_source_with_another_kind_of_sensor_is_refused_in_a_line(tmp_path):
    with pytest.raises(UsageError, match=r"pairs\.txt: is of an X-Trans sensor"):
        find_sources([list_of_pairs(tmp_path / "x", phase=(1, 2))], (100.0, 100.0))


def test_the_model_file_says_which_sensors_it_knows(shot_pairs, tmp_path):
    method, trainer = trained(shot_pairs, Odd(PairSource("Odd One", shot_pairs)))
    spec = method.begin(pretrained()).spec
    assert spec.modulation == ("Test One", "Odd One")
    save_model(tmp_path / "m.safetensors", spec, trainer.net.state_dict())
    loaded, net = load_model(tmp_path / "m.safetensors")
    assert loaded == spec and net.sensors == spec.modulation


def test_a_single_pair_validates_on_a_part_that_the_step_is_not_trained_on(shot_pairs):
    one = replace(shot_pairs, pairs=shot_pairs.pairs[:1])
    method, trainer = trained(one, PairSource("Odd One", shot_pairs), modulated_from=10)
    drawn = []
    method.target.draw = partial(_noted, method.target.draw, drawn)
    list(trainer.run())
    upper, lower = method.parts.pairs
    assert np.shares_memory(upper.clean, one.pairs[0].clean) and method.tried["Odd One"]
    assert upper.trained[0] + lower.trained[0] == one.pairs[0].trained[0]
    assert sum(map(len, drawn)) == method.tried["Odd One"]  # one half, the other one validates


def test_steps_are_validated_at_the_standard_phase():
    """As the crops are that they are trained on."""
    mirrored = camera_pairs(
        [shot(iso, 100.0, 1)._replace(phase=Phase.BGGR) for iso in (400.0, 6400.0)]
    )
    method, trainer = trained(mirrored, PairSource("Odd One", mirrored))
    seen = []
    method.batch_psnr = lambda net, batch: seen.append(batch.x[0].numpy()) or 30.0
    pair = mirrored.pairs[0]
    method._psnr_at(trainer.net, ValidationWindow(pair, 3, 5))
    assert np.array_equal(seen[0], np.flip(pair.short[:, 3:35, 5:37], (1, 2)))


def test_no_weights_that_were_cast_for_the_validation_are_trained_with(shot_pairs, monkeypatch):
    method, trainer = trained(shot_pairs, PairSource("Odd One", shot_pairs))
    events = []
    trainer.net.register_forward_pre_hook(lambda *_: events.append(torch.is_grad_enabled()))
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: events.append("cleared"))
    with torch.autocast("cpu", torch.bfloat16):
        method.loss(trainer.net, 0.3, torch.Generator(), range(4))
        assert events == [*[False] * (len(events) - 2), "cleared", True]


def _noted(draw, drawn, *args, among=()):
    drawn.append(among)
    return draw(*args, among=among)


def test_few_pairs_are_not_modulated(shot_pairs):
    method, trainer = trained(shot_pairs, PairSource("Odd One", shot_pairs), modulated_from=5)
    assert len(shot_pairs.pairs) < 5 and method.begin(pretrained()).spec.modulation == ()
    before = method.psnr(trainer.net)
    list(trainer.run())
    assert method.psnr(trainer.net) != before and method.tried["Odd One"]
