"""`led info`: what a raw file says and how noisy it is."""

from typing import TYPE_CHECKING, Any

import typer

from ledcli.cli.app import FAILED
from ledcli.cli.console import Output, printable
from ledcli.cli.options import JsonOption, QuietOption, RawsArgument, RecursiveOption
from ledcli.errors import LedError

if TYPE_CHECKING:
    from ledcli.raw.reader import RawPhoto
TAGS = (
    "camera", "iso", "exposure_time", "exposure_level", "aperture", "focal_length", "datetime",
    "lens",
)  # fmt: skip


def info(
    inputs: RawsArgument,
    recursive: RecursiveOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
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
    from ledcli.batch.inputs import find_raws
    from ledcli.raw.reader import read_raw

    output = Output(json=json, quiet=quiet)
    failed = 0
    for raw in find_raws(inputs, recursive=recursive):
        try:
            record = _record(read_raw(raw.file))
        except LedError as error:
            output.error(error)
            if output.json:
                output.result({"file": raw.file, "status": "failed", "error": str(error)})
            failed += 1
            continue
        output.result(record, _text(record))
    if failed:
        raise typer.Exit(FAILED)


def _record(photo: "RawPhoto") -> dict[str, Any]:
    from ledcli.noise.estimate import estimate_noise

    noise = estimate_noise(photo.planes())
    span = float((photo.white - photo.black).mean())
    gain, read = span * noise.gain, span * noise.read_variance**0.5
    height, width = photo.mosaic.shape
    return {
        "file": photo.path,
        **{tag: getattr(photo.exif, tag) for tag in TAGS},
        "width": width,
        "height": height,
        "phase": str(photo.phase),
        "bits": photo.bits,
        "black": photo.black,
        "white": photo.white,
        "gain": gain,
        "read_noise": read,
        "read_noise_electrons": read / gain if gain > 0 else None,
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
        "gain": _number(record["gain"], " DN per electron (estimated)"),
        "read noise": _number(record["read_noise"], " DN (estimated)"),
    }
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
