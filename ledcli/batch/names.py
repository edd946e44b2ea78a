"""Where the results of a run go: a name for every output, no two alike, none a source."""

import os
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.batch.inputs import FoundRaw
from ledcli.batch.manifest import Manifests
from ledcli.batch.settings import Job
from ledcli.errors import OutputError, UsageError
from ledcli.output.formats import find_formats

DEFAULT_NAME = "{stem}{ext}"
KEYS = {
    "stem": "the photo's name without its ending",
    "ext": "the result's ending, with the dot",
    "name": "the photo's whole name",
    "suffix": "the photo's ending, without the dot",
    "folder": "the name of the photo's folder",
}
"""What `--name` may hold in braces."""
LONGEST_FIXED = 100
"""Bytes of a template beside its keys: leaves room for the photo's name in the 255 of a disk."""
_NO_NAME = set('/\\\0<>:"|?*') if os.name == "nt" else set("/\\\0")


class NameTemplate:
    """The form of output names, as `--name` has it.

    Parameters
    ----------
    text : str
        With `KEYS` in braces: ``{stem}-led{ext}``.

    Raises
    ------
    UsageError
        An unknown key, none that tells the photos apart, an ending other than ``{ext}``, or a
        character that no file name may hold.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise self._wrong(f"{error} (write '{{{{' for a brace itself)") from None
        for _, key, spec, conversion in parts:
            if key is not None and (key not in KEYS or spec or conversion):
                known = ", ".join(f"{{{each}}}" for each in KEYS)
                raise self._wrong(f"'{{{key}}}' is no key: there are {known}")
        fixed = "".join(literal for literal, *_ in parts)
        self._keys = keys = [key for _, key, *_ in parts if key is not None]
        if not {"stem", "name"} & set(keys):
            raise self._wrong("it needs {stem} or {name}, or all photos would be called the same")
        if keys[-1] != "ext" or parts[-1][1] != "ext" or keys.count("ext") != 1:
            raise self._wrong("{ext} belongs at its end, once")
        if any(c in _NO_NAME or unicodedata.category(c) == "Cc" for c in fixed):
            raise self._wrong("it is a file name: folders go to --out, no separators or controls")
        if text.startswith("."):
            raise self._wrong("a name that begins with a dot would be hidden")
        if len(os.fsencode(fixed)) > LONGEST_FIXED:
            raise self._wrong(f"more than {LONGEST_FIXED} bytes beside its keys: a shorter one")

    def base(self, raw: FoundRaw, again: int = 0) -> str:
        """Return the name of a photo's results but for the ending.

        Parameters
        ----------
        raw : FoundRaw
        again : int
            0 gives the name as asked for, 1 puts the photo's whole name for its stem, from 2 on
            with a number, until nobody else has it.
        """
        name = raw.file.name
        stem = raw.file.stem if again == 0 else name
        if again > 1:
            stem = name = f"{name}-{again}"
        folder = ""
        if "folder" in self._keys:
            # A hidden folder's photos are not hidden ones.
            folder = os.path.basename(os.path.dirname(os.path.abspath(raw.file))).lstrip(".")
        suffix = raw.file.suffix.removeprefix(".")
        return self.text.format(stem=stem, name=name, suffix=suffix, folder=folder, ext="")

    def _wrong(self, why: str) -> UsageError:
        return UsageError(f"--name '{self.text}': {why}")


def plan_names(
    raws: Sequence[FoundRaw],
    formats: Sequence[str],
    out: Path | None = None,
    name: str = DEFAULT_NAME,
    *,
    sources: Sequence[FoundRaw] | None = None,
    manifests: Manifests | None = None,
) -> list[Job]:
    """Name the results of every photo, so that no two share a name and none is a source.

    Names depend on which photos there are, not on their order. Two are alike if a disk may take
    them for the same: upper and lower case, composed and decomposed letters.

    Parameters
    ----------
    raws : sequence of FoundRaw
        From `find_raws`.
    formats : sequence of str
        Names from `FORMATS`.
    out : Path, optional
        Output folder, instead of the one beside each input.
    name : str
        As `NameTemplate` has it.
    sources : sequence of FoundRaw, optional
        All raws that were found, those that `todo.split_results` left out with them. A result
        may lie on one that was left out only if led wrote that.

    Raises
    ------
    UsageError
        A format is not known, or the template does not do.
    OutputError
        A result would lie where a source is.
    """
    suffixes = {each.name: each.suffix for each in find_formats(formats)}
    template = NameTemplate(name)
    real = _RealFolders()
    folders = _Folders(out, real)
    below = [folders.of(raw) for raw in raws]
    bases = [template.base(raw) for raw in raws]
    wanted = [(folder.key, alike(base)) for folder, base in zip(below, bases, strict=True)]
    shared = Counter(wanted)
    taken = folders.names()

    def names(i: int) -> set[tuple[str, str]]:
        return {(below[i].key, alike(bases[i] + ending)) for ending in suffixes.values()}

    # Those that nobody else wants first; then in an order that is the same in every run.
    for i in sorted(range(len(raws)), key=lambda i: (shared[wanted[i]] > 1, str(raws[i].file))):
        again = 0
        while (again == 0 and shared[wanted[i]] > 1) or not taken.isdisjoint(names(i)):
            again += 1
            bases[i] = template.base(raws[i], again)
        taken |= names(i)
    photos = {place for raw in raws for place in real.places(raw.file)}
    left_out = {place for raw in sources or () for place in real.places(raw.file)} - photos
    manifests = Manifests() if manifests is None else manifests
    jobs = []
    for raw, folder, base in zip(raws, below, bases, strict=True):
        outputs = {f: folder.path / (base + suffix) for f, suffix in suffixes.items()}
        for path in outputs.values():
            place = (folder.key, alike(path.name))
            taken_by_photo = place in photos
            if place in left_out:
                taken_by_photo = os.path.lexists(path) and not manifests[folder.root].wrote(path)
            if taken_by_photo:
                raise OutputError(
                    f"{path} is one of the photos: choose another folder with --out, "
                    "or another name with --name"
                )
        jobs.append(Job(raw.file, outputs, folder.root))
    return jobs


def alike(name: str) -> str:
    """Return what is equal for names that some disk takes for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class _Folder(NamedTuple):
    """An output folder: its root, itself, and what is equal for folders that may be one."""

    root: Path
    path: Path
    key: str


