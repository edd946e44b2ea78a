"""Fine-tune a model on one camera's pairs: all of `led finetune` but its terminal."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ledcli import __version__
from ledcli.errors import ModelError, OutputError, TrainingError, UsageError
from ledcli.inference.backends.torch import choose_device, choose_precision
from ledcli.pairs.list_file import read_list
from ledcli.pairs.result import read_darks
from ledcli.training.data.pair_files import LoadedPairs, load_pairs, read_headers
from ledcli.training.data.srgb_pairs import SrgbCollector
from ledcli.training.loop import Trainer
from ledcli.training.methods.adl_sources import Source, find_sources
from ledcli.training.methods.base import FinetuneMethod, Pretrained
from ledcli.training.methods.registry import (
    NONE,
    MethodInputs,
    MethodOptions,
    iterations_of,
    method_of,
    no_model,
)
from ledcli.training.schedule import LogLine
from ledcli.zoo.folding import Proof
from ledcli.zoo.model_file import ModelSpec, file_sha256, load_model, save_model
from ledcli.zoo.selection import SENSORS, default_name
from ledcli.zoo.store import (
    SUFFIX,
    ChosenModel,
    check_name,
    find_model,
    free_name,
    install_model,
    installed_dir,
    make_installed_dir,
)

LOG_EVERY = 10
"""Iterations between two log lines."""
CHECKPOINT_EVERY = 30.0
"""Seconds between two checkpoints; the held crops are measured then too."""


@dataclass(frozen=True)
class FinetunedModel:
    """What a tuning made.

    Attributes
    ----------
    spec, net
        The tuned model as it was trained; LED's has RepNR blocks with the target set and the OMNR
        branch.
    folded, plain
        What is installed: the same, as a plain network.
    proof : Proof or None
        That the two are one function, where there was something to fold.
    before, after : float
        PSNR of the held crops in dB: without the tuning (`FinetuneMethod.before`), and with it.
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
        """What the tuning improved the PSNR by, in dB."""
        return self.after - self.before


def pretrained_model(start: ChosenModel, cfa: str = "bayer") -> Pretrained:
    """Load the model that a tuning to such a sensor starts from; raises ModelError."""
    spec, net = load_model(start.path)
    if spec.cfa != cfa:
        raise ModelError(
            f"{start.path}: is for {SENSORS[spec.cfa]} sensors and the pairs are {SENSORS[cfa]}: "
            "name another with --pretrained"
        )
    return Pretrained(spec, net, start.csa_set, file_sha256(start.path))


