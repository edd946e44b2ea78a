"""A run over many photos: what is missing or changed is denoised, under the folders' locks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from ledcli.batch.folders import check_space, folder_locks, remove_leftovers
from ledcli.batch.manifest import Manifests
from ledcli.batch.plan import PlannedPhoto, plan_photos
from ledcli.batch.settings import Engine, Job, Result, Settings
from ledcli.errors import OutputError
from ledcli.zoo.selection import Chooser

if TYPE_CHECKING:
    from ledcli.batch.photo import PhotoStages


def run(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    *,
    manifests: Manifests | None = None,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_message: Callable[[str], None] = lambda text: None,
) -> Iterator[Result]:
    """Denoise what is missing or changed; a photo that fails does not stop the others.

    Parameters
    ----------
    jobs, settings, chooser, overwrite
        As for `plan_photos`.
    manifests : Manifests, optional
        Those that the jobs were planned with; closed at the end.
    engine : Engine
    stop : callable
        Called between photos; once it returns True, the photos in work are finished and no other
        is started.
    on_message : callable
        Gets messages about the run as a whole.

    Yields
    ------
    Result
        One for each photo, in the order of the jobs; none for those that `stop` left out.

    Raises
    ------
    OutputError
        An output folder cannot be written to, or has too little space.
    UsageError, ModelError
        The engine or the model does not exist.
    """
    manifests = Manifests() if manifests is None else manifests
    planned = plan_photos(jobs, settings, chooser, manifests, overwrite=overwrite)
    if not any(photo.make for photo in planned):
        # Nothing to do: no lock to wait for, no network to load.
        remove_leftovers(jobs, locked=False)
        yield from map(_not_made, jobs, planned)
        return

    from ledcli.raw.decoder import Decoder, decode_file

    with contextlib.ExitStack() as stack:
        # Its process imports while this one imports torch.
        decoder = stack.enter_context(Decoder(decode_file))

        from ledcli.batch.photo import OutputWriter, PhotoStages
        from ledcli.inference.denoiser import DenoiserCache

        denoisers = DenoiserCache(*engine)
        roots = {job.root for job in jobs}
        if not stack.enter_context(folder_locks(roots, on_message, stop)):
            return
        stack.callback(manifests.close)
        remove_leftovers(jobs, locked=True)
        if manifests.refresh():
            # Another run has written since.
            planned = plan_photos(jobs, settings, chooser, manifests, overwrite=overwrite)
        to_make = [
            replace(job, outputs={name: job.outputs[name] for name in photo.make})
            for job, photo in zip(jobs, planned, strict=True)
            if photo.make
        ]
        if warning := check_space(to_make, settings):
            on_message(warning)
        if to_make:
            of = f" of {len(jobs)}" if len(to_make) < len(jobs) else ""
            photos = "photo" if len(jobs) == 1 else "photos"
            on_message(f"{len(to_make)}{of} {photos}, {denoisers.description}")
        writer = stack.enter_context(OutputWriter(manifests, settings, on_message))
        stages = PhotoStages(settings, chooser, decoder, denoisers, writer)
        made = _pipeline(to_make, stages, lambda: stop() or writer.broken is not None)
        stack.enter_context(contextlib.closing(made))
        shown: set[str] = set()
        for job, photo in zip(jobs, planned, strict=True):
            if not photo.make:
                yield _not_made(job, photo)
                continue
            result = next(made, None)
            if result is None and writer.broken is None:
                continue  # stopped; what is up to date is still reported
            if result is None:
                result = Result(job.source, error=OutputError(f"{job.source}: {writer.broken}"))
            result.outputs += photo.kept
            # A skipped model is skipped for every photo.
            result.warnings = [text for text in result.warnings if text not in shown]
            shown.update(result.warnings)
            yield result


def _not_made(job: Job, photo: PlannedPhoto) -> Result:
    why = photo.why if photo.error is None else ""
    return Result(job.source, list(photo.kept), error=photo.error, why=why)


def _pipeline(
    jobs: Sequence[Job], stages: PhotoStages, stop: Callable[[], bool]
) -> Generator[Result, None, None]:
    """Read, denoise and write photos; yields a result for each job, in order.

    While one photo is in the network, the next is decoded in a process of its own and the previous
    one is written in a thread. No more than these are in memory.
    """
    reader = ThreadPoolExecutor(1, "led-read")
    writer = ThreadPoolExecutor(1, "led-write")
    writing: Future[Result] | None = None
    try:
        reading = reader.submit(stages.read, jobs[0]) if jobs else None
        for job, following in zip(jobs, [*jobs[1:], None], strict=True):
            if reading is None or stop():
                break
            result, frame = reading.result()
            reading = reader.submit(stages.read, following) if following else None
            denoised = stages.denoise(frame, result)
            del frame
            if writing is not None:
                yield writing.result()
            writing = writer.submit(stages.write, job, denoised, result)
            del denoised
        if writing is not None:
            yield writing.result()
            writing = None
    finally:
        stages.decoder.close()
        reader.shutdown(wait=False, cancel_futures=True)
        if writing is not None:
            # The caller leaves early, with a second Ctrl-C. The write in progress is waited for:
            # nothing may be written after the folder's lock is released.
            stages.writer.abort()
        writer.shutdown(wait=True, cancel_futures=True)
