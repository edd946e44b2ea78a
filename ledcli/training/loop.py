"""The one training loop. A method supplies the loss of a step; the loop does the rest.

bfloat16 autocast with channels_last, gradient clipping, a schedule, an exponential moving average
(EMA) of the weights, roll-back of rejected steps, and checkpoints that survive a kill.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from ledcli.errors import TrainingError, os_reason
from ledcli.inference.backends.torch import does_not_hold, full_float32, is_out_of_memory
from ledcli.output.atomic import atomic_write
from ledcli.training.optim import ALL, Plateau, Schedule, Workers, one_thread, optimisers, snapshot
from ledcli.training.processes import Processes, even_parts

SETTLED, AVERAGED_STEPS = 100, 4
"""Steps after which the average moves only every so many: it reads all weights each time."""
_UNREADABLE = (SafetensorError, LookupError, TypeError, ValueError, RuntimeError, ArithmeticError)
"""What a damaged checkpoint raises."""


class Method(Protocol):
    """What the loop trains: it samples a batch and returns its loss."""

    def batch_size(self, progress: float) -> int:
        """Return the crops of a step, which workers share; ``progress`` is as `loss` takes it."""
        return 1

    def loss(self, net: nn.Module, progress: float, generator: Generator, part: range) -> Tensor:
        """Return the mean loss of a step's crops; ``progress`` runs from 0 to 1 over the training.

        Several workers call it in parallel, each with a network and a generator of its own, and
        with the numbers of the crops that are its ``part`` of the batch.
        """

    def validate(self, net: nn.Module) -> dict[str, float]:
        """Return figures on validation data, for the log."""

    def must_validate(self) -> bool:
        """Return whether the step whose loss was just taken must be validated."""
        return False

    def accepts(self, net: nn.Module) -> bool:
        """Return whether to keep the step that has just been made; the loop rolls others back."""
        return True

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of the method; JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that is not empty."""
        return


@dataclass(frozen=True)
class LogLine:
    """What happened up to a step; ``validation`` is empty between validations."""

    step: int
    progress: float
    loss: float
    learning_rate: float
    seconds: float
    seconds_left: float
    validation: dict[str, float]

    def as_json(self) -> str:
        """Return the line of JSON that goes into the log file."""
        plain = {k: v for k, v in vars(self).items() if k != "validation"} | self.validation
        return json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in plain.items()})


