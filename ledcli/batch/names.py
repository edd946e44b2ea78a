"""The outputs of a run: a name for each, no two alike, none that of a source."""

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
    "stem": "the photo's name without its suffix",
    "ext": "the output's suffix, with the dot",
    "name": "the photo's whole name",
    "suffix": "the photo's suffix, without the dot",
    "folder": "the name of the photo's folder",
}
"""What `--name` may hold in braces."""
MAX_FIXED_BYTES = 100
"""Of a template without its keys: leaves room for the photo's name in a file name's 255 bytes."""
_FORBIDDEN = set('/\\\0<>:"|?*') if os.name == "nt" else set("/\\\0")


class NameTemplate:
    """The template of output names that `--name` gives: ``{stem}-led{ext}``, with `KEYS`.

    Raises UsageError for an unknown key, none that distinguishes the photos, a suffix other than
    ``{ext}``, or a character that is not allowed in a file name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise self._error(f"{error} (write '{{{{' for a literal brace)") from None
        for _, key, spec, conversion in parts:
            if key is not None and (key not in KEYS or spec or conversion):
                known = ", ".join(f"{{{each}}}" for each in KEYS)
                raise self._error(f"unknown key '{{{key}}}': use {known}")
        fixed = "".join(literal for literal, *_ in parts)
        self._keys = keys = [key for _, key, *_ in parts if key is not None]
        if not {"stem", "name"} & set(keys):
            raise self._error("needs {stem} or {name}, or all outputs would have the same name")
        if keys[-1] != "ext" or parts[-1][1] != "ext" or keys.count("ext") != 1:
            raise self._error("must end in {ext}, and have it only once")
        if any(c in _FORBIDDEN or unicodedata.category(c) == "Cc" for c in fixed):
            raise self._error("a file name has no separators or control characters; use --out")
        if text.startswith("."):
            raise self._error("a name that begins with a dot would be hidden")
        if len(os.fsencode(fixed)) > MAX_FIXED_BYTES:
            raise self._error(f"has more than {MAX_FIXED_BYTES} bytes besides its keys")

    def base(self, raw: FoundRaw, attempt: int = 0) -> str:
        """Return the name of a photo's outputs without the suffix.

        Attempt 0 is the name as asked for, 1 has the photo's whole name instead of its stem, later
        ones a number too.
        """
        name = raw.file.name
        stem = raw.file.stem if attempt == 0 else name
        if attempt > 1:
            stem = name = f"{name}-{attempt}"
        folder = ""
        if "folder" in self._keys:
            # Outputs of a hidden folder's photos are not hidden.
            folder = os.path.basename(os.path.dirname(os.path.abspath(raw.file))).lstrip(".")
        suffix = raw.file.suffix.removeprefix(".")
        return self.text.format(stem=stem, name=name, suffix=suffix, folder=folder, ext="")

    def _error(self, why: str) -> UsageError:
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
    """Name the outputs of every photo, so that no two share a name and none replaces a source.

    Names depend on which photos there are, not on their order. Two names are alike if any file
    system takes them for the same: in upper and lower case, composed and decomposed letters.

    `out` replaces each input's default output folder; `name` is a `NameTemplate`. `sources` are all
    raws that were found, with those that `split_results` left out: an output may replace one of
    these only if led wrote it.

    Raises
    ------
    UsageError
        An unknown format, or an invalid template.
    OutputError
        An output would replace a source.
    """
    suffixes = {each.name: each.suffix for each in find_formats(formats)}
    template = NameTemplate(name)
    manifests = Manifests() if manifests is None else manifests
    folders = _Folders(out)
    targets = [folders.of(raw) for raw in raws]
    bases = [template.base(raw) for raw in raws]
    wanted = [(folder.key, alike(base)) for folder, base in zip(targets, bases, strict=True)]
    wishes = Counter(wanted)
    taken = folders.subfolder_names()

    def names(i: int) -> set[tuple[str, str]]:
        return {(targets[i].key, alike(bases[i] + suffix)) for suffix in suffixes.values()}

    # Names that only one photo wants go first; then in the same order in every run.
    for i in sorted(range(len(raws)), key=lambda i: (wishes[wanted[i]] > 1, str(raws[i].file))):
        attempt = 0
        while (attempt == 0 and wishes[wanted[i]] > 1) or not taken.isdisjoint(names(i)):
            attempt += 1
            bases[i] = template.base(raws[i], attempt)
        taken |= names(i)
    photos = {key for raw in raws for key in folders.file_keys(raw.file)}
    left_out = {key for raw in sources or () for key in folders.file_keys(raw.file)} - photos
    jobs = []
    for raw, folder, base in zip(raws, targets, bases, strict=True):
        outputs = {f: folder.path / (base + suffix) for f, suffix in suffixes.items()}
        for path in outputs.values():
            key = (folder.key, alike(path.name))
            if key in photos or (
                key in left_out and os.path.lexists(path) and not manifests[folder.root].wrote(path)
            ):
                raise OutputError(
                    f"{path} is one of the photos: choose another folder with --out, or another "
                    "name with --name"
                )
        jobs.append(Job(raw.file, outputs, folder.root))
    return jobs


def alike(name: str) -> str:
    """Return a key that is equal for names that some file system takes for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


class _Target(NamedTuple):
    """An output folder; `key` is equal for paths that may be the same folder."""

    root: Path
    path: Path
    key: str


class _Folders:
    """The folders of a run; each is resolved once."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self._roots: dict[str, Path] = {}
        self._targets: dict[tuple[str, str], _Target] = {}
        self._keys: dict[str, str] = {}

    def of(self, raw: FoundRaw) -> _Target:
        """Return the folder of a photo's outputs."""
        root = self.out or raw.default_out
        spelling = (str(root), str(raw.subfolder))
        if spelling not in self._targets:
            # One spelling for each root, so that its manifest is opened once.
            root = self._roots.setdefault(os.path.realpath(root), root)
            path = root / raw.subfolder
            self._targets[spelling] = _Target(root, path, self._key(path))
        return self._targets[spelling]

    def subfolder_names(self) -> set[tuple[str, str]]:
        """Return the names of folders below the roots, which no output may have."""
        return {
            (self._key(path.parent), alike(path.name))
            for target in self._targets.values()
            for path in (target.path, *target.path.parents)
            if path.is_relative_to(target.root) and path != target.root
        }

    def file_keys(self, file: Path) -> list[tuple[str, str]]:
        """Return the keys of a file, and of its target if it is a link."""
        keys = [(self._key(file.parent), alike(file.name))]
        if file.is_symlink():
            target = Path(os.path.realpath(file))
            keys.append((self._key(target.parent), alike(target.name)))
        return keys

    def _key(self, folder: Path) -> str:
        text = str(folder)
        if text not in self._keys:
            self._keys[text] = alike(os.path.realpath(text))
        return self._keys[text]