class _Folders:
    """The output folders of a run; each is made out once."""

    def __init__(self, out: Path | None, real: "_RealFolders") -> None:
        self.out, self.real = out, real
        self._roots: dict[str, Path] = {}
        self._known: dict[tuple[str, str], _Folder] = {}

    def of(self, raw: FoundRaw) -> _Folder:
        """Return the folder of a photo's results."""
        root = self.out or raw.default_out
        known = (str(root), str(raw.subfolder))
        if known not in self._known:
            # One spelling for one root: its manifest is opened once.
            root = self._roots.setdefault(os.path.realpath(root), root)
            path = root / raw.subfolder
            self._known[known] = _Folder(root, path, self.real.key(path))
        return self._known[known]

    def names(self) -> set[tuple[str, str]]:
        """Return the names that folders have inside others: no result may have them."""
        return {
            (self.real.key(place.parent), alike(place.name))
            for folder in self._known.values()
            for place in (folder.path, *folder.path.parents)
            if place.is_relative_to(folder.root) and place != folder.root
        }


class _RealFolders:
    """Where folders really are; each is looked up once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def key(self, folder: Path) -> str:
        text = str(folder)
        if text not in self._known:
            self._known[text] = alike(os.path.realpath(text))
        return self._known[text]

    def places(self, file: Path) -> list[tuple[str, str]]:
        """Return where a file lies, and where it really is when it is a link."""
        places = [(self.key(file.parent), alike(file.name))]
        if file.is_symlink():
            target = Path(os.path.realpath(file))
            places.append((self.key(target.parent), alike(target.name)))
        return places