class Finetuning:
    """A tuning: made, it has tried the model on the held crops, so that a failure comes at once.

    Parameters
    ----------
    pairs : LoadedPairs
    pretrained : Pretrained
        The model to start from.
    method : FinetuneMethod
        Of these pairs.
    bf16 : bool
        Whether in bfloat16.

    Raises
    ------
    ModelError
        The pretrained model cannot be tuned with these pairs.
    """

    def __init__(
        self, pairs: LoadedPairs, pretrained: Pretrained, method: FinetuneMethod, *, bf16: bool
    ) -> None:
        self.pairs, self.method = pairs, method
        self.origin = {
            "name": pretrained.spec.name,
            "csa_set": pretrained.csa_set,
            "sha256": pretrained.sha256,
        }
        self.before = method.before(pretrained, bf16=bf16)
        start = method.begin(pretrained)
        self.spec, self.note = start.spec, start.note
        self.trainer = Trainer(
            start.net,
            method,
            method.schedule(),
            method.device,
            bf16=bf16,
            seed=method.recipe.seed,
            groups=start.groups,
            workers=start.workers,
            muon=start.muon,
        )

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; raises TrainingError when it is missing or of another tuning."""
        self.trainer.resume(checkpoint, self._identity())

    def run(
        self,
        checkpoint: Path,
        *,
        stop: Callable[[], bool] = lambda: False,
        show: Callable[[LogLine], None] = lambda _: None,
    ) -> FinetunedModel | None:
        """Tune to the end, or until told to stop.

        Parameters
        ----------
        checkpoint : Path
            Where the state goes, at once and every so often.
        stop : callable
            Asked after every iteration.
        show : callable
            Told of every log line; ``validation["psnr"]`` is there now and then.

        Returns
        -------
        FinetunedModel or None
            None when it was stopped.

        Raises
        ------
        TrainingError
            The loss is not a number.
        OutputError
            The checkpoint cannot be written.
        """
        identity = self._identity()
        if not self.trainer.step:
            # Whatever keeps it from being written is better known now.
            self.trainer.save(checkpoint, identity)
        steps = self.trainer.run(
            checkpoint, identity, log_every=LOG_EVERY, checkpoint_every=CHECKPOINT_EVERY, stop=stop
        )
        for line in steps:
            show(line)
        if self.trainer.step < self.method.recipe.iterations:
            return None
        return self._tuned()

    def _tuned(self) -> FinetunedModel:
        trainer = self.trainer
        with trainer.averaged(), torch.inference_mode(), trainer.autocast():
            after = self.method.psnr(trainer.net)
        with trainer.averaged():
            spec = self._spec(after)
            folded, plain, proof = self.method.finish(spec, trainer.net)
            trained = {
                name: t.detach().cpu().clone() for name, t in trainer.net.state_dict().items()
            }
        trainer.net.load_state_dict(trained)
        return FinetunedModel(spec, trainer.net, folded, plain, proof, self.before, after)

    def _spec(self, after: float) -> ModelSpec:
        ratios = self.pairs.shots.ratios
        training: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "method": self.method.name,
            **asdict(self.method.recipe),
            **self.method.record(),
            "seconds": round(self.trainer.seconds),
            "device": self.method.device.type,
            "precision": "bf16" if self.trainer.bf16 else "float32",
            "pretrained": self.origin,
            "pairs": self.pairs.records,
            "dark_frames": self.pairs.darks,
            "isos": list(self.pairs.shots.lines.isos),
            "ratios": ratios,
            "psnr_before": round(self.before, 3),
            "psnr_after": round(after, 3),
            "version": __version__,
        }
        return dataclasses.replace(
            self.spec,
            name=name_of(self.pairs.camera),
            ratio_range=(ratios[0], ratios[-1]),
            cameras=(self.pairs.camera,),
            method=self.method.name,
            source="led finetune",
            training=training,
            noise_profile=self.pairs.shots.lines,
        )

    def _identity(self) -> str:
        """Return what a checkpoint must be of to be gone on with."""
        lines, schedule = self.pairs.shots.lines.to_json(), self.trainer.schedule.as_json()
        parts = [
            self.method.name,
            asdict(self.method.recipe),
            schedule,
            self.trainer.bf16,
            self.origin,
            self.pairs.records,
            lines,
            __version__,
        ]
        return json.dumps(parts, sort_keys=True)


def name_of(camera: str) -> str:
    """Return the name that a camera's model gets: ``Sony ILCE-7SM2`` is ``sony-ilce-7sm2``."""
    return re.sub(r"[^a-z0-9]+", "-", camera.casefold()).strip("-")[:60] or "camera"


class Progress(Protocol):
    """A progress bar."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count ``steps`` as done."""


class Reporter(Protocol):
    """Receives messages and progress, as `ledcli.cli.console.Output` does."""

    def info(self, text: object) -> None:
        """Receive what is being done."""

    def warn(self, text: object) -> None:
        """Receive what the user should know although the work goes on."""

    def progress(
        self, total: float | None, label: str, unit: str = ""
    ) -> AbstractContextManager[Progress]:
        """Open a progress bar."""


