"""Programs that others wrote and photographers use, as judges of a file."""

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rawpy
from numpy.typing import NDArray
from PIL import Image

SECONDS = 300
"""Longest that one call of a program may take."""

MISSING = {
    program: shutil.which(program) is None
    for program in ("exiftool", "dcraw", "darktable-cli", "rawtherapee-cli")
}
ABOUT_EXIFTOOL = (
    "Not decoding some large array(s)",
    "Unrecognized MakerNotes",
    "Non-standard SubIFD tag 0xcd2d ProfileGainTableMap",  # DNG 1.6 has it there
)
"""What exiftool 12.57 does not know: it says the same of the source."""
needs_exiftool = pytest.mark.skipif(MISSING["exiftool"], reason="no exiftool here")


def exiftool(arguments: Sequence[str], files: Iterable[Path]) -> str:
    """Run exiftool once over files; what it prints, whatever its exit status."""
    words = [*arguments, *map(str, files)]
    # By standard input: as many as there are, whatever the shell's limit.
    return _run(["exiftool", "-@", "-"], given="\n".join(words))


def tags(files: Iterable[Path]) -> dict[Path, dict[str, Any]]:
    """Return every tag of files, numbers as numbers, by ``Group:Name``."""
    files = list(files)
    if not files:
        return {}
    found = json.loads(exiftool(["-j", "-n", "-G1", "-struct"], files) or "[]")
    return {Path(one["SourceFile"]): one for one in found}


def complaints(files: Iterable[Path]) -> dict[Path, list[str]]:
    """Return what ``exiftool -validate -warning -error -a`` says beyond OK, by file."""
    files = list(files)
    if not files:
        return {}
    found = json.loads(exiftool(["-j", "-validate", "-warning", "-error", "-a"], files) or "[]")
    bad = [Path(one["SourceFile"]) for one in found if one.get("Validate") != "OK"]
    bad += sorted(set(files) - {Path(one["SourceFile"]) for one in found})
    said = {}
    for path in bad:
        text = exiftool(["-validate", "-warning", "-error", "-a"], [path])
        lines = [" ".join(line.split()) for line in text.splitlines()]
        problems = [line for line in lines if line.startswith(("Warning", "Error"))]
        known = [line for line in problems if any(text in line for text in ABOUT_EXIFTOOL)]
        if not problems or problems != known:
            said[path] = lines
    return said


def libraw(path: Path, *, flip: int | None = None, daylight: bool = False) -> NDArray[np.uint8]:
    """Render with LibRaw at the photo's own brightness and white balance.

    A `flip` of 0 leaves the picture as it is stored; `daylight` takes that balance instead.
    """
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(use_camera_wb=not daylight, no_auto_bright=True, user_flip=flip)


def dcraw(path: Path, *, daylight: bool = False) -> NDArray[np.uint8]:
    """Render with dcraw, upright, at the photo's own brightness and white balance.

    `daylight` takes that balance instead, and the camera's own colours: what dcraw knows of a
    camera is not quite what LibRaw knows (EOS D30: 1.9224 times red in daylight and 1.9242).
    """
    balance = ["-o", "0"] if daylight else ["-w"]
    done = subprocess.run(
        ["dcraw", *balance, "-W", "-c", str(path)],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout, f"dcraw does not open {path.name}: {done.stderr.decode(errors='replace')}"
    return _pixels(io.BytesIO(done.stdout))


def darktable(path: Path, folder: Path, *, plain: bool = False) -> NDArray[np.uint8]:
    """Render with darktable's defaults; `folder` takes its settings and the picture.

    By default darktable (4.2) gives a mosaic its filmic curve, and a linear DNG none. `plain`
    leaves the curve out.
    """
    plainly = ["--conf", "plugins/darkroom/workflow=none"] if plain else []
    out = folder / f"{path.parent.name}-{path.name}.{'plain' if plain else 'darktable'}.png"
    said = _run(
        [
            "darktable-cli", str(path), str(out), "--core", "--configdir", str(folder / "config"),
            "--cachedir", str(folder / "cache"), "--library", ":memory:",
            "--conf", "write_sidecar_files=never", "--disable-opencl", *plainly,
        ]
    )  # fmt: skip
    assert out.exists(), f"darktable does not open {path.name}: {said}"
    return _pixels(out)


def rawtherapee(path: Path, folder: Path) -> NDArray[np.uint8]:
    """Render with RawTherapee's neutral settings; `folder` takes the picture."""
    out = folder / f"{path.parent.name}-{path.name}.rawtherapee.tif"
    home = {"RT_SETTINGS": str(folder / "config"), "RT_CACHE": str(folder / "cache")}
    words = ["rawtherapee-cli", "-Y", "-q", "-t", "-b8", "-o", str(out), "-c", str(path)]
    said = _run(words, **home)
    assert out.exists(), f"RawTherapee does not open {path.name}: {said}"
    return _pixels(out)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8], border: int = 0) -> float:
    """Mean of what two renderings differ by, of 255; they must have the same size.

    Where a `border` is given, either may lack up to that many pixels at each edge.
    """
    if border:
        size = [min(sides) for sides in zip(one.shape[:2], other.shape[:2], strict=True)]
        assert np.abs(np.subtract(one.shape, other.shape)).max() <= 2 * border
        one, other = (_middle(picture, *size) for picture in (one, other))
    assert one.shape == other.shape, f"rendered as {other.shape}, the source as {one.shape}"
    return float(np.abs(one.astype(np.int16) - other).mean())


def shift(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Difference of the means of two renderings, of 255, in the colour where it is largest."""
    means = [picture.mean(axis=(0, 1)) for picture in (one, other)]
    return float(np.abs(means[0] - means[1]).max())


def _middle(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _run(words: Sequence[str], given: str = "", **environment: str) -> str:
    environment = dict[str, str](os.environ) | {"LC_ALL": "C.UTF-8"} | environment
    done = subprocess.run(
        words,
        input=given.encode(),
        capture_output=True,
        env=environment,
        timeout=SECONDS,
        check=False,
    )
    return (done.stdout or done.stderr).decode("utf-8", "replace")


def _pixels(source: Path | io.BytesIO) -> NDArray[np.uint8]:
    with Image.open(source) as picture:
        return np.asarray(picture.convert("RGB"))


def differing(
    source: Mapping[str, Any], result: Mapping[str, Any], names: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """Return the tags of a table that a result has not as its source has them."""
    return {
        name: (source[name], result.get(name))
        for name in names
        # An empty text says nothing, and need not go along.
        if source.get(name, "") != "" and not _same(source[name], result.get(name))
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str | int | float) and isinstance(other, str | int | float):
        try:
            numbers = [[float(part) for part in str(value).split()] for value in (one, other)]
        except ValueError:
            return one == other
        return len(numbers[0]) == len(numbers[1]) and np.allclose(*numbers, rtol=1e-6, atol=1e-6)
    return one == other
