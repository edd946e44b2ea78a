import itertools
import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ledcli.errors import TrainingError
from ledcli.training.loop import Method, Trainer
from ledcli.training.optim import Schedule
from ledcli.training.processes import Processes

CPU = torch.device("cpu")


class Regression(Method):
    """Fit y = 3 x - 1 under noise; every draw comes from the loop's generator."""

    def loss(self, net, progress, generator, part):
        x = torch.randn(32, 1, generator=generator)
        y = 3 * x - 1 + 0.1 * torch.randn(32, 1, generator=generator)
        return (net(x) - y).square().mean()

    def validate(self, net):
        x = torch.linspace(-1, 1, 20)[:, None]
        return {"error": float((net(x) - 3 * x + 1).abs().max())}


class Broken(Regression):
    def loss(self, net, progress, generator, part):
        return super().loss(net, progress, generator, part) * (math.nan if progress > 0.3 else 1)


def trainer(method=None, iterations=60, seed=0, **how):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(1, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    schedule = Schedule(iterations=iterations, **{"learning_rate": 0.03, "warm_up": 5} | how)
    return Trainer(net, method or Regression(), schedule, CPU, bf16=False, seed=seed)


def weights(trained):
    return [*trained.trained, *trained.average]


def test_a_tiny_method_learns():
    trained = trainer(iterations=300)
    lines = list(trained.run(log_every=50))
    assert lines[-1].loss < 0.05 * lines[0].loss
    assert lines[-1].validation["error"] < 0.3
    assert [line.step for line in lines] == [50, 100, 150, 200, 250, 300]
    assert lines[-1].progress == 1


def test_the_log_line_is_json():
    (line,) = trainer(iterations=10).run()
    logged = json.loads(line.as_json())
    assert logged["step"] == 10 and logged["progress"] == 1 and logged["seconds_left"] == 0
    assert {"loss", "learning_rate", "seconds", "error"} <= set(logged)


@pytest.mark.parametrize("killed_at", [1, 23, 59])
def test_a_run_killed_and_resumed_ends_with_the_weights_of_an_unbroken_one(tmp_path, killed_at):
    unbroken = trainer()
    list(unbroken.run(log_every=1))

    checkpoint = tmp_path / "run.checkpoint"
    killed = trainer()
    for line in killed.run(checkpoint, log_every=1, checkpoint_every=-1):
        # A line comes before its checkpoint: the kill loses this step.
        if line.step > killed_at:
            break
    resumed = trainer(seed=99)
    resumed.resume(checkpoint)
    assert resumed.step == killed_at
    list(resumed.run(checkpoint, log_every=1))
    assert resumed.step == unbroken.step == 60
    for ours, theirs in zip(weights(resumed), weights(unbroken), strict=True):
        assert torch.equal(ours, theirs)
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    first = trainer(iterations=10)
    list(first.run(tmp_path / "c"))
    again = trainer(iterations=10)
    again.resume(tmp_path / "c")
    assert list(again.run(tmp_path / "c")) == []
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    list(trainer(iterations=5).run(tmp_path / "c"))
    other = Trainer(nn.Linear(3, 3), Regression(), Schedule(5), CPU, bf16=False)
    with pytest.raises(TrainingError, match="is damaged"):
        other.resume(tmp_path / "c")
    (tmp_path / "text").write_text("no checkpoint")
    with pytest.raises(TrainingError, match="is damaged: remove it"):
        trainer().resume(tmp_path / "text")
    with pytest.raises(TrainingError, match="is of another training"):
        trainer().resume(tmp_path / "c", "another recipe")
    with pytest.raises(TrainingError, match="leave out --resume"):
        trainer().resume(tmp_path / "missing")


def test_a_checkpoint_of_another_kind_of_device_goes_on_with_new_random_numbers(tmp_path):
    whole = trainer()
    next(whole.run(log_every=7))
    whole.save(tmp_path / "c")
    tensors = load_file(tmp_path / "c")
    tensors["generator.0"] = torch.zeros(16, dtype=torch.uint8)  # as CUDA's is
    with safe_open(tmp_path / "c", "pt") as file:
        save_file(tensors, tmp_path / "c", file.metadata())
    rest = trainer()
    fresh = rest.generators[0].get_state()
    rest.resume(tmp_path / "c")
    assert rest.step == 7 and not torch.equal(rest.generators[0].get_state(), fresh)
    list(rest.run())
    assert rest.step == 60


class Precise(Regression):
    """Notes how cuDNN would compute."""

    def __init__(self):
        self.seen = set()

    def loss(self, net, progress, generator, part):
        loss = super().loss(net, progress, generator, part)
        loss.register_hook(lambda _: self.note())
        return loss

    def validate(self, net):
        return self.note() or {}

    def must_validate(self):
        return True

    def accepts(self, net):
        return self.note() is None

    def note(self):
        self.seen.add((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))


def test_a_training_runs_with_cudnn_and_without_tf32():
    before = torch.backends.cudnn.allow_tf32
    method = Precise()
    list(trainer(method, iterations=3).run())
    assert method.seen == {(True, False)} and torch.backends.cudnn.allow_tf32 == before


def test_a_loss_that_is_not_a_number_ends_the_training_and_keeps_the_last_checkpoint(tmp_path):
    checkpoint = tmp_path / "c"
    broken = trainer(Broken(), iterations=100)
    with pytest.raises(TrainingError, match=r"not a number at step 3.: .* the learning rate$"):
        list(broken.run(checkpoint, log_every=1, checkpoint_every=-1))
    good = trainer(iterations=100)
    good.resume(checkpoint)
    assert all(w.isfinite().all() for w in weights(good))


def test_a_step_that_the_memory_does_not_hold_ends_the_training_in_one_line(monkeypatch):
    full = trainer()
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    monkeypatch.setattr(full, "one_step", lambda _: (_ for _ in ()).throw(error))
    with pytest.raises(TrainingError, match=r"the memory of cpu .* fewer crops"):
        list(full.run())
    monkeypatch.setattr(full, "one_step", lambda _: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        list(full.run())


def test_the_rate_rises_then_falls_as_a_cosine_to_a_hundredth():
    schedule = Schedule(iterations=1000, learning_rate=1e-3, warm_up=100)
    assert schedule.rate(0, 0.0) == pytest.approx(1e-5)
    assert schedule.rate(49, 0.0) == pytest.approx(5e-4)
    assert schedule.rate(100, 0.0) == pytest.approx(1e-3)
    assert schedule.rate(500, 0.5) == pytest.approx(1e-3 * 0.505)
    assert schedule.rate(1000, 1.0) == pytest.approx(1e-5)
    falling = [schedule.rate(1000, p / 20) for p in range(21)]
    assert falling == sorted(falling, reverse=True)
    assert Schedule(10, learning_rate=1.0, warm_up=0).rate(0, 0.0) == 1


def test_progress_is_by_steps_or_by_time_whichever_is_further():
    assert Schedule(100).progress(25, 1e9) == 0.25
    timed = Schedule(100, minutes=1)
    assert timed.progress(25, 30) == 0.5 and timed.progress(75, 30) == 0.75
    assert timed.progress(10, 600) == 1


def test_a_time_budget_ends_the_training():
    trained = trainer(iterations=10**9)
    trained.seconds = 60.0
    trained.schedule = Schedule(iterations=10**9, minutes=1.0)
    assert list(trained.run()) == []


def test_weights_that_are_frozen_stay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1))
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    list(Trainer(net, Regression(), Schedule(5), CPU, bf16=False).run())
    assert torch.equal(net[0].weight, before)


