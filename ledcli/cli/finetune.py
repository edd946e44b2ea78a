"""`led finetune`: a model of your own camera from a few pairs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.app import FAILED, INTERRUPTED
from ledcli.cli.console import Output
from ledcli.cli.options import DeviceOption, DryRunOption, JsonOption, PrecisionOption, QuietOption
from ledcli.cli.terminal import printable, stoppable
from ledcli.cli.tuningchecks import already_there, check_checkpoint, check_out, parsed_ratios
from ledcli.errors import UsageError

if TYPE_CHECKING:
    from ledcli.training.data.pair_files import LoadedPairs
    from ledcli.training.finetune import Tuned
    from ledcli.training.methods.adl_sources import Source
    from ledcli.training.schedule import LogLine
    from ledcli.zoo.model_file import ModelSpec

DEFAULT_LIST = Path("pairs.txt")


def finetune(
    pairs: Annotated[
        Path, typer.Argument(metavar="[PAIRS]", help="List of pairs, of 'led pairs scan'.")
    ] = DEFAULT_LIST,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|none",
            help="Model to start from ('led models list'), or none.",
            show_default="generic; xtrans for such a sensor",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="led: LED; adl: adaptive domain learning, with other cameras' shots; exposure: "
            "exposure diffusion, for 'denoise --steps'; sid: straight to a picture, no DNGs."
        ),
    ] = "led",
    source: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LIST|FOLDER",
            help="ADL: another camera's list of pairs, or clean photos for made-up cameras.",
            show_default="made-up cameras over made-up scenes",
        ),
    ] = None,
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
    iters: Annotated[
        int | None, typer.Option(help="Iterations.", min=1, show_default="1500, sid: 2000")
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            help="Crops of an iteration: 4 take a third of the time.",
            min=1,
            show_default="led and adl: 16, others: 8",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="LED: joint, CSA and OMNR branch at once; or led, its phases and rates.",
            show_default="joint",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.", min=0)] = 0,
    shot_noise: Annotated[
        float | None,
        typer.Option(
            help="LED: share of crops given more light with its photon noise.",
            min=0,
            max=1,
            show_default="0",
        ),
    ] = None,
    l1: Annotated[
        float | None,
        typer.Option(
            help="Exposure diffusion: weight of L1 beside its own loss.", min=0, show_default="1"
        ),
    ] = None,
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
    (by LED, unless told otherwise), folds it into a plain network and installs it: 'led denoise'
    takes it from then on for photos of this camera. Parts of the pairs are never trained on; if
    the tuned model is no better there than the one it started from, it is not installed.

    Examples
    --------
    The pairs that 'led pairs scan' found::

        led finetune --pretrained sony

    A list of your own, for one ratio::

        led finetune pairs.txt --ratios 100 --name my-camera

    With another camera's pairs, as far as they help::

        led finetune --method adl --source other.txt

    Exposure diffusion, for many pairs; its model may look again ('led denoise --steps 2')::

        led finetune --method exposure

    SID, for many pairs; its model makes pictures, of the photos that it is named for::

        led finetune --method sid --name my-pictures
        led denoise ./raw --ratio 100 --model my-pictures
    """
    output = Output(json=json, quiet=quiet)
    wanted = parsed_ratios(ratios)
    if out is not None:
        check_out(out)

    from ledcli.zoo.selection import default_name
    from ledcli.zoo.store import (
        check_name,
        find_model,
        free_name,
        installed_dir,
        make_installed_dir,
    )

    if name is not None:
        check_name(name)
    start = None if pretrained == "none" else find_model(pretrained)

    from ledcli.inference.device import choose_device, choose_precision
    from ledcli.pairs.list_file import read_list
    from ledcli.pairs.result import read_darks
    from ledcli.training.data.pair_files import load_pairs, read_headers
    from ledcli.training.data.srgb_pairs import Gathering
    from ledcli.training.finetune import Tuning, name_of, pretrained_model
    from ledcli.training.methods.adl_sources import find_sources
    from ledcli.training.methods.registry import Given, Wishes, iterations_of, method_of, no_model

    where = choose_device(device)
    bf16 = choose_precision(precision, where) == "bf16"
    wishes = Wishes(iters, crops, seed, schedule, shot_noise, l1)
    iterations = iterations_of(method, wishes, anew=start is None)
    if source and method != "adl":
        raise UsageError("--source is for --method adl: leave it out")
    headers = read_headers(read_list(pairs), ratios=wanted, one_iso=force)
    darks = read_darks(pairs)
    # A name of its own: it stands beside what makes DNGs of this camera, and is not picked for it.
    of_method = "-sid" if method == "sid" else ""
    name = name or free_name(name_of(headers[0].camera) + of_method)
    checkpoint = installed_dir() / f"{name}.checkpoint"
    check_checkpoint(checkpoint, resume=resume)
    gathering = Gathering(len(headers)) if method == "sid" and not dry_run else None
    with output.progress(len(headers), "reading", "pairs") as bar:
        loaded = load_pairs(
            headers,
            darks,
            keep=keep,
            one_iso=force,
            step=lambda path: bar.advance(note=path.name),
            take=gathering.take if gathering else None,
        )
    for warning in loaded.warnings:
        output.warn(warning)
    output.info(_what(loaded))
    if dry_run:
        output.result({"model": name, "status": "planned", "pairs": loaded.records}, name)
        return
    if pretrained is None:
        pretrained = default_name(loaded.shots.cfa, "--pretrained")
        start = find_model(pretrained)
    origin = pretrained_model(start, loaded.shots.cfa) if start else no_model()
    sources: list[Source] = []
    if method == "adl":
        span = (loaded.shots.ratios[0], loaded.shots.ratios[-1])
        sources = find_sources(source or [], span, seed=seed, report=output.warn)
    pictures = gathering.pictures(loaded.shots.lines) if gathering else None
    given = Given(origin, loaded.camera, loaded.shots, sources, where, pictures)
    how = method_of(method, wishes, given)
    tuning = Tuning(loaded, origin, how, bf16=bf16)
    if tuning.note:
        output.info(tuning.note)
    make_installed_dir()
    if resume:
        tuning.resume(checkpoint)
    output.info(
        f"tuning {pretrained} to {loaded.camera}, {iterations} iterations on {where}; held crops "
        f"of {_before(tuning.spec)} have {tuning.before:.2f} dB"
    )
    done, held = tuning.trainer.step, ""
    with stoppable() as stop, output.progress(iterations - done, "tuning", "iterations") as bar:

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
    from ledcli.zoo.model_file import save_model
    from ledcli.zoo.store import free_name, install_model

    gain = tuned.after - tuned.before
    if tuned.proof:
        output.info(f"proof: {tuned.proof}")
    for source, steps in tuned.spec.training.get("sources", {}).items():
        output.info(f"{source}: {steps['kept']} of {steps['tried']} steps were kept")
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
            raise already_there(out) from None
        output.info(f"wrote {out}")
    output.result(
        {"model": name, "status": "done", "file": path, **record},
        f"{name}: {gain:+.2f} dB over {_before(tuned.spec)} on held crops "
        f"({tuned.before:.2f} to {tuned.after:.2f} dB); installed as {printable(path)}",
    )
    if tuned.spec.output == "srgb":
        output.hint(
            f"led denoise --model {name} makes pictures with it; it is never picked by itself"
        )


def _before(spec: "ModelSpec") -> str:
    """Say what a tuned model is compared with."""
    return "LibRaw's picture of the noisy frame" if spec.output == "srgb" else "the un-tuned model"


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
