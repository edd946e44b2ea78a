"""`led info`: what a raw file says and how noisy it is."""

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from ledcli.cli import options as opt
from ledcli.cli.app import FAILED
from ledcli.cli.console import printable
from ledcli.errors import LedError

if TYPE_CHECKING:
    from ledcli.raw.decoder import Decoded
TAGS = (
    "camera", "iso", "exposure_time", "exposure_level", "aperture", "focal_length", "datetime",
    "lens",
)  # fmt: skip

UNKNOWN = "cannot be told from this photo"
"""Shown for a gain or read noise that the estimate does not tell."""


def info(
    inputs: opt.RawsArgument,
    recursive: opt.RecursiveOption = False,
    force_read: opt.ForceReadOption = False,
    output: opt.OutputOptions = opt.PLAIN,
) -> None:
    """Show camera, ISO, time, exposure level and noise of raws.

    The gain (DN per electron) and the read noise are estimated from the photo itself.

    Examples
    --------
    One raw::

        led info IMG_1.CR2

    The exposure levels of a folder, for a script::

        led info ./raw --json
    """
    from ledcli.raw.decoder import decode_file, decoders

    decoders.start()  # while the rest is imported
    from ledcli.raw.inputs import find_raws

    problems: list[LedError] = []
    raws = find_raws(inputs, recursive=recursive, problem=problems.append, note=output.warn)
    for problem in problems:
        output.failed(None, problem)
    failed, decode = len(problems), partial(decode_file, force=force_read)
    files = [raw.file for raw in raws]
    for file, decoded in zip(files, decoders.each(decode, files), strict=True):
        if isinstance(decoded, LedError):
            output.failed(file, decoded)
            failed += 1
            continue
        for warning in decoded.photo.warnings:
            output.warn(warning)
        record = _record(decoded)
        output.result(record, _text(record))
    if failed:
        raise typer.Exit(FAILED)


def _record(decoded: "Decoded") -> dict[str, Any]:
    from ledcli.raw.colour import wb_note

    photo, noise = decoded.photo, decoded.noise
    gain = photo.span * noise.profile.gain if noise.gain_known else None
    read = photo.span * noise.profile.read_variance**0.5 if noise.read_known else None
    height, width = photo.mosaic.shape
    stated = photo.stated_noise
    return {
        "file": photo.path,
        "warnings": photo.warnings,
        **{tag: getattr(photo.exif, tag) for tag in TAGS},
        "width": width,
        "height": height,
        "phase": str(photo.phase),
        "bits": photo.bits,
        "white_balance_note": wb_note(photo),
        "black": photo.black,
        "white": photo.white,
        "gain": gain,
        "read_noise": read,
        "read_noise_electrons": read / gain if read and gain else None,
        "noise_note": noise.describe(photo.span),
        "stated_gain": stated and photo.span * stated.gain,
        "stated_read_noise": stated and photo.span * stated.read_variance**0.5,
    }


def _text(record: dict[str, Any]) -> str:
    """Return the record as text; unknown values are shown as such."""
    rows = {
        "camera": record["camera"],
        "size": f"{record['width']} x {record['height']}, {record['phase']}, {record['bits']} bits",
        "levels": f"black {_levels(record['black'])}, white {_levels(record['white'])} DN",
        "ISO": _number(record["iso"]),
        "time": _seconds(record["exposure_time"]),
        "exposure level": _number(record["exposure_level"], " (ISO x seconds)"),
        "taken": record["datetime"],
        "gain": _number(record["gain"], " DN per electron (estimated)") or UNKNOWN,
        "read noise": _number(record["read_noise"], " DN (estimated)") or UNKNOWN,
    }
    if record["stated_gain"] is not None:
        gain, read = (_number(record[f"stated_{of}"]) for of in ("gain", "read_noise"))
        rows["NoiseProfile"] = f"gain {gain} DN per electron, read noise {read} DN"
    if record["white_balance_note"]:
        rows["white balance"] = record["white_balance_note"]
    if record["noise_note"]:
        rows["noise"] = record["noise_note"]
    lines = [f"  {name:15} {printable(text or 'not in the file')}" for name, text in rows.items()]
    return "\n".join([printable(record["file"]), *lines])


def _levels(values: Any) -> str:  # noqa: ANN401 - an array by planes
    # X-Trans: the first three are R, G, B; the others repeat them.
    each = [f"{v:g}" for v in (values if len(values) == 4 else values[:3])]
    return each[0] if len(set(each)) == 1 else "/".join(each)


def _number(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:.4g}{unit}"


def _seconds(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.3g} s" if value >= 0.3 else f"1/{1 / value:.0f} s"
