"""Fine-tune a model on one camera's pairs: all that `led finetune` does but its terminal."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledcli.errors import LedError, OutputError, TrainingError, UsageError
from ledcli.inference.backends.torch import choose_device, choose_precision
from ledcli.pairs.list_file import read_list
from ledcli.pairs.result import read_darks
from ledcli.reporting import SILENT, Reporter, never_stop
from ledcli.sensor.layout import LAYOUTS
from ledcli.training.data.pair_files import LoadedPairs, load_pairs, read_headers
from ledcli.training.data.pairs import CameraPairs
from ledcli.training.data.srgb_pairs import SrgbCollector
from ledcli.training.loop import LogLine
from ledcli.training.methods import find_method, recipe_of
from ledcli.training.methods.adl_sources import Source, find_sources
from ledcli.training.methods.base import FinetuneMethod, MethodInputs
from ledcli.training.optim import worker_count
from ledcli.training.run import (
    NO_MODEL,
    FinetunedModel,
    Finetuning,
    name_of,
    no_model,
    pretrained_model,
)
from ledcli.zoo.model_file import save_model
from ledcli.zoo.selection import default_name
from ledcli.zoo.store import (
    CHECKPOINT,
    SUFFIX,
    check_name,
    find_model,
    free_name,
    install_model,
    installed_dir,
    make_installed_dir,
)

Stoppable = Callable[[], AbstractContextManager[Callable[[], bool]]]


@dataclass(frozen=True)
class FinetuneSettings:
    """What to fine-tune, and how.

    Attributes
    ----------
    pretrained : str, optional
        Name or file of the model to start from, or ``none``; by default the bundled one for the
        camera's kind of sensor.
    method : str
        A name in `ledcli.training.methods.METHODS`.
    options : mapping of str to value
        The method's options, by the fields of its recipe: iterations, batch, seed and so on.
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
    force_read : bool
        Read frames that look damaged.
    resume : bool
        Go on with a fine-tuning that was stopped.
    device, precision : str
        As ``--device`` and ``--precision``.
    dry_run : bool
        Read and check the pairs only.
    """

    pretrained: str | None = None
    method: str = "led"
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()
    name: str | None = None
    out: Path | None = None
    ratios: tuple[float, ...] = ()
    keep_shifted: bool = False
    force: bool = False
    force_read: bool = False
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

    ``name`` is that of the model, under which it is installed at ``path`` if the status is
    ``done``. ``pairs`` are hashes, ratio and ISO of the pairs that were used. ``tuned`` is None
    when the training was stopped or not begun. ``failed`` says which files could not be read.
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

    Reads and checks the pairs, measures the camera's noise on them, measures the model on their
    validation crops before and after, and folds the tuned model into a plain network.

    Parameters
    ----------
    pairs : Path
        A list of pairs, as ``led pairs scan`` writes it.
    settings : FinetuneSettings
    report : Reporter
        Receives messages and progress.
    stoppable : callable
        Makes the context in which the training runs; its value is asked after every iteration
        whether to stop. A stopped training leaves a checkpoint to resume from.

    Raises
    ------
    LedError
        The settings, the pairs or the pretrained model cannot be used, or the training failed.
    """
    method = find_method(settings.method)
    if settings.out is not None:
        _check_out(settings.out)
    if settings.name is not None:
        check_name(settings.name)
    recipe = recipe_of(method, settings.options)
    if settings.pretrained == NO_MODEL and method.needs_pretrained:
        raise UsageError(f"--method {method.name} needs a model to start from: name one")
    if settings.sources and not method.takes_sources:
        raise UsageError("--source is for --method adl: leave it out")
    start = None if settings.pretrained == NO_MODEL else find_model(settings.pretrained)
    device = choose_device(settings.device)
    bf16 = choose_precision(settings.precision, device) == "bf16"

    failed: list[LedError] = []

    def problem(error: LedError) -> None:
        failed.append(error)
        report.warn(f"left out: {error}")

    headers = read_headers(
        read_list(pairs), ratios=settings.ratios, one_iso=settings.force, problem=problem
    )
    darks = read_darks(pairs)
    name = settings.name or free_name(name_of(headers[0].camera) + method.name_suffix)
    checkpoint = installed_dir() / f"{name}{CHECKPOINT}"
    _check_checkpoint(checkpoint, resume=settings.resume)
    wants_srgb = method.trains_on_srgb and not settings.dry_run
    collector = SrgbCollector(len(headers)) if wants_srgb else None
    with report.progress(len(headers), "reading", "pairs") as bar:
        loaded = load_pairs(
            headers,
            darks,
            keep_shifted=settings.keep_shifted,
            one_iso=settings.force,
            force_read=settings.force_read,
            step=lambda path: bar.advance(note=path.name),
            take=collector.take if collector else None,
            problem=problem,
        )
    for warning in loaded.warnings:
        report.warn(warning)
    report.info(_summary(loaded))
    if settings.dry_run:
        return FinetuneResult(Status.PLANNED, name, method, loaded.records, failed=failed)

    camera_pairs, pretrained = loaded.camera_pairs, settings.pretrained
    if camera_pairs.cfa not in method.cfas:
        known = " or ".join(LAYOUTS[cfa].title for cfa in method.cfas)
        raise UsageError(f"--method {method.name} is for {known} sensors only: leave it out")
    if pretrained is None:
        pretrained = default_name(camera_pairs.cfa, "--pretrained")
        start = find_model(pretrained)
    origin = pretrained_model(start, camera_pairs.cfa) if start else no_model()
    inputs = MethodInputs(
        camera_pairs,
        device,
        camera=loaded.camera,
        input_form=origin.spec.input_form,
        sources=_sources(method, settings, camera_pairs, report),
        srgb_pairs=collector.pairs(camera_pairs.noise_profile) if collector else None,
        workers=worker_count(device),
    )
    tuning = Finetuning(loaded, origin, method(recipe, inputs), bf16=bf16)
    if tuning.note:
        report.info(tuning.note)
    make_installed_dir()
    if settings.resume:
        tuning.resume(checkpoint)
    report.info(
        f"tuning {pretrained} to {loaded.camera}, {recipe.iterations} iterations on {device}; "
        f"{method.baseline} has {tuning.before:.2f} dB on validation crops"
    )
    tuned = _train(tuning, checkpoint, report, stoppable)
    if tuned is None:
        return FinetuneResult(Status.STOPPED, name, method, loaded.records, failed=failed)
    if tuned.proof:
        report.info(f"proof: {tuned.proof}")
    for source, steps in tuned.spec.training.get("sources", {}).items():
        report.info(f"{source}: {steps['kept']} of {steps['tried']} steps were kept")
    if tuned.improvement <= 0 and not settings.force:
        return FinetuneResult(Status.NOT_BETTER, name, method, loaded.records, tuned, failed=failed)
    name = free_name(name)  # it may have been taken while this ran
    path = _install(tuned, name, settings.out, report)
    checkpoint.unlink(missing_ok=True)
    return FinetuneResult(Status.DONE, name, method, loaded.records, tuned, path, failed)


