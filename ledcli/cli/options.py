"""Options that mean the same in every command, and the parsing of their values."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from math import inf, isnan
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from typer import Argument, Option

from ledcli.batch.settings import MAX_RATIO, MAX_STEPS, Engine, Quality, checked_noise
from ledcli.cli.console import Output
from ledcli.errors import UsageError
from ledcli.output.formats import FORMATS

JsonOption = Annotated[
    bool, Option("--json", help="Print one JSON object per result on standard output.")
]
QuietOption = Annotated[
    bool, Option("--quiet", "-q", help="No progress, messages or hints; warnings and errors stay.")
]
DryRunOption = Annotated[
    bool, Option("--dry-run", help="Show what would be written; write nothing.")
]
RecursiveOption = Annotated[
    bool,
    Option("--recursive/--no-recursive", "-r", help="Search subfolders too.", show_default=False),
]
RawsArgument = Annotated[
    list[str], Argument(metavar="RAW...", help="Raw files, folders or patterns.")
]
InputsArgument = Annotated[
    list[str] | None, Argument(metavar="RAW...", help="Raw files, folders or patterns.")
]
DeviceOption = Annotated[str, Option(help="auto, cpu, cuda, mps or xpu.")]
AnyDeviceOption = Annotated[
    str,
    Option(
        help="auto, cpu, cuda, mps or xpu; gpu or npu with --backend openvino; any provider of "
        "onnxruntime, such as directml, with --backend onnx. 'led doctor' lists them."
    ),
]
PrecisionOption = Annotated[str, Option(help="auto, bf16 or float32.")]
AnyPrecisionOption = Annotated[
    str,
    Option(
        help="auto, bf16 or float32; fp16 with --backend openvino, int8 with --quality fast too."
    ),
]
TileOption = Annotated[
    int | None,
    Option(
        help="Tile size in pixels of one colour (NAFNet, Restormer, onnx, openvino); 0: no tiles."
    ),
]
RayOption = Annotated[
    str | None,
    Option(
        "--ray",
        metavar="local|auto|HOST:PORT",
        help="Work on a Ray cluster: start one on this machine, join the one it belongs to, or the "
        "one at an address.",
    ),
]
SeedOption = Annotated[int, Option(help="Random seed.", min=0, max=2**32 - 1)]
ForceReadOption = Annotated[
    bool,
    Option(
        "--force-read", help="Read frames whose pixels look damaged; truncated files still fail."
    ),
]
RatioOption = Annotated[
    str | None,
    Option(
        metavar="FACTOR|auto",
        help="Digital gain: brighten by this factor, or as each photo's histogram asks for.",
        show_default="1, brightness unchanged",
    ),
]
ExposureOption = Annotated[
    str | None,
    Option(
        metavar="LEVEL|LONGFILE",
        help="Brighten each photo to this exposure level (ISO x seconds), or that of a raw.",
    ),
]
StrengthOption = Annotated[
    float, Option(help="0 leaves the noise, 1 denoises fully.", min=0, max=1)
]
QualityOption = Annotated[
    Quality,
    Option(
        help="fast: a small network, 3 to 5 times as fast, 0.3 dB worse; best: four mirrored "
        "passes (self-ensemble), 4 times slower."
    ),
]
LUMA = "As --strength, for noise in brightness (grain) only."
CHROMA = "As --strength, for noise in colour (blotches) only."
_SHARE = partial(Option, show_default="--strength", min=0, max=1)
LumaOption = Annotated[float | None, _SHARE(help=LUMA)]
ChromaOption = Annotated[float | None, _SHARE(help=CHROMA)]
NoiseOption = Annotated[
    str,
    Option(
        metavar="GAIN,READ|auto",
        help="Noise of the photos: gain in DN per electron and read noise in DN. Turns off the "
        "detection of smoothing, vignetting correction and wrong black levels.",
        show_default="auto, estimated from each photo or measured by the tuned model",
    ),
]
DARK = "Dark frame (lens cap on, same camera and ISO) or folder of them; repeatable."
DarkOption = Annotated[list[str] | None, Option("--dark", metavar="FRAME", help=DARK)]
StepsOption = Annotated[
    int | None,
    Option(
        metavar="N",
        help="Refinement steps (exposure-diffusion models only).",
        show_default="2 from ratio 200, else 1",
        min=1,
        max=MAX_STEPS,
    ),
]


def positive(value: float | None) -> float | None:
    """Refuse 0, NaN and infinity; `min` cannot exclude 0, and lets infinity through."""
    if value is not None and not 0 < value < inf:
        raise typer.BadParameter(f"{value:g} is not a number above 0")
    return value


def _folder(name: str) -> Path:
    if not name:  # Path("") is the working folder
        raise typer.BadParameter("an empty name: leave it out for the default")
    return Path(name)


OutFolderOption = Annotated[
    Path | None,
    Option(
        "--out",
        "-o",
        parser=_folder,
        metavar="PATH",
        help="Output folder.",
        show_default="'denoised' beside it",
    ),
]
NameOption = Annotated[
    str,
    Option(
        metavar="TEMPLATE",
        help="Output names from the photo's {stem}, {name}, {suffix}, {folder}; {ext} comes last.",
    ),
]
FormatOption = Annotated[
    list[str] | None,
    Option(
        "--format",
        help=f"Any of {', '.join(FORMATS)}, comma-separated.",
        show_default="dng; png for models that make pictures",
    ),
]
ModelOption = Annotated[
    str | None,
    Option(
        help="Model name ('led models list') or file (.safetensors, .onnx).",
        show_default="the best for each photo",
    ),
]
BackendOption = Annotated[
    str,
    Option(
        help="Engine for the network: auto, torch, onnx (needs ledcli[onnx]) or openvino (needs "
        "ledcli[openvino])."
    ),
]
AgainOption = Annotated[bool, Option("--again", help="Denoise photos that led already denoised.")]
ModelArgument = Annotated[
    str, Argument(metavar="MODEL", help="Model name ('led models list') or file.")
]
OutOption = Annotated[Path, Option("--out", "-o", metavar="FILE", help="File to write.")]
CsaSetOption = Annotated[
    str | None,
    Option(
        "--set",
        metavar="NAME",
        help="CSA set to fold.",
        show_default="that of the name, or the first",
    ),
]
KeepOption = Annotated[
    bool,
    Option("--keep/--no-keep", help="Keep pairs whose frames are shifted.", show_default=False),
]
OverwriteOption = Annotated[bool, Option("--overwrite", help="Replace an existing file.")]
AcceptOption = Annotated[
    bool, Option("--accept-license", help="Accept the licence of the weights; once is enough.")
]
ForceOption = Annotated[
    bool,
    Option(
        "--force", help="Accept RepNR tensors that do not fold into the file's own params_deploy."
    ),
]
CamerasOption = Annotated[
    str | None, Option(metavar="NAMES", help="Calibrated cameras for --photos.", show_default="all")
]
GainsOption = Annotated[
    str | None,
    Option(
        metavar="K,...",
        help="System gains for --photos (DN/electron).",
        show_default="two per camera",
    ),
]
RatiosOption = Annotated[
    str | None,
    Option(
        metavar="RATIO,...",
        help="Only these ratios: 100,300.",
        show_default="all; 1,20,100,300 for --photos",
    ),
]


class Group(NamedTuple):
    """Options that commands take as one argument; beside the type of that in `Annotated`."""

    make: Callable[..., object]
    options: Mapping[str, tuple[object, object]]
    """Type and default of each."""


PLAIN, AUTO = Output(), Engine()
"""What a group makes of the defaults."""
OutputOptions = Annotated[
    Output, Group(Output, {"json": (JsonOption, False), "quiet": (QuietOption, False)})
]
EngineOptions = Annotated[
    Engine,
    Group(
        Engine,
        {
            "device": (AnyDeviceOption, "auto"),
            "precision": (AnyPrecisionOption, "auto"),
            "backend": (BackendOption, "auto"),
            "tile": (TileOption, None),
        },
    ),
]


def group(help: str) -> typer.Typer:
    """Return a group of commands; called without one, it prints its help."""

    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            Output().result(context.get_help())

    return typer.Typer(help=help, callback=show_help, invoke_without_command=True)


def parse_numbers(text: str | None, option: str, *, shares: bool = False) -> list[float]:
    """Read a comma-separated option such as ``--ratios 100,300``; shares are from 0 to 1.

    Raises UsageError.
    """
    numbers = _floats(text) if text else []
    if not all(0 <= number <= 1 if shares else not isnan(number) for number in numbers):
        what = "numbers from 0 to 1" if shares else "numbers"
        raise UsageError(f"{option} takes comma-separated {what}, not {text}")
    return numbers


def _floats(text: str) -> list[float]:
    """Split comma-separated numbers; NaN stands for text that is none."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return [float("nan")]


