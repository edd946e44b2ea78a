"""Decode raws in child processes, so that a file that crashes LibRaw costs only itself.

Every command reads its raws through `decoders`. This is the parent's side; `decoder_process` is the
child's, and the messages between them.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from ledcli.errors import LedError, RawError, memory_error, os_reason
from ledcli.raw.decoder_process import Request, enlarge_pipe, receive, send

if TYPE_CHECKING:
    from ledcli.noise.photo_noise import PhotoNoise
    from ledcli.raw.reader import RawPhoto

MAX_CHILDREN = min(4, os.cpu_count() or 1)
"""Each holds a photo several times over: 45 megapixels take 1 GB."""
LIMIT_S = 120.0
LIMIT_S_PER_MB = 1.0
"""A drive of 1 MB a second is slow, not broken."""
MAX_MB = 2048.0
"""No raw is larger; a larger file gets no more time."""
START_LIMIT_S = 120.0
EXIT_WAIT_S = 1.0
"""Time for a child that has ended, or was killed, to be gone."""
MEMORY_BYTES = 6 << 30
"""LibRaw decodes at most 2 GB; reading 60 MP takes 1 GB in all."""

# The child gets the parent's search path and imports nothing from the current folder (-P).
_CHILD_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ledcli.raw.decoder_process import serve; serve()"
)
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
"""Threads that wait must not take the cores from the network."""
_ENDED = object()
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


def decode_file(path: Path, *, force: bool = False) -> Decoded:
    """Read one raw file and what a run needs to know of it; `force` and RawError as `read_raw`."""
    # Here, as the parent needs none of them and starts its child sooner.
    from ledcli.metadata.xmp import read_note
    from ledcli.raw.colour import auto_ratio
    from ledcli.raw.reader import read_raw

    # Opening a FIFO would block; read_raw names what is not a file.
    note = read_note(path) if path.is_file() else None
    try:
        photo = read_raw(path, force=force)
    except RawError:
        if note is None:
            raise
        raise RawError(f"{path}: already written by led: give the camera's raw") from None
    planes = photo.planes()
    return Decoded(photo, photo.estimate_noise(planes), auto_ratio(planes), note)


class Decoders:
    """Child processes that work on files, each on one at a time.

    A child is started when it is needed, serves file after file, and is replaced after a crash or a
    timeout. It is not a `multiprocessing` process: those run the caller's main module again, and
    their shared memory outlives a killed run.

    Parameters
    ----------
    most : int
        Children at once; further calls wait.
    limit_s : float
        Seconds allowed per file, plus one second for each MB.
    memory_bytes : int
        Memory a child may take beyond what it starts with (Linux).
    """

    def __init__(
        self,
        most: int = MAX_CHILDREN,
        *,
        limit_s: float = LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.most, self.limit_s, self.memory_bytes = most, limit_s, memory_bytes
        self._turns = threading.BoundedSemaphore(most)
        self._state = threading.Lock()
        self._free: list[_Child] = []
        self._busy: set[_Child] = set()

    def start(self) -> None:
        """Start a child in the background, if there is none."""
        with self._state:
            if not self._free and not self._busy:
                self._free.append(_Child(self.memory_bytes))

    def run(self, work: Callable[[Path], T], path: Path) -> T:
        """Return ``work(path)``, computed in a child; `work` must be importable by name.

        Raises RawError if LibRaw crashed on the file or timed out, and whatever `work` raises;
        LedError if the file needs too much memory, no child can be started, it was killed, or
        `close` was called meanwhile.
        """
        limit = self.limit_s + LIMIT_S_PER_MB * _megabytes(path)
        with self._turns:
            with self._state:
                idle = [child for child in self._free if child.runs()]
                child = idle.pop() if idle else _Child(self.memory_bytes)
                self._free = idle
                self._busy.add(child)
            try:
                answer = child.ask(Request(work, path, _folder(), limit), limit)
            except BaseException as error:
                # Ctrl-C too: a late answer must not be taken for that of another file.
                child.kill()
                with self._state:
                    closed = child not in self._busy
                    self._busy.discard(child)
                if not isinstance(error, EOFError | TimeoutError | MemoryError):
                    raise
                raise _failure(path, child, error, limit, closed) from None
            with self._state:
                if child in self._busy:
                    self._busy.remove(child)
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

        yield from in_parallel(attempt, paths, self.most)

    def close(self) -> None:
        """Kill the children; a `run` under way in another thread raises LedError."""
        with self._state:
            children = [*self._free, *self._busy]
            self._free.clear()
            self._busy.clear()
        for child in children:
            child.kill()


decoders = Decoders()
"""Those of this process: started when first needed, and kept for the next files."""
atexit.register(decoders.close)


def in_parallel(
    work: Callable[[Input], T], items: Iterable[Input], threads: int
) -> Generator[T, None, None]:
    """Yield the results in the items' order; no more than there are threads wait to be taken.

    Closing the generator cancels what has not begun, and ends the children of `decoders`.
    """
    pool = ThreadPoolExecutor(threads)
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
        pool.shutdown(wait=False, cancel_futures=True)
        decoders.close()
        raise
    finally:
        pool.shutdown()


class _Child:
    """The parent's handle on one child; a thread reads its messages so that waits can time out."""

    def __init__(self, memory_bytes: int) -> None:
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.started = self._ended = False
        self.exit_status: int | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CHILD_CODE, json.dumps([str(p) for p in sys.path])],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if os.environ.get("LED_DEBUG") else subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                # Ctrl-C at the terminal reaches the parent alone.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise LedError(f"the decoding process cannot be started: {os_reason(error)}") from error
        self._to, self._from = cast(FileIO, self._process.stdin), cast(FileIO, self._process.stdout)
        enlarge_pipe(self._from)
        threading.Thread(target=self._listen, daemon=True).start()
        with contextlib.suppress(OSError):
            send(self._to, memory_bytes)

    def _listen(self) -> None:
        try:
            # What answers are made of: imported while the child starts.
            importlib.import_module("ledcli.raw.reader")
            while True:
                self._messages.put(receive(self._from))
        except Exception as error:
            # The end of the pipe, or what a crash left in it.
            self._from.close()
            self._messages.put(error if isinstance(error, MemoryError) else _ENDED)

    def ask(self, request: Request, limit_s: float) -> object:
        """Return the answer; raises EOFError if the child is gone, TimeoutError, MemoryError."""
        if not self.started:
            self._next_message(START_LIMIT_S)
            self.started = True
        try:
            send(self._to, request)
        except OSError:
            raise EOFError from None
        return self._next_message(limit_s)

    def _next_message(self, limit_s: float) -> object:
        try:
            message = self._messages.get(timeout=limit_s)
        except queue.Empty:
            raise TimeoutError from None
        if message is _ENDED:
            self._ended = True
            raise EOFError
        if isinstance(message, MemoryError):
            raise message
        return message

    def runs(self) -> bool:
        """Return False if it was killed while it had nothing to do."""
        return self._process.poll() is None

    def kill(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # If it has ended by itself, its exit status tells why.
            self._process.wait(EXIT_WAIT_S if self._ended else 0)
            self.exit_status = self._process.returncode
        with contextlib.suppress(OSError):
            self._process.kill()
        self._messages.put(_ENDED)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A read from a drive that is gone cannot be killed until the drive gives up.
            self._process.wait(EXIT_WAIT_S)
        with contextlib.suppress(OSError):
            self._to.close()


def _failure(
    path: Path, child: _Child, error: BaseException, limit_s: float, closed: bool
) -> LedError:
    """Return the error for a file whose child did not answer."""
    if closed:
        return LedError("no more photos are read: the run was stopped")
    if isinstance(error, MemoryError):
        return memory_error(path)
    if not child.started:
        return LedError("the decoding process does not start: set LED_DEBUG=1 to see why")
    if isinstance(error, TimeoutError):
        return RawError(
            f"{path}: LibRaw timed out after {limit_s:.0f} s: the file is damaged, or its drive is "
            "too slow"
        )
    if child.exit_status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)):
        return LedError(
            f"{path}: the decoding process was killed: if memory is full, close other programs "
            "and try again"
        )
    return RawError(f"{path}: LibRaw crashed: the file is damaged or not supported")


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
