"""Decode raws in child processes, so that a file that crashes LibRaw costs only itself.

Every command reads its raws through `decoders`; `decoder_child` has a child and its messages.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from ledcli.errors import LedError, RawError
from ledcli.raw.decoder_child import STOPPED, Child, Request

if TYPE_CHECKING:
    from ledcli.noise.dark import DarkPattern
    from ledcli.noise.photo_noise import PhotoNoise
    from ledcli.raw.reader import RawPhoto

MAX_CHILDREN = min(4, os.cpu_count() or 1)
"""Each holds a photo several times over: 45 megapixels take 1 GB."""
LIMIT_S = 120.0
LIMIT_S_PER_MB = 1.0
"""A drive of 1 MB a second is slow, not broken."""
MAX_MB = 2048.0
"""No raw is larger; a larger file gets no more time."""
MEMORY_BYTES = 6 << 30
"""LibRaw decodes at most 2 GB; reading 60 MP takes 1 GB in all."""

Input = TypeVar("Input")
T = TypeVar("T")


class Decoded(NamedTuple):
    """A raw file that has been read: its noise is the blind estimate.

    `auto_ratio` brings it to a normal brightness; `note` is the record in a file that led wrote.
    """

    photo: RawPhoto
    noise: PhotoNoise
    auto_ratio: float
    note: dict[str, str] | None


def decode_file(path: Path, *, force: bool = False, darks: Iterable[DarkPattern] = ()) -> Decoded:
    """Read one raw file and what a run needs to know of it; `force` and RawError as `read_raw`.

    Noise and brightness are measured with black as the first of the `darks` has it that fits.
    """
    # Here, as the parent needs none of them and starts its child sooner.
    from ledcli.metadata.xmp import read_note
    from ledcli.noise.dark import fitting
    from ledcli.raw.colour import auto_ratio
    from ledcli.raw.reader import read_raw

    # Opening a FIFO would block; read_raw names what is not a file.
    note = read_note(path) if os.path.isfile(path) else None
    try:
        photo = read_raw(path, force=force)
    except RawError:
        if note is None:
            raise
        raise RawError(f"{path}: already written by led: give the camera's raw") from None
    dark = fitting(darks, photo.phase, photo.mosaic.shape)
    planes = photo.planes(dark)
    return Decoded(photo, photo.estimate_noise(planes, dark), auto_ratio(planes), note)


class Decoders:
    """Child processes that work on files, each on one at a time.

    A child is started when it is needed, serves file after file, and is replaced after a crash or a
    timeout. It is not a `multiprocessing` process: those run the caller's main module again, and
    their shared memory outlives a killed run.

    At most `max_children` work at once; further calls wait. A file may take `limit_s` seconds, and
    one more for each MB; a child may take `memory_bytes` beyond what it starts with (Linux).
    """

    def __init__(
        self,
        max_children: int = MAX_CHILDREN,
        *,
        limit_s: float = LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.max_children, self.limit_s, self.memory_bytes = max_children, limit_s, memory_bytes
        self._turns = threading.BoundedSemaphore(max_children)
        self._state = threading.Lock()
        self._free: list[Child] = []
        self._busy: dict[Child, ReaderThreads | None] = {}
        self._times_closed = 0

    def start(self) -> None:
        """Start a child in the background, if there is none."""
        with self._state:
            if not self._free and not self._busy:
                self._free.append(Child(self.memory_bytes))

    def run(self, work: Callable[[Path], T], path: Path) -> T:
        """Return ``work(path)``, computed in a child; `work` must be importable by name.

        Raises RawError if LibRaw crashed on the file or timed out, and whatever `work` raises;
        LedError if the file needs too much memory, no child can be started, it was killed, or
        `close` was called meanwhile, or `ReaderThreads.stop` for the calling thread.
        """
        caller: ReaderThreads | None = getattr(_here, "threads", None)
        times_closed = self._times_closed
        limit = self.limit_s + LIMIT_S_PER_MB * _megabytes(path)
        with self._turns:
            with self._state:
                if times_closed != self._times_closed or (caller and caller.stopped):
                    raise LedError(STOPPED)
                idle = [child for child in self._free if child.runs()]
                child = idle.pop() if idle else Child(self.memory_bytes)
                self._free = idle
                self._busy[child] = caller
            try:
                answer = child.ask(Request(work, path, _folder(), limit), limit)
            except BaseException as error:
                # Ctrl-C too: a late answer must not be taken for that of another file.
                child.kill()
                with self._state:
                    self._busy.pop(child, None)
                if not isinstance(error, EOFError | TimeoutError | MemoryError):
                    raise
                raise child.failure(path, error, limit) from None
            with self._state:
                self._busy.pop(child, None)
                if not child.stopped:
                    self._free.append(child)
        if isinstance(answer, LedError):
            raise answer
        return cast(T, answer)

    def each(
        self, work: Callable[[Path], T], paths: Iterable[Path]
    ) -> Generator[T | LedError, None, None]:
        """Yield ``work(path)`` or its error for each path, in their order; several at once."""

        def attempt(path: Path) -> T | LedError:
            try:
                return self.run(work, path)
            except LedError as error:
                return error

        yield from self.in_parallel(attempt, paths)

    def in_parallel(
        self, work: Callable[[Input], T], items: Iterable[Input], threads: int | None = None
    ) -> Generator[T, None, None]:
        """Yield the results in the items' order; no more than there are threads wait to be taken.

        There are as many threads as children, if not told otherwise. Closing the generator cancels
        what has not begun, and stops what `work` decodes.
        """
        threads = threads or self.max_children
        pool = ReaderThreads(self, threads)
        pending: deque[Future[T]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            # A file that is being decoded may take its whole time limit.
            pool.stop()
            raise
        finally:
            pool.shutdown()

    def close(self, only: ReaderThreads | None = None) -> None:
        """Kill the children, or those that work for `only`; calls of `run` raise LedError."""
        with self._state:
            children = [child for child, caller in self._busy.items() if only in (None, caller)]
            if only is None:
                self._times_closed += 1
                children += self._free
                self._free.clear()
            for child in children:
                child.stopped = True
        for child in children:
            child.kill()


class ReaderThreads(ThreadPoolExecutor):
    """Threads of one caller, who may stop what they read without disturbing others."""

    def __init__(self, decoders: Decoders, threads: int) -> None:
        super().__init__(threads, "led-read", setattr, (_here, "threads", self))
        self.decoders, self.stopped = decoders, False

    def stop(self) -> None:
        """Cancel what has not begun, and end what is being decoded; waits for nothing."""
        self.shutdown(wait=False, cancel_futures=True)
        self.stopped = True
        self.decoders.close(only=self)


_here = threading.local()
"""`threads`: the ReaderThreads that this thread is one of."""
decoders = Decoders()
"""Those of this process: started when first needed, and kept for the next files."""
atexit.register(decoders.close)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.sep


def _megabytes(path: Path) -> float:
    try:
        return min(path.stat().st_size / 1e6, MAX_MB)
    except OSError:
        return 0.0