def test_the_average_is_in_the_network_inside_the_block_only():
    trained = trainer(iterations=20)
    list(trained.run())
    own = [w.clone() for w in trained.trained]
    average = [w.clone() for w in trained.average]
    assert not all(torch.equal(a, b) for a, b in zip(own, average, strict=True))
    with trained.averaged():
        assert all(torch.equal(a, b) for a, b in zip(trained.trained, average, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(trained.trained, own, strict=True))


def test_a_stable_rate_falls_at_the_end_only_and_can_be_ended_at_any_time():
    schedule = Schedule(1000, learning_rate=1.0, warm_up=0, decay=0.2)
    assert schedule.rate(0, 0.0) == schedule.rate(500, 0.5) == schedule.rate(799, 0.799) == 1
    falling = [schedule.rate(0, p) for p in (0.85, 0.9, 0.95, 1.0)]
    assert falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0.01)
    # Stopped after 100 of 500 minutes and resumed as one of 100 / (1 - 0.2): it decays at once.
    ended = Schedule(10**6, minutes=100 / 0.8, learning_rate=1.0, warm_up=0, decay=0.2)
    assert ended.rate(0, ended.progress(0, 5990)) == 1
    assert ended.rate(0, ended.progress(0, 6060)) < 0.81


def test_without_a_checkpoint_it_validates_as_rarely(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    lines = list(trainer(iterations=60).run(log_every=1, checkpoint_every=20))
    assert 2 <= sum(bool(line.validation) for line in lines) <= 4


class Counted(Regression):
    """Has batches of five, whose crops' losses are their numbers times the weight."""

    def batch_size(self, progress):
        return 5

    def loss(self, net, progress, generator, part):
        return net.weight.sum() * sum(part) / len(part)


@pytest.mark.parametrize(("workers", "processes"), [(1, 1), (2, 1), (3, 1), (8, 1), (3, 2), (1, 8)])
def test_a_batch_has_the_same_crops_for_any_number_of_workers_and_processes(workers, processes):
    loss = gradient = 0.0
    for rank in range(processes):
        one = Processes()
        one.rank, one.count = rank, processes
        net = nn.Linear(1, 1, bias=False)
        nn.init.ones_(net.weight)
        how = {"bf16": False, "workers": workers, "processes": one}
        part = Trainer(net, Counted(), Schedule(5), CPU, **how)
        loss += float(part._gradients(0.0))
        gradient += 0.0 if net.weight.grad is None else float(net.weight.grad)
    assert loss == pytest.approx(2) and gradient == pytest.approx(2)


class Judged(Regression):
    """Has a validation that gains until a step."""

    def __init__(self, until, gain=0.1):
        self.until, self.gain, self.count = until, gain, 0

    def loss(self, net, progress, generator, part):
        self.count += 1
        return super().loss(net, progress, generator, part)

    def validate(self, net):
        return {"psnr": self.gain * min(self.count, self.until)}


ENDS_EARLY = {"decay": 0.2, "patience": 100}


def test_the_decay_begins_where_the_validation_gains_no_more():
    trained = trainer(Judged(until=120), iterations=1000, **ENDS_EARLY)
    lines = list(trained.run(log_every=1, checkpoint_every=0))
    # Validated at 100 and 150, where it gained, at 200 and 250: 250 / (1 - 0.2) steps.
    assert trained.step == lines[-1].step == 313 and lines[-1].progress == 1
    assert [line.step for line in lines if line.validation] == [*range(50, 301, 50), 313]
    rates = [line.learning_rate for line in lines]
    assert min(rates[10:250]) == max(rates) > rates[-1] and rates[-1] < 0.1 * max(rates)
    falling = rates[250:]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(("gain", "steps"), [(0.1, 300), (1e-4, 188)])
def test_a_training_that_gains_enough_goes_to_the_end(gain, steps):
    trained = trainer(Judged(until=10**6, gain=gain), iterations=300, **ENDS_EARLY)
    list(trained.run())
    assert trained.step == steps


@pytest.mark.parametrize("stopped_at", [49, 100, 150, 170])
def test_an_early_end_is_the_same_after_a_resumption(tmp_path, stopped_at):
    whole = trainer(Judged(until=1), iterations=1000, **ENDS_EARLY)
    list(whole.run())
    cut = trainer(Judged(until=1), iterations=1000, **ENDS_EARLY)
    list(cut.run(tmp_path / "c", stop=lambda: cut.step == stopped_at))
    rest = trainer(Judged(until=1), iterations=1000, **ENDS_EARLY)
    rest.resume(tmp_path / "c")
    list(rest.run(tmp_path / "c"))
    assert rest.step == whole.step == 188
    assert all(torch.equal(a, b) for a, b in zip(weights(rest), weights(whole), strict=True))
    again = trainer(Judged(until=1), iterations=1000, **ENDS_EARLY)
    again.resume(tmp_path / "c")
    assert list(again.run()) == []


@pytest.mark.parametrize(
    "plateau",
    ['["high", 0, 9]', "[1, 1e999, 9]", "[1, 1, 0]", "[1, 2]", "{}", "[1, null, 9]", "[1, 2"],
)
def test_a_forged_plateau_is_refused(tmp_path, monkeypatch, plateau):
    whole = trainer(Judged(until=1), iterations=60, **ENDS_EARLY)
    monkeypatch.setattr("ledcli.training.loop.json.dumps", lambda _: plateau)
    whole.save(tmp_path / "c")
    again = trainer(Judged(until=1), iterations=60, **ENDS_EARLY)
    with pytest.raises(TrainingError, match="is damaged"):
        again.resume(tmp_path / "c")


def test_the_clock_that_counts_can_be_given():
    ticks = iter(range(10**6))
    trained = trainer(iterations=10**6, minutes=1)
    trained.clock = lambda: float(next(ticks))
    list(trained.run())
    assert trained.step == 60
