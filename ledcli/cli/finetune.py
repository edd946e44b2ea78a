"""`led finetune`: a model of your own camera from a few pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import DeviceOption, DryRunOption, JsonOption, PrecisionOption, QuietOption
from ledcli.cli.signals import stoppable
from ledcli.errors import OutputError, TrainingError, UsageError

if TYPE_CHECKING:
    from ledcli.training.pairfiles import LoadedPairs
    from ledcli.training.schedule import LogLine
    from ledcli.training.tune import Tuned

DEFAULT_LIST = Path("pairs.txt")


def finetune(
    pairs: Annotated[
        Path, typer.Argument(metavar="[PAIRS]", help="List of pairs, of 'led pairs scan'.")
    ] = DEFAULT_LIST,
    pretrained: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Model to start from ('led models list').")
    ] = "generic",
    name: Annotated[
        str | None,
        typer.Option(help="Name of the tuned model.", show_default="the camera's"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the model here too, not folded ('led reparam')."),
    ] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Use the pairs of these ratios only: 100,300.")
    ] = None,
    iters: Annotated[int, typer.Option(help="Iterations.", min=1)] = 1500,
    crops: Annotated[
        int, typer.Option(help="Crops of an iteration: 4 take a third of the time.", min=1)
    ] = 16,
    schedule: Annotated[
        str, typer.Option(help="joint: CSA and OMNR branch at once; led: LED's phases and rates.")
    ] = "joint",
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.", min=0)] = 0,
    shot_noise: Annotated[
        float,
        typer.Option(help="Share of crops given more light with its photon noise.", min=0, max=1),
    ] = 0.0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep pairs that are shifted.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Take pairs of one ISO, and a model that is no better."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a tuning that was stopped.")
    ] = False,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tune a model to your camera with two pairs of shots per ratio.

    Reads the pairs, checks them, measures the camera's noise on them, tunes the pretrained model
    (LED), folds it into a plain network and installs it: 'led denoise' takes it from then on for
    photos of this camera. Parts of the pairs are never trained on; if the tuned model is no
    better there than the one it started from, it is not installed.

    Examples
    --------
    The pairs that 'led pairs scan' found::

        led finetune --pretrained sony

    A list of your own, for one ratio::

        led finetune pairs.txt --ratios 100 --name my-camera
    """
    output = Output(json=json, quiet=quiet)
    wanted = _ratios(ratios)
    if out is not None:
        _check_out(out)

    from ledcli.zoo.shelf import (
        check_name,
        find_model,
        free_name,
        installed_dir,
        make_installed_dir,
    )

    if name is not None:
        check_name(name)
    start = find_model(pretrained)

    from ledcli.inference.device import choose_device, choose_precision
    from ledcli.pairs.foundfile import read_darks
    from ledcli.pairs.listfile import read_list
    from ledcli.training.finetune import Recipe, schedule_of
    from ledcli.training.pairfiles import load_pairs, read_headers
    from ledcli.training.tune import Tuning, name_of

    where = choose_device(device)
    bf16 = choose_precision(precision, where) == "bf16"
    schedule_of(schedule)
    recipe = Recipe(
        schedule=schedule, iterations=iters, batch=crops, shot_noise=shot_noise, seed=seed
    )
    headers = read_headers(read_list(pairs), ratios=wanted, one_iso=force)
    darks = read_darks(pairs)
    name = name or free_name(name_of(headers[0].camera))
    checkpoint = installed_dir() / f"{name}.checkpoint"
    _check_checkpoint(checkpoint, resume=resume)
    with output.progress(len(headers), "reading", "pairs") as bar:
        loaded = load_pairs(
            headers,
            darks,
            keep=keep,
            one_iso=force,
            step=lambda path: bar.advance(note=path.name),
        )
    for warning in loaded.warnings:
        output.warn(warning)
    output.info(_what(loaded))
    if dry_run:
        output.result({"model": name, "status": "planned", "pairs": loaded.records}, name)
        return
    tuning = Tuning(loaded, start, recipe, device=where, bf16=bf16)
    make_installed_dir()
    if resume:
        tuning.resume(checkpoint)
    output.info(
        f"tuning {pretrained} to {loaded.camera}, {iters} iterations on {where}; un-tuned, the "
        f"held crops have {tuning.before:.2f} dB"
    )
    done, held = tuning.trainer.step, ""
    with stoppable() as stop, output.progress(iters - done, "tuning", "iterations") as bar:

        def show(line: "LogLine") -> None:
            nonlocal done, held
            if "psnr" in line.validation:
                held = f", held crops {line.validation['psnr'] - tuning.before:+.2f} dB"
            bar.advance(line.step - done, f"loss {line.loss:.4f}{held}")
            done = line.step

        tuned = tuning.run(checkpoint, stop=stop, show=show)
    if tuned is None:
        output.info("stopped; go on with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
    _finish(output, tuned, name, out, force=force)
    checkpoint.unlink(missing_ok=True)


def _finish(output: Output, tuned: "Tuned", name: str, out: Path | None, *, force: bool) -> None:
    """Install the tuned model if it is better, and say so."""
    from ledcli.zoo.modelfile import save_model
    from ledcli.zoo.shelf import free_name, install_model

    gain = tuned.after - tuned.before
    output.info(f"proof: {tuned.proof}")
    record = {"psnr_before": tuned.before, "psnr_after": tuned.after, "gain_db": gain}
    if gain <= 0 and not force:
        output.error(
            f"the tuned model is no better on held crops ({gain:+.2f} dB), so the un-tuned one "
            "stays in use: check the pairs and shoot more, or install it with --resume --force"
        )
        output.result({"model": None, "status": "not installed", **record}, "not installed")
        raise typer.Exit(FAILED)
    # The name may have been taken while this ran.
    name = free_name(name)
    path = install_model(name, tuned.folded, tuned.plain.state_dict())
    if out is not None:
        try:
            save_model(out, tuned.spec, tuned.net.state_dict(), overwrite=False)
        except FileExistsError:
            raise _there(out) from None
        output.info(f"wrote {out}")
    output.result(
        {"model": name, "status": "done", "file": path, **record},
        f"{name}: {gain:+.2f} dB over the un-tuned model on held crops "
        f"({tuned.before:.2f} to {tuned.after:.2f} dB); installed as {printable(path)}",
    )


def _check_out(out: Path) -> None:
    """Refuse at once what could not be written at the end."""
    from ledcli.zoo.shelf import SUFFIX

    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a model file ends in {SUFFIX}: name it so with --out")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")
    if out.exists() or out.is_symlink():
        raise _there(out)


