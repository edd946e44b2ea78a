"""The list of pairs: one line `SHORT LONG` each; ours, SID's, ELD's and LED's.

Names are relative to the list's folder, quoted as in a shell where they hold blanks or quotes;
a backslash is a plain character. There are no comments. What the other lists add in further
columns (ISO, aperture, ratio) is known and checked; of these the ratio and the short frame's ISO
are kept.
"""

import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import OutputError, PairError
from ledcli.output.atomic import atomic_write

LARGEST_LIST = 16 << 20
"""Bytes; a list of 100,000 pairs is smaller, and a raw given for a list is not read whole."""

_SHOT_COLUMN = re.compile(r"ISO(\d+)|F(\d+(\.\d+)?|N/A)", re.IGNORECASE)
"""SID: ``ISO200 F8``; ELD and LED: ``ISO800 ISO100``, of the short and of the long frame."""
_BYTE_ORDER_MARK = "\ufeff"
_LONGEST_QUOTE = 80
_FOLDERS = ("short", "long")
"""ELD's lists for SID name files without their folders, which are these."""


class Pair(NamedTuple):
    """A short and a long frame of one scene.

    Attributes
    ----------
    short, long : Path
    ratio : float or None
        Only where the list itself states it.
    iso : float or None
        Of the short frame, where the list states it.
    """

    short: Path
    long: Path
    ratio: float | None = None
    iso: float | None = None


Find = Callable[[str, str], Path | None]
"""Finds the file that a list names; told the name and the folder (short or long) where lists of
bare names have it."""


def read_list(
    path: Path,
    *,
    find: Find | None = None,
    missing: Callable[[PairError], None] | None = None,
) -> list[Pair]:
    """Read a list of pairs.

    Parameters
    ----------
    path : Path
        The list: ours, or one of SID, ELD or LED.
    find : callable, optional
        Where the files are, if not where the list says.
    missing : callable, optional
        Told of a line whose files are not there, which is then passed over.

    Returns
    -------
    list of Pair
        In the list's order.

    Raises
    ------
    PairError
        Naming the list and the line: the list cannot be read, holds no pair, names a file that is
        not there, has columns that mean nothing, or repeats itself.
    """
    path = Path(path)
    pairs: dict[tuple[Path, Path], Pair] = {}
    lines: dict[tuple[Path, Path], int] = {}
    passed_over = 0
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        words = _words(line, where)
        if not words:
            continue
        try:
            pair = _pair(words, path.parent, where, find or _beside(path.parent))
        except _NotThereError as error:
            if missing is None:
                raise
            missing(error)
            passed_over += 1
            continue
        first = lines.setdefault(pair[:2], number)
        if first != number:
            raise PairError(f"{where}: says the same as line {first}: remove one")
        pairs[pair[:2]] = pair
    if not pairs and not passed_over:
        raise PairError(f"{path}: holds no pair: make the list with 'led pairs scan DIR'")
    return list(pairs.values())


def write_list(path: Path, pairs: Sequence[Pair]) -> None:
    """Write a list of pairs in our format, whole or not at all.

    Parameters
    ----------
    path : Path
        An existing list is replaced.
    pairs : sequence of Pair
        The files are written relative to the list's folder; ratios are not written.

    Raises
    ------
    OutputError
        The list cannot be written.
    PairError
        A file's name holds a line break, which a list of lines cannot.
    """
    path = Path(path)
    lines = []
    for pair in pairs:
        names = [relative_name(file, path.parent) for file in (pair.short, pair.long)]
        for name in names:
            if "\n" in name:
                raise PairError(f"{name}: has a line break in its name: rename it")
        lines.append(" ".join(quote(name) for name in names) + "\n")
    atomic_write(path, os.fsencode("".join(lines)))


def check_replaceable(path: Path) -> None:
    """Raise OutputError where a list would replace a file that is not text."""
    try:
        with open(path, "rb") as file:
            is_text = b"\0" not in file.read(LARGEST_LIST)
    except OSError:
        return  # nothing is there, or writing will say what is wrong
    if not is_text:
        raise OutputError(f"{path}: is not a list and would be overwritten: choose another --out")


