"""The raws that the user named: files, folders and patterns."""

import codecs
import contextlib
import errno
import glob
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.errors import NoRawsError, UsageError, os_reason
from ledcli.reporting import count

# fmt: off
RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".erf", ".fff", ".gpr",
    ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef",
    ".ptx", ".pxn", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})
# fmt: on
"""Lower-case endings of raw file names."""

DEFAULT_FOLDER = "denoised"
"""The output folder without ``--out``."""
IN_SUBFOLDERS = "; use --recursive to search its subfolders"

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"} | {
    kind: "a device" for kind in (stat.S_IFCHR, stat.S_IFBLK)
}
_ADVICE = dict.fromkeys(("EACCES", "EPERM"), "change its permissions, or name other photos") | {
    "ENAMETOOLONG": "its path is too long; cd into the folder and name it from there",
    "ELOOP": "its links form a circle",
    "EMFILE": "too many files are open: raise the limit ('ulimit -n')",
}
MAX_LIST_BYTES = 1 << 28
"""Of a list of inputs: some millions of names."""


class FoundRaw(NamedTuple):
    """A raw that the user named, or that lies in a folder that was named."""

    file: Path
    subfolder: Path
    """The file's folder relative to the one that was named; kept below the output folder."""
    default_out: Path
    """The output folder without ``--out``."""
    named: bool = False
    """Whether the user named the file itself, not by a pattern."""


def find_raws(
    inputs: Sequence[str],
    *,
    recursive: bool = False,
    problem: Callable[[UsageError], None] | None = None,
    note: Callable[[str], None] | None = None,
    out: Path | None = None,
) -> list[FoundRaw]:
    """Return the raws that files, folders and patterns stand for; nothing is opened.

    A file is used whatever its name, unless a raw beside it has that name with another ending (a
    JPEG or sidecar that ``*`` matched); a folder stands for the raws in it (with subfolders if
    `recursive`), a pattern for the files that it matches (not every shell expands patterns). Links
    to files are followed unless the folder has the file too; links to folders inside a folder are
    not. Hidden files and folders are skipped; so is `out`, the output folder if one was chosen,
    unless it is named.

    Returns them without repetition, in the order given, folders sorted by name. The default output
    folder is ``denoised``: beside a folder that was named, in the folder of a file that was named.

    `problem` gets each input that does not exist or has no raws, and each unreadable folder, as a
    UsageError; without it, or if no raw was found, the first is raised. `note` gets a message for
    each skipped pipe, device or broken link with a raw's name in a folder, and one for the files
    beside raws.
    """
    search = _Search(recursive, out, note or (lambda _: None))
    found: dict[str, FoundRaw] = {}  # by real path
    for text in inputs:
        for raw, real in search.find(text):
            first = found.setdefault(real, raw)
            if raw.named and not first.named:
                found[real] = first._replace(named=True)
    raws = [raw.file for raw in found.values() if raw.file.suffix.lower() in RAW_SUFFIXES]
    names = {*raws, *(file.with_suffix("") for file in raws)}  # a.CR2.xmp and a.xmp
    others = [real for real, raw in found.items() if _is_beside(raw.file, names)]
    for real in others:
        del found[real]
    if others:
        files = count(len(others), "file")
        search.note(f"{files} beside raws of the same name (JPEGs, sidecars): skipped")
    if search.problems and (problem is None or not found):
        raise search.problems[0]
    if problem is not None:
        for each in search.problems:
            problem(each)
    return list(found.values())


def _is_beside(file: Path, raws: set[Path]) -> bool:
    ending = file.suffix.lower()
    return bool(ending) and ending not in RAW_SUFFIXES and file.with_suffix("") in raws


def read_list(name: str) -> list[str]:
    """Return the inputs in a list: one a line, or separated by NUL; ``-`` is standard input.

    A byte-order mark is left out, and UTF-16 (Windows PowerShell) known by it. Raises UsageError if
    the list cannot be read or is empty.
    """
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except (OSError, ValueError, AttributeError) as error:  # sys.stdin is None if it is closed
        why = os_reason(error) if isinstance(error, OSError) else "it is closed"
        raise UsageError(f"{name}: cannot be read: {why}") from error
    if len(data) > MAX_LIST_BYTES:
        raise UsageError(f"{name}: too long for a list of inputs: split it")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            data = os.fsencode(data.decode("utf-16"))
        lines = data.split(b"\0") if b"\0" in data else data.splitlines()
        found = [os.fsdecode(line) for line in lines if line]  # Windows decodes UTF-8 only
    except UnicodeError as error:
        raise UsageError(f"{name}: not valid UTF-8 or UTF-16: save it as UTF-8") from error
    if not found:
        raise UsageError(f"{name}: names no inputs")
    return found


