"""What is left to do for a photo, by the manifest: all, some, or nothing."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ledcli.batch.inputs import FoundRaw
from ledcli.batch.manifest import Entry, Manifest, Stamp, Standing
from ledcli.batch.settings import Job
from ledcli.errors import LedError, OutputError

Record = Mapping[str, object]
"""What JSON can hold."""

FINISHED = "done already"
EDITED = "changed by somebody since: kept as it is"
NEW = "not there yet"
PHOTO_CHANGED = "the photo has changed"
SETTINGS_CHANGED = "made with other settings or another model"
OVERWRITE = "to be overwritten"


class PlannedPhoto(NamedTuple):
    """What to do for one photo.

    Attributes
    ----------
    make : tuple of str
        The formats to write; empty: skip the photo.
    kept : tuple of Path
        Outputs that stay.
    why : str
        The reason, in words.
    error : LedError or None
        Why the photo cannot be done; nothing is to be made then.
    """

    make: tuple[str, ...]
    kept: tuple[Path, ...] = ()
    why: str = ""
    error: LedError | None = None


def plan_photo(
    job: Job,
    manifest: Manifest,
    expected: Callable[[Record], Record],
    overwrite: bool = False,
) -> PlannedPhoto:
    """Decide from the manifest and the files' sizes and times; nothing is read.

    An output is kept when it is what led wrote last, from this photo as it is now, with the
    settings and the model that would be taken now. One that somebody changed since is kept as
    well. A file that led did not write, or that was changed and would have to be made again, is
    replaced with `overwrite` only.

    Parameters
    ----------
    job : Job
    manifest : Manifest
        Of ``job.root``.
    expected : callable
        What `made_with` would be for a photo, from the `photo` of its entry.
    overwrite : bool
        Make all.
    """
    formats = tuple(job.outputs)
    if overwrite:
        return PlannedPhoto(formats, why=OVERWRITE)
    try:
        source = Stamp.of(os.stat(job.source))
    except (OSError, ValueError):
        source = None  # reading it will say why
    make, kept, reasons = [], [], []
    try:
        for name, path in job.outputs.items():
            keep, why = _one(path, job.source, source, manifest, expected)
            if keep:
                kept.append(path)
            else:
                make.append(name)
            reasons.append((keep, why))
    except LedError as error:
        return PlannedPhoto((), tuple(kept), error=error)
    # What is to be made says why; else what is not as led left it.
    reasons.sort(key=lambda reason: (reason[0], reason[1] == FINISHED))
    return PlannedPhoto(tuple(make), tuple(kept), reasons[0][1] if reasons else "")


class Sorted(NamedTuple):
    """Raws that were found: the photos, and results of led's that the user named one by one."""

    photos: list[FoundRaw]
    results: list[FoundRaw]


def split_results(raws: Sequence[FoundRaw], out: Path | None = None) -> Sorted:
    """Sort out the DNGs that led wrote.

    With ``--out`` as the photos' own folder they lie there together, and a second run is to find
    the same photos as the first. By the manifest: what led has no line of is a photo, and so is
    what somebody put in a result's place. Results that were found in a folder are passed over in
    silence.

    Parameters
    ----------
    raws : sequence of FoundRaw
        From `find_raws`.
    out : Path, optional
        Output folder, instead of the one beside each input.

    Raises
    ------
    OutputError
        A manifest cannot be read.
    """
    manifests: dict[Path, Manifest] = {}
    real: dict[Path, str] = {}
    found = Sorted([], [])
    for raw in raws:
        root = out or raw.beside
        for folder in (root, raw.file.parent):
            if folder not in real:
                real[folder] = os.path.realpath(folder)
        place, top = Path(real[raw.file.parent]), Path(real[root])
        if place.is_relative_to(top):
            if root not in manifests:
                manifests[root] = Manifest(root)
            if manifests[root].wrote(root / place.relative_to(top) / raw.file.name):
                if raw.named:
                    found.results.append(raw)
                continue
        found.photos.append(raw)
    return found


def _one(
    path: Path,
    source: Path,
    now: Stamp | None,
    manifest: Manifest,
    expected: Callable[[Record], Record],
) -> tuple[bool, str]:
    """Return whether an output is kept, and why; raises OutputError."""
    standing = manifest.standing(path)
    entry = manifest.entry(path)
    if standing is Standing.ABSENT:
        return False, NEW
    if standing is Standing.FOREIGN or entry is None:
        raise _refused(path, "is there already, and led knows nothing of it")
    if not _same_photo(entry, source, now, manifest):
        raise _refused(path, f"is there already, made from another photo ({entry.source})")
    stale = _stale(entry, now, expected)
    if standing is Standing.CHANGED:
        if stale:
            since = "somebody changed it since led wrote it"
            because = stale if stale == PHOTO_CHANGED else f"it was {stale}"
            raise _refused(path, f"{since}, and {because}")
        return True, EDITED
    if standing is Standing.OURS:
        return False, stale or NEW
    return not stale, stale or FINISHED


def _same_photo(entry: Entry, source: Path, now: Stamp | None, manifest: Manifest) -> bool:
    """Tell whether an output was made from this photo, though it may lie elsewhere by now."""
    moved = entry.source.rpartition("/")[2] == source.name and now is not None
    if moved and now is not None and entry.source_stamp.still(now):
        return True
    return entry.source == manifest.from_root(source)


def _stale(entry: Entry, now: Stamp | None, expected: Callable[[Record], Record]) -> str:
    """Say why an output is out of date; empty if it is not."""
    if now is None or not entry.source_stamp.still(now):
        return PHOTO_CHANGED
    # As it would come back from the file: tuples as lists.
    wanted = json.loads(json.dumps(expected(entry.photo)))
    return "" if wanted == entry.made_with else SETTINGS_CHANGED


def _refused(path: Path, why: str) -> OutputError:
    return OutputError(f"{path}: {why}: --overwrite replaces it, --out chooses another folder")
