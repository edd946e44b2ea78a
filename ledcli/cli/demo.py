"""`led demo`: the whole chain on a small made-up shoot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledcli.cli.console import Output
from ledcli.cli.options import JsonOption, QuietOption
from ledcli.errors import OutputError

if TYPE_CHECKING:
    from ledcli.evaluation.shoot import Shot

RATIO = 100.0
GAIN = 3.0
"""DN per electron: a high ISO of the SonyA7S2."""


def demo(
    out: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to work in.")] = Path("demo"),
    count: Annotated[int, typer.Option(help="Raws to make.", min=1, max=100)] = 3,
    seed: Annotated[int, typer.Option(help="Another seed makes other scenes.")] = 4,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a small shoot and run the whole chain on it.

    Writes raws of a calibrated camera, a hundred times too dark, denoises them with the bundled
    model, measures both against the known truth and renders one before/after picture.

    Examples
    --------
    In ./demo::

        led demo

    Other scenes, elsewhere::

        led demo /tmp/try --seed 7 --count 5
    """
    output = Output(json=json, quiet=quiet)
    output.info("making a shoot of a SonyA7S2 at ratio 100")

    from ledcli.evaluation.metrics import psnr
    from ledcli.evaluation.shoot import make_shoot
    from ledcli.inference.engine import Denoiser
    from ledcli.inference.folder import Settings, plan, run
    from ledcli.photo.files import atomic_write
    from ledcli.photo.inputs import find_raws
    from ledcli.photo.raw import read_raw
    from ledcli.zoo.shelf import find_model

    raws, results = out / "raw", out / "denoised"
    try:
        raws.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{raws} cannot be made ({error.strerror}): name another folder"
        ) from error
    shots = make_shoot(raws, count, gain=GAIN, ratio=RATIO, seed=seed)
    denoiser = Denoiser(*find_model())
    jobs = plan(find_raws([str(shot.path) for shot in shots]), ["dng"], results)
    gains = []
    with output.progress(count, "denoising", "photos") as bar:
        for shot, result in zip(shots, run(denoiser, jobs, Settings(RATIO)), strict=True):
            if result.error is not None:
                raise result.error
            before = psnr(shot.short * RATIO, shot.truth)
            after = psnr(read_raw(result.outputs[0]).normalised(), shot.truth)
            gains.append(after - before)
            output.result(
                {"file": result.outputs[0], "psnr_before": before, "psnr_after": after},
                f"{result.outputs[0]}: PSNR {before:.2f} dB before, {after:.2f} dB after",
            )
            bar.advance(note=shot.path.name)
    picture = out / "before_after.png"
    atomic_write(picture, _side_by_side(shots[0], results / "short_1.dng"))
    mean = sum(gains) / len(gains)
    output.result(
        {"gain": mean, "picture": picture},
        f"gain {mean:.2f} dB on the mean; left before, right after: {picture}",
    )


def _side_by_side(shot: "Shot", denoised: Path) -> bytes:
    """Render the middle of a photo before (gained only) and after, as one PNG."""
    import numpy as np

    from ledcli.photo.dng import dng_bytes
    from ledcli.photo.render import png_bytes, render_rgb16

    gained = dng_bytes(shot.photo, shot.short * np.float32(RATIO), software="led demo")
    pictures = [render_rgb16(dng) for dng in (gained, denoised.read_bytes())]
    height, width, _ = pictures[0].shape
    middle = np.s_[height // 8 : -height // 8, width // 4 : -width // 4]
    return png_bytes(np.concatenate([picture[middle] for picture in pictures], axis=1))
