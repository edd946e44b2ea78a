"""Fine-tune a model on one camera's pairs: all that `led finetune` does but its terminal.

The second half of LED: a network that was trained over many virtual cameras (training/pretrain.py)
learns a real one from a few pairs. `finetune` reads from top to bottom; what it trains in which
order is the method's: LED's has the target CSA set and the OMNR branch (training/methods/led.py).
"""

import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import nn

from ledcli import __version__
from ledcli.errors import LedError, TrainingError, UsageError
from ledcli.inference.network import training_target
from ledcli.pairs.list_file import read_list
from ledcli.pairs.result import read_darks
from ledcli.reporting import SILENT, Reporter, Stop, Stoppable, count, never_stop
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.pair_files import load_pairs, read_headers
from ledcli.training.data.pairs import MAX_PIXELS
from ledcli.training.data.sources import find_sources
from ledcli.training.loop import Trainer
from ledcli.training.methods import recipe_of
from ledcli.training.methods.base import FinetuneMethod, MethodInputs
from ledcli.training.methods.start import NO_MODEL, no_model, pretrained_model
from ledcli.training.optim import worker_count
from ledcli.training.settings import FinetuneSettings, method_of
from ledcli.zoo.folding import Proof
from ledcli.zoo.model_file import read_spec, save_model
from ledcli.zoo.selection import default_name, is_fast
from ledcli.zoo.spec import ModelSpec
from ledcli.zoo.store import (
    CHECKPOINT,
    FAST,
    alone_with,
    find_model,
    free_name,
    install_model,
    installed_dir,
    make_installed_dir,
    stopped_name,
)

LOG_EVERY = 10
"""Iterations between two log lines."""
CHECKPOINT_EVERY = 30.0
"""Seconds between two checkpoints; the validation crops are measured then too."""


class Status(StrEnum):
    """How a fine-tuning ended."""

    PLANNED = "planned"
    STOPPED = "stopped"
    NOT_BETTER = "not installed"
    DONE = "done"


