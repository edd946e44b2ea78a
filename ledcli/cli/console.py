"""The one place that prints: results on standard output, messages for people on standard error."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

from ledcli.reporting import SILENT, ProgressBar

PLAIN_FIRST_S = 2.0
"""Shorter work shows no progress lines (seconds)."""
PLAIN_EVERY_S = 5.0
"""Seconds between two progress lines, so that a log stays short."""


def debugging() -> bool:
    """Return whether `LED_DEBUG` asks for traces."""
    return os.environ.get("LED_DEBUG", "") not in ("", "0")


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


def _plain(value: object) -> object:
    """Convert what JSON does not have."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # a NumPy array or scalar, a tensor
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def to_json(record: object) -> str:
    """Return one line of ASCII JSON; paths become text, NaN and infinities null."""
    text = jsonlib.dumps(record, default=_plain)
    return jsonlib.dumps(jsonlib.loads(text, parse_constant=lambda _: None))


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


def left_text(seconds: float | None) -> str:
    """Write how long work will take; nothing if that is not known, or the end is late."""
    return f"{time_text(seconds)} left" if seconds and seconds >= 0.5 else ""


class PlainProgress:
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
        if (now := self._clock()) < self._next or self._done <= 0:
            return
        self._next = now + PLAIN_EVERY_S
        rate = self._done / max(now - self._start, 1e-9)
        digits = 1 if self._done >= 1 else 3  # for the megapixels of small photos
        done, left = f"{self._label}: {round(self._done, digits):g}", ""
        if self._total is not None:
            done += f" of {round(self._total, digits):g}"
            left = left_text((self._total - self._done) / rate)
        parts = (done, rate_text(rate, self._unit or "steps"), left, note)
        self._write(", ".join(part for part in parts if part))

    def resize(self, total: float) -> None:
        """Change the number of steps in all; time before the first step does not count."""
        self._total = total
        if not self._done:
            self._start = self._clock()


class _RateColumn(rich_progress.ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: rich_progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, self._unit))


class _LeftColumn(rich_progress.ProgressColumn):
    def render(self, task: rich_progress.Task) -> Text:
        return Text(left_text(task.time_remaining))


class BarProgress:
    """A bar that disappears when the work is done."""

    def __init__(self, console: Console, total: float | None, label: str, unit: str) -> None:
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TaskProgressColumn(show_speed=False),
            _RateColumn(unit or "steps"),
            _LeftColumn(),
            rich_progress.TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            expand=True,
            # Redirection would send results meant for standard output to standard error.
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=4,  # a core has better things to do
        )
        self._task = self._bar.add_task(label, total=total, note="")
        self._percent = 0.0
        self._bar.start()

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move the bar forward."""
        self._bar.update(self._task, advance=steps, note=printable(note))
        if self._percent != (percent := round(self._bar.tasks[0].percentage)):
            self._percent = percent
            self._bar.refresh()

    def resize(self, total: float) -> None:
        """Change the number of steps in all."""
        # Not by `update`, which forgets the rate.
        self._bar.tasks[0].total = total

    def pause(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.stop()

    def resume(self) -> None:
        """Draw the bar again."""
        self._bar.start()


class Output:
    """Where a command prints what.

    With `json` results are JSON, one object a line; `quiet` omits messages, hints and progress,
    but not results, warnings and errors.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet
        self.stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: BarProgress | None = None

    def result(self, record: Mapping[str, object] | str, text: str | None = None) -> None:
        """Print one result: the record with `--json`, else the text.

        A bare string is its own text, and the JSON `{"result": string}`. File names in the text
        must go through `printable`.
        """
        if self.json:
            text = to_json({"result": record} if isinstance(record, str) else record)
        self._write(str(record) if text is None else text)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        records: Sequence[Mapping[str, object]] | None = None,
        right: Sequence[str] = (),
    ) -> None:
        """Print a table, or with `--json` one object per row: the records, if not the cells.

        `right` are the headings of right-aligned columns (numbers).
        """
        if self.json:
            for record in records or [dict(zip(columns, row, strict=True)) for row in rows]:
                self._write(to_json(record))
            return
        cells = [[printable(c) for c in row] for row in (columns, *rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        for row in cells:
            padded = (
                c.rjust(w) if name in right else c.ljust(w)
                for c, w, name in zip(row, widths, columns, strict=True)
            )
            self._write("  ".join(padded).rstrip())

    def _write(self, line: str) -> None:
        with self._bar_lifted():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def info(self, text: object) -> None:
        """Print what is being done."""
        if not self.quiet:
            self._say(Text(printable(text)))

    def hint(self, text: object) -> None:
        """Suggest a next step."""
        if not self.quiet:
            self._say(Text(printable(text), style="dim"))

    def warn(self, text: object) -> None:
        """Print a problem that does not stop the work."""
        self._say(Text.assemble(("led: warning: ", "yellow"), printable(text)))

    def error(self, problem: object) -> None:
        """Print `led: what is wrong. What to do`, on one line, from an exception or a text.

        With `LED_DEBUG=1` an exception's trace comes first.
        """
        if isinstance(problem, BaseException) and debugging():
            self.trace(problem)
        self._say(Text.assemble(("led: ", "bold red"), printable(problem)))

    def failed(self, file: object, error: Exception, **record: object) -> None:
        """Print why a file failed: the error, and with `--json` an object as well."""
        self.error(error)
        if self.json:
            self.result({"file": file, "status": "failed", "error": str(error), **record})

    def trace(self, problem: BaseException) -> None:
        """Print the trace of an exception."""
        with self._bar_lifted():
            sys.stderr.write("".join(traceback.format_exception(problem)))

    def _say(self, text: Text) -> None:
        # soft_wrap: a message stays one line for grep however narrow the terminal is.
        self.stderr.print(text, soft_wrap=True)

    @contextmanager
    def progress(self, total: float | None, label: str, unit: str = "") -> Iterator[ProgressBar]:
        """Show progress, rate and time left, of a number of steps if it is known.

        A bar on a terminal, a line every few seconds elsewhere, nothing with `--quiet`.
        """
        if self.quiet:
            yield SILENT
        elif not self.stderr.is_terminal or self.stderr.is_dumb_terminal:
            yield PlainProgress(self.info, total, label, unit)
        else:
            self._live = bar = BarProgress(self.stderr, total, label, unit)
            try:
                yield bar
            finally:
                self._live = None
                bar.pause()

    @contextmanager
    def _bar_lifted(self) -> Iterator[None]:
        """Remove the bar while something else is printed."""
        bar = self._live
        if bar is None:
            yield
            return
        bar.pause()
        try:
            yield
        finally:
            bar.resume()
