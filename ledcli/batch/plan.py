"""What is left to do for each photo, by the manifest: all formats, some, or none."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ledcli.batch.inputs import FoundRaw
from ledcli.batch.manifest import FileState, Manifest, ManifestEntry, Manifests
from ledcli.batch.settings import Job, Settings, Stamp
from ledcli.errors import LedError, OutputError
from ledcli.raw.exif import Exif
from ledcli.zoo.selection import Chooser

Record = Mapping[str, Any]
"""JSON values."""

UP_TO_DATE = "up to date"
EDITED = "edited since; kept"
MISSING = "missing"
PHOTO_CHANGED = "the photo has changed"
SETTINGS_CHANGED = "made with other settings or another model"
OVERWRITE = "overwriting"


class PlannedPhoto(NamedTuple):
    """What to do for one photo: the formats to write, the outputs that stay, and the reason.

    If there is nothing to make, the photo is skipped; if there is an error, it failed.
    """

    make: tuple[str, ...]
    kept: tuple[Path, ...] = ()
    why: str = ""
    error: LedError | None = None


def plan_photos(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    manifests: Manifests,
    *,
    overwrite: bool = False,
) -> list[PlannedPhoto]:
    """Return what is left to do for each photo, by manifests and file times.

    Raises OutputError if a manifest cannot be read.
    """

    def expected(photo: Record) -> Record:
        try:
            exif = Exif(make=photo["make"], model=photo["model"], iso=photo["iso"])
            model = chooser.choose(exif, float(photo["ratio"]), photo.get("cfa", "bayer"))
            return settings.made_with(str(photo["format"]), model)
        except (KeyError, TypeError, ValueError):
            return {}

    return [plan_photo(job, manifests[job.root], expected, overwrite) for job in jobs]


def plan_photo(
    job: Job,
    manifest: Manifest,
    expected: Callable[[Record], Record],
    overwrite: bool = False,
) -> PlannedPhoto:
    """Decide from the manifest and the files' sizes and times; nothing is read.

    An output is kept if it is what led wrote last, from this photo as it is now, with the settings
    and the model that would be used now: `expected` maps the `photo` of an entry to what its
    `made_with` would be. An edited one is kept as well. A file that led did not write, or that was
    edited and is out of date, is only replaced with `overwrite`.
    """
    if overwrite:
        return PlannedPhoto(tuple(job.outputs), why=OVERWRITE)
    try:
        source = Stamp.of(os.stat(job.source))
    except (OSError, ValueError):
        source = None  # reading it will report the error
    make, kept, reasons = [], [], []
    try:
        for name, path in job.outputs.items():
            keep, why = _plan_output(path, job.source, source, manifest, expected)
            if keep:
                kept.append(path)
            else:
                make.append(name)
            reasons.append((keep, why))
    except LedError as error:
        return PlannedPhoto((), tuple(kept), error=error)
    # The reason for making one comes first, then that for an edited one.
    reasons.sort(key=lambda reason: (reason[0], reason[1] == UP_TO_DATE))
    return PlannedPhoto(tuple(make), tuple(kept), reasons[0][1] if reasons else "")


def _plan_output(
    path: Path,
    source: Path,
    now: Stamp | None,
    manifest: Manifest,
    expected: Callable[[Record], Record],
) -> tuple[bool, str]:
    """Return whether an output is kept, and why; raises OutputError."""
    state, entry = manifest.file_state(path), manifest.entry(path)
    if state is FileState.ABSENT:
        return False, MISSING
    if state is FileState.FOREIGN or entry is None:
        raise _refused(path, "already exists and was not written by led")
    unchanged = now is not None and entry.source_stamp.matches(now)
    # The photo may have moved.
    same_name = entry.source.rpartition("/")[2] == source.name
    if not (unchanged and same_name) and entry.source != manifest.relative_path(source):
        raise _refused(path, f"already exists, made from another photo ({entry.source})")
    stale = "" if unchanged else PHOTO_CHANGED
    if unchanged and not _same(entry, expected(entry.photo)):
        stale = SETTINGS_CHANGED
    if state is FileState.EDITED:
        if stale:
            because = stale if stale == PHOTO_CHANGED else f"it was {stale}"
            raise _refused(path, f"was edited after led wrote it, and {because}")
        return True, EDITED
    if state is FileState.OLDER:
        return False, stale or MISSING
    return not stale, stale or UP_TO_DATE


def _same(entry: ManifestEntry, expected: Record) -> bool:
    made_with = dict(entry.made_with)
    if "set" in made_with:  # the name in earlier versions
        made_with["csa_set"] = made_with.pop("set")
    # As it would be read from the file: tuples as lists.
    return bool(json.loads(json.dumps(expected)) == made_with)


def _refused(path: Path, why: str) -> OutputError:
    return OutputError(f"{path}: {why}: use --overwrite to replace it, or another --out")


def split_results(
    raws: Sequence[FoundRaw], out: Path | None = None, manifests: Manifests | None = None
) -> tuple[list[FoundRaw], list[FoundRaw]]:
    """Separate the DNGs that led wrote from the photos; returns the photos and the named results.

    With ``--out`` as the photos' own folder both lie there, and a second run must find the same
    photos as the first. A file without a line in the manifest is a photo, and so is one that was
    put in a result's place. Results that the user did not name, but that lie in a folder, are left
    out. `out` replaces each input's default output folder. Raises OutputError if a manifest cannot
    be read.
    """
    manifests = Manifests() if manifests is None else manifests
    real: dict[Path, Path] = {}
    photos: list[FoundRaw] = []
    results: list[FoundRaw] = []
    for raw in raws:
        root = out or raw.default_out
        for folder in (root, raw.file.parent):
            if folder not in real:
                real[folder] = Path(os.path.realpath(folder))
        parent, top = real[raw.file.parent], real[root]
        below = parent.relative_to(top) if parent.is_relative_to(top) else None
        if below is None or not manifests[root].wrote(root / below / raw.file.name):
            photos.append(raw)
        elif raw.named:
            results.append(raw)
    return photos, results