def parse_words(text: str | None) -> list[str]:
    """Read a comma-separated option such as ``--model one,other``."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def parse_brightness(ratio: str | None, exposure: str | None) -> tuple[float | None, float | None]:
    """Read ``--ratio`` and ``--exposure``, as in `batch.settings.Settings`.

    Raises UsageError if both are given or a value is out of range, and MetadataError if the raw
    file given for ``--exposure`` has no exposure level. A ratio of None means ``auto``.
    """
    if ratio is not None and exposure is not None:
        raise UsageError("--ratio and --exposure exclude each other: use one of them")
    if exposure is not None:
        return 1.0, _exposure_level(exposure)
    if ratio == "auto":
        return None, None
    try:
        factor = 1.0 if ratio is None else float(ratio)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= MAX_RATIO:
        raise UsageError(f"--ratio takes a factor from 1 to {MAX_RATIO:g}, or auto, not {ratio}")
    return factor, None


def parse_noise(text: str) -> tuple[float, float] | None:
    """Read ``--noise``, as in `batch.settings.Settings`; None means ``auto``. Raises UsageError."""
    if text == "auto":
        return None
    values = _floats(text)
    gain, read = values if len(values) == 2 else (-1.0, -1.0)
    return checked_noise(gain, read, text)


def _exposure_level(text: str) -> float:
    try:
        level = float(text)
    except ValueError:
        path = Path(text)
        if not os.path.isfile(path):
            raise UsageError(
                f"--exposure takes a number (ISO x seconds) or a raw file; '{text}' is neither"
            ) from None
        from ledcli.raw.decoder import decoders
        from ledcli.raw.exif import read_exif, require_exposure_level

        return require_exposure_level(path, decoders.run(read_exif, path))
    if not 0 < level < float("inf"):
        raise UsageError(f"--exposure takes a level above 0 (ISO x seconds), not {text}")
    return level
