"""Checkpoints: a training's whole state in one file, so that it goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ledcli.errors import TrainingError
from ledcli.photo.files import atomic_write

if TYPE_CHECKING:
    from ledcli.training.loop import Trainer


def save_checkpoint(trainer: Trainer, path: Path, recipe: str) -> None:
    """Write a checkpoint, whole or not at all; raises OutputError.

    Parameters
    ----------
    trainer : Trainer
        Its weights, averages, optimisers' moments, generators, step and seconds are written.
    path : Path
    recipe : str
        Written too; a training is resumed with the same one only.
    """
    tensors = {f"generator.{i}": g.get_state() for i, g in enumerate(trainer.generators)}
    for i, (weight, average) in enumerate(zip(trainer.trained, trainer.average, strict=True)):
        tensors[f"weight.{i}"], tensors[f"average.{i}"] = weight.detach(), average
        for optimiser in trainer.optimisers:
            for key, value in optimiser.state.get(weight, {}).items():
                tensors[f"state.{i}.{key}"] = value
    state = {"step": str(trainer.step), "seconds": str(trainer.seconds), "recipe": recipe}
    atomic_write(path, save({k: v.contiguous() for k, v in tensors.items()}, state))


def load_checkpoint(trainer: Trainer, path: Path, recipe: str) -> None:
    """Bring a trainer to a checkpoint; raises TrainingError when it is of another training."""
    if not path.is_file():
        raise TrainingError(f"{path}: there is no checkpoint to go on from: leave out --resume")
    try:
        with safe_open(path, "pt", device=str(trainer.device)) as file:
            state = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if state["recipe"] != recipe:
            raise ValueError("another recipe")
        _restore(trainer, tensors, state)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(
            f"{path} is of another training: give the options it was made with, or remove it"
        ) from error


def _restore(trainer: Trainer, tensors: dict[str, Tensor], state: dict[str, str]) -> None:
    trainer.step, trainer.seconds = int(state["step"]), float(state["seconds"])
    states = [tensors.pop(name) for name in sorted(tensors) if name.startswith("generator.")]
    # With other lanes than before, a run goes on as well, but not draw for draw.
    for generator, state_of in zip(trainer.generators, states, strict=False):
        generator.set_state(state_of.cpu())
    of = {w: o for o in trainer.optimisers for g in o.param_groups for w in g["params"]}
    with torch.no_grad():
        for name, tensor in tensors.items():
            kind, index, *key = name.split(".")
            weight = trainer.trained[int(index)]
            if kind == "state":
                # Fused Adam walks through memory: its moments must lie as the weights do.
                if tensor.ndim:
                    tensor = torch.empty_like(weight).copy_(tensor)
                of[weight].state[weight][key[0]] = tensor
            else:
                (weight if kind == "weight" else trainer.average[int(index)]).copy_(tensor)