class Silent:
    """A reporter that shows nothing, and its progress bar."""

    def info(self, text: object) -> None:
        """Ignore a message."""

    def warn(self, text: object) -> None:
        """Ignore a warning."""

    @contextmanager
    def progress(self, total: float | None, label: str, unit: str = "") -> Iterator[Progress]:
        """Give a bar that does nothing."""
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Ignore progress."""


@contextmanager
def never_stop() -> Iterator[Callable[[], bool]]:
    """Let a training run to its end."""
    yield lambda: False


@dataclass(frozen=True)
class FinetuneSettings:
    """What to fine-tune, and how.

    Attributes
    ----------
    pretrained : str, optional
        Name or file of the model to start from, or ``none``; by default the bundled one for the
        camera's kind of sensor.
    method : str
        A name in `METHODS`.
    options : MethodOptions
        The method's options.
    sources : sequence of Path
        ADL: other cameras' pair lists, or folders of clean photos.
    name : str, optional
        Of the tuned model; by default the camera's.
    out : Path, optional
        Also write the model here, not folded.
    ratios : sequence of float
        Use the pairs of these ratios only; empty uses all.
    keep_shifted : bool
        Keep pairs that are shifted.
    force : bool
        Accept pairs of one ISO, and install a model that is no better.
    resume : bool
        Go on with a fine-tuning that was stopped.
    device, precision : str
        As ``--device`` and ``--precision``.
    dry_run : bool
        Read and check the pairs only.
    """

    pretrained: str | None = None
    method: str = "led"
    options: MethodOptions = field(default_factory=MethodOptions)
    sources: tuple[Path, ...] = ()
    name: str | None = None
    out: Path | None = None
    ratios: tuple[float, ...] = ()
    keep_shifted: bool = False
    force: bool = False
    resume: bool = False
    device: str = "auto"
    precision: str = "auto"
    dry_run: bool = False


class Status(StrEnum):
    """How a fine-tuning ended."""

    PLANNED = "planned"
    STOPPED = "stopped"
    NOT_BETTER = "not installed"
    DONE = "done"


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning came to.

    Attributes
    ----------
    status : Status
    name : str
        Of the model, with which it is installed if the status is ``done``.
    pairs : list of dict
        Hashes, ratio and ISO of the pairs that were used.
    tuned : FinetunedModel or None
        The model; None when the training was stopped or not begun.
    path : Path or None
        Where it is installed.
    """

    status: Status
    name: str
    pairs: list[dict[str, Any]]
    tuned: FinetunedModel | None = None
    path: Path | None = None


def finetune(
    pairs: Path,
    settings: FinetuneSettings,
    *,
    report: Reporter | None = None,
    stoppable: Callable[[], AbstractContextManager[Callable[[], bool]]] = never_stop,
) -> FinetuneResult:
    """Tune a model to the camera of a list of pairs and install it, if it is better.

    Reads and checks the pairs, measures the camera's noise on them, measures the model on their
    validation crops before and after, and folds the tuned model into a plain network.

    Parameters
    ----------
    pairs : Path
        A list of pairs, as ``led pairs scan`` writes it.
    settings : FinetuneSettings
    report : Reporter, optional
        Receives messages and progress.
    stoppable : callable
        Makes the context in which the training runs; its value is asked after every iteration
        whether to stop. A stopped training leaves a checkpoint to resume from.

    Raises
    ------
    LedError
        The settings, the pairs or the pretrained model cannot be used, or the training failed.
    """
    report = report or Silent()
    method, resume = settings.method, settings.resume
    if settings.out is not None:
        _check_out(settings.out)
    if settings.name is not None:
        check_name(settings.name)
    start = None if settings.pretrained == NONE else find_model(settings.pretrained)
    device = choose_device(settings.device)
    bf16 = choose_precision(settings.precision, device) == "bf16"
    iterations = iterations_of(method, settings.options, anew=start is None)
    if settings.sources and method != "adl":
        raise UsageError("--source is for --method adl: leave it out")
    headers = read_headers(read_list(pairs), ratios=settings.ratios, one_iso=settings.force)
    darks = read_darks(pairs)
    # A name of its own: it stands beside what makes DNGs of this camera, and is not picked for it.
    of_method = "-sid" if method == "sid" else ""
    name = settings.name or free_name(name_of(headers[0].camera) + of_method)
    checkpoint = installed_dir() / f"{name}.checkpoint"
    _check_checkpoint(checkpoint, resume=resume)
    gathering = SrgbCollector(len(headers)) if method == "sid" and not settings.dry_run else None
    with report.progress(len(headers), "reading", "pairs") as bar:
        loaded = load_pairs(
            headers,
            darks,
            keep=settings.keep_shifted,
            one_iso=settings.force,
            step=lambda path: bar.advance(note=path.name),
            take=gathering.take if gathering else None,
        )
    for warning in loaded.warnings:
        report.warn(warning)
    report.info(_summary(loaded))
    if settings.dry_run:
        return FinetuneResult(Status.PLANNED, name, loaded.records)

    pretrained = settings.pretrained
    if pretrained is None:
        pretrained = default_name(loaded.shots.cfa, "--pretrained")
        start = find_model(pretrained)
    origin = pretrained_model(start, loaded.shots.cfa) if start else no_model()
    sources: list[Source] = []
    if method == "adl":
        span = (loaded.shots.ratios[0], loaded.shots.ratios[-1])
        seed = settings.options.seed or 0
        sources = find_sources(settings.sources, span, seed=seed, report=report.warn)
    pictures = gathering.pictures(loaded.shots.lines) if gathering else None
    given = MethodInputs(origin, loaded.camera, loaded.shots, sources, device, pictures)
    tuning = Finetuning(loaded, origin, method_of(method, settings.options, given), bf16=bf16)
    if tuning.note:
        report.info(tuning.note)
    make_installed_dir()
    if resume:
        tuning.resume(checkpoint)
    report.info(
        f"tuning {pretrained} to {loaded.camera}, {iterations} iterations on {device}; "
        f"{compared_with(tuning.spec)} has {tuning.before:.2f} dB on validation crops"
    )
    tuned = _train(tuning, checkpoint, report, stoppable)
    if tuned is None:
        return FinetuneResult(Status.STOPPED, name, loaded.records)
    if tuned.proof:
        report.info(f"proof: {tuned.proof}")
    for source, steps in tuned.spec.training.get("sources", {}).items():
        report.info(f"{source}: {steps['kept']} of {steps['tried']} steps were kept")
    if tuned.improvement <= 0 and not settings.force:
        return FinetuneResult(Status.NOT_BETTER, name, loaded.records, tuned)
    # The name may have been taken while this ran.
    name = free_name(name)
    path = install_model(name, tuned.folded, tuned.plain.state_dict())
    if settings.out is not None:
        try:
            save_model(settings.out, tuned.spec, tuned.net.state_dict(), overwrite=False)
        except FileExistsError:
            raise _already_there(settings.out) from None
        report.info(f"wrote {settings.out}")
    checkpoint.unlink(missing_ok=True)
    return FinetuneResult(Status.DONE, name, loaded.records, tuned, path)


