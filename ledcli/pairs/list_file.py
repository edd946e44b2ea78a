"""The list of pairs: one line `SHORT LONG` each; ours, SID's, ELD's and LED's.

Names are relative to the list's folder, quoted as in a shell if they contain blanks or quotes;
a backslash is a plain character. There are no comments. The further columns of the other lists
(ISO, aperture, ratio) are checked; of these the ratio and the short frame's ISO are kept.
"""

import math
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import OutputError, PairError
from ledcli.raw.inputs import RAW_SUFFIXES, without_dots

MAX_LIST_BYTES = 16 << 20
"""More than a list of 100,000 pairs; keeps led from reading a whole raw given for a list."""

MAX_LINE = 1 << 15
"""Characters; two paths of 4,096 bytes have fewer. shlex takes time by the square of a word."""
_SHOT_COLUMN = re.compile(r"ISO(\d+)|F(\d+(\.\d+)?|N/A)", re.IGNORECASE)
"""SID: ``ISO200 F8``; ELD and LED: ``ISO800 ISO100``, of the short and of the long frame."""
_BYTE_ORDER_MARK = "\ufeff"
_MAX_QUOTED = 80
"""Characters of a name that a message repeats."""
_FOLDERS = ("short", "long")
"""The folders that ELD's lists for SID leave out."""


class Pair(NamedTuple):
    """A short and a long frame of one scene; ratio and short ISO where the list has them."""

    short: Path
    long: Path
    ratio: float | None = None
    iso: float | None = None


Find = Callable[[str, str], Path | None]
"""Takes a name in a list and the folder (short or long) of bare names; returns the file."""


def read_list(
    path: Path, *, find: Find | None = None, missing: Callable[[PairError], None] | None = None
) -> list[Pair]:
    """Read a list of pairs, in its order: ours, or one of SID, ELD or LED.

    `find` says where the files are, if not where the list says; `missing` is called for a line
    whose files do not exist, which is then skipped. Raises PairError, with the list and the line,
    if the list cannot be read, has no pair, names a file that does not exist, has unknown
    columns, or repeats a pair.
    """
    pairs: dict[tuple[Path, Path], Pair] = {}
    lines: dict[tuple[Path, Path], int] = {}
    skipped = 0
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        words = _words(line, where)
        if not words:
            continue
        try:
            pair = _pair(words, path.parent, where, find or _beside(path.parent))
        except _MissingFileError as error:
            if missing is None:
                raise
            missing(error)
            skipped += 1
            continue
        first = lines.setdefault(pair[:2], number)
        if first != number:
            raise PairError(f"{where}: repeats line {first}: remove one")
        pairs[pair[:2]] = pair
    if not pairs and not skipped:
        raise PairError(f"{path}: has no pair: make the list with 'led pairs scan DIR'")
    return list(pairs.values())


def list_text(path: Path, pairs: Sequence[Pair]) -> bytes:
    """Return the text of a list of pairs that will be at `path`.

    Names are relative to the list's folder; ratios are left out. Raises PairError if a file's name
    contains a line break.
    """
    lines = []
    for pair in pairs:
        names = [relative_name(file, path.parent) for file in (pair.short, pair.long)]
        for name in names:
            if "\n" in name:
                raise PairError(f"{name}: has a line break in its name: rename it")
        lines.append(" ".join(quote(name) for name in names) + "\n")
    return os.fsencode("".join(lines))


def check_list_replaceable(path: Path) -> None:
    """Raise OutputError if a list would replace a file that is neither a list of raws nor empty."""

    def find(name: str, beside: str) -> Path | None:
        return Path(name) if os.path.splitext(name)[1].lower() in RAW_SUFFIXES else None

    try:
        if os.path.isfile(path) and os.path.getsize(path):
            read_list(path, find=find)
    except PairError as error:
        why = "is not a list of pairs and would be overwritten"
        raise OutputError(f"{path}: {why}: choose another --out, or remove it") from error


