"""`led pretrain`: train a backbone over virtual cameras."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, time_text
from ledcli.errors import LedError, UsageError

if TYPE_CHECKING:
    from ledcli.training.loop import LogLine


def pretrain(
    out: opt.OutOption = Path("model.safetensors"),
    photos: Annotated[
        Path | None, Option(help="Folder of photographs; without it, only procedural scenes.")
    ] = None,
    crops: Annotated[
        Path | None,
        Option(help="Crop file; made if it does not exist.", show_default="beside --out"),
    ] = None,
    crops_size: Annotated[
        float, Option(help="Size of a new crop file in MB.", min=1, max=1e6)
    ] = 500.0,
    cfa: Annotated[
        Literal["bayer", "xtrans"],
        Option(help="Colour filter array of the model.", show_default=True),
    ] = "bayer",
    form: Annotated[
        str, Option(help="Input form: stabilised, or gain as in the LED paper.")
    ] = "stabilised",
    ratios: Annotated[tuple[float, float], Option(help="Lowest and highest ratio.")] = (1.0, 300.0),
    virtual: Annotated[
        int, Option(help="Number of virtual cameras; each gets its own CSA set.", min=1, max=1000)
    ] = 5,
    arch: Annotated[
        str, Option(help="Architecture: resunet, unet (LED paper), nafnet or restormer.")
    ] = "resunet",
    channels: Annotated[
        int | None,
        Option(help="Channels of the top level.", min=1, show_default="resunet: 16, others: 32"),
    ] = None,
    iters: Annotated[int, Option(help="Iterations.", min=1)] = 100_000,
    minutes: Annotated[
        float | None, Option(help="Time budget; the schedule adapts to it.", callback=opt.positive)
    ] = None,
    optimiser: Annotated[str, Option(help="muon, or adam as in the LED paper.")] = "muon",
    learning_rate: Annotated[
        float | None,
        Option(help="Peak learning rate.", callback=opt.positive, show_default="2e-3; adam's 4e-4"),
    ] = None,
    start: Annotated[
        Path | None,
        Option(help="Model file whose weights to start from.", show_default="random weights"),
    ] = None,
    decay: Annotated[
        float | None,
        Option(
            help="Keep the peak learning rate until this last share of the training.",
            min=0,
            max=1,
            show_default="a cosine over all of it",
        ),
    ] = None,
    faults: Annotated[
        float,
        Option(
            help="Camera faults in training: corrected vignetting, smoothing, defective pixels, "
            "a wrong black level, bands. 1 is usual, 0 none.",
            min=0,
            max=100,
        ),
    ] = 0.0,
    seed: opt.SeedOption = 0,
    resume: Annotated[
        bool, Option("--resume", help="Continue from the checkpoint beside --out.")
    ] = False,
    device: opt.DeviceOption = "auto",
    precision: opt.PrecisionOption = "auto",
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Train a backbone over virtual cameras.

    Each iteration samples a camera, adds its noise to clean scenes, and trains its CSA set and the
    shared weights. Photographs are packed into a crop file once. A checkpoint and a JSON-lines
    log are written beside the model; continue a stopped training with --resume.

    Examples
    --------
    Three hours on a laptop, from your own photographs::

        led pretrain --photos ~/Pictures --minutes 180 --out mine.safetensors

    Procedural scenes only, with the settings of the LED paper::

        led pretrain --form gain --arch unet --optimiser adam --ratios 100 300

    For X-Trans sensors::

        led pretrain --cfa xtrans --photos ~/Pictures --out xtrans.safetensors
    """
    from ledcli.training.processes import joined

    with joined() as processes:
        first = processes.rank == 0
        output = output if first else Output(quiet=True)
        lowest, highest = ratios
        if not 0 < lowest <= highest:
            raise UsageError(
                f"--ratios takes the lowest and the highest, not {lowest:g} {highest:g}"
            )

        from ledcli.inference.network import training_target
        from ledcli.nets.registry import architecture_of
        from ledcli.output.atomic import make_folder
        from ledcli.training.data.crops import pack_crops
        from ledcli.training.data.sampler import PretrainRecipe
        from ledcli.training.optim import Schedule
        from ledcli.training.pretrain import (
            LEARNING_RATES,
            check_files,
            describe,
            pretrain,
        )
        from ledcli.zoo.model_file import read_spec

        target, notes = training_target(device, precision)
        processes.check(target.tensors)
        for note in notes if first else ():
            output.warn(note)
        recipe = PretrainRecipe(
            form=form,
            architecture=arch,
            arguments=architecture_of(arch).arguments(cfa, channels),
            ratio_range=(lowest, highest),
            virtual=virtual,
            makers=cfa == "bayer",  # none of the makers with a calibrated camera makes others
            colour_bias=form == "gain",
            optimiser=optimiser,
            seed=seed,
            cfa=cfa,
            faults=faults,
            clean_crops=faults > 0,
        )
        name = out.stem.lower()
        describe(recipe, name)
        schedule = Schedule(iters, minutes, learning_rate or LEARNING_RATES[optimiser], decay=decay)
        crops = crops or out.with_suffix(".crops.npy")
        if first and photos and not resume and os.path.exists(crops):
            raise UsageError(
                f"{crops} already exists: use it with --crops instead of --photos, or remove it to "
                "pack the photos again"
            )
        if start is not None and not resume:
            read_spec(start)  # before hours of packing
        failed = 0

        def problem(error: LedError) -> None:
            nonlocal failed
            failed += 1
            output.error(error)

        if first:
            make_folder(out.parent)
            check_files(out, resume=resume)
        if os.path.exists(crops):
            unused = f" and the checkpoint's weights, not {start}" if resume and start else ""
            output.info(f"using {crops}{unused}")
        elif first:
            output.info(f"packing {crops} ({crops_size:g} MB) from {photos or 'procedural scenes'}")
            pack_crops(
                photos,
                crops,
                megabytes=crops_size,
                cfa=cfa,
                seed=seed,
                report=output.warn,
                problem=problem,
            )
        processes.of_first(0.0)  # it may still be packing

        def show(line: "LogLine") -> None:
            output.result(vars(line) | line.validation, _text(line))

        pretrain(
            recipe,
            crops,
            out,
            schedule,
            device=target.tensors,
            bf16=target.precision == "bf16",
            resume=resume,
            start=start,
            show=show,
            name=name,
            processes=processes,
        )
        if first:
            output.result({"model": out}, f"wrote {out}")
        if failed:
            raise typer.Exit(FAILED)


def _text(line: "LogLine") -> str:
    left = time_text(line.seconds_left) if line.seconds_left < 1e7 else "unknown"
    parts = [f"step {line.step}: {line.progress:.1%}", f"loss {line.loss:.4f}", f"{left} left"]
    for name, value in line.validation.items():
        parts.append(f"{name.replace('psnr_', 'ratio ')} {value:.2f} dB")
    return ", ".join(parts)
