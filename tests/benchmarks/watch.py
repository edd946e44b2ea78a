"""`led` as a process that is watched: its memory with that of its children, and its lines."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from report import ROOT

LOOK_S = 0.05
"""How often the memory is looked at."""
_KB = 1024


@dataclass
class Finished:
    """What became of a process."""

    status: int
    """Exit status; negative: the signal that ended it."""
    hung: bool
    """Whether it ran past its limit and was killed."""
    seconds: float
    lines: list[tuple[float, str]]
    """(seconds since the start, str). Of standard output."""
    errors: str
    """Standard error."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """(seconds since the start, bytes). Of the process and its children; what several of them share
    counts once."""

    @property
    def peak(self) -> int:
        """Most memory at a time, in bytes."""
        return max((size for _, size in self.memory), default=0)

    def checked(self) -> "Finished":
        """Return it; raises SystemExit if it failed."""
        if self.status:
            raise SystemExit(f"led denoise failed with {self.status}:\n{self.errors}")
        return self

    @property
    def tracebacks(self) -> int:
        """How often Python showed a trace, or `led` said that it did not expect an error."""
        return self.errors.count("Traceback") + self.errors.count("led: unexpected")


def led(
    *words: object,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[["Running", int], None] | None = None,
    prepare: Callable[[], None] | None = None,
    memory: bool = False,
) -> Finished:
    """Run `led` with a command line to its end.

    It is killed after ``limit_s``. ``environment`` is on top of this process's. ``on_line`` is
    called at each line of standard output with the process and the number of lines so far,
    ``prepare`` in the new process before `led` starts. With ``memory`` its memory is looked at all
    the time (Linux).
    """
    running = Running(words, environment or {}, prepare)
    until = running.start + limit_s
    count, looked = 0, 0.0
    sizes: list[tuple[float, int]] = []
    while running.process.poll() is None and time.perf_counter() < until:
        for _ in running.new_lines(LOOK_S):
            count += 1
            if on_line:
                on_line(running, count)
        now = time.perf_counter()
        if memory and now - looked >= LOOK_S:
            sizes.append((now - running.start, family_bytes(running.process.pid)))
            looked = now
    hung = running.process.poll() is None
    running.kill()
    return running.finished(hung, sizes)


class Running:
    """A `led` that runs, in a session of its own."""

    def __init__(
        self,
        words: Sequence[object],
        environment: Mapping[str, str],
        prepare: Callable[[], None] | None,
    ) -> None:
        # Lines at once, not when a buffer is full.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ledcli", *map(os.fsdecode, map(_word, words))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=prepare,
        )
        self.lines: list[tuple[float, str]] = []
        self._new: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: list[bytes] = []
        assert self.process.stdout and self.process.stderr
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(self.process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def new_lines(self, wait_s: float) -> list[str]:
        """Return the lines of standard output since the last call; wait that long for one."""
        lines = []
        with suppress(queue.Empty):
            lines.append(self._new.get(timeout=wait_s))
            while True:
                lines.append(self._new.get_nowait())
        return lines

    def kill(self) -> None:
        """SIGKILL; what it started is on its own."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    def orphans(self, wait_s: float) -> int:
        """Return how many processes that it started still live that long after its end."""
        until = time.perf_counter() + wait_s
        while (alive := len(_session(self.process.pid))) and time.perf_counter() < until:
            time.sleep(LOOK_S)
        return alive

    def finished(self, hung: bool, sizes: list[tuple[float, int]]) -> Finished:
        """Wait for the end and say what became of it."""
        status = self.process.wait()
        seconds = time.perf_counter() - self.start
        # A child that outlives it may hold the pipes open: what is said is said by then.
        for reader in self._readers:
            reader.join(timeout=10)
        errors = b"".join(self._errors).decode("utf-8", "replace")
        return Finished(status, hung, seconds, self.lines, errors, sizes)

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode("utf-8", "replace").rstrip("\n")
            self.lines.append((time.perf_counter() - self.start, text))
            self._new.put(text)

    def _listen(self, stream: IO[bytes]) -> None:
        for line in stream:
            self._errors.append(line)


def family_bytes(pid: int) -> int:
    """Return the memory of a process and all below it, in bytes; 0 where that cannot be known.

    Proportional set size: a page that n processes share counts 1/n in each.
    """
    return sum(_proportional(one) for one in _session(pid))


def _session(pid: int) -> list[int]:
    """Return the living processes of the session that `pid` leads."""
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # After the name, which may hold anything: state, parent, group, session.
                rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(rest[3]) == pid and rest[0] not in "ZX":
                    found.append(int(entry))
    return found


def _proportional(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KB
    return 0


def _word(word: object) -> str | bytes:
    return word if isinstance(word, str | bytes) else str(word)
