import json
import os

import numpy as np
import pytest
import torch

from ledcli.errors import OutputError, TrainingError
from ledcli.nets.registry import RESUNET
from ledcli.nets.repnr import RepNRConv, blocks
from ledcli.noise.cameras import MAKERS
from ledcli.sensor.cfa import XTransPhase, pack, unpack
from ledcli.sensor.layout import XTRANS
from ledcli.sensor.symmetry import Flip, flip_planes
from ledcli.training.data.crops import load_crops, pack_crops
from ledcli.training.data.sampler import PretrainRecipe, Sampler
from ledcli.training.loop import Trainer
from ledcli.training.optim import Schedule, worker_count
from ledcli.training.pretrain import PretrainMethod, pretrain
from ledcli.zoo.model_file import load_model

CPU = torch.device("cpu")
WORKERS = worker_count(torch.device("cpu"))
TINY = PretrainRecipe(
    architecture="unet", arguments={"channels": 4}, stages=((0.5, 2, 32), (1.0, 1, 48))
)


def tiny(**changes):
    return PretrainRecipe(**{**vars(TINY), **changes})


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    path = tmp_path_factory.mktemp("crops") / "crops.npy"
    pack_crops(None, path, megabytes=8 * 48 * 48 * 7 / 1e6, side=48)
    return path


def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def as_pretrain_does(crops, schedule):
    method = PretrainMethod(TINY, load_crops(crops), CPU)
    net = method.network()
    return Trainer(net, method, schedule, CPU, bf16=False, workers=WORKERS, muon=True)


def changed(net, before):
    return {
        name for name, value in net.state_dict().items() if not torch.equal(value, before[name])
    }