def without_dots(path: Path) -> Path:
    """Return a path without ``..``, unless that is another one, as after a link to a folder."""
    plain = Path(os.path.normpath(path))
    same = ".." not in path.parts or os.path.realpath(plain) == os.path.realpath(path)
    return plain if same else path


class _Search:
    def __init__(self, recursive: bool, out: Path | None, note: Callable[[str], None]) -> None:
        self.recursive, self.note = recursive, note
        self.problems: list[UsageError] = []
        self.cwd: Path | None = None
        with contextlib.suppress(OSError):
            self.cwd = Path.cwd()
        self._check_working_folder(out)
        self.out = None if out is None else os.path.realpath(out)

    def find(self, text: str) -> list[tuple[FoundRaw, str]]:
        """Return the raws of one input, each with its real path."""
        path = Path(os.path.expanduser(text))
        problems = len(self.problems)
        try:
            if not text:
                raise UsageError("one of the inputs is an empty name; leave it out")
            self._check_working_folder(path)
            path = without_dots(path)
            found = self._in_folder(path) if path.is_dir() else self._named(path)
        except UsageError as error:
            self.problems.append(error)
            return []
        except (OSError, ValueError) as error:
            self._unreadable(path, error)
            return []
        if not found and len(self.problems) == problems:
            hint = "" if self.recursive else IN_SUBFOLDERS
            self.problems.append(NoRawsError(f"{path}: no raw files in this folder{hint}"))
        return found

    def _check_working_folder(self, path: Path | None) -> None:
        if self.cwd is None and path is not None and not path.is_absolute():
            raise UsageError(f"{path}: the working folder no longer exists; cd to another folder")

    def _named(self, path: Path) -> list[tuple[FoundRaw, str]]:
        names, named = [str(path)], os.path.lexists(path)
        if not named:
            names = [n for n in sorted(glob.glob(str(path))) if not os.path.isdir(n)]
            if not names:
                raise UsageError(f"{path}: no such file or folder, and no match as a pattern")
        found = []
        for file in map(Path, names):
            kind = 0
            with contextlib.suppress(FileNotFoundError):
                kind = stat.S_IFMT(os.stat(file).st_mode)
            if kind == stat.S_IFREG:
                raw = FoundRaw(file, Path(), file.parent / DEFAULT_FOLDER, named)
                found.append((raw, os.path.realpath(file)))
            else:
                what = _KINDS.get(kind, "a broken link")
                self.problems.append(UsageError(f"{file}: is {what}, not a raw file"))
        return found

    def _in_folder(self, folder: Path) -> list[tuple[FoundRaw, str]]:
        real_folder = folder.resolve()
        # The parent of "..", as text, would be ".".
        parent = real_folder.parent if folder.name == ".." else folder.parent
        default_out = (folder if real_folder == self.cwd else parent) / DEFAULT_FOLDER
        found: list[tuple[tuple[str, ...], FoundRaw, str, bool]] = []
        subfolders: list[tuple[str, ...]] = [()]
        while subfolders:
            parts = subfolders.pop()
            inside = folder.joinpath(*parts)
            names, folders = self._entries(inside)
            real = os.path.realpath(inside)
            for name, is_link in names:
                raw = FoundRaw(inside / name, Path(*parts), default_out)
                real_file = os.path.realpath(raw.file) if is_link else os.path.join(real, name)
                found.append(((*parts, name), raw, real_file, is_link))
            if self.recursive:
                subfolders += [
                    (*parts, name) for name in folders if os.path.join(real, name) != self.out
                ]
        found.sort(key=lambda each: each[0])
        files = {real_file for *_, real_file, is_link in found if not is_link}
        return [(raw, real) for _, raw, real, is_link in found if not (is_link and real in files)]

    def _entries(self, folder: Path) -> tuple[list[tuple[str, bool]], list[str]]:
        """Return the raws in a folder, with whether they are links, and the folders to search."""
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
                        kind = 0
                        with contextlib.suppress(OSError):  # broken links, or in a circle
                            kind = stat.S_IFMT(entry.stat().st_mode)
                        if kind == stat.S_IFREG:
                            names.append((name, entry.is_symlink()))
                        elif kind != stat.S_IFDIR:
                            self.note(f"{folder / name}: not a regular file; skipped")
        except OSError as error:
            self._unreadable(folder, error)
        return names, folders

    def _unreadable(self, path: Path, error: OSError | ValueError) -> None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
        advice = _ADVICE.get(code, "check whether its drive is connected")
        self.problems.append(UsageError(f"{path}: cannot be read ({reason.lower()}): {advice}"))
