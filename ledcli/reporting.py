"""How long work reports to a person: messages, warnings and progress, whoever shows them."""

import itertools
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

OnProgress = Callable[[float], None]
"""Receives the share of a piece of work that is done, 0 to 1; never less than before."""
Stop = Callable[[], bool]
"""Returns whether to stop; called between pieces of work."""
Stoppable = Callable[[], AbstractContextManager[Stop]]
"""Opens the context in which work can be stopped, such as by Ctrl-C."""


def count(number: int, noun: str) -> str:
    """Write a number of things: ``1 frame``, ``3 frames``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def distinct_name(name: str, taken: Collection[str]) -> str:
    """Return a name, with a number where it is taken: ``name (2)``."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return name if name not in taken else next(n for n in numbered if n not in taken)


class ProgressBar(Protocol):
    """The progress of a piece of work."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Count ``steps`` as done; ``note`` names what is being worked on."""

    def resize(self, total: float) -> None:
        """Change the number of steps in all."""


class Reporter(Protocol):
    """Receives messages and progress; `ledcli.cli.console.Output` is one."""

    def info(self, text: object) -> None:
        """Receive what is being done."""

    def warn(self, text: object) -> None:
        """Receive a problem that does not stop the work."""

    def progress(
        self, total: float | None, label: str, unit: str = ""
    ) -> AbstractContextManager[ProgressBar]:
        """Open a progress bar over ``total`` steps; None if their number is not known yet."""


class Silent:
    """A reporter that shows nothing, and its progress bar."""

    def info(self, text: object) -> None:
        """Ignore a message."""

    def warn(self, text: object) -> None:
        """Ignore a warning."""

    @contextmanager
    def progress(self, total: float | None, label: str, unit: str = "") -> Iterator[ProgressBar]:
        """Return a progress bar that shows nothing."""
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Ignore progress."""

    def resize(self, total: float) -> None:
        """Ignore how much there is to do."""


SILENT = Silent()


@contextmanager
def never_stop() -> Iterator[Stop]:
    """Run to the end: the stop request of a caller that has none."""
    yield lambda: False