@dataclass(frozen=True)
class FinetunedModel:
    """What a training made.

    ``spec`` and ``net`` are the model as it was trained: LED's has RepNR blocks with the target set
    and OMNR branch. ``folded`` and ``plain`` are the same as a plain network, which is installed;
    ``proof`` is that folding changed nothing, if there was something to fold. ``before`` and
    ``after`` are the PSNR of the validation crops in dB without and with the tuning.
    """

    spec: ModelSpec
    net: nn.Module
    folded: ModelSpec
    plain: nn.Module
    proof: Proof | None
    before: float
    after: float

    @property
    def improvement(self) -> float:
        """PSNR after tuning less that before, in dB."""
        return self.after - self.before


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning came to.

    ``name`` is that of the model, which is installed at ``path`` if the status is ``done``.
    ``pairs`` are hashes, ratio and ISO of the pairs that were used. ``tuned`` is None when the
    training was stopped or not begun. ``failed`` says which files could not be read.
    """

    status: Status
    name: str
    method: type[FinetuneMethod]
    pairs: list[dict[str, Any]]
    tuned: FinetunedModel | None = None
    path: Path | None = None
    failed: Sequence[LedError] = ()


def finetune(
    pairs: Path,
    settings: FinetuneSettings,
    *,
    report: Reporter = SILENT,
    stoppable: Stoppable = never_stop,
) -> FinetuneResult:
    """Tune a model to the camera of a list of pairs and install it, if it is better.

    ``pairs`` is a list as ``led pairs scan`` writes it. ``report`` receives messages and progress.
    ``stoppable`` makes the context in which the training runs; its value is asked after every
    iteration whether to stop. A stopped training leaves a checkpoint to resume from. Raises
    LedError if the settings, the pairs or the pretrained model cannot be used, the training failed,
    or another process tunes a model of the same name.
    """
    with ExitStack() as cleanup:
        return _finetune(pairs, settings, report, stoppable, cleanup)


def _finetune(
    pairs: Path,
    settings: FinetuneSettings,
    report: Reporter,
    stoppable: Stoppable,
    cleanup: ExitStack,
) -> FinetuneResult:
    """Do what `finetune` says; `cleanup` keeps the lock on the model's name."""
    # What cannot be done is refused before anything is read.
    method_type = method_of(settings)
    recipe = recipe_of(method_type, settings.options)
    fast = settings.quality == FAST
    chosen = None if settings.pretrained == NO_MODEL else find_model(settings.pretrained)
    if chosen:
        method_type.check_start(read_spec(chosen.path))
    target, notes = training_target(settings.device, settings.precision)
    device, bf16 = target.tensors, target.precision == "bf16"
    for note in notes:
        report.warn(note)

    failed: list[LedError] = []

    def problem(error: LedError) -> None:
        failed.append(error)
        report.warn(f"left out: {error}")

    headers = read_headers(
        read_list(pairs), ratios=settings.ratios, one_iso=settings.force, problem=problem
    )
    darks = read_darks(pairs)
    suffix = method_type.name_suffix + (f"-{FAST}" if fast else "")
    own = _name_of(headers[0].camera, suffix)
    name = settings.name or (stopped_name(own) if settings.resume else None) or free_name(own)
    checkpoint = installed_dir() / f"{name}{CHECKPOINT}"
    if settings.resume and not os.path.isfile(checkpoint):
        raise TrainingError(f"{name}: no checkpoint of this name to resume: leave out --resume")
    if not settings.dry_run:
        cleanup.enter_context(alone_with(name))
    if os.path.isfile(checkpoint) and not settings.resume:
        raise TrainingError(
            f"there is a checkpoint of an earlier tuning of '{name}': continue it with --resume, "
            f"or start anew after 'led models rm {name}'"
        )
    collector = None if settings.dry_run else method_type.collector(len(headers))
    with report.progress(len(headers), "reading", "pairs") as bar:
        loaded = load_pairs(
            headers,
            darks,
            keep_shifted=settings.keep_shifted,
            one_iso=settings.force,
            force_read=settings.force_read,
            step=lambda path: bar.advance(note=path.name),
            take=collector,
            problem=problem,
            max_pixels=MAX_PIXELS // (1 + len(settings.sources)),
        )
    for warning in loaded.warnings:
        report.warn(warning)
    report.info(loaded.summary())
    result = FinetuneResult(Status.PLANNED, name, method_type, loaded.records, failed=failed)
    if settings.dry_run:
        return result

    # The pretrained model, and what the method trains it on.
    cfa, pretrained = loaded.camera_pairs.cfa, settings.pretrained
    if cfa not in method_type.cfas:
        known = " or ".join(LAYOUTS[each].title for each in method_type.cfas)
        raise UsageError(f"--method {method_type.name} is for {known} sensors only: leave it out")
    if pretrained is None:
        pretrained = default_name(cfa, "--pretrained", fast=fast)
        chosen = find_model(pretrained)
    origin = pretrained_model(chosen, cfa) if chosen else no_model()
    takes_sources, ratios = method_type.takes_sources, loaded.camera_pairs.ratios
    sources = find_sources(settings.sources, ratios, recipe.seed, report) if takes_sources else ()
    inputs = MethodInputs(
        loaded.camera_pairs,
        device,
        camera=loaded.camera,
        input_form=origin.spec.input_form,
        sources=sources,
        collector=collector,
        workers=worker_count(device),
    )

    # Measured before training, so that a failure comes at once.
    method = method_type(recipe, inputs)
    before = method.before(origin, bf16=bf16)
    start = method.begin(origin)
    trainer = method.trainer(start, bf16=bf16)
    # Only a checkpoint with the same text is resumed.
    parts: list[Any] = [method.name, asdict(recipe), trainer.schedule.as_json(), bf16]
    parts += [origin.record(), loaded.records, loaded.camera_pairs.noise_profile.to_json()]
    identity = json.dumps([*parts, __version__], sort_keys=True)
    if start.note:
        report.info(start.note)
    make_installed_dir()
    if settings.resume:
        trainer.resume(checkpoint, identity)
    most = "" if trainer.schedule.patience is None else "at most "
    report.info(
        f"tuning {pretrained} to {loaded.camera}, "
        f"{most}{count(trainer.schedule.iterations, 'iteration')} on {device}; "
        f"{method.baseline} has {before:.2f} dB on validation crops"
    )
    with stoppable() as stop:
        _train(trainer, checkpoint, identity, before, stop, report)
    if trainer.step < trainer.schedule.iterations:
        return replace(result, status=Status.STOPPED)

    # The averaged weights: measure, describe, fold and install them.
    trainer.swap_average()
    method.settle(trainer.net)
    with trainer.measuring():
        after = method.psnr(trainer.net)
    training = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"quality": FAST} if is_fast(origin.spec) else {}),
        "method": method.name,
        **asdict(recipe),
        "iterations": trainer.step,
        "ended": "no gain" if trainer.step < recipe.iterations else "iterations",
        "optimiser": "muon" if method.muon else "adam",
        **method.record(),
        "seconds": round(trainer.seconds),
        "device": device.type,
        "precision": "bf16" if bf16 else "float32",
        "pretrained": origin.record(),
        **loaded.record(),
        "psnr_before": round(before, 3),
        "psnr_after": round(after, 3),
        "version": __version__,
    }
    spec = replace(
        start.spec,
        name=_name_of(loaded.camera),
        ratio_range=(ratios[0], ratios[-1]),
        cameras=(loaded.camera,),
        method=method.name,
        source="led finetune",
        training=training,
        noise_profile=loaded.camera_pairs.noise_profile,
    )
    tuned = FinetunedModel(spec, trainer.net, *method.finish(spec, trainer.net), before, after)
    if tuned.proof:
        report.info(f"proof: {tuned.proof}")
    for source, steps in spec.training.get("sources", {}).items():
        report.info(f"{source}: {steps['kept']} of {steps['tried']} steps were kept")
    if tuned.improvement <= 0 and not settings.force:
        return replace(result, status=Status.NOT_BETTER, tuned=tuned)
    if settings.out is not None:  # if this fails, --resume tries it again
        save_model(settings.out, spec, tuned.net.state_dict(), overwrite=False)
        report.info(f"wrote {settings.out}")
    try:
        name = free_name(name)  # it may have been taken while this ran
        path = install_model(name, tuned.folded, tuned.plain.state_dict())
    except LedError:
        if settings.out is not None:
            settings.out.unlink(missing_ok=True)
        raise
    checkpoint.unlink(missing_ok=True)
    return replace(result, status=Status.DONE, name=name, tuned=tuned, path=path)


