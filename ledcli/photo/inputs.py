"""Which raws the user named: files, folders and patterns."""

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import UsageError
from ledcli.photo.raw import RAW_SUFFIXES

DEFAULT_FOLDER = "denoised"
"""The output folder unless another is chosen."""


class FoundRaw(NamedTuple):
    """A raw that the user named.

    Attributes
    ----------
    file : Path
        The raw.
    below : Path
        Its folder relative to the folder that was named; kept below the output folder.
    beside : Path
        The output folder unless another is chosen.
    """

    file: Path
    below: Path
    beside: Path


def find_raws(
    inputs: Sequence[str],
    *,
    recursive: bool = False,
    problem: Callable[[UsageError], None] | None = None,
) -> list[FoundRaw]:
    """Return the raws that files, folders and patterns stand for.

    Parameters
    ----------
    inputs : sequence of str
        A file is taken whatever its name, a folder stands for the raws in it, a pattern for what
        it matches (a shell may have left it alone).
    recursive : bool
        Folders stand for the raws in their subfolders too.
    problem : callable, optional
        Told of an input that stands for nothing while others do; without it that is an error.

    Returns
    -------
    list of FoundRaw
        Without repetition, in the order given, folders sorted by name. The output folder is
        ``denoised``: beside a folder that was named, in the folder of a file that was named.

    Raises
    ------
    UsageError
        An input does not exist, or there is no raw in it.
    """
    found: dict[Path, FoundRaw] = {}  # by where they really are
    problems = []
    for text in inputs:
        path = Path(os.path.normpath(Path(text).expanduser()))
        try:
            raws = _in_folder(path, recursive) if path.is_dir() else _named(path)
        except UsageError as error:
            problems.append(error)
            continue
        for raw in raws:
            found.setdefault(raw.file.resolve(), raw)
    if problems and (problem is None or not found):
        raise problems[0]
    if problem is not None:
        for nothing_found in problems:
            problem(nothing_found)
    return list(found.values())


def _in_folder(folder: Path, recursive: bool) -> list[FoundRaw]:
    paths = sorted(folder.rglob("*") if recursive else folder.iterdir())
    files = [p for p in paths if _is_raw(p.relative_to(folder)) and p.is_file()]
    if not files:
        hint = "" if recursive else "; --recursive looks into its subfolders too"
        raise UsageError(f"{folder}: no raw files in this folder{hint}")
    here = folder.resolve() == Path.cwd()
    # The parent of "..", as text, would be ".".
    parent = folder.resolve().parent if folder.name == ".." else folder.parent
    beside = (folder if here else parent) / DEFAULT_FOLDER
    return [FoundRaw(p, p.parent.relative_to(folder), beside) for p in files]


def _named(path: Path) -> list[FoundRaw]:
    files = [path] if path.exists() else [Path(p) for p in sorted(glob.glob(str(path)))]
    files = [p for p in files if not p.is_dir()]
    if not files:
        raise UsageError(f"{path}: no such file or folder, and no pattern that matches a file")
    return [FoundRaw(p, Path(), p.parent / DEFAULT_FOLDER) for p in files]


def _is_raw(relative: Path) -> bool:
    # What led wrote into a folder is no input when the folder is denoised again.
    hidden = any(part.startswith(".") for part in relative.parts)
    return (
        relative.suffix.lower() in RAW_SUFFIXES
        and not hidden
        and DEFAULT_FOLDER not in relative.parts[:-1]
    )
