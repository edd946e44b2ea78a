"""Denoising the photos of a run on a Ray cluster.

Workers write part files, whose names the driver chose; the driver alone records a finished one in
the manifest and gives it its name. So a photo that was tried twice is never written twice, and what
a dead worker left is removed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ledcli.batch.cluster import Cluster
from ledcli.batch.cluster_actor import Moved, NodeProblem, Start
from ledcli.batch.manifest import STATE_FOLDER, Manifests
from ledcli.batch.output_writer import FULL, GONE, About, OutputWriter
from ledcli.batch.pipeline import IN_NETWORK, RunProgress
from ledcli.batch.reading import capture_errors, read_photo
from ledcli.batch.settings import Engine, Job, Quality, Result, Settings
from ledcli.errors import LedError, OutputError
from ledcli.output.atomic import part_file
from ledcli.raw.decoder import ReaderThreads, decoders
from ledcli.reporting import ProgressBar, Reporter, Stop
from ledcli.zoo.selection import Chooser, NamedModel, chooser_of

KEEP_S = 10.0
"""How often the files that show workers the output folders are touched (seconds)."""


@dataclass(frozen=True)
class _Task(Job):
    """A photo for a worker."""

    parts: Mapping[str, Path]
    """The part files to write, by format."""
    seen: Sequence[Path]
    """Paths that the driver sees, and the worker must see too."""
    written: dict[str, About] = field(default_factory=dict)
    """Filled by the worker for each part file that is complete."""


class _Answer(NamedTuple):
    """What a worker made of a photo; the result has no outputs yet."""

    result: Result
    pixels: int
    written: dict[str, About]
    messages: list[str]
    broken: str | None
    """Why no later photo can be written."""


class PhotoWork:
    """Reads, denoises and encodes photos in a worker; called by several threads."""

    def __init__(self, settings: Settings, model: str | None, engine: Engine) -> None:
        from ledcli.batch.photo import PhotoStages
        from ledcli.inference.denoiser import DenoiserCache

        chooser = chooser_of(model, settings.quality == Quality.FAST)
        self._settings, self._messages = settings, list[str]()
        self._writer = _PartWriter(Manifests(), settings, self._messages.append)
        self._stages = PhotoStages(settings, chooser, DenoiserCache(*engine), self._writer)
        # As in `Pipeline`: each stage has one photo, and torch one thread that calls it.
        self._reader = ReaderThreads(decoders, 1)
        self._network, self._encoder = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def __call__(self, task: _Task, moved: Moved) -> _Answer:
        """Write a photo's part files; raises NodeProblem if its folders are not seen here."""
        for path in task.seen:
            if not os.path.exists(path):
                raise NodeProblem(f"does not see {path} any more")
        result, frame = self._reader.submit(read_photo, task, self._settings).result()
        pixels = 0 if frame is None else frame.photo.mosaic.size
        moved(pixels, 0.0)
        denoising = self._network.submit(
            self._stages.denoise, frame, result, lambda share: moved(pixels, share * IN_NETWORK)
        )
        del frame
        writing = self._encoder.submit(self._stages.write, task, denoising.result(), result)
        del denoising
        result = writing.result()
        cause = result.error.__cause__ if isinstance(result.error, OutputError) else None
        if isinstance(cause, OSError) and cause.errno in GONE:
            raise NodeProblem(f"cannot write here: {result.error}")
        result.outputs = []
        return _Answer(result, pixels, task.written, self._messages[:], self._writer.broken)


class _PartWriter(OutputWriter):
    """Writes part files only: the driver records them and gives them their names."""

    fatal = FULL

    def part(self, job: Job, name: str) -> contextlib.AbstractContextManager[Path]:
        assert isinstance(job, _Task)
        return contextlib.nullcontext(job.parts[name])

    def move(self, job: Job, name: str, part: Path, about: About, result: Result) -> None:
        assert isinstance(job, _Task)
        job.written[name] = about


class _Photos:
    """The driver's side: makes tasks of photos, and results of answers."""

    def __init__(
        self,
        jobs: Sequence[Job],
        witnesses: Mapping[Path, Path],
        writer: OutputWriter,
        progress: RunProgress,
    ) -> None:
        self._jobs, self._witnesses, self._writer = jobs, witnesses, writer
        self._progress = progress
        self._tasks: dict[int, _Task] = {}
        self._read: set[int] = set()
        self._messages: set[str] = set()

    def task(self, number: int, attempt: contextlib.ExitStack) -> _Task:
        job = self._jobs[number]
        parts = {
            name: attempt.enter_context(part_file(path.parent))
            for name, path in job.outputs.items()
        }
        seen = [path for path in (self._witnesses[job.root], job.source) if os.path.exists(path)]
        task = self._tasks[number] = _Task(job.source, job.outputs, job.root, parts, seen)
        return task

    def done(self, number: int, answer: _Answer) -> Result:
        task, result = self._tasks[number], answer.result
        self.moved(number, answer.pixels, IN_NETWORK)
        for message in answer.messages:
            if message not in self._messages:
                self._messages.add(message)
                self._writer.on_message(message)
        self._writer.broken = self._writer.broken or answer.broken
        for name, about in answer.written.items():
            if not task.parts[name].exists():
                raise NodeProblem(f"wrote {task.outputs[name]}, which is not seen here")
            with capture_errors(result):
                self._writer.move(task, name, task.parts[name], about, result)
        self._progress.reached(number, 1)
        return result

    def lost(self, number: int, why: str) -> Result:
        source = self._jobs[number].source
        self.moved(number, 0, 1)
        return Result(source, error=LedError(f"{source}: {why}"))

    def moved(self, number: int, size: int, share: float) -> None:
        if number not in self._read:
            self._read.add(number)
            self._progress.read(number, size)
        self._progress.reached(number, share)


class ClusterPhotos(contextlib.ExitStack):
    """A run's photos on the cluster at an address; as `Pipeline`."""

    def __init__(
        self, address: str, settings: Settings, chooser: Chooser, engine: Engine, report: Reporter
    ) -> None:
        super().__init__()
        gpus = engine.device != "cpu"
        self._cluster = self.enter_context(Cluster(address, report, gpus=gpus))
        self.description = self._cluster.description
        self._model = chooser.name if isinstance(chooser, NamedModel) else None
        self._make = partial(PhotoWork, settings, self._model, engine)

    def run(
        self, jobs: Sequence[Job], writer: OutputWriter, stop: Stop, bar: ProgressBar
    ) -> Generator[Result, None, None]:
        """Yield a result for each job, in order, when the photo and those before it are done."""
        progress = RunProgress(bar, [job.source for job in jobs])
        with contextlib.ExitStack() as stack:
            witnesses = {}
            for root in {job.root for job in jobs}:
                path = witnesses[root] = stack.enter_context(part_file(root / STATE_FOLDER))
                path.touch()
            models = [self._model] if self._model else []
            start = Start.of(self._make, witnesses.values(), models)
            photos = _Photos(jobs, witnesses, writer, progress)
            kept = _keeping(witnesses.values(), stop)
            yield from self._cluster.run(photos, len(jobs), start, kept)


def _keeping(paths: Collection[Path], stop: Stop) -> Stop:
    """Return a `stop` that keeps files young when it is asked: other runs remove old part files."""
    due = 0.0

    def asked() -> bool:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + KEEP_S
            for path in paths:
                with contextlib.suppress(OSError):  # reported where a photo is written
                    path.touch()
        return stop()

    return asked