def _name_of(camera: str, suffix: str = "") -> str:
    """Return the name that a camera's model gets: ``Sony ILCE-7SM2`` is ``sony-ilce-7sm2``."""
    name = re.sub(r"[^a-z0-9]+", "-", camera.casefold()).strip("-") or "camera"
    return name[: 60 - len(suffix)].rstrip("-") + suffix  # `free_name` may add a number


def _train(
    trainer: Trainer, checkpoint: Path, identity: str, before: float, stop: Stop, report: Reporter
) -> None:
    """Train to the end or until ``stop`` returns True; report the PSNR over that of before."""
    if not trainer.step:
        # Whatever keeps it from being written is better known now.
        trainer.save(checkpoint, identity)
    first, total, change = trainer.step, trainer.schedule.iterations, ""
    done = first
    with report.progress(total - first, "tuning", "iterations") as bar:
        for line in trainer.run(checkpoint, identity, LOG_EVERY, CHECKPOINT_EVERY, stop):
            if "psnr" in line.validation:
                change = f", validation {line.validation['psnr'] - before:+.2f} dB"
            if trainer.schedule.iterations < total:
                total = trainer.schedule.iterations
                report.info(f"no gain since iteration {trainer.plateau.step}: the last is {total}")
                bar.resize(total - first)
            bar.advance(line.step - done, f"loss {line.loss:.4f}{change}")
            done = line.step
