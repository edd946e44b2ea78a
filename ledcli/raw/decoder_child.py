"""The parent's handle on one of the child processes that decode raws."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import cast

from ledcli.errors import LedError, RawError, memory_error, os_reason
from ledcli.raw.decoder_process import Request, enlarge_pipe, receive, send

START_LIMIT_S = 120.0
EXIT_WAIT_S = 1.0
"""Time for a child that has ended, or was killed, to be gone."""

# The child gets the parent's search path and imports nothing from the current folder (-P).
_CHILD_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ledcli.raw.decoder_process import serve; serve()"
)
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
"""Threads that wait must not take the cores from the network."""
STOPPED = "no more photos are read: the run was stopped"
_ENDED = object()


class Child:
    """One child; a thread reads its messages, so that waits can time out.

    `stopped` says that nobody wants its answer any more. Raises LedError if it cannot be started.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.started = self.stopped = self._ended = False
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
        """End the process; its exit status is kept if it had ended by itself."""
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

    def failure(self, path: Path, error: BaseException, limit_s: float) -> LedError:
        """Return the error for a file that it did not answer for; it has been killed."""
        if self.stopped:
            return LedError(STOPPED)
        if isinstance(error, MemoryError):
            return memory_error(path)
        if not self.started:
            return LedError("the decoding process does not start: set LED_DEBUG=1 to see why")
        if isinstance(error, TimeoutError):
            return RawError(
                f"{path}: LibRaw timed out after {limit_s:.0f} s: the file is damaged, or its "
                "drive is too slow"
            )
        if self.exit_status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)):
            return LedError(
                f"{path}: the decoding process was killed: if memory is full, close other programs "
                "and try again"
            )
        return RawError(f"{path}: LibRaw crashed: the file is damaged or not supported")
