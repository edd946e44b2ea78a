"""`led models`: which models are at hand, and what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import JsonOption
from ledcli.errors import ModelError
from ledcli.zoo import modelfile, shelf

COLUMNS = ("NAME", "CAMERAS", "FORM", "CSA SET", "RATIO", "SIZE", "FROM")

app = typer.Typer(help="List and describe the models at hand.")


@app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        Output().result(context.get_help())


@app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the bundled and the installed models.

    The name in the first column is what --model takes.

    Examples
    --------
        led models list

        led models list --json | jq -r .name
    """
    output = Output(json=json)
    records: list[dict[str, object]] = []
    rows: list[tuple[str, ...]] = []
    failed = False
    for model in shelf.list_models():
        try:
            record, row = _describe(model)
        except (ModelError, OSError) as error:
            output.error(error)
            failed = True
        else:
            records.append(record)
            rows.append(row)
    output.table(COLUMNS, rows, records=records, right=["SIZE"])
    if failed:
        raise typer.Exit(FAILED)


@app.command("info")
def info(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A name, or a .safetensors file.")],
    json: JsonOption = False,
) -> None:
    """Show all that a model says about itself.

    Examples
    --------
        led models info sony

        led models info ./my-camera.safetensors --json
    """
    path, branch = shelf.find_model(name)
    header = modelfile.read_header(path)
    record: dict[str, object] = {
        "path": path,
        "csa_set": branch,
        **header.spec.to_header(),
        "tensors": len(header.tensors),
        "parameters": header.parameters,
        "bytes": path.stat().st_size,
        "sha256": modelfile.file_sha256(path),
    }
    Output(json=json).result(record, "\n".join(_lines(record)))


def _describe(model: shelf.ListedModel) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what `--json` says of a model, and its row in the table."""
    spec = modelfile.read_spec(model.path)
    branch = model.branch or (spec.branches[0] if spec.branches else "")
    size = model.path.stat().st_size
    place = "bundled" if model.bundled else "installed"
    record: dict[str, object] = {
        "name": model.name,
        "default": model.default,
        "cameras": spec.cameras,
        "cfa": spec.cfa,
        "input_form": spec.input_form,
        "csa_set": branch,
        "branches": spec.branches,
        "ratio_range": spec.ratio_range,
        "bytes": size,
        "from": place,
        "path": model.path,
    }
    row = (
        f"{model.name} (default)" if model.default else model.name,
        ", ".join(spec.cameras) or "any",
        f"{spec.cfa} {spec.input_form}",
        f"{branch} (of {len(spec.branches)})" if branch else "-",
        _ratio_text(spec.ratio_range),
        _size_text(size),
        place,
    )
    return record, row


def _lines(record: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{printable(key)}:", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{printable(key)}: {printable(_value_text(key, value))}")
    return lines


def _value_text(key: str, value: object) -> str:
    if key == "ratio_range" and isinstance(value, tuple):
        return _ratio_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key in ("parameters", "bytes"):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in ("", None) or value == {} else str(value)


def _ratio_text(ratio_range: tuple[float, ...]) -> str:
    return " to ".join(f"{r:g}" for r in ratio_range)


def _size_text(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
