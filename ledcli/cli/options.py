"""Options that mean the same in every command: use these types, do not spell them again."""

from typing import Annotated

import typer

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON object per result line on standard output."),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress, notes or hints; warnings and errors stay."),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be written; write nothing."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, mps or xpu.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, bf16 or float32.")]
BackendOption = Annotated[
    str,
    typer.Option(
        help="What computes the network: auto, torch or onnx (CPU, float32; needs ledcli[onnx])."
    ),
]
TileOption = Annotated[
    int | None, typer.Option(help="Side of a tile in pixels of one colour; 0: whole frame.")
]