def relative_name(file: Path, folder: Path) -> str:
    """Return a file's name relative to a folder; absolute where there is none."""
    file, folder = without_dots(file.absolute()), without_dots(folder.absolute())
    if not file.is_relative_to(folder) or ".." in (*file.parts, *folder.parts):
        # ".." is relative to the real folder, not to a link to it.
        file, folder = Path(os.path.realpath(file.parent), file.name), folder.resolve()
    try:
        return os.path.relpath(file, folder)
    except ValueError:  # two drives of Windows
        return str(file)


def needs_quotes(name: str) -> bool:
    """Return True if a list must quote a name; upstream's tools cannot read it then."""
    return (
        name.startswith(_BYTE_ORDER_MARK)
        or any(c in "'\"" or c.isspace() or not c.isprintable() for c in name)
        or not name
    )


def quote(name: str) -> str:
    """Return a name as it stands in a list.

    Examples
    --------
    >>> quote("shots/IMG_1.ARW"), quote("shots/IMG 1.ARW")
    ('shots/IMG_1.ARW', "'shots/IMG 1.ARW'")
    """
    return "'" + name.replace("'", "'\"'\"'") + "'" if needs_quotes(name) else name


def _lines(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except IsADirectoryError:
        raise PairError(f"{path}: is a folder, not a list: 'led pairs scan' makes one") from None
    except FileNotFoundError:
        raise PairError(f"{path}: no such list: make it with 'led pairs scan DIR'") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PairError(f"{path}: cannot be read: {why.lower()}") from None
    if len(data) > MAX_LIST_BYTES or b"\0" in data:
        raise PairError(f"{path}: is not a list of pairs but a binary file: name the list")
    try:
        text = os.fsdecode(data)
    except UnicodeDecodeError:
        raise PairError(f"{path}: is not text in UTF-8: save it as UTF-8") from None
    return text.removeprefix(_BYTE_ORDER_MARK).split("\n")


def _words(line: str, where: str) -> list[str]:
    if len(line) > MAX_LINE:
        raise PairError(f"{where}: has {len(line)} characters: a line is SHORT LONG")
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace, words.whitespace_split = " \t\r", True
    words.escape, words.commenters = "", ""
    try:
        return list(words)
    except ValueError:
        raise PairError(
            f"{where}: has an unclosed quote: put a name with a quote into the other kind of quotes"
        ) from None


class _MissingFileError(PairError):
    """A list names a file that does not exist."""


def _pair(words: list[str], folder: Path, where: str, find: Find) -> Pair:
    if len(words) == 1:
        raise PairError(f"{where}: names one file, '{_shortened(words[0])}': a pair is SHORT LONG")
    ratio, iso = _columns(words[2:], where)
    files = []
    for name, beside in zip(words[:2], _FOLDERS, strict=True):
        file = find(name, beside)
        if file is None:
            raise _MissingFileError(
                f"{where}: there is no file '{_shortened(name)}' in "
                f"{'this folder' if folder == Path() else folder}: "
                "names are relative to the list, and those with blanks need quotes"
            )
        files.append(file)
    short, long = files
    if short == long:
        raise PairError(f"{where}: names {short} twice: a pair is a short frame and a long one")
    return Pair(short, long, ratio, iso)


def _columns(columns: list[str], where: str) -> tuple[float | None, float | None]:
    """Check the columns after the two names; return the ratio and the first ISO, if any."""
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
                f"{where}: '{_shortened(column)}' is neither an ISO, an aperture nor a ratio: "
                "a line is SHORT LONG, and names with blanks need quotes"
            )
        ratio = value
    return ratio, iso


def _beside(folder: Path) -> Find:
    def find(name: str, beside: str) -> Path | None:
        choices = [folder / name]
        if os.path.basename(name) == name:
            choices.append(folder / beside / name)
        return next((file for file in choices if os.path.isfile(file)), None)

    return find


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 3] + "..."