def test_the_model_file_says_what_it_is_and_loads(tmp_path, crops):
    out = tmp_path / "model.safetensors"
    lines = []
    spec = pretrain(
        TINY, crops, out, Schedule(4), device=CPU, bf16=False, show=lines.append, name="tiny"
    )
    loaded, net = load_model(out)
    assert loaded == spec
    assert loaded.name == "tiny" and loaded.input_form == "stabilised"
    assert loaded.csa_sets[:4] == ("generic", *MAKERS)
    assert len(loaded.csa_sets) == 4 + TINY.virtual
    assert loaded.arguments == {"in_planes": 9, "channels": 4}
    assert loaded.training["iterations"] == 4
    assert loaded.training["recipe"]["seed"] == 0
    assert {type(block) for block in blocks(net)} == {RepNRConv}
    assert lines[-1].step == 4
    assert {"psnr_1", "psnr_20", "psnr_100", "psnr_300"} <= set(lines[-1].validation)
    logged = [json.loads(line) for line in (tmp_path / "model.log.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model.checkpoint",
        "model.log.jsonl",
        "model.safetensors",
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk always full")
def test_a_full_disk_under_the_log_is_named(tmp_path, crops):
    (tmp_path / "m.log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"m\.log\.jsonl: cannot be written: the disk is full"):
        pretrain(TINY, crops, tmp_path / "m.safetensors", Schedule(1), device=CPU, bf16=False)


def test_the_model_file_holds_the_averaged_weights(tmp_path, crops):
    trainer = as_pretrain_does(crops, Schedule(3))
    list(trainer.run())
    pretrain(TINY, crops, tmp_path / "m.safetensors", Schedule(3), device=CPU, bf16=False)
    _, net = load_model(tmp_path / "m.safetensors")
    for weight, average in zip(net.parameters(), trainer.average, strict=True):
        assert torch.equal(weight, average.half().float())


def test_a_training_that_was_cut_off_goes_on_to_the_same_model(tmp_path, crops):
    how = {"device": CPU, "bf16": False}
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    pretrain(TINY, crops, whole, Schedule(6, warm_up=0), **how)
    cut_off = as_pretrain_does(crops, Schedule(6, warm_up=0))
    checkpoint = broken.with_suffix(".checkpoint")
    next(cut_off.run(log_every=3))
    cut_off.save(checkpoint, TINY.text())
    pretrain(TINY, crops, broken, Schedule(6, warm_up=0), resume=True, **how)
    ours, theirs = (load_model(path)[1].state_dict() for path in (broken, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_training_goes_on_with_its_own_crops_only(tmp_path, crops):
    out, other = tmp_path / "m.safetensors", tmp_path / "other.npy"
    pretrain(TINY, crops, out, Schedule(1), device=CPU, bf16=False)
    pack_crops(None, other, megabytes=8 * 48 * 48 * 7 / 1e6, side=48, seed=1)
    with pytest.raises(TrainingError, match="of other crops: name its crop file"):
        pretrain(TINY, other, out, Schedule(2), device=CPU, bf16=False, resume=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_step_trains_the_shared_weights_and_the_drawn_alignment_only(crops, seed):
    # Without the generic set, whose share is half: the draw is then one of eight.
    method = PretrainMethod(tiny(generic=0.0, form="gain"), load_crops(crops), CPU)
    net = method.network()
    trainer = Trainer(net, method, Schedule(100, warm_up=0), CPU, bf16=False, seed=seed)
    before = state(net)
    trainer.one_step(0.0)
    (drawn,) = {block.selected for block in blocks(net)}
    aligned = {name.rpartition(".")[2] for name in changed(net, before) if ".align_" in name}
    assert aligned == {drawn}
    shared = {name for name in before if ".align_" not in name}
    assert {name for name in changed(net, before) if ".align_" not in name} == shared
    assert changed(net, before) == shared | {
        name for name in before if ".align_" in name and name.endswith(f".{drawn}")
    }


def test_all_sets_are_drawn_the_generic_one_half_of_the_time(crops):
    method = PretrainMethod(TINY, load_crops(crops), CPU)
    drawn = [method.sampler.csa_set() for _ in range(400)]
    assert set(drawn) == set(method.sampler.sets)
    assert 0.4 < drawn.count("generic") / 400 < 0.6
    assert len(set(drawn)) == 1 + len(MAKERS) + TINY.virtual


def test_the_stabilised_network_starts_as_the_identity(crops):
    method = PretrainMethod(TINY, load_crops(crops), CPU)
    net = method.network()
    x = torch.rand(1, 4, 32, 32)
    line = (torch.tensor([v]) for v in (1e-3, 1e-6))
    out = method.form(net, x, torch.tensor([100.0]), *line)
    torch.testing.assert_close(out, x * 100, rtol=1e-5, atol=1e-4)


def test_batches_have_the_recipe_s_ratios_and_scenes(crops):
    method = PretrainMethod(TINY, load_crops(crops), CPU)
    ratios = method.sampler.ratios(4000)
    assert ratios.min() >= 1 and ratios.max() <= 300
    assert 0.07 < float((ratios == 1).float().mean()) < 0.13
    assert float(ratios[ratios > 1].log().mean()) == pytest.approx(np.log(300) / 2, rel=0.05)
    scenes = method.sampler.scenes(4, 32)
    assert scenes.shape == (4, 4, 32, 32) and scenes.min() >= 0 and scenes.max() <= 1


def test_augmented_planes_keep_their_colours():
    """A transposed RGGB mosaic is RGGB again, with the greens' places swapped."""
    rng = np.random.default_rng(0)
    mosaic = rng.integers(0, 65535, (12, 16)).astype(np.uint16)

    def planes_of(m):
        return np.stack((m[::2, ::2], m[::2, 1::2], m[1::2, 1::2], m[1::2, ::2]))

    planes = planes_of(mosaic)
    # Mirrored, a mosaic without its first and its last line begins with the same colour again.
    expected = [
        planes_of(m[::rows, ::cols][rows < 0 :, cols < 0 :][: len(m) - 2, : m.shape[1] - 2])
        for m in (mosaic, mosaic.T)
        for rows in (1, -1)
        for cols in (1, -1)
    ]
    seen = set()
    for _ in range(100):
        augmented = flip_planes(planes, Flip.random(rng))
        (which,) = (i for i, e in enumerate(expected) if np.array_equal(augmented, e))
        seen.add(which)
    assert seen == set(range(8))


def test_the_gain_form_trains_too(tmp_path, crops):
    recipe = tiny(form="gain", ratio_range=(100.0, 300.0), makers=False, generic=0.0)
    out = tmp_path / "gain.safetensors"
    lines = []
    pretrain(recipe, crops, out, Schedule(2), device=CPU, bf16=True, show=lines.append)
    spec, _ = load_model(out)
    assert spec.input_form == "gain" and spec.arguments["in_planes"] == 4
    assert spec.csa_sets == tuple(f"virtual{i}" for i in range(5))
    # Validated where it is trained only.
    assert {k for k in lines[-1].validation} == {"psnr_100", "psnr_300"}


def test_an_unknown_form_is_refused(crops):
    with pytest.raises(TrainingError, match="no input form 'log'"):
        PretrainMethod(tiny(form="log"), load_crops(crops), CPU)


def test_a_model_for_x_trans_is_trained_on_nine_planes(tmp_path):
    crops, out = tmp_path / "crops.npy", tmp_path / "x.safetensors"
    pack_crops(None, crops, megabytes=2 * 9 * 50 * 50 * 7 / 1e6, side=48, cfa="xtrans")
    recipe = tiny(cfa="xtrans", makers=False, virtual=1)
    lines = []
    pretrain(recipe, crops, out, Schedule(3), device=CPU, bf16=False, show=lines.append)
    spec, _ = load_model(out)
    assert (spec.cfa, spec.planes, spec.csa_sets) == ("xtrans", 9, ("generic", "virtual0"))
    assert spec.arguments == {"in_planes": 19, "out_planes": 9, "channels": 4}
    assert spec.training["recipe"]["cfa"] == "xtrans"
    assert {"psnr_1", "psnr_300"} <= set(lines[-1].validation)
    with pytest.raises(TrainingError, match="xtrans, not bayer"):
        pretrain(TINY, crops, tmp_path / "b.safetensors", Schedule(1), device=CPU, bf16=False)


def test_the_scenes_of_an_x_trans_begin_with_an_even_cell(monkeypatch):
    """Row noise depends on it: planes that hold their row number still do when augmented."""
    rows = np.broadcast_to(np.arange(150)[:, None], (150, 150)).astype(np.uint16)
    crops = np.stack([pack(rows, XTransPhase(0, 0))] * 4)
    sampler = Sampler(tiny(cfa="xtrans", makers=False, virtual=1), crops, CPU)
    monkeypatch.setattr(Flip, "random", lambda rng: Flip())
    drawn = sampler.scenes(40, 16)
    # Red's and blue's colours are drawn; what lies on one row has one value in the greens.
    for planes in drawn.numpy():
        mosaic = unpack(planes, XTransPhase(0, 0), (48, 48))
        greens = (
            unpack(
                np.array(XTRANS.colours)[:, None, None] * np.ones((9, 16, 16)),
                XTransPhase(0, 0),
                (48, 48),
            )
            == 1
        )
        for line, green in zip(mosaic, greens, strict=True):
            assert np.ptp(line[green]) == 0


def test_the_default_network_for_x_trans_takes_8_mb_at_most():
    recipe = tiny(cfa="xtrans", architecture="resunet", arguments=RESUNET.arguments("xtrans"))
    net = PretrainMethod(recipe, np.zeros((8, 9, 50, 50), np.uint16), CPU).network()
    assert 2 * sum(weight.numel() for weight in net.parameters()) < 7.9e6


def test_faults_stars_and_clean_crops_are_drawn_where_the_recipe_says_so(tmp_path, crops):
    recipe = tiny(
        faults=1.0,
        clean_crops=True,
        architecture="resunet",
        arguments={
            "channels": [4, 8],
            "encoder": [1, 1],
            "decoder": [1],
            "up": "bilinear",
            "out_planes": 8,
        },
    )
    out = tmp_path / "m.safetensors"
    pretrain(recipe, crops, out, Schedule(6, decay=0.5), device=CPU, bf16=False)
    spec, _ = load_model(out)
    assert spec.training["recipe"]["faults"] == 1 and spec.training["schedule"]["decay"] == 0.5


def test_frames_of_little_noise_get_the_crops_with_the_least_noise(crops):
    sampler = Sampler(tiny(clean_crops=True), load_crops(crops), CPU)
    count = len(sampler.crops)
    cleanest = sampler.crops[sampler.cleanest_first[0]]
    assert all(np.array_equal(sampler.crop(1e-6), cleanest) for _ in range(5))
    seen = {sampler.crop(10.0).tobytes() for _ in range(40 * count)}
    assert len(seen) == count


def test_a_training_starts_from_another_model(tmp_path, crops):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pretrain(TINY, crops, first, Schedule(2), device=CPU, bf16=False)
    at_rest = Schedule(1, learning_rate=1e-9)
    pretrain(TINY, crops, second, at_rest, device=CPU, bf16=False, start=first)
    a, b = (load_model(path)[1].state_dict() for path in (first, second))
    for name, weight in a.items():
        torch.testing.assert_close(weight, b[name], atol=1e-3, rtol=0)
