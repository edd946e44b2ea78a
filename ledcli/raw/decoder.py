"""Decode raws in a child process, so that a file that crashes LibRaw costs only itself.

This is the parent's side; `decoder_process` is the child's, and the messages between them.
"""

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
from typing import Generic, NamedTuple, Self, TypeVar, cast

from ledcli.errors import LedError, RawError, os_reason
from ledcli.metadata.xmp import read_note
from ledcli.noise.estimate import NoiseProfile, estimate_noise
from ledcli.raw.colour import auto_ratio
from ledcli.raw.decoder_process import Request, Setup, enlarge_pipe, receive, send
from ledcli.raw.reader import RawPhoto, read_raw

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
T = TypeVar("T")


class Decoded(NamedTuple):
    """A raw file that has been read: its noise is the blind estimate.

    `auto_ratio` brings it to a normal brightness; `note` is the record in a file that led wrote.
    """

    photo: RawPhoto
    noise: NoiseProfile
    auto_ratio: float
    note: dict[str, str] | None


def decode_file(path: Path) -> Decoded:
    """Read one raw file and what a run needs to know of it; RawError as for `read_raw`."""
    # Opening a FIFO would block; read_raw names what is not a file.
    note = read_note(path) if path.is_file() else None
    try:
        photo = read_raw(path)
    except RawError:
        if note is None:
            raise
        raise RawError(f"{path}: already written by led: give the camera's raw") from None
    planes = photo.planes()
    return Decoded(photo, estimate_noise(planes), auto_ratio(planes), note)


class Decoder(Generic[T]):
    """One child process that works on one file after the other; a context manager.

    The child starts at once, in the background, and is replaced after a crash or a timeout.
    It is not a `multiprocessing` process: those run the caller's main module again, and their
    shared memory outlives a killed run.

    Parameters
    ----------
    work : callable
        What the child does with a path, such as `decode_file` or `read_raw`; importable by name.
    limit_s : float
        Seconds allowed per file, plus one second for each MB.
    memory_bytes : int
        Memory the child may take beyond what it starts with (Linux).
    """

    def __init__(
        self,
        work: Callable[[Path], T],
        *,
        limit_s: float = LIMIT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.limit_s = limit_s
        self._setup = Setup(work, memory_bytes)
        self._state = threading.Lock()
        self._turn = threading.Lock()
        self._closed = False
        self._child: _Child | None = _Child(self._setup)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def decode(self, path: Path) -> T:
        """Return ``work(path)``, computed in the child.

        Raises RawError if LibRaw crashed on the file or timed out, and whatever `work` raises;
        LedError if the file needs too much memory, the child cannot be started or was killed, or
        the decoder is closed.
        """
        with self._turn:
            child = self._ready()
            limit = self.limit_s + LIMIT_S_PER_MB * _megabytes(path)
            try:
                answer = child.ask(Request(path, limit), limit)
            except BaseException as error:
                # Ctrl-C too: a late answer must not be taken for that of another file.
                self._drop(child)
                if not isinstance(error, EOFError | TimeoutError):
                    raise
                self._check_open()
                if isinstance(error, TimeoutError):
                    raise RawError(
                        f"{path}: LibRaw timed out after {limit:.0f} s: the file is damaged, or "
                        "its drive is too slow"
                    ) from None
                raise _crash_error(path, child.exit_status) from None
        if isinstance(answer, LedError):
            raise answer
        return cast(T, answer)

    def close(self) -> None:
        """Kill the child; a `decode` under way in another thread raises LedError."""
        with self._state:
            self._closed = True
            child, self._child = self._child, None
        if child:
            child.kill()

    def _check_open(self) -> None:
        if self._closed:
            raise LedError("no more photos are read: the run was stopped")

    def _ready(self) -> "_Child":
        with self._state:
            self._check_open()
            if self._child is None:
                self._child = _Child(self._setup)
            child = self._child
        try:
            child.wait_for_start()
        except (EOFError, TimeoutError):
            self._drop(child)
            self._check_open()
            said = "the decoding process does not start: set LED_DEBUG=1 to see why"
            raise LedError(said) from None
        return child

    def _drop(self, child: "_Child") -> None:
        child.kill()
        with self._state:
            if self._child is child:
                self._child = None


class _Child:
    """The parent's handle on one child; a thread reads its messages so that waits can time out."""

    def __init__(self, setup: Setup) -> None:
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._started = self._ended = False
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
            send(self._to, setup)

    def _listen(self) -> None:
        try:
            while True:
                self._messages.put(receive(self._from))
        except Exception:
            # The end of the pipe, or what a crash left in it.
            self._from.close()
            self._messages.put(_ENDED)

    def wait_for_start(self) -> None:
        if not self._started:
            self._next_message(START_LIMIT_S)
            self._started = True

    def ask(self, request: Request, limit_s: float) -> object:
        """Return the answer; raises EOFError if the child is gone, TimeoutError."""
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
        return message

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


def _crash_error(path: Path, status: int | None) -> LedError:
    if status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)):
        return LedError(
            f"{path}: the decoding process was killed: if memory is full, close other programs "
            "and try again"
        )
    return RawError(f"{path}: LibRaw crashed: the file is damaged or not supported")


def _megabytes(path: Path) -> float:
    try:
        return min(path.stat().st_size / 1e6, MAX_MB)
    except OSError:
        return 0.0
