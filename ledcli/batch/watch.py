"""Watch folders: denoise the raws that come, each once it has stopped growing."""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ledcli.batch.folders import NO_EVENTS, mount_of
from ledcli.batch.journal import Stamp
from ledcli.batch.run import plan_denoise
from ledcli.batch.settings import DenoiseOptions, Result, Status
from ledcli.errors import NoRawsError, UsageError
from ledcli.raw.inputs import find_raws
from ledcli.reporting import Reporter, Stop

SETTLED_S = 3.0
"""A raw whose size and time stay the same for so long (seconds) is complete."""
POLL_S = 1.0
"""Seconds between two looks at files that grow, or where the system reports no changes."""
LOOK_SHARE = 0.1
"""Looks take at most this share of the time, however many files there are."""
MAX_PAUSE_S = 60.0
"""Seconds between two looks where the system reports changes: it may lose some."""
STOP_S = 0.2
"""Seconds between checks for a request to stop."""


def watch(
    options: DenoiseOptions,
    report: Reporter,
    *,
    stop: Stop,
    changes: "Changes | None" = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Result]:
    """Denoise what is missing or changed in folders, and what comes into them, until `stop`.

    Yields the result of each photo that was denoised or failed. One that failed is tried again when
    its file changes. Models stay in memory. Raises UsageError for inputs that are no folders, and
    in a dry run or for a cluster; else as `plan_denoise` and `DenoiseRun.run`.
    """
    if options.dry_run or options.ray:
        other = "--dry-run" if options.dry_run else "--ray"
        raise UsageError(f"--watch and {other} exclude each other")
    inputs = [str(path) for path in options.paths]
    folders = [Path(os.path.expanduser(text)) for text in inputs]
    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(f"{folder}: not a folder, and --watch takes folders only")
    once = _Once(report)
    # Options that do not fit are told now, before a photo comes.
    first = plan_denoise(options, once)
    if dark := first.settings.dark:
        # Their drive may be gone when a photo comes.
        dark = dark.measured(once, force=options.settings.force_read)
        options = replace(options, settings=replace(options.settings, dark=dark))
    from ledcli.inference.denoiser import DenoiserCache

    denoisers = DenoiserCache(*first.engine)
    changes = changes or Changes(folders, options.recursive, report)
    settled = _Settled(clock)
    while not stop():
        start = clock()
        problems: list[UsageError] = []
        try:
            raws = find_raws(
                inputs, recursive=options.recursive, problem=problems.append, out=options.out
            )
        except UsageError as error:
            problems, raws = [error], []
        for problem in problems:
            if not isinstance(problem, NoRawsError):
                once.warn(problem)
        ready = settled.take([raw.file for raw in raws])
        if ready:
            planned = plan_denoise(options, once)
            planned.jobs = [job for job in planned.jobs if job.source in ready]
            planned.denoisers = denoisers
            for result in planned.run(stop=stop, report=once):
                if result.status in (Status.DONE, Status.FAILED):
                    yield result
        else:
            changes.wait(clock() - start, settled.growing, stop)


class _Settled:
    """Finds the files that have stopped growing; each is taken once, and again when it changes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[Path, tuple[Stamp, float]] = {}
        self._taken: dict[Path, tuple[Stamp, bool]] = {}
        self.growing = False
        """Whether some files were seen that are not complete yet."""

    def take(self, files: Sequence[Path]) -> set[Path]:
        """Return those of the files that are complete and not taken as they are now."""
        now, before, self._seen = self._clock(), self._seen, {}
        ready = set()
        for file in files:
            with contextlib.suppress(OSError):  # gone again, or open elsewhere (Windows)
                stamp = Stamp.of(os.stat(file))
                readable = os.access(file, os.R_OK)
                if self._taken.get(file) == (stamp, readable):
                    continue
                known, since = before.get(file, (stamp, now))
                if known == stamp and now - since >= SETTLED_S:
                    stamp = _current(file, stamp)
                if known == stamp and now - since >= SETTLED_S:
                    self._taken[file] = stamp, readable
                    ready.add(file)
                else:
                    self._seen[file] = stamp, since if known == stamp else now
        self.growing = bool(self._seen)
        return ready


def _current(file: Path, stamp: Stamp) -> Stamp:
    """Return what the opened file says; a network drive may show an earlier state before.

    A file that cannot be opened keeps its stamp: reading it will tell the user why. On Windows
    another program may still be writing it.
    """
    try:
        with open(file, "rb") as opened:
            return Stamp.of(os.fstat(opened.fileno()))
    except OSError as error:
        if os.name == "nt" or isinstance(error, FileNotFoundError):
            raise
        return stamp


class Changes:
    """Waits for changes in folders: as the system reports them, or by time alone.

    The system's reports need the package `watchfiles`, and a drive of this machine.
    """

    def __init__(self, folders: Sequence[Path], recursive: bool, report: Reporter) -> None:
        self._folders, self._recursive, self._report = folders, recursive, report
        self._events: Generator[object, None, None] | None = None
        self._watched = self._identities()
        names = ", ".join(map(str, folders))
        if not any(NO_EVENTS.fullmatch(mount_of(folder)[0]) for folder in folders):
            self._begin()
        how = "as the system reports them" if self._events else "looking every second"
        report.info(f"watching {names} for new raws ({how}); Ctrl-C ends it")

    def _begin(self) -> None:
        """Ask the system for the changes from now on, if it reports any."""
        with contextlib.suppress(ImportError):
            import watchfiles

            self._events = watchfiles.watch(
                *self._folders,
                watch_filter=None,
                recursive=self._recursive,
                rust_timeout=int(STOP_S * 1000),
                yield_on_timeout=True,
                raise_interrupt=False,
            )
            self._changed()

    def _identities(self) -> list[tuple[Path, int, int]]:
        """Return the folders that are there, with the numbers that the system gave them."""
        found = []
        for folder in self._folders:
            with contextlib.suppress(OSError):
                state = os.stat(folder)
                found.append((folder, state.st_dev, state.st_ino))
        return found

    def wait(self, look_s: float, growing: bool, stop: Stop) -> None:
        """Wait for a change, for the time to look again, or for a `stop`.

        `look_s` is how long a look takes; `growing` asks to look again soon, change or not.
        """
        pause = max(POLL_S, look_s / LOOK_SHARE)
        there = self._identities()
        if self._events is not None and there != self._watched and len(there) == len(self._folders):
            # The system reports what happens to the folders that were replaced.
            self._watched = there
            self._begin()
            return
        by_events = self._events is not None and not growing and there == self._watched
        until = time.monotonic() + (MAX_PAUSE_S if by_events else pause)
        while not stop() and (left := until - time.monotonic()) > 0:
            if not by_events:
                time.sleep(min(STOP_S, left))
            elif self._changed() or self._identities() != self._watched:
                return

    def _changed(self) -> bool:
        """Wait a moment for changes; return whether there are any."""
        try:
            return bool(next(self._events, True)) if self._events else True
        except (OSError, RuntimeError) as error:
            self._report.warn(f"the system reports no changes ({error}); looking every second")
            self._events = None
            return True


class _Once:
    """A reporter that passes each message on once: runs over the same folder repeat theirs."""

    def __init__(self, report: Reporter) -> None:
        self._info, self._warn = cache(report.info), cache(report.warn)
        self.progress = report.progress

    def info(self, text: object) -> None:
        self._info(str(text))

    def warn(self, text: object) -> None:
        self._warn(str(text))
