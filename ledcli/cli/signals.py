"""Ctrl-C that stops cleanly: the first asks the work to stop, the second ends it at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable(asked_now: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM inside the block into a request that the work looks at.

    Parameters
    ----------
    asked_now : callable
        Called when it comes.

    Yields
    ------
    callable
        Tells whether a stop was asked for.
    """
    asked = False
    before = {number: signal.getsignal(number) for number in SIGNALS}
    # A shell ignores Ctrl-C for what it runs in the background, and so do we.
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for each, handler in before.items():
            signal.signal(each, handler)
        asked_now()

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
