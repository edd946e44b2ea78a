"""What a run writes: a name for each output, and by the manifest, which of them are left to do.

No two outputs have the same name, and none has that of a source.
"""

import json
import os
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.batch.darks import exif_in
from ledcli.batch.journal import Stamp
from ledcli.batch.manifest import FileState, Manifest, Manifests
from ledcli.batch.settings import DEFAULT_NAME, Job, Settings
from ledcli.errors import LedError, OutputError, UsageError
from ledcli.metadata.xmp import read_note
from ledcli.output.formats import find_formats
from ledcli.raw.inputs import RAW_SUFFIXES, FoundRaw, without_dots
from ledcli.zoo.selection import Chooser

KEYS = ("stem", "ext", "name", "suffix", "folder")
"""What `--name` may hold in braces."""
MAX_FIXED_BYTES = 100
"""Of a template without its keys: leaves room for the photo's name in a file name's 255 bytes."""
_FORBIDDEN = set('/\\\0<>:"|?*') if os.name == "nt" else set("/\\\0")

Record = Mapping[str, Any]  # JSON values

UP_TO_DATE = "up to date"
EDITED = "edited since; kept"
DENOISED = "already denoised by led"
MISSING = "missing"
PHOTO_CHANGED = "the photo has changed"
SETTINGS_CHANGED = "made with other settings or another model"
OVERWRITE = "overwriting"