def compared_with(spec: ModelSpec) -> str:
    """Return what a tuned model is compared with, for messages."""
    return "LibRaw's picture of the noisy frame" if spec.makes_pictures else "the un-tuned model"


def _train(
    tuning: Finetuning,
    checkpoint: Path,
    report: Reporter,
    stoppable: Callable[[], AbstractContextManager[Callable[[], bool]]],
) -> FinetunedModel | None:
    done, change = tuning.trainer.step, ""
    left = tuning.method.recipe.iterations - done
    with stoppable() as stop, report.progress(left, "tuning", "iterations") as bar:

        def show(line: LogLine) -> None:
            nonlocal done, change
            if "psnr" in line.validation:
                change = f", validation {line.validation['psnr'] - tuning.before:+.2f} dB"
            bar.advance(line.step - done, f"loss {line.loss:.4f}{change}")
            done = line.step

        return tuning.run(checkpoint, stop=stop, show=show)


def _summary(loaded: LoadedPairs) -> str:
    shots, darks = loaded.shots, loaded.darks
    ratios = ", ".join(f"{ratio:g}" for ratio in shots.ratios)
    isos = ", ".join(f"{iso:g}" for iso in shots.lines.isos)
    dark = f", {darks} dark frame{'s' if darks > 1 else ''}" if darks else ""
    count = len(shots.frames)
    return (
        f"{count} pair{'s' if count > 1 else ''} of {loaded.camera}: ratios {ratios}, "
        f"ISO {isos}{dark}"
    )


def _check_out(out: Path) -> None:
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a model file ends in {SUFFIX}: name it so with --out")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")
    if out.exists() or out.is_symlink():
        raise _already_there(out)


def _already_there(out: Path) -> OutputError:
    return OutputError(f"{out}: already there: choose another name with --out")


def _check_checkpoint(checkpoint: Path, *, resume: bool) -> None:
    """Refuse to resume what is not there, and to start over what was stopped."""
    if resume and not checkpoint.is_file():
        raise TrainingError(
            f"{checkpoint.stem}: there is no stopped tuning of this name: leave out --resume"
        )
    if checkpoint.is_file() and not resume:
        raise TrainingError(
            f"a tuning of '{checkpoint.stem}' was stopped: go on with --resume, or drop it with "
            f"'led models rm {checkpoint.stem}'"
        )
