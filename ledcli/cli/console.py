"""The one place that prints: results on standard output, messages for people on standard error."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from rich.console import Console
from rich.text import Text

from ledcli.cli.terminal import BarProgress, PlainProgress, Progress, printable


def debugging() -> bool:
    """Return whether `LED_DEBUG` asks for traces."""
    return os.environ.get("LED_DEBUG", "") not in ("", "0")


def _plain(value: object) -> object:
    """Convert to JSON types; NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # a NumPy array or scalar, a tensor
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    return str(value)


def to_json(record: object) -> str:
    """Return one line of ASCII JSON; paths become text, NaN and infinities null."""
    return jsonlib.dumps(_plain(record), allow_nan=False)


class Output:
    """Where a command prints what.

    With `json` results are JSON, one object a line; `quiet` omits messages, hints and progress,
    but not results, warnings and errors.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json, self.quiet = json, quiet
        self.stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live: Progress | None = None

    # Standard output, for scripts.

    def result(self, record: Mapping[str, object] | str, text: str | None = None) -> None:
        """Print one result: the record with `--json`, else the text.

        A bare string is the JSON `{"result": string}`. The text is by default the string, or
        `key: value` lines; file names in it must go through `printable`.
        """
        if self.json:
            line = to_json({"result": record} if isinstance(record, str) else record)
        elif text is not None:
            line = text
        elif isinstance(record, str):
            line = record
        else:
            line = "\n".join(f"{printable(k)}: {printable(v)}" for k, v in record.items())
        self._write(line)

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

    # Standard error: for people.

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

    def trace(self, problem: BaseException) -> None:
        """Print the trace of an exception."""
        with self._bar_lifted():
            sys.stderr.write("".join(traceback.format_exception(problem)))

    def _say(self, text: Text) -> None:
        # soft_wrap: a message stays one line for grep however narrow the terminal is.
        self.stderr.print(text, soft_wrap=True)

    @contextmanager
    def progress(self, total: float | None, label: str, unit: str = "") -> Iterator[Progress]:
        """Show progress, rate and time left, of a number of steps if it is known.

        A bar on a terminal, a line every few seconds elsewhere, nothing with `--quiet`.

        Examples
        --------
        >>> with Output(quiet=True).progress(2, "denoising", "photos") as bar:
        ...     bar.advance()
        ...     bar.advance(note="IMG_2.NEF")
        """
        bar: Progress
        if self.quiet:
            bar = Progress()
        elif self.stderr.is_terminal and not self.stderr.is_dumb_terminal:
            bar = BarProgress(self.stderr, total, label, unit)
        else:
            bar = PlainProgress(self.info, total, label, unit)
        self._live = bar
        try:
            yield bar
        finally:
            self._live = None
            bar.close()

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
