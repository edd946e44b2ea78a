"""Reading, network and writing side by side, at most one photo in each and one between."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ledcli.errors import LedError, RawError
from ledcli.inference.choice import Chooser
from ledcli.inference.decoder import Decoder
from ledcli.inference.developing import Picture
from ledcli.inference.jobs import Job, Result, Settings
from ledcli.inference.manifest import Stamp
from ledcli.inference.ready import Ready
from ledcli.inference.steps import Clean, Frame, denoised, framed, timed

Put = Callable[[Job, Clean | Picture, Stamp, Result], None]
"""Encodes a photo and puts its files where they belong; raises OutputError. The stamp is that of
the source before it was read."""


def pipeline(
    jobs: Sequence[Job],
    settings: Settings,
    chooser: Chooser,
    ready: Ready,
    decoder: Decoder,
    put: Put,
    abandon: Callable[[], None],
    stop: Callable[[], bool],
) -> Generator[Result, None, None]:
    """Take photos through decoding, network and writing.

    While one photo is in the network, the next is decoded in a process of its own and the last is
    encoded in a thread. No more than these are held, however many photos there are. A photo that
    fails is told of and does not stop the others.

    Parameters
    ----------
    jobs, settings, chooser, ready, decoder
    put : callable
        Called in the writing thread.
    abandon : callable
        Called when the caller leaves early: makes a `put` that is under way come to an end.
    stop : callable
        Asked before each photo; once it says yes, those that are in the network or behind it are
        finished and no other is begun.

    Yields
    ------
    Result
        In the order of the jobs.
    """
    reader = ThreadPoolExecutor(1, "led-read")
    writer = ThreadPoolExecutor(1, "led-write")
    behind: Future[Result] | None = None
    try:
        ahead = reader.submit(_read, decoder, jobs[0], settings) if jobs else None
        for job, following in zip(jobs, [*jobs[1:], None], strict=True):
            if ahead is None or stop():
                break
            result, source, frame = ahead.result()
            ahead = reader.submit(_read, decoder, following, settings) if following else None
            clean = None
            if frame is not None:
                with _caught(result):
                    clean = denoised(frame, settings, chooser, ready, result)
            del frame
            if behind is not None:
                yield behind.result()
            behind = writer.submit(_stored, put, job, clean, source, result)
            del clean
        if behind is not None:
            yield behind.result()
            behind = None
    finally:
        decoder.close()
        reader.shutdown(wait=False, cancel_futures=True)
        if behind is not None:
            # The caller leaves early, with a second Ctrl-C. The file that is being written is
            # waited for: nothing may be written once the folder's lock is gone.
            abandon()
        writer.shutdown(wait=True, cancel_futures=True)


def _read(decoder: Decoder, job: Job, settings: Settings) -> tuple[Result, Stamp, Frame | None]:
    result, source, frame = Result(job.source), Stamp(0, 0), None
    with _caught(result):
        with contextlib.suppress(OSError, ValueError):  # the decoder says why
            source = Stamp.of(os.stat(job.source))
        with timed(result, "decode"):
            decoded = decoder.decode(job.source)
        if decoded.note and not settings.again:
            raise RawError(
                f"{job.source}: already denoised by led {decoded.note.get('version', '')} "
                f"(model {decoded.note.get('model', 'unknown')}): --again does it once more"
            )
        with timed(result, "pack"):
            frame = framed(decoded)
    return result, source, frame


def _stored(
    put: Put, job: Job, clean: Clean | Picture | None, source: Stamp, result: Result
) -> Result:
    if clean is not None:
        with _caught(result), timed(result, "encode"):
            put(job, clean, source, result)
    return result


@contextlib.contextmanager
def _caught(result: Result) -> Iterator[None]:
    """Turn what goes wrong with one photo into its result: the next must have its turn."""
    try:
        yield
    except LedError as error:
        result.error = error
    except MemoryError:
        result.error = LedError(
            f"{result.source}: needs more memory than there is: close other programs"
        )
    except Exception as error:  # of any library: it costs this photo alone
        result.error = LedError(f"{result.source}: {type(error).__name__}: {error}")
        result.error.__cause__ = error
