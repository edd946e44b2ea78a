"""Reading, network and writing side by side, at most one photo in each and one between."""

import contextlib
import errno
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from ledcli.batch.manifest import Manifest, Stamp
from ledcli.batch.photo import Clean, Frame, Picture, denoised, encoded, framed, timed
from ledcli.batch.settings import Job, Result, Settings
from ledcli.errors import LedError, OutputError, RawError
from ledcli.inference.denoiser import DenoiserCache
from ledcli.output.atomic import atomic_write, make_folder
from ledcli.output.maker_notes import MakerNotes
from ledcli.raw.decoder import Decoded, Decoder
from ledcli.zoo.selection import Chooser

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
                made = self.settings.made_with(name, result.model)
                facts = {**photo, "format": name}
                manifest.record(manifest.new_entry(path, job.source, source, made, facts, written))

            data = encoded(clean, name, self.settings)
            finish = self._finish(clean, result) if name == "dng" else None
            try:
                make_folder(path.parent)
                atomic_write(path, data, finish=finish, before_rename=before)
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


Put = Callable[[Job, Clean | Picture, Stamp, Result], None]
"""Encodes a photo and puts its files where they belong; raises OutputError. The stamp is that of
the source before it was read."""


def pipeline(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    denoisers: DenoiserCache,
    decoder: Decoder[Decoded],
    put: Put,
    abandon: Callable[[], None],
    stop: Callable[[], bool],
) -> Generator[Result, None, None]:
    """Take photos through decoding, network and writing.

    While one photo is in the network, the next is decoded in a process of its own and the last is
    encoded in a thread. No more than these are held, however many photos there are. A photo that
    fails is told of and does not stop the others.

    Parameters
    ----------
    jobs, settings, chooser, denoisers, decoder
    put : callable
        Called in the writing thread.
    abandon : callable
        Called when the caller leaves early: makes a `put` that is under way come to an end.
    stop : callable
        Asked before each photo; once it says yes, those that are in the network or behind it are
        finished and no other is begun.

    Yields
    ------
    Result
        In the order of the jobs.
    """
    reader = ThreadPoolExecutor(1, "led-read")
    writer = ThreadPoolExecutor(1, "led-write")
    behind: Future[Result] | None = None
    try:
        ahead = reader.submit(_read, decoder, jobs[0], settings) if jobs else None
        for job, following in zip(jobs, [*jobs[1:], None], strict=True):
            if ahead is None or stop():
                break
            result, source, frame = ahead.result()
            ahead = reader.submit(_read, decoder, following, settings) if following else None
            clean = None
            if frame is not None:
                with _caught(result):
                    clean = denoised(frame, settings, chooser, denoisers, result)
            del frame
            if behind is not None:
                yield behind.result()
            behind = writer.submit(_stored, put, job, clean, source, result)
            del clean
        if behind is not None:
            yield behind.result()
            behind = None
    finally:
        decoder.close()
        reader.shutdown(wait=False, cancel_futures=True)
        if behind is not None:
            # The caller leaves early, with a second Ctrl-C. The file that is being written is
            # waited for: nothing may be written once the folder's lock is gone.
            abandon()
        writer.shutdown(wait=True, cancel_futures=True)


def _read(
    decoder: Decoder[Decoded], job: Job, settings: Settings
) -> tuple[Result, Stamp, Frame | None]:
    result, source, frame = Result(job.source), Stamp(0, 0), None
    with _caught(result):
        with contextlib.suppress(OSError, ValueError):  # the decoder says why
            source = Stamp.of(os.stat(job.source))
        with timed(result, "decode"):
            decoded = decoder.decode(job.source)
        if decoded.note and not settings.again:
            raise RawError(
                f"{job.source}: already denoised by led {decoded.note.get('version', '')} "
                f"(model {decoded.note.get('model', 'unknown')}): --again does it once more"
            )
        with timed(result, "pack"):
            frame = framed(decoded)
    return result, source, frame


def _stored(
    put: Put, job: Job, clean: Clean | Picture | None, source: Stamp, result: Result
) -> Result:
    if clean is not None:
        with _caught(result), timed(result, "encode"):
            put(job, clean, source, result)
    return result


@contextlib.contextmanager
def _caught(result: Result) -> Iterator[None]:
    """Turn what goes wrong with one photo into its result: the next must have its turn."""
    try:
        yield
    except LedError as error:
        result.error = error
    except MemoryError:
        result.error = LedError(
            f"{result.source}: needs more memory than there is: close other programs"
        )
    except Exception as error:  # of any library: it costs this photo alone
        result.error = LedError(f"{result.source}: {type(error).__name__}: {error}")
        result.error.__cause__ = error