class Trainer:
    """A network in training: its weights, optimisers, average and place in the schedule.

    The network is trained in place; parameters with ``requires_grad`` off stay as they are.
    ``groups`` of parameters are those that the schedule's phases name; by default all are one
    group. The ``workers`` of all ``processes`` share the crops of a step evenly, and compute them
    in parallel; every crop counts as much. ``bf16`` autocasts to bfloat16. ``muon`` trains the
    kernels by Muon instead of Adam. ``clock`` gives the seconds that count as training time.
    """

    def __init__(
        self,
        net: nn.Module,
        method: Method,
        schedule: Schedule,
        device: torch.device,
        *,
        bf16: bool,
        seed: int = 0,
        groups: Mapping[str, list[nn.Parameter]] | None = None,
        workers: int = 1,
        muon: bool = False,
        processes: Processes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # torch's type stubs do not know this argument of Module.to.
        self.net = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.method, self.schedule, self.device, self.bf16 = method, schedule, device, bf16
        if groups is None:
            groups = {ALL: [p for p in self.net.parameters() if p.requires_grad]}
        self.trained: list[Tensor] = [p for group in groups.values() for p in group]
        self.average = [p.detach().clone() for p in self.trained]
        self.workers = Workers(self.net, workers) if workers > 1 else None
        self.processes, self.seed = processes or Processes(), seed
        self.generators = [Generator(device).manual_seed(seed + i) for i in range(workers)]
        map_fn = self.workers.map if self.workers else map
        self.optimisers = optimisers(groups, schedule.learning_rate, muon, map_fn)
        self.step, self.seconds, self.clock, self.plateau = 0, 0.0, clock, Plateau()

    def run(
        self,
        checkpoint: Path | None = None,
        recipe: str = "",
        log_every: int = 50,
        checkpoint_every: float = 180,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[LogLine]:
        """Train to the end of the schedule; yield a log line every ``log_every`` steps.

        Every ``checkpoint_every`` seconds and at the end the training is validated, and its state
        is written to ``checkpoint`` with ``recipe``: only the same one can resume it. A schedule
        with ``patience`` says instead at which steps to validate. When ``stop``, asked after every
        step, returns True, a checkpoint is written and the run ends. Of several processes only the
        first yields, validates and writes; its clock counts.
        Raises TrainingError if the loss is not a number, or the device's memory is too small.
        """
        losses: list[Tensor] = []
        before, last_saved, at_start = self.clock(), time.monotonic(), self.seconds
        first, progress = self.step, self.schedule.progress(self.step, self.seconds)
        while progress < 1:
            try:
                step_loss = self.one_step(progress)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                step, advice = "a training step", "use fewer crops per step"
                raise TrainingError(does_not_hold(step, str(self.device), advice)) from error
            now = self.clock()
            self.seconds += self.processes.of_first(now - before)
            before = now
            validation = self._validate() if self.schedule.validates(self.step) else {}
            if validation:
                self.schedule = self.plateau.judge(validation["psnr"], self.step, self.schedule)
            done_before, progress = progress, self.schedule.progress(self.step, self.seconds)
            ended = progress >= 1
            if self.processes.rank:
                continue
            losses.append(step_loss)
            if not ended and stop():
                if checkpoint is not None:
                    self.save(checkpoint, recipe)
                return
            due = time.monotonic() - last_saved > checkpoint_every or ended or bool(validation)
            if self.step % log_every and not due:
                continue
            if not validation and due and (ended or self.schedule.patience is None):
                validation = self._validate()
            loss = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is not a number at step {self.step}: look for damaged photos, or "
                    "lower the learning rate"
                )
            gone = self.seconds - at_start
            share = progress - self.schedule.progress(first, at_start)
            yield LogLine(
                step=self.step,
                progress=progress,
                loss=loss,
                learning_rate=self.schedule.rate(self.step, done_before),
                seconds=self.seconds,
                seconds_left=gone / share * (1 - progress) if share > 0 else math.inf,
                validation=validation,
            )
            if due:
                if checkpoint is not None:
                    self.save(checkpoint, recipe)
                last_saved = time.monotonic()

    def one_step(self, progress: float) -> Tensor:
        """Train one step; return its loss."""
        with full_float32(), one_thread() if self.workers else nullcontext():
            self._set_rates(progress)
            loss = self._gradients(progress)
            restore = None
            if self.method.must_validate():
                restore = snapshot(self.trained, self.optimisers)
            norm = nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
            # Most steps are shorter than the limit: then every gradient stays as it is. On other
            # devices reading the norm would wait for the step; a factor of 1 costs less.
            if self.device.type != "cpu" or norm > self.schedule.clip:
                nn.utils.clip_grads_with_norm_(self.trained, self.schedule.clip, norm)
            for optimiser in self.optimisers:
                optimiser.step()
            self.step += 1
            if restore is not None and not self._accepted():
                restore()
            else:
                self._move_average()
            return loss

    def _set_rates(self, progress: float) -> None:
        """Set the learning rate of every group; freeze those that this phase does not train."""
        rates = self.schedule.rates(self.step, progress)
        for group in (g for optimiser in self.optimisers for g in optimiser.param_groups):
            group["lr"] = rates.get(group["name"], 0.0) * group["share"]
            for weight in group["params"]:
                weight.requires_grad_(group["name"] in rates)

    def _gradients(self, progress: float) -> Tensor:
        """Give every weight that takes part its gradient; return the loss."""
        batch = range(self.method.batch_size(progress))
        own = even_parts(batch, self.processes.count)[self.processes.rank]
        parts = [part for part in even_parts(own, len(self.generators)) if part]

        def loss(net: nn.Module, worker: int) -> Tensor:
            part = parts[worker]
            with self.autocast():
                value = self.method.loss(net, progress, self.generators[worker], part)
            return value * (len(part) / len(batch))

        for weight in self.trained:
            weight.grad = None
        if self.processes.count > 1:
            self.processes.seed_parts(self.generators, self.seed, self.step)
        weights = [weight for weight in self.trained if weight.requires_grad]
        value = torch.zeros((), device=self.device)
        if self.workers is not None and parts:
            value, gradients = self.workers.gradients(loss, weights, len(parts))
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
        elif parts:
            value = loss(self.net, 0)
            value.backward()
        return self.processes.total(value.detach(), weights)

    def _accepted(self) -> bool:
        with self.measuring():
            return self.method.accepts(self.net)

    def _move_average(self) -> None:
        """Move the average towards the weights: at first every step, later several in one."""
        steps = 1 if self.step < SETTLED else AVERAGED_STEPS
        if self.step % steps == 0:
            decay = min(self.schedule.ema, (1 + self.step) / (10 + self.step)) ** steps
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.trained, 1 - decay)

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        # The cache of cast weights is one for all threads: with workers each casts its own.
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=self.workers is None
        )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the network its averaged weights inside the block."""
        self.swap_average()
        try:
            yield
        finally:
            self.swap_average()

    @torch.no_grad()
    def swap_average(self) -> None:
        """Exchange the network's weights and their average."""
        for weight, average in zip(self.trained, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _validate(self) -> dict[str, float]:
        # On one thread if the steps are: on a busy machine two would wait for each other.
        with one_thread() if self.workers else nullcontext(), self.averaged(), self.measuring():
            return self.method.validate(self.net)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Run the network inside the block as in training, but without gradients."""
        with full_float32(), torch.inference_mode(), self.autocast():
            yield

    def save(self, path: Path, recipe: str = "") -> None:
        """Write a checkpoint, whole or not at all; raises OutputError."""
        kept = self.generators if self.processes.count == 1 else []
        tensors = {f"generator.{i}": g.get_state() for i, g in enumerate(kept)}
        for i, (weight, average) in enumerate(zip(self.trained, self.average, strict=True)):
            tensors[f"weight.{i}"], tensors[f"average.{i}"] = weight.detach(), average
            for optimiser in self.optimisers:
                for key, value in optimiser.state.get(weight, {}).items():
                    tensors[f"state.{i}.{key}"] = value
        state = {"step": str(self.step), "seconds": str(self.seconds), "recipe": recipe}
        state["plateau"] = json.dumps([*astuple(self.plateau), self.schedule.iterations])
        state["method"] = json.dumps(self.method.state())
        atomic_write(path, save({k: v.contiguous() for k, v in tensors.items()}, state))

    def resume(self, path: Path, recipe: str = "") -> None:
        """Go on from a checkpoint; raises TrainingError when it is missing or of another recipe."""
        try:
            with safe_open(path, "pt", device=str(self.device)) as file:
                state = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if state["recipe"] != recipe:
                raise TrainingError(
                    f"{path} is of another training, or of another version of led: give the "
                    "options it was made with, or remove it"
                )
            self._restore(tensors, state)
        except FileNotFoundError:
            raise TrainingError(f"{path}: no checkpoint to resume: leave out --resume") from None
        except OSError as error:
            raise TrainingError(f"{path}: cannot be read ({os_reason(error)})") from error
        except _UNREADABLE as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise TrainingError(does_not_hold("the checkpoint", str(self.device))) from error
            raise TrainingError(f"{path} is damaged: remove it and start anew") from error

    @torch.no_grad()
    def _restore(self, tensors: dict[str, Tensor], state: dict[str, str]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.schedule.patience is not None:
            psnr, step, iterations = json.loads(state["plateau"])
            if not 1 <= iterations <= self.schedule.iterations:
                raise ValueError("iterations")
            self.plateau = Plateau(float(psnr), int(step))
            self.schedule = replace(self.schedule, iterations=int(iterations))
        if known := json.loads(state.get("method", "{}")):  # none in older ones
            self.method.restore(known)
        states = [tensors.pop(name) for name in sorted(tensors) if name.startswith("generator.")]
        # With another number of workers a run goes on as well, but with other random numbers; and
        # with none of those before after several processes, or on another kind of device.
        size = self.generators[0].get_state().shape
        if not states or any(each.shape != size for each in states):
            self.processes.seed_parts(self.generators, self.seed, self.step)
            states = []
        for generator, state_of in zip(self.generators, states, strict=False):
            generator.set_state(state_of.cpu())
        owner = {w: o for o in self.optimisers for g in o.param_groups for w in g["params"]}
        for name, tensor in tensors.items():
            kind, index, *key = name.split(".")
            weight = self.trained[int(index)]
            if kind == "weight":
                weight.copy_(tensor)
            elif kind == "average":
                self.average[int(index)].copy_(tensor)
            else:
                # Fused Adam walks through memory: its moments must lie as the weights do.
                if tensor.ndim:
                    tensor = torch.empty_like(weight).copy_(tensor)
                owner[weight].state[weight][key[0]] = tensor