class NameTemplate:
    """The template of output names that `--name` gives: ``{stem}-led{ext}``, with `KEYS`.

    Raises UsageError for one that does not give every photo a valid name of its own.
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
        keys = [key for _, key, *_ in parts if key is not None]
        if not {"stem", "name"} & set(keys):
            raise self._error("needs {stem} or {name}, or all outputs would have the same name")
        if parts[-1][1] != "ext" or keys.count("ext") != 1:
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
        # Outputs of a hidden folder's photos are not hidden.
        parent = without_dots(raw.file.parent.absolute())
        folder = (parent.resolve() if ".." in parent.parts else parent).name.lstrip(".")
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
    these only if led wrote it. Raises UsageError for an unknown format or an invalid template, and
    OutputError if an output would replace a source.
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
        self._key = cache(lambda folder: alike(os.path.realpath(folder)))

    def of(self, raw: FoundRaw) -> _Target:
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
        files = [file, Path(os.path.realpath(file))] if os.path.islink(file) else [file]
        return [(self._key(each.parent), alike(each.name)) for each in files]


class PlannedPhoto(NamedTuple):
    """What to do for one photo: the formats to write, the outputs that stay, and the reason.

    If there is nothing to make, the photo is skipped; if there is an error, it failed.
    """

    make: tuple[str, ...]
    kept: tuple[Path, ...] = ()
    why: str = ""
    error: LedError | None = None
    unfit: str = ""
    """Why no dark frame fits a photo that is skipped."""


def plan_photos(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    manifests: Manifests,
    overwrite: bool = False,
) -> list[PlannedPhoto]:
    """Return what is left to do for each photo; raises OutputError for an unreadable manifest."""
    why = ""

    def expected(photo: Record) -> Record:
        nonlocal why
        try:
            exif = exif_in(photo)
            why = settings.dark.of(exif)[1] if settings.dark else ""
            model = chooser.choose(exif, float(photo["ratio"]), photo.get("cfa", "bayer"))
            return settings.made_with(str(photo["format"]), model, exif)
        except (KeyError, TypeError, ValueError, OverflowError):
            return {}

    planned = []
    for job in jobs:
        why = ""
        photo = plan_photo(job, manifests[job.root], expected, overwrite)
        planned.append(photo if photo.make or photo.error else photo._replace(unfit=why))
    return planned


def plan_photo(
    job: Job, manifest: Manifest, expected: Callable[[Record], Record], overwrite: bool = False
) -> PlannedPhoto:
    """Decide from the manifest and the files' sizes and times; only what led did not write is read.

    An output is kept if it is what led wrote last, from this photo as it is now, with the settings
    and the model that would be used now: `expected` maps the `photo` of an entry to what its
    `made_with` would be. An edited one is kept as well. A file that led did not write, or that was
    edited and is out of date, is only replaced with `overwrite`; a raw that is not led's, never.
    """
    try:
        source = Stamp.of(os.stat(job.source))
    except (OSError, ValueError):
        source = None  # reading it will report the error
    make, kept, reasons = [], [], []
    try:
        for name, path in job.outputs.items():
            keep, why = _plan_output(path, job.source, source, manifest, expected, overwrite)
            kept += [path] * keep
            make += [name] * (not keep)
            reasons.append((keep, why == UP_TO_DATE, why))
    except LedError as error:
        return PlannedPhoto((), tuple(kept), error=error)
    # The reason for making one comes first, then that for an edited one.
    return PlannedPhoto(tuple(make), tuple(kept), min(reasons, key=itemgetter(0, 1))[-1])


def _plan_output(
    path: Path,
    source: Path,
    now: Stamp | None,
    manifest: Manifest,
    expected: Callable[[Record], Record],
    overwrite: bool,
) -> tuple[bool, str]:
    """Return whether an output is kept, and why; raises OutputError."""
    if overwrite and not _is_original(path, manifest):
        return False, OVERWRITE
    state, entry = manifest.look(path)
    if state is FileState.ABSENT:
        return False, MISSING
    if state is FileState.FOREIGN or entry is None or overwrite:
        raise _refused(path, "already exists and was not written by led", manifest)
    unchanged = now is not None and entry.source_stamp.matches(now)
    # The photo may have moved.
    same_name = entry.source.rpartition("/")[2] == source.name
    if not (unchanged and same_name) and entry.source != manifest.relative_path(source):
        raise _refused(path, f"already exists, made from another photo ({entry.source})", manifest)
    stale = "" if unchanged else PHOTO_CHANGED
    # As it would be read from the file: tuples as lists.
    if unchanged and json.loads(json.dumps(expected(entry.photo))) != entry.made_with:
        stale = SETTINGS_CHANGED
    if state is FileState.EDITED:
        if stale:
            because = stale if stale == PHOTO_CHANGED else f"it was {stale}"
            why = f"was edited, or copied without its time, since led wrote it; and {because}"
            raise _refused(path, why, manifest)
        return True, EDITED
    return not stale, stale or UP_TO_DATE


def _refused(path: Path, why: str, manifest: Manifest) -> OutputError:
    original = _is_original(path, manifest)
    way = "move it away, or use" if original else "use --overwrite to replace it, or"
    return OutputError(f"{path}: {why}: {way} another --out")


def _is_original(path: Path, manifest: Manifest) -> bool:
    """Return whether an output's name is that of a raw that led did not write."""
    if path.suffix.lower() not in RAW_SUFFIXES or not os.path.isfile(path):
        return False
    # A power cut leaves empty files.
    return os.path.getsize(path) > 0 and not manifest.wrote(path) and read_note(path) is None


def split_results(
    raws: Sequence[FoundRaw], out: Path | None = None, manifests: Manifests | None = None
) -> tuple[list[FoundRaw], list[FoundRaw]]:
    """Separate the DNGs that led wrote from the photos; returns the photos and the results.

    With ``--out`` as the photos' own folder both lie there, and a second run must find the same
    photos as the first: results in the manifest that the user did not name are in neither list.
    Others are known by led's note in the file; one put in a result's place is a photo. Arguments
    and errors as for `plan_names`.
    """
    manifests = Manifests() if manifests is None else manifests
    real = cache(os.path.realpath)
    photos: list[FoundRaw] = []
    results: list[FoundRaw] = []
    for raw in raws:
        root = out or raw.default_out
        parent, top = Path(real(raw.file.parent)), Path(real(root))
        below = parent.relative_to(top) if parent.is_relative_to(top) else None
        if below is not None and manifests[root].wrote(root / below / raw.file.name):
            results += [raw] * raw.named
        elif raw.file.suffix.lower() == ".dng" and read_note(raw.file):
            results.append(raw)
        else:
            photos.append(raw)
    return photos, results
