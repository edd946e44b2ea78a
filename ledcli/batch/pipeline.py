"""Photos on their way: one is read, one is in the network and one is written at the same time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ledcli.batch.folders import file_size
from ledcli.batch.reading import DecodedFrame, read_photo
from ledcli.batch.settings import Job, Result, Settings
from ledcli.raw.decoder import ReaderThreads, decoders
from ledcli.reporting import ProgressBar

if TYPE_CHECKING:
    from ledcli.batch.photo import PhotoStages

IN_NETWORK = 0.95
"""Share of a photo's work that is done when its network is; the rest when it is written."""


class RunProgress:
    """The progress of a run in megapixels, on a bar.

    The total is an estimate until all photos are read: one that is not counts by the size of its
    file, at the megapixels per byte of those that are.
    """

    def __init__(self, bar: ProgressBar, sources: Sequence[Path]) -> None:
        self._bar, self._names = bar, [source.name for source in sources]
        self._bytes = [max(file_size(source), 1) for source in sources]
        self._unread_bytes, self._read_bytes, self._total = sum(self._bytes), 0, 0.0
        self._megapixels, self._done = [0.0] * len(sources), [0.0] * len(sources)
        self._note = ""

    def read(self, number: int, pixels: int) -> None:
        """Count the pixels of the photo that is next in the network; 0 if it cannot be read."""
        self._note = f"{number + 1} of {len(self._names)}: {self._names[number]}"
        self._unread_bytes -= self._bytes[number]
        if pixels:
            self._read_bytes += self._bytes[number]
            self._megapixels[number] = pixels / 1e6
            self._total += pixels / 1e6
        if self._read_bytes:
            self._bar.resize(self._total * (1 + self._unread_bytes / self._read_bytes))

    def reached(self, number: int, share: float) -> None:
        """Move the bar to a share of a photo's work; one that is begun anew waits there."""
        done = max(share * self._megapixels[number], self._done[number])
        self._bar.advance(done - self._done[number], self._note)
        self._done[number] = done


class Pipeline:
    """Reads, denoises and writes photos; the last two in threads of their own.

    Reading begins with `begin`, which needs no torch. No more than three photos are in memory:
    one that is decoded in a process of its own, one in the network, and one that is written.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader = ReaderThreads(decoders, 1)
        self._network = ThreadPoolExecutor(1, "led-network")
        self._writer = ThreadPoolExecutor(1, "led-write")
        self._begun: tuple[Path, Future[tuple[Result, DecodedFrame | None]]] | None = None
        self._events: SimpleQueue[Callable[[], None] | Future[Result] | None] = SimpleQueue()
        self._abort: Callable[[], None] = lambda: None
        self._left = False

    def close(self) -> None:
        """Stop what is not done; returns when nothing is written any more."""
        self._left = True  # the network ends with its next step
        self._reader.stop()  # what it still decodes is not wanted
        self._abort()
        self._network.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)

    def begin(self, job: Job) -> None:
        """Begin to read the first photo."""
        self._begun = job.source, self._reader.submit(read_photo, job, self._settings)

    def run(
        self, jobs: Sequence[Job], stages: PhotoStages, stop: Callable[[], bool], bar: ProgressBar
    ) -> Generator[Result, None, None]:
        """Yield a result for each job, in order, as soon as the photo is written.

        `stop` is asked in another thread; the bar is moved in the caller's.
        """
        progress = RunProgress(bar, [job.source for job in jobs])
        self._abort = stages.writer.abort
        work = self._network.submit(self._work, jobs, stages, stop, progress)
        number = 0
        try:
            while (event := self._events.get()) is not None:
                if isinstance(event, Future):
                    progress.reached(number, 1)
                    number += 1
                    yield event.result()
                else:
                    event()
            self._abort = lambda: None
            work.result()
        finally:
            # The caller may leave early, with a second Ctrl-C. A write in progress is waited for:
            # nothing may be written after the folder's lock is released.
            self.close()

    def _work(
        self,
        jobs: Sequence[Job],
        stages: PhotoStages,
        stop: Callable[[], bool],
        progress: RunProgress,
    ) -> None:
        """Take the photos through the network, in its thread."""
        writing: Future[Result] | None = None
        try:
            reading = self._read(jobs[0]) if jobs else None
            for number, following in enumerate([*jobs[1:], None]):
                if reading is None or stop():
                    break
                result, frame = reading.result()
                reading = self._read(following) if following else None
                pixels = 0 if frame is None else frame.photo.mosaic.size
                self._events.put(partial(progress.read, number, pixels))
                denoised = stages.denoise(frame, result, partial(self._moved, progress, number))
                del frame
                if writing is not None:
                    wait((writing,))
                writing = self._writer.submit(stages.write, jobs[number], denoised, result)
                writing.add_done_callback(self._events.put)
                del denoised
        finally:
            # After the last photo is written, as the writer has one thread.
            self._writer.submit(self._events.put, None)

    def _read(self, job: Job) -> Future[tuple[Result, DecodedFrame | None]]:
        begun, self._begun = self._begun, None  # not kept if another run has made that photo
        if begun is not None and begun[0] == job.source:
            return begun[1]
        return self._reader.submit(read_photo, job, self._settings)

    def _moved(self, progress: RunProgress, number: int, share: float) -> None:
        if self._left:
            raise _Left
        self._events.put(partial(progress.reached, number, share * IN_NETWORK))


class _Left(BaseException):
    """Ends the network's work when the caller has left; no error of a photo."""