def _sources(
    method: type[FinetuneMethod],
    settings: FinetuneSettings,
    camera_pairs: CameraPairs,
    report: Reporter,
) -> list[Source]:
    if not method.takes_sources:
        return []
    ratios, seed = camera_pairs.ratios, settings.options.get("seed") or 0
    return find_sources(settings.sources, (ratios[0], ratios[-1]), seed=seed, report=report.warn)


def _train(
    tuning: Finetuning, checkpoint: Path, report: Reporter, stoppable: Stoppable
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


def _install(tuned: FinetunedModel, name: str, out: Path | None, report: Reporter) -> Path:
    path = install_model(name, tuned.folded, tuned.plain.state_dict())
    if out is not None:
        try:
            save_model(out, tuned.spec, tuned.net.state_dict(), overwrite=False)
        except FileExistsError:
            raise _already_there(out) from None
        report.info(f"wrote {out}")
    return path


def _summary(loaded: LoadedPairs) -> str:
    pairs, darks = loaded.camera_pairs, loaded.darks
    ratios = ", ".join(f"{ratio:g}" for ratio in pairs.ratios)
    isos = ", ".join(f"{iso:g}" for iso in pairs.noise_profile.isos)
    dark = f", {darks} dark frame{'s' if darks > 1 else ''}" if darks else ""
    count = len(pairs.pairs)
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
    return OutputError(f"{out}: already exists: choose another name with --out")


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
