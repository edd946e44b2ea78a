"""`led demo`: every step from shoot to DNG on a small made-up shoot."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ledcli.cli import options as opt
from ledcli.cli.console import Output
from ledcli.errors import UsageError

if TYPE_CHECKING:
    from ledcli.evaluation.simulation import Shot

RATIO = 100.0
MARKER = ".led-demo"
"""An empty file in the working folder; without it the files there may be the user's."""


def demo(
    out: Annotated[Path, Argument(metavar="[DIR]", help="Working folder.")] = Path("demo"),
    count: Annotated[int, Option(help="Number of photos to denoise.", min=1, max=100)] = 2,
    iters: Annotated[int, Option(help="Fine-tuning iterations.", min=1)] = 150,
    crops: Annotated[int, Option(help="Crops per iteration.", min=1, max=256)] = 4,
    seed: opt.SeedOption = 4,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Make a small test shoot and run every step on it.

    Makes two pairs and some photos, a hundred times too dark, with a simulated camera that the
    bundled model has never seen; finds the pairs, fine-tunes the model to the camera (a minute or
    two), denoises the photos with both models, and measures them against the known truth.
    Everything, the tuned model included, stays in the folder: a new one, or that of a demo.

    Examples
    --------
    In ./demo::

        led demo

    Other scenes, another folder, and the usual length of fine-tuning::

        led demo /tmp/try --seed 7 --iters 600
    """
    from ledcli.evaluation.simulation import make_pairs, make_photos
    from ledcli.output.atomic import atomic_write, explained, make_folder

    make_folder(out)
    with explained(out):
        names = [name for name in os.listdir(out) if name != ".DS_Store"]  # macOS's
        if names and MARKER not in names:
            raise UsageError(f"{out}: has files that led demo did not make: name a new folder")
    atomic_write(out / MARKER, b"")
    shots, raws, home = out / "shots", out / "raw", out / "home"
    for folder in (shots, raws, home):
        make_folder(folder, out)
    output.info("making two pairs and some photos with a simulated camera")
    make_pairs(shots, ratio=RATIO, seed=seed)
    photos = make_photos(raws, count, ratio=RATIO, seed=seed)
    pairs = out / "pairs.txt"
    denoise: list[str | Path] = ["denoise", raws, "--ratio", f"{RATIO:g}", "--overwrite"]
    untuned, tuned = out / "untuned", out / "denoised"
    with _home(home):
        _run(output, ["pairs", "scan", shots, "--out", pairs])
        _run(output, [*denoise, "--model", "generic", "--out", untuned])
        _run(output, ["finetune", pairs, "--iters", str(iters), "--crops", str(crops)])
        _run(output, [*denoise, "--out", tuned])
    _compare(output, photos, untuned, tuned)
    picture = out / "before_after.png"
    atomic_write(picture, _side_by_side(photos[0], untuned, tuned))
    output.result({"picture": picture}, f"noisy, un-tuned, tuned: {picture}")


def _run(output: Output, arguments: Sequence[str | Path]) -> None:
    from ledcli.cli.app import DONE, run

    words = [str(argument) for argument in arguments]
    output.info(f"$ led {' '.join(words)}")
    words += ["--preset", "none"]  # the user's defaults are not for the demo
    status = run([*words, *["--json"] * output.json, *["--quiet"] * output.quiet])
    if status != DONE:
        raise typer.Exit(status)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Install models into `folder` inside the block."""
    before = os.environ.get("LED_HOME")
    os.environ["LED_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LED_HOME"]
        else:
            os.environ["LED_HOME"] = before


def _compare(output: Output, photos: "Sequence[Shot]", untuned: Path, tuned: Path) -> None:
    """Print the PSNR of each photo: noisy, un-tuned, tuned."""
    import numpy as np

    from ledcli.evaluation.metrics import psnr
    from ledcli.raw.decoder import decoders
    from ledcli.raw.reader import read_raw

    names = ("psnr_noisy", "psnr_untuned", "psnr_tuned")
    figures = []
    for shot in photos:
        files = [folder / shot.path.name for folder in (untuned, tuned)]
        results = [decoders.run(read_raw, file).normalised() for file in files]
        images = (shot.short * np.float32(RATIO), *results)
        figures.append([psnr(image, shot.truth) for image in images])
    mean = np.mean(figures, axis=0).tolist()
    labelled = [*zip([shot.path.name for shot in photos], figures, strict=True), ("mean", mean)]
    records = [{"file": label, **dict(zip(names, row, strict=True))} for label, row in labelled]
    rows = [(label, *(f"{value:.2f} dB" for value in row)) for label, row in labelled]
    columns = ("PSNR", "NOISY", "UN-TUNED", "TUNED")
    output.table(columns, rows, records=records, right=columns[1:])


def _side_by_side(shot: "Shot", *folders: Path) -> bytes:
    """Render the middle of a photo noisy (gained only) and from each folder, as one PNG."""
    import numpy as np

    from ledcli.output.dng import dng_bytes
    from ledcli.output.render import develop_dng, png_bytes

    gained = dng_bytes(shot.photo, shot.short * np.float32(RATIO), software="led demo")
    denoised = [(folder / shot.path.name).read_bytes() for folder in folders]
    pictures = [develop_dng(dng) for dng in (gained, *denoised)]
    height, width, _ = pictures[0].shape
    middle = np.s_[height // 8 : -height // 8, width // 3 : -width // 3]
    return png_bytes(np.concatenate([picture[middle] for picture in pictures], axis=1))
