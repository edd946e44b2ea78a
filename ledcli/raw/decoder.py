"""Reading raws in a process of its own, so that a file that crashes LibRaw costs itself alone."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Self, cast

from ledcli.errors import LedError, RawError
from ledcli.raw.decoder_process import Decoded, Request, Setup, decode_file, receive, send, widen

__all__ = ["Decoded", "Decoder"]

LIMIT_S = 120.0
LIMIT_S_PER_MB = 1.0
"""A drive of 1 MB a second is slow, not broken."""
MOST_MB = 2048.0
"""No raw is larger; what is gets no more time."""
START_LIMIT_S = 120.0
LAST_WORD_S = 1.0
"""What a process that ends is given to be gone."""
MEMORY_BYTES = 6 << 30
"""What LibRaw decodes is 2 GB at most; reading 60 MP takes 1 GB in all."""

# What Python runs in the worker: with the parent's search path, and nothing from the folder that
# the run happens to be in (-P).
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ledcli.raw.decoder_process import serve; serve()"
)
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
"""Threads that wait must not take the network's cores from it."""


class Decoder:
    """One worker process, started at once and in the background; a context manager.

    Not `multiprocessing`: its spawn runs the caller's main module again, which must be written
    for it, and its shared memory outlives a killed run.

    Parameters
    ----------
    limit_s : float
        Seconds that a file may take; a second for each MB of it comes on top.
    memory_bytes : int
        What the worker may take beyond what it starts with (Linux).
    work : callable
        What is done with a file; importable by name.
    """

    def __init__(
        self,
        *,
        limit_s: float = LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
        work: Callable[[Path], object] = decode_file,
    ) -> None:
        self.limit_s = limit_s
        self._setup = Setup(work, memory_bytes)
        self._state = threading.Lock()
        self._turn = threading.Lock()
        self._closed = False
        self._worker: _Worker | None = _Worker(self._setup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def decode(self, path: Path) -> Decoded:
        """Read a raw file.

        Parameters
        ----------
        path : Path

        Raises
        ------
        RawError
            As `read_raw`; and where LibRaw crashed on the file, or never came back from it.
        LedError
            The file needs more memory than allowed, the worker cannot be started or was killed,
            or the decoder is closed.
        """
        with self._turn:
            worker = self._ready()
            limit = self.limit_s + LIMIT_S_PER_MB * _megabytes(path)
            try:
                answer = worker.ask(Request(path, limit), limit)
            except BaseException as error:
                # Whatever it was: an answer that comes late must not pass for another file's.
                self._drop(worker)
                if not isinstance(error, EOFError | TimeoutError):
                    raise
                self._check_open()
                if isinstance(error, TimeoutError):
                    raise RawError(
                        f"{path}: LibRaw did not come to an end with it in {limit:.0f} s: the "
                        "file is damaged, or its drive too slow"
                    ) from None
                raise _crashed(path, worker.ended_by) from None
        if isinstance(answer, LedError):
            raise answer
        return cast(Decoded, answer)

    def close(self) -> None:
        """End the worker, whatever it is doing; a `decode` that waits for it raises LedError."""
        with self._state:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker:
            worker.end()

    def _check_open(self) -> None:
        if self._closed:
            raise LedError("no more photos are read: the run was stopped")

    def _ready(self) -> "_Worker":
        with self._state:
            self._check_open()
            if self._worker is None:
                self._worker = _Worker(self._setup)
            worker = self._worker
        try:
            worker.wait_for_start()
        except (EOFError, TimeoutError):
            self._drop(worker)
            self._check_open()
            raise LedError(
                "the process that reads raws does not start: set LED_DEBUG=1 to see why"
            ) from None
        return worker

    def _drop(self, worker: "_Worker") -> None:
        worker.end()
        with self._state:
            if self._worker is worker:
                self._worker = None


class _Worker:
    """The parent's end of one process. A thread reads what it says, so that waiting has an end."""

    def __init__(self, setup: Setup) -> None:
        self._said: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._started = self._ended = False
        self.ended_by: int | None = None
        # A session of its own: Ctrl-C at the terminal is for the parent to act on.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, json.dumps([str(part) for part in sys.path])],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if os.environ.get("LED_DEBUG") else subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise LedError(f"the process that reads raws cannot be started: {why}") from error
        self._to, self._from = cast(FileIO, self._process.stdin), cast(FileIO, self._process.stdout)
        widen(self._from)
        threading.Thread(target=self._listen, daemon=True).start()
        with contextlib.suppress(OSError):
            send(self._to, setup)

    def _listen(self) -> None:
        try:
            while True:
                self._said.put(receive(self._from))
        except Exception:
            # The end, or what a crash left in the pipe.
            self._from.close()
            self._said.put(_ENDED)

    def wait_for_start(self) -> None:
        """Wait for the worker's first word; raises EOFError, TimeoutError."""
        if not self._started:
            self._hear(START_LIMIT_S)
            self._started = True

    def ask(self, request: Request, limit_s: float) -> object:
        """Return the answer; raises EOFError when the worker is gone, TimeoutError."""
        try:
            send(self._to, request)
        except OSError:
            raise EOFError from None
        return self._hear(limit_s)

    def _hear(self, limit_s: float) -> object:
        try:
            said = self._said.get(timeout=limit_s)
        except queue.Empty:
            raise TimeoutError from None
        if said is _ENDED:
            self._ended = True
            raise EOFError
        return said

    def end(self) -> None:
        """Kill the process; who waits for it hears of it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that has ended by itself is to say how.
            self._process.wait(LAST_WORD_S if self._ended else 0)
            self.ended_by = self._process.returncode
        with contextlib.suppress(OSError):
            self._process.kill()
        self._said.put(_ENDED)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that hangs in a read from a drive that is gone dies when the drive lets it.
            self._process.wait(LAST_WORD_S)
        with contextlib.suppress(OSError):
            self._to.close()


_ENDED = object()


def _crashed(path: Path, status: int | None) -> LedError:
    if status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)):
        return LedError(
            f"{path}: the process that read it was killed: if the memory is full, close other "
            "programs and try again"
        )
    return RawError(f"{path}: LibRaw crashed on it: the file is damaged, or not supported")


def _megabytes(path: Path) -> float:
    try:
        return min(path.stat().st_size / 1e6, MOST_MB)
    except OSError:
        return 0.0
