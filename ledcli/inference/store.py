"""Where a run puts its files, and what it writes down of them."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from ledcli.errors import OutputError
from ledcli.inference.developing import Picture
from ledcli.inference.jobs import Job, Result, Settings, made_with
from ledcli.inference.manifest import Manifest, Stamp
from ledcli.inference.steps import Clean, encoded
from ledcli.photo.files import atomic_write, make_folder
from ledcli.photo.makernotes import MakerNotes

HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO}
HOPELESS.add(getattr(errno, "ESTALE", errno.EIO))  # not on Windows
"""Errors of a disk that would meet every photo to come."""


class Store:
    """Puts the files of a photo where they belong, and writes down in the manifest that it did.

    Used by the writing thread alone.
    """

    def __init__(
        self, manifests: Mapping[Path, Manifest], settings: Settings, say: Callable[[str], None]
    ) -> None:
        self.manifests = manifests
        self.settings = settings
        self.say = say
        self.broken: str | None = None  # why no photo to come can be written
        self._notes: MakerNotes | None = None
        self._looked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._notes is not None:
            self._notes.close()

    def abandon(self) -> None:
        """Make a `put` that is under way in another thread come to an end soon."""
        if self._notes is not None:
            self._notes.abort()

    def put(self, job: Job, clean: Clean | Picture, source: Stamp, result: Result) -> None:
        """Encode and write every format of a photo."""
        exif = clean.photo.exif
        photo = {
            "make": exif.make,
            "model": exif.model,
            "iso": exif.iso,
            "cfa": clean.photo.cfa,
            "ratio": result.ratio,
        }
        manifest = self.manifests[job.root]
        for name, path in job.outputs.items():

            def before(written: os.stat_result, name: str = name, path: Path = path) -> None:
                made = made_with(self.settings, result.choice, name)
                facts = {**photo, "format": name}
                manifest.record(manifest.new_entry(path, job.source, source, made, facts, written))

            data = encoded(clean, name, self.settings)
            finish = self._finish(clean, result) if name == "dng" else None
            try:
                make_folder(path.parent)
                atomic_write(path, data, finish=finish, before=before)
            except OutputError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and cause.errno in HOPELESS:
                    self.broken = f"not begun, as nothing can be written ({cause.strerror})"
                raise
            result.outputs.append(path)

    def _finish(self, clean: Clean | Picture, result: Result) -> Callable[[Path], None] | None:
        """Return what adds the maker notes to a written DNG; None where there are none to add."""
        if not clean.photo.carried.maker_notes:
            return None
        if not self._looked:
            self._looked, self._notes = True, MakerNotes.find()
            if self._notes is None:
                self.say("exiftool is not on the PATH: maker notes are not carried into the DNGs")
        notes = self._notes
        if notes is None:
            return None

        def copy(dng: Path) -> None:
            warning = notes.copy(clean.photo.path, dng)
            if warning:
                result.warnings.append(warning)

        return copy
