"""Progress on long work: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ledcli.cli.console import Output

PLAIN_FIRST_S = 2.0
"""Work shorter than this needs no progress (seconds)."""
PLAIN_EVERY_S = 5.0
"""Seconds between two plain lines, so that a log stays short."""


def rate_text(steps_per_s: float, unit: str) -> str:
    """Say a rate in the unit of time that gives a readable number.

    Examples
    --------
    >>> rate_text(0.1, "photos")
    '6.0 photos/min'
    """
    if steps_per_s >= 1:
        return f"{steps_per_s:.1f} {unit}/s".replace(" /", "/")
    if steps_per_s * 60 >= 1:
        return f"{steps_per_s * 60:.1f} {unit}/min".replace(" /", "/")
    return f"{steps_per_s * 3600:.1f} {unit}/h".replace(" /", "/")


def time_text(seconds: float) -> str:
    """Say a duration as `m:ss` or `h:mm:ss`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


class Progress:
    """Progress that shows nothing; the base of those that do."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps` as done; `note` says what is at work now (a file's name)."""

    def pause(self) -> None:
        """Leave the terminal to another writer."""

    def resume(self) -> None:
        """Come back after `pause`."""

    def close(self) -> None:
        """Take the progress away."""


class PlainProgress(Progress):
    """A line every few seconds, for logs and pipes."""

    def __init__(
        self,
        say: Callable[[str], None],
        total: float | None,
        label: str,
        unit: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._total, self._label, self._unit = say, total, label, unit
        self._clock = clock
        self._start = clock()
        self._next = self._start + PLAIN_FIRST_S
        self._done = 0.0

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count `steps`, and print a line where one is due."""
        self._done += steps
        now = self._clock()
        if now < self._next or self._done <= 0:
            return
        self._next = now + PLAIN_EVERY_S
        rate = self._done / max(now - self._start, 1e-9)
        parts = [f"{self._label}: {self._done:g}"]
        if self._total is not None:
            parts[0] += f" of {self._total:g}"
        parts.append(rate_text(rate, self._unit or "steps"))
        if self._total is not None:
            parts.append(f"{time_text(max(self._total - self._done, 0) / rate)} left")
        if note:
            parts.append(note)
        self._say(", ".join(parts))


class _RateColumn(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, self._unit))


class BarProgress(Progress):
    """A bar that disappears when the work is done."""

    def __init__(self, output: Output, total: float | None, label: str, unit: str) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn(show_speed=False),
            _RateColumn(unit or "steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=output.stderr,
            transient=True,
            expand=True,
            # Redirection would send results meant for standard output to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(label, total=total, note="")
        self._bar.start()

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move the bar on."""
        from ledcli.cli.console import printable

        self._bar.update(self._task, advance=steps, note=printable(note))

    def pause(self) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()

    def resume(self) -> None:
        """Draw the bar again."""
        self._bar.start()

    def close(self) -> None:
        """Take the bar off the terminal for good."""
        self._bar.stop()


def start(output: Output, total: float | None, label: str, unit: str) -> Progress:
    """Make the progress that suits where `output` goes."""
    if output.quiet:
        return Progress()
    if output.stderr.is_terminal and not output.stderr.is_dumb_terminal:
        return BarProgress(output, total, label, unit)
    return PlainProgress(output.info, total, label, unit)