def relative_name(file: Path, folder: Path) -> str:
    """Name of a file as seen from a folder; absolute where no relative one exists."""
    name, start = os.path.abspath(file), os.path.abspath(folder)
    if not Path(name).is_relative_to(start):
        # ".." leads out of where a folder really is, not out of a link to it.
        parent, start = os.path.realpath(os.path.dirname(name)), os.path.realpath(start)
        name = os.path.join(parent, os.path.basename(name))
    try:
        return os.path.relpath(name, start)
    except ValueError:  # two drives of Windows
        return name


def needs_quotes(name: str) -> bool:
    """Whether a name must be quoted in a list; upstream's tools cannot read such a name."""
    return (
        name.startswith(_BYTE_ORDER_MARK)
        or any(c in "'\"" or c.isspace() or not c.isprintable() for c in name)
        or not name
    )


def quote(name: str) -> str:
    """Return the name as a list has it.

    Examples
    --------
    >>> quote("shots/IMG_1.ARW"), quote("shots/IMG 1.ARW")
    ('shots/IMG_1.ARW', "'shots/IMG 1.ARW'")
    """
    if not needs_quotes(name):
        return name
    return "'" + name.replace("'", "'\"'\"'") + "'"


def _lines(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_LIST + 1)
    except IsADirectoryError:
        raise PairError(f"{path}: is a folder, not a list: 'led pairs scan' makes one") from None
    except FileNotFoundError:
        raise PairError(
            f"{path}: there is no such list: make it with 'led pairs scan DIR'"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PairError(f"{path}: cannot be read: {why.lower()}") from None
    if len(data) > LARGEST_LIST or b"\0" in data:
        raise PairError(f"{path}: is not a list of pairs but a binary file: name the list")
    try:
        text = os.fsdecode(data)
    except UnicodeDecodeError:
        raise PairError(f"{path}: is not text in UTF-8: save it as such") from None
    return text.removeprefix(_BYTE_ORDER_MARK).split("\n")


def _words(line: str, where: str) -> list[str]:
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace, words.whitespace_split = " \t\r", True
    words.escape, words.commenters = "", ""
    try:
        return list(words)
    except ValueError:
        raise PairError(
            f"{where}: has a quote that never closes: put a name that holds one into the other "
            "kind of quotes"
        ) from None


class _NotThereError(PairError):
    """A list names a file that is not there."""


def _pair(words: list[str], folder: Path, where: str, find: Find) -> Pair:
    if len(words) == 1:
        raise PairError(f"{where}: names one file, '{_short(words[0])}': a pair is SHORT LONG")
    ratio, iso = _columns(words[2:], where)
    short, long = (
        _file(name, folder, where, find(name, beside))
        for name, beside in zip(words[:2], _FOLDERS, strict=True)
    )
    if short == long:
        raise PairError(f"{where}: names {short} twice: a pair is a short frame and a long one")
    return Pair(short, long, ratio, iso)


def _columns(columns: list[str], where: str) -> tuple[float | None, float | None]:
    """Check what follows the two names; return the ratio and the first ISO if they are there."""
    ratio = iso = None
    for column in columns:
        shot = _SHOT_COLUMN.fullmatch(column)
        if shot:
            if iso is None and shot[1]:
                iso = float(shot[1]) or None
            continue
        try:
            value = float(column)
        except ValueError:
            value = math.nan
        if ratio is not None or not 1 <= value < math.inf:
            raise PairError(
                f"{where}: '{_short(column)}' is neither an ISO, an aperture nor a ratio: "
                "a line is SHORT LONG, and names with blanks need quotes"
            )
        ratio = value
    return ratio, iso


def _beside(folder: Path) -> Find:
    """Files are where the list says, or in the folders that ELD's lists leave out."""

    def find(name: str, beside: str) -> Path | None:
        choices = [folder / name]
        if os.path.basename(name) == name:
            choices.append(folder / beside / name)
        return next((file for file in choices if os.path.isfile(file)), None)

    return find


def _file(name: str, folder: Path, where: str, file: Path | None) -> Path:
    if file is None:
        raise _NotThereError(
            f"{where}: there is no file '{_short(name)}' in {_place(folder)}: "
            "names are relative to the list, and those with blanks need quotes"
        )
    return file


def _place(folder: Path) -> str:
    return "this folder" if folder == Path() else str(folder)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."