def _check_checkpoint(checkpoint: Path, *, resume: bool) -> None:
    if resume and not checkpoint.is_file():
        raise TrainingError(
            f"{checkpoint.stem}: there is no stopped tuning of this name: leave out --resume"
        )
    if checkpoint.is_file() and not resume:
        raise TrainingError(
            f"a tuning of '{checkpoint.stem}' was stopped: go on with --resume, or drop it with "
            f"'led models rm {checkpoint.stem}'"
        )


def _there(out: Path) -> OutputError:
    return OutputError(f"{out}: already there: choose another name with --out")


def _ratios(text: str | None) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        ratios = [-1.0]
    if not all(1 <= ratio < float("inf") for ratio in ratios):
        raise UsageError(f"--ratios takes numbers from 1 by commas, such as 100,300, not {text}")
    return ratios


def _what(loaded: "LoadedPairs") -> str:
    shots, darks = loaded.shots, loaded.darks
    ratios = ", ".join(f"{ratio:g}" for ratio in shots.ratios)
    isos = ", ".join(f"{iso:g}" for iso in shots.lines.isos)
    dark = f", {darks} dark frame{'s' if darks > 1 else ''}" if darks else ""
    count = len(shots.frames)
    return (
        f"{count} pair{'s' if count > 1 else ''} of {loaded.camera}: ratios {ratios}, "
        f"ISO {isos}{dark}"
    )
