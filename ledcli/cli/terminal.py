"""What talks to a terminal: safe text, progress of long work, and Ctrl-C that stops cleanly."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

PLAIN_FIRST_S = 2.0
"""Shorter work shows no progress lines (seconds)."""
PLAIN_EVERY_S = 5.0
"""Seconds between two progress lines, so that a log stays short."""
STOPPING = "stopping after this {}; press Ctrl-C again to stop at once"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def printable(value: object) -> str:
    r"""Text that cannot drive a terminal or break a line: control characters become escapes.

    A file name may hold a newline, an escape sequence, text-direction marks or bytes that are no
    text at all; none of them reaches the terminal as such.

    Examples
    --------
    >>> printable("a\nb")
    'a\\nb'
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def rate_text(steps_per_s: float, unit: str) -> str:
    """Write a rate per second, minute or hour, whichever gives a readable number.

    Examples
    --------
    >>> rate_text(0.1, "photos")
    '6.0 photos/min'
    """
    choices = ((1, "s"), (60, "min"), (3600, "h"))
    seconds, time = next((c for c in choices if steps_per_s * c[0] >= 1), choices[-1])
    return f"{steps_per_s * seconds:.1f} {unit}/{time}".replace(" /", "/")


def time_text(seconds: float) -> str:
    """Write a duration as `m:ss` or `h:mm:ss`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


class Progress:
    """Progress that shows nothing; base class of those that do."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps` as done; `note` names what is being worked on."""

    def pause(self) -> None:
        """Clear the terminal for another writer."""

    def resume(self) -> None:
        """Show the progress again after `pause`."""

    def close(self) -> None:
        """Remove the progress."""


class PlainProgress(Progress):
    """One line every few seconds, for logs and pipes."""

    def __init__(
        self,
        write: Callable[[str], None],
        total: float | None,
        label: str,
        unit: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._total, self._label, self._unit = write, total, label, unit
        self._clock = clock
        self._start = clock()
        self._next = self._start + PLAIN_FIRST_S
        self._done = 0.0

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps`; print a line if one is due."""
        self._done += steps
        now = self._clock()
        if now < self._next or self._done <= 0:
            return
        self._next = now + PLAIN_EVERY_S
        rate = self._done / max(now - self._start, 1e-9)
        of = left = ""
        if self._total is not None:
            of = f" of {self._total:g}"
            left = f"{time_text(max(self._total - self._done, 0) / rate)} left"
        done = f"{self._label}: {self._done:g}{of}"
        parts = (done, rate_text(rate, self._unit or "steps"), left, note)
        self._write(", ".join(part for part in parts if part))


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, self._unit))


class BarProgress(Progress):
    """A bar that disappears when the work is done."""

    def __init__(self, console: Console, total: float | None, label: str, unit: str) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(show_speed=False),
            _RateColumn(unit or "steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            expand=True,
            # Redirection would send results meant for standard output to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(label, total=total, note="")
        self._bar.start()

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move the bar forward."""
        self._bar.update(self._task, advance=steps, note=printable(note))

    def pause(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.stop()

    def resume(self) -> None:
        """Draw the bar again."""
        self._bar.start()

    def close(self) -> None:
        """Remove the bar for good."""
        self._bar.stop()


@contextmanager
def stoppable(on_stop: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; the second one ends the process.

    Calls `on_stop` when the first signal arrives; yields a function that returns whether it has.
    """
    requested = False
    # A shell ignores Ctrl-C for what it runs in the background; so does led then.
    handlers = ((number, signal.getsignal(number)) for number in STOP_SIGNALS)
    before = {number: handler for number, handler in handlers if handler != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        requested = True
        restore()
        on_stop()

    for number in before:
        signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        restore()
