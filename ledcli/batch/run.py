"""The run over a folder: what is to be done, under the folder's lock, and what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ledcli.batch.disk_space import check_space
from ledcli.batch.lock import folder_lock, folder_locks
from ledcli.batch.manifest import Manifest
from ledcli.batch.names import folders_of
from ledcli.batch.plan import PlannedPhoto, plan_photo
from ledcli.batch.settings import Job, Result, Settings
from ledcli.errors import OutputError
from ledcli.inference.backends import Engine
from ledcli.output.atomic import list_part_files, remove_abandoned_part_files
from ledcli.raw.exif import Exif
from ledcli.zoo.selection import Chooser


def plan_photos(
    jobs: Sequence[Job], settings: Settings, chooser: Chooser, *, overwrite: bool = False
) -> list[PlannedPhoto]:
    """Find out what is left to do for each photo; reads manifests, looks at files, loads nothing.

    Parameters
    ----------
    jobs : sequence of Job
        From `plan_names`.
    settings, chooser
        As for `run`.
    overwrite : bool
        Make all.
    """
    with _manifests(jobs) as manifests:
        return _decide(jobs, manifests, settings, chooser, overwrite)


def run(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    *,
    engine: Engine = Engine(),  # noqa: B008  (immutable)
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Result]:
    """Denoise what is missing or changed; a photo that fails does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        From `plan_names`.
    settings, chooser
        What is done to every photo, and with which model.
    engine : Engine
    overwrite : bool
        Make all, and replace what led did not write.
    stop : callable
        Asked between photos; once it says yes, what has begun is finished and no more is.
    say : callable
        Told what a person may want to know of the run as a whole.

    Yields
    ------
    Result
        One for each photo, in the order of the jobs; none for those that `stop` left out.

    Raises
    ------
    OutputError
        An output folder cannot be written to, or has too little room.
    UsageError, ModelError
        The engine or the model is not there.
    """
    todos = plan_photos(jobs, settings, chooser, overwrite=overwrite)
    if not any(todo.make for todo in todos):
        # Nothing to do: no lock to wait for, no network to load.
        _tidy_if_free(jobs)
        yield from map(_not_made, jobs, todos)
        return

    from ledcli.raw.decoder import Decoder, decode_file

    with contextlib.ExitStack() as held:
        # Its imports overlap with torch's.
        decoder = held.enter_context(Decoder(decode_file))

        from ledcli.batch.pipeline import Store, pipeline
        from ledcli.inference.denoiser import DenoiserCache

        denoisers = DenoiserCache(engine)
        if not held.enter_context(folder_locks({job.root for job in jobs}, say, stop)):
            return
        _tidy(jobs)
        manifests = held.enter_context(_manifests(jobs))
        # Again: another run may have been at work until now.
        todos = _decide(jobs, manifests, settings, chooser, overwrite)
        to_make = [
            replace(job, outputs={name: job.outputs[name] for name in todo.make})
            for job, todo in zip(jobs, todos, strict=True)
            if todo.make
        ]
        if tight := check_space(to_make, settings):
            say(tight)
        of = f" of {len(jobs)}" if len(to_make) < len(jobs) else ""
        photos = "photo" if len(jobs) == 1 else "photos"
        if to_make:
            say(f"{len(to_make)}{of} {photos}, {denoisers.description}")
        store = held.enter_context(Store(manifests, settings, say))
        made = pipeline(
            to_make,
            settings,
            chooser,
            denoisers,
            decoder,
            store.put,
            store.abandon,
            lambda: stop() or store.broken is not None,
        )
        held.enter_context(contextlib.closing(made))
        told: set[str] = set()
        for job, todo in zip(jobs, todos, strict=True):
            if not todo.make:
                yield _not_made(job, todo)
                continue
            result = next(made, None)
            if result is None and store.broken is None:
                continue  # stopped; what is done already is still told of
            if result is None:
                result = Result(job.source, error=OutputError(f"{job.source}: {store.broken}"))
            result.outputs += todo.kept
            # A model that is passed over is passed over for every photo.
            result.warnings = [text for text in result.warnings if text not in told]
            told.update(result.warnings)
            yield result


def _expected(
    settings: Settings, chooser: Chooser, photo: Mapping[str, Any]
) -> Mapping[str, object]:
    """Return what a photo would be made with now, by what the manifest knows of it."""
    try:
        exif = Exif(make=photo["make"], model=photo["model"], iso=photo["iso"])
        cfa = photo.get("cfa", "bayer")
        model = chooser.choose(exif, float(photo["ratio"]), cfa)
        return settings.made_with(str(photo["format"]), model)
    except (KeyError, TypeError, ValueError):
        return {}


def _decide(
    jobs: Sequence[Job],
    manifests: Mapping[Path, Manifest],
    settings: Settings,
    chooser: Chooser,
    overwrite: bool,
) -> list[PlannedPhoto]:
    expected = partial(_expected, settings, chooser)
    return [plan_photo(job, manifests[job.root], expected, overwrite) for job in jobs]


def _tidy(jobs: Sequence[Job]) -> None:
    """Remove what killed runs left half-written."""
    for folders in folders_of(jobs).values():
        for folder in folders:
            remove_abandoned_part_files(folder)


def _tidy_if_free(jobs: Sequence[Job]) -> None:
    """Do so where no other run is at work; looks once, and waits for nobody."""
    for root, folders in folders_of(jobs).items():
        if any(map(list_part_files, folders)):
            looks = iter([False])
            with folder_lock(root, lambda text: None, partial(next, looks, True)) as free:
                for folder in folders if free else ():
                    remove_abandoned_part_files(folder)


def _not_made(job: Job, todo: PlannedPhoto) -> Result:
    result = Result(job.source, list(todo.kept), error=todo.error)
    if todo.error is None:
        result.why = todo.why
    return result


@contextlib.contextmanager
def _manifests(jobs: Sequence[Job]) -> Iterator[Mapping[Path, Manifest]]:
    with contextlib.ExitStack() as opened:
        yield {root: opened.enter_context(Manifest(root)) for root in {job.root for job in jobs}}
