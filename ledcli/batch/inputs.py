"""Which raws the user named: files, folders and patterns."""

import errno
import glob
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import UsageError

# fmt: off
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef",
    ".ptx", ".pxn", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})
# fmt: on
"""File name endings, lower case, that a camera gives its raws."""

DEFAULT_FOLDER = "denoised"
"""The output folder unless another is chosen."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

_WAY_OUT = {
    "EACCES": "change its permissions, or name other photos",
    "EPERM": "change its permissions, or name other photos",
    "ENAMETOOLONG": "its path is too long: go into the folder and name it from there",
    "ELOOP": "its links go in a circle",
    "EMFILE": "too many files are open: raise the limit ('ulimit -n')",
}


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
    named : bool
        Whether the user named the file itself, and not only a folder that it lies in.
    """

    file: Path
    below: Path
    beside: Path
    named: bool = False


def find_raws(
    inputs: Sequence[str],
    *,
    recursive: bool = False,
    problem: Callable[[UsageError], None] | None = None,
    note: Callable[[str], None] | None = None,
    out: Path | None = None,
) -> list[FoundRaw]:
    """Return the raws that files, folders and patterns stand for.

    Nothing is opened. Links to files are taken, links to folders inside a folder are not followed;
    what is no file (a pipe, a device) is passed over, and so are hidden files and folders.

    Parameters
    ----------
    inputs : sequence of str
        A file is taken whatever its name, a folder stands for the raws in it, a pattern for what
        it matches (a shell may have left it alone).
    recursive : bool
        Folders stand for the raws in their subfolders too.
    problem : callable, optional
        Told of an input that stands for nothing while others do, and of a folder that cannot be
        read; without it that is an error.
    note : callable, optional
        Told of what is named like a raw inside a folder and is none: a pipe, a link to nothing.
    out : Path, optional
        The output folder, if one was chosen: not looked into unless it is named.

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
    search = _Search(recursive, out, note or (lambda _: None))
    found: dict[str, FoundRaw] = {}  # by where they really are
    for text in inputs:
        for raw, place in search.one(text):
            first = found.setdefault(place, raw)
            if raw.named and not first.named:
                found[place] = first._replace(named=True)
    if search.problems and (problem is None or not found):
        raise search.problems[0]
    if problem is not None:
        for each in search.problems:
            problem(each)
    return list(found.values())


class _Search:
    """One search through several inputs; `problems` are those it met."""

    def __init__(self, recursive: bool, out: Path | None, note: Callable[[str], None]) -> None:
        self.recursive, self.note = recursive, note
        self.cwd = _working_folder()
        if self.cwd is None and out is not None and not out.is_absolute():
            raise _adrift(out)
        self.out = None if out is None else os.path.realpath(out)
        self.problems: list[UsageError] = []

    def one(self, text: str) -> list[tuple[FoundRaw, str]]:
        """Return the raws of one input, each with where it really is."""
        if not text:
            self.problems.append(UsageError("an empty name among the photos: leave it out"))
            return []
        path = Path(os.path.normpath(os.path.expanduser(text)))
        if self.cwd is None and not path.is_absolute():
            self.problems.append(_adrift(path))
            return []
        problems = len(self.problems)
        try:
            found = self._in_folder(path) if path.is_dir() else self._named(path)
        except UsageError as error:
            self.problems.append(error)
            return []
        except (OSError, ValueError) as error:
            self._unreadable(path, error)
            return []
        if not found and len(self.problems) == problems:
            hint = "" if self.recursive else "; --recursive looks into its subfolders too"
            self.problems.append(UsageError(f"{path}: no raw files in this folder{hint}"))
        return found

    def _named(self, path: Path) -> list[tuple[FoundRaw, str]]:
        names = [str(path)]
        if not os.path.lexists(path):
            names = [n for n in sorted(glob.glob(str(path))) if not os.path.isdir(n)]
            if not names:
                raise UsageError(
                    f"{path}: no such file or folder, and no pattern that matches a file"
                )
        found = []
        for name in names:
            file = Path(name)
            try:
                kind = stat.S_IFMT(os.stat(name).st_mode)
            except FileNotFoundError:
                kind = 0
            if kind == stat.S_IFREG:
                raw = FoundRaw(file, Path(), file.parent / DEFAULT_FOLDER, named=True)
                found.append((raw, os.path.realpath(name)))
            else:
                what = _KINDS.get(kind, "a link to a file that is not there")
                self.problems.append(UsageError(f"{name}: is {what}, not a raw file"))
        return found

    def _in_folder(self, folder: Path) -> list[tuple[FoundRaw, str]]:
        here = folder.resolve() == self.cwd
        # The parent of "..", as text, would be ".".
        parent = folder.resolve().parent if folder.name == ".." else folder.parent
        beside = (folder if here else parent) / DEFAULT_FOLDER
        found: list[tuple[tuple[str, ...], FoundRaw, str]] = []
        to_do: list[tuple[str, ...]] = [()]
        while to_do:
            parts = to_do.pop()
            inside = folder.joinpath(*parts)
            names, folders = self._entries(inside)
            real, below = os.path.realpath(inside), Path(*parts)
            for name, is_link in names:
                file = inside / name
                place = os.path.realpath(file) if is_link else os.path.join(real, name)
                found.append(((*parts, name), FoundRaw(file, below, beside), place))
            if self.recursive:
                # What led wrote is no input.
                below_out = [n for n in folders if os.path.join(real, n) == self.out]
                to_do += [(*parts, n) for n in folders if n not in below_out]
        found.sort(key=lambda each: each[0])
        return [(raw, place) for _, raw, place in found]

    def _entries(self, folder: Path) -> tuple[list[tuple[str, bool]], list[str]]:
        """Return the raws in a folder, and whether they are links, and the folders to look into."""
        names: list[tuple[str, bool]] = []
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if name != DEFAULT_FOLDER:
                            folders.append(name)
                    elif os.path.splitext(name)[1].lower() in RAW_SUFFIXES:
                        kind = _kind(entry)
                        if kind == stat.S_IFREG:
                            names.append((name, entry.is_symlink()))
                        elif kind != stat.S_IFDIR:
                            self.note(f"{folder / name}: is no file: passed over")
        except OSError as error:
            self._unreadable(folder, error)
        return names, folders

    def _unreadable(self, path: Path, error: OSError | ValueError) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
        plan_photo = _WAY_OUT.get(code, "look whether its drive is connected")
        self.problems.append(UsageError(f"{path}: cannot be read ({reason.lower()}): {plan_photo}"))


def _working_folder() -> Path | None:
    """Return the working folder; None when somebody removed it."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _adrift(path: Path) -> UsageError:
    return UsageError(f"{path}: the working folder is gone: cd to one that is there")


def _kind(entry: "os.DirEntry[str]") -> int:
    """Return what an entry, or what it is a link to, is; 0 for a link that leads nowhere."""
    try:
        if entry.is_file():
            return stat.S_IFREG
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError:
        return 0
