"""Writes denoised photos in all their formats, and records them in the manifests."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from ledcli.batch.darks import ALSO_OF_EXIF, exif_in
from ledcli.batch.journal import Stamp
from ledcli.batch.manifest import Manifests
from ledcli.batch.settings import Job, Result, Settings
from ledcli.errors import OutputError
from ledcli.output.atomic import make_folder, move_part, part_file, write_part
from ledcli.output.formats import FORMATS
from ledcli.output.gain_maps import IMAGE_LIST, MOSAIC_LIST, missing_corrections
from ledcli.output.maker_notes import MakerNotes
from ledcli.output.render import DenoisedPhoto
from ledcli.raw.reader import RawPhoto

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
GONE = {errno.EIO, errno.ENODEV, errno.ENXIO}
GONE.add(getattr(errno, "ESTALE", errno.EIO))  # not on Windows
"""Errors that every later photo would meet as well; a disk that is gone here, `GONE`, may still be
there on other machines."""

About = Mapping[str, object]
"""What the manifest says of the photo that a file was made from."""


class OutputWriter:
    """Encodes and writes photos, and records the files in the manifests.

    Used by one thread, except for `abort`.
    """

    fatal = FULL | GONE
    """Errors after which nothing more is written."""

    def __init__(
        self, manifests: Manifests, settings: Settings, on_message: Callable[[str], None]
    ) -> None:
        self.manifests, self.settings, self.on_message = manifests, settings, on_message
        self.broken: str | None = None  # why no later photo can be written
        self._maker_notes: MakerNotes | None = None
        self._searched = False

    def close(self) -> None:
        """End what copies maker notes."""
        if self._maker_notes is not None:
            self._maker_notes.close()

    def abort(self) -> None:
        """Make a `write` in another thread end soon."""
        if self._maker_notes is not None:
            self._maker_notes.abort()

    def write(self, job: Job, denoised: DenoisedPhoto, result: Result) -> None:
        """Write all formats of a photo; raises OutputError."""
        for name, path in job.outputs.items():
            self._check_corrections(name, denoised, result)
            form, photo, exif = FORMATS[name], denoised.photo, denoised.photo.exif
            data = form.encode(denoised, **form.options(self.settings))
            finish = self._copy_maker_notes(photo, result) if form.maker_notes else None
            about = {"make": exif.make, "model": exif.model, "iso": exif.iso, "cfa": photo.cfa}
            about |= {"ratio": result.ratio, "format": name}
            if self.settings.dark:
                about |= {key: getattr(exif, key) for key in ALSO_OF_EXIF}
            with self._watching_the_disk():
                make_folder(path.parent)
                with self.part(job, name) as part:
                    write_part(part, path, data, finish)
                    self.move(job, name, part, about, result)

    def part(self, job: Job, name: str) -> AbstractContextManager[Path]:
        """Return the part file of an output, which is removed when its context ends."""
        return part_file(job.outputs[name].parent)

    def move(self, job: Job, name: str, part: Path, about: About, result: Result) -> None:
        """Record a part file that is complete, and give it its name."""
        with self._watching_the_disk():
            move_part(part, job.outputs[name], partial(self._record, job, name, about, result))
        result.outputs.append(job.outputs[name])

    @contextlib.contextmanager
    def _watching_the_disk(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in self.fatal:
                self.broken = f"not started, as nothing can be written ({cause.strerror})"
            raise

    def _check_corrections(self, name: str, denoised: DenoisedPhoto, result: Result) -> None:
        """Warn of corrections that a format neither has made nor leaves to a raw developer."""
        photo = denoised.photo
        lists: tuple[int, ...] = ()
        if not FORMATS[name].raw:
            lists = (MOSAIC_LIST, IMAGE_LIST)
        elif self.settings.linear and not photo.monochrome:
            lists = (MOSAIC_LIST,)
        mapped = denoised.developed is None  # a network that makes pictures knows no gain maps
        if numbers := missing_corrections(photo.carried, lists, gain_maps=mapped):
            result.warnings.append(
                f"{photo.path}: asks for corrections that led does not make (opcodes {numbers}), "
                f"and the {name.upper()} lacks them: only a DNG without --linear keeps them"
            )

    def _record(
        self, job: Job, name: str, about: About, result: Result, written: os.stat_result
    ) -> None:
        path = job.outputs[name]
        made_with = self.settings.made_with(name, result.model, exif_in(about))
        manifest, stamp = self.manifests[job.root], result.source_stamp or Stamp(0, 0)
        entry = manifest.new_entry(path, job.source, stamp, made_with, about, written)
        manifest.record(entry)

    def _copy_maker_notes(self, photo: RawPhoto, result: Result) -> Callable[[Path], None] | None:
        """Return what copies the maker notes to a written file; None if there are none to copy."""
        if not photo.carried.maker_notes:
            return None
        if not self._searched:
            self._searched, self._maker_notes = True, MakerNotes.find()
            if self._maker_notes is None:
                self.on_message("exiftool is not on the PATH: maker notes are not copied to DNGs")
        maker_notes = self._maker_notes
        if maker_notes is None:
            return None

        def copy(dng: Path) -> None:
            if warning := maker_notes.copy(photo.path, dng):
                result.warnings.append(warning)

        return copy
