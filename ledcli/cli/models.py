"""`led models list`, `info` and `rm`: which models are at hand, and what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypeGuard

import typer
from typer import Argument

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED
from ledcli.cli.console import printable
from ledcli.cli.model_files import export, import_, pull
from ledcli.errors import ModelError

if TYPE_CHECKING:
    from ledcli.noise.camera_profile import CameraNoiseProfile
    from ledcli.zoo.spec import ModelSpec
    from ledcli.zoo.store import ListedModel

MAKES_PICTURES = "pictures (PNG, TIFF), not DNGs; used only if --model names it"
COLUMNS = (
    "NAME", "CAMERAS", "FORM", "CSA SET", "RATIO", "ISO", "TUNED", "PSNR", "SIZE", "FROM",
)  # fmt: skip

app = opt.group("List, describe, fetch, import, export and remove models.")
app.command("pull")(pull)
app.command("import")(import_)
app.command("export")(export)
DESCRIBED = ("cameras", "cfa", "input_form", "output", "method", "csa_sets", "ratio_range")
"""What `led models list --json` says of a model's description."""


@app.command("list")
def list_(output: opt.OutputOptions = opt.PLAIN) -> None:
    """List the bundled and the installed models.

    --model accepts the names in the first column. PSNR is the improvement by tuning, measured on
    parts of the pairs that were not trained on.

    Examples
    --------
        led models list

        led models list --json | jq -r .name
    """
    from ledcli.zoo.store import installed_dir, list_models

    described: list[tuple[dict[str, object], tuple[str, ...]]] = []
    models = list_models()
    for model in models:
        try:
            described.append(_describe(model))
        except (ModelError, OSError) as error:
            output.error(error)
    records, rows = [record for record, _ in described], [row for _, row in described]
    output.table(COLUMNS, rows, records=records, right=["PSNR", "SIZE"])
    if any(not model.bundled for model in models):
        output.hint(f"installed models are in {installed_dir()}")
    if len(described) < len(models):
        raise typer.Exit(FAILED)


@app.command("info")
def info(model: opt.ModelArgument, output: opt.OutputOptions = opt.PLAIN) -> None:
    """Show everything that a model file says about itself.

    Examples
    --------
        led models info sony

        led models info ./my-camera.safetensors --json
    """
    from ledcli.nets.registry import tile_note
    from ledcli.zoo.model_file import file_sha256, read_header
    from ledcli.zoo.store import find_model

    found = find_model(model)
    header = read_header(found.path)
    spec = header.spec
    record: dict[str, object] = {
        "path": found.path,
        "csa_set": found.csa_set,
        **spec.to_header(),
        **({"makes": MAKES_PICTURES} if spec.makes_pictures else {}),
        "psnr_improvement": _improvement(spec),
        "tensors": len(header.shapes),
        "parameters": header.parameters,
        "bytes": found.path.stat().st_size,
        "sha256": file_sha256(found.path),
        **({"tiles": note} if (note := tile_note(spec.architecture)) else {}),
    }
    shown = record
    if spec.noise_profile is not None:
        shown = record | {"noise_profile": _noise(spec.noise_profile)}
    output.result(record, "\n".join(_lines(shown)))


@app.command("rm")
def remove(
    name: Annotated[str, Argument(metavar="NAME", help="An installed model's name.")],
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Delete an installed model from this machine.

    The file is deleted at once, and so is what an interrupted 'led finetune' of that name left.
    Bundled models are never removed.

    Examples
    --------
        led models rm sony-ilce-7sm2
    """
    from ledcli.zoo.store import remove_model

    paths = remove_model(name)
    text = "\n".join(f"removed {printable(path)}" for path in paths)
    output.result({"removed": paths}, text)


def _describe(model: ListedModel) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return what `--json` says about a model, and its row in the table."""
    from ledcli.zoo.model_file import read_spec

    spec = read_spec(model.path)
    csa_set = model.csa_set or next(iter(spec.csa_sets), "")
    date = spec.training.get("date")
    date = date if isinstance(date, str) else None
    isos, improvement, size = _isos(spec), _improvement(spec), model.path.stat().st_size
    place = "bundled" if model.bundled else "installed"
    record: dict[str, object] = {
        "name": model.name,
        "default": model.default,
        **{key: getattr(spec, key) for key in DESCRIBED},
        "csa_set": csa_set,
        "isos": isos,
        "date": date,
        "psnr_improvement": improvement,
        "bytes": size,
        "from": place,
        "path": model.path,
    }
    row = (
        f"{model.name} (default)" if model.default else model.name,
        ", ".join(spec.cameras) or "any",
        f"{spec.cfa} {spec.input_form}" + (" to sRGB" if spec.makes_pictures else ""),
        f"{csa_set} (of {len(spec.csa_sets)})" if csa_set else "-",
        _range_text(spec.ratio_range),
        _range_text(isos) if isos else "-",
        date[:10] if date else "-",
        f"{improvement:+.2f} dB" if improvement is not None else "-",
        f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB",
        place,
    )
    return record, row


# `led finetune` writes these; in another's file they may be missing, or nonsense.


def _isos(spec: ModelSpec) -> tuple[float, float] | None:
    isos = spec.training.get("isos")
    if not isinstance(isos, list | tuple) or not isos or not all(map(_is_number, isos)):
        return None
    return min(isos), max(isos)


def _improvement(spec: ModelSpec) -> float | None:
    """Return the PSNR on validation crops over that of the untuned model, in dB."""
    after, before = spec.training.get("psnr_after"), spec.training.get("psnr_before")
    return after - before if _is_number(after) and _is_number(before) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _noise(profile: CameraNoiseProfile) -> dict[str, object]:
    """Return the noise at the lowest and the highest ISO of a profile, for people."""
    shown: dict[str, object] = {}
    for iso in sorted({profile.isos[0], profile.isos[-1]}):
        if (noise := profile.at(iso)) is not None:
            gain, variance = noise.profile
            shown[f"ISO {iso:g}"] = f"gain {gain:.3g}, read noise {variance**0.5:.3g} (white: 1)"
    return shown


def _lines(record: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in record.items():
        inside: list[str] = []
        if isinstance(value, Mapping):
            inside = _lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            inside = [f"{indent}  - {printable(_inline(v))}" for v in value]
        text = "" if inside else f" {printable(_value_text(key, value))}"
        lines += [f"{indent}{printable(key)}:{text}", *inside]
    return lines


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value_text(str(k), v)}" for k, v in value.items())
    return str(value)


def _value_text(key: str, value: object) -> str:
    if key == "ratio_range" and isinstance(value, tuple):
        return _range_text(value)
    if key == "psnr_improvement" and isinstance(value, float):
        return f"{value:+.2f} dB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key in ("parameters", "bytes"):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in ("", None) or value == {} else str(value)


def _range_text(ends: tuple[float, ...]) -> str:
    return " to ".join(f"{v:g}" for v in dict.fromkeys(ends))
