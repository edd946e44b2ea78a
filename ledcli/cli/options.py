"""Options that mean the same in every command, and the parsing of their values."""

from pathlib import Path
from typing import Annotated

import typer

from ledcli.cli.console import Output
from ledcli.errors import UsageError

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per result on standard output.")
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress, messages or hints; warnings and errors stay."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be written; write nothing.")
]
RecursiveOption = Annotated[bool, typer.Option("--recursive", "-r", help="Search subfolders too.")]
RawsArgument = Annotated[
    list[str], typer.Argument(metavar="RAW...", help="Raw files, folders or patterns.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, mps or xpu.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, bf16 or float32.")]
TileOption = Annotated[
    int | None, typer.Option(help="Tile size in pixels of one colour; 0: the whole frame.")
]
SeedOption = Annotated[int, typer.Option(help="Random seed.", min=0)]
ForceReadOption = Annotated[
    bool,
    typer.Option(
        "--force-read", help="Read frames whose pixels look damaged; truncated files still fail."
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="Model name ('led models list') or file.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")]
CsaSetOption = Annotated[
    str | None,
    typer.Option(
        "--set",
        metavar="NAME",
        help="CSA set to fold.",
        show_default="that of the name, or the first",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
AcceptOption = Annotated[
    bool,
    typer.Option("--accept-license", help="Accept the licence of the weights; once is enough."),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Accept RepNR tensors that do not fold into the file's own params_deploy."
    ),
]


def show_help(context: typer.Context) -> None:
    """Print the help of a group of commands that is called without one; its callback."""
    if context.invoked_subcommand is None:
        Output().result(context.get_help())


def parse_numbers(text: str | None, option: str, minimum: float, example: str) -> list[float]:
    """Read a comma-separated option such as ``--ratios 100,300``; raises UsageError."""
    try:
        numbers = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        numbers = [-1.0]
    if not all(minimum <= number < float("inf") and number > 0 for number in numbers):
        limit = f"from {minimum:g}" if minimum else "above 0"
        raise UsageError(
            f"{option} takes comma-separated numbers {limit}, such as {example}, not {text}"
        )
    return numbers
