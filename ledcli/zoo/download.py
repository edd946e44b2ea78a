"""Fetching a file whole or not at all: resumed after a break, retried, checked. No torch."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Protocol

from filelock import FileLock, Timeout

from ledcli.errors import DownloadError
from ledcli.photo.files import make_folder
from ledcli.zoo.modelfile import file_sha256
from ledcli.zoo.partfile import PartFile
from ledcli.zoo.web import AnswerError, BrokenError, UnreachableError, open_url

CHUNK = 1 << 17
"""Bytes that are read at once."""
TRIES = 6
"""Tries in a row that bring nothing, after which it is given up."""
MOST_TRIES = 60
"""Tries altogether, also where each brings a little."""
FIRST_WAIT_S = 1.0
"""Seconds before the second try; each further wait is twice as long."""


class Show(Protocol):
    """Shows how far a download is."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show `done` bytes of `total`, where that is known."""


def fetch(
    url: str,
    target: Path,
    *,
    most: int,
    size: int | None = None,
    sha256: str | None = None,
    show: Show = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> str:
    """Fetch a file and put it under its name when all of it is there and right.

    What has come stays beside the target when this is interrupted; the next call goes on from
    there if the server still has the same version of the file, else it starts again.

    Parameters
    ----------
    url : str
        https, or http on this machine.
    target : Path
        Where the file goes; an old one is replaced.
    most : int
        Bytes that it may have.
    size : int, optional
        Bytes that it must have.
    sha256 : str, optional
        Hash that it must have.
    show, say : callable
        Told of every chunk; of every new try, in a line.

    Returns
    -------
    str
        Its SHA-256.

    Raises
    ------
    DownloadError
        When it cannot be fetched, is too large, or has another hash.
    OutputError
        When it cannot be written.
    """
    make_folder(target.parent)
    lock = FileLock(target.with_name(target.name + ".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise DownloadError(
            f"another led is fetching {target.name}: wait until it is done"
        ) from None
    try:
        part = PartFile(target, url)
        while True:
            resumed = part.size > 0
            _receive_all(url, part, most, size, show, say)
            found = file_sha256(part.path) if part.size else ""
            if sha256 in (None, found):
                part.place()
                return found
            part.restart()
            if not resumed:
                raise DownloadError(
                    f"{url}: has SHA-256 {found} and not {sha256}: it is another file than it "
                    "was, so it was thrown away. If that is right, put its sha256 into a registry "
                    "of your own"
                )
            say(f"{target.name}: is not whole after a break: fetched again")
    finally:
        lock.release()


def _receive_all(
    url: str,
    part: PartFile,
    most: int,
    size: int | None,
    show: Show,
    say: Callable[[str], None],
) -> None:
    """Try until all is there."""
    failed, came = 0, False
    for _ in range(MOST_TRIES):
        before = part.size
        try:
            _receive(url, part, most, size, show)
            return
        except BrokenError as error:
            brought = part.size > before
            came |= brought
            failed = 1 if brought else failed + 1
            offline = isinstance(error, UnreachableError) and not came
            if offline or failed >= TRIES:
                way = (
                    "is this machine offline? Check the network and the proxy, or bring the file "
                    "on another way and name it to 'led models import'"
                    if isinstance(error, UnreachableError)
                    else "try again later; what has come is kept"
                )
                raise DownloadError(f"{error}: {way}") from error
            wait = FIRST_WAIT_S * 2 ** (failed - 1) if error.wait is None else error.wait
            say(f"{error}; trying again in {wait:g} s")
            sleep(wait)
    raise DownloadError(f"{url}: broke off {MOST_TRIES} times: try again later, what came is kept")


def _receive(url: str, part: PartFile, most: int, size: int | None, show: Show) -> None:
    """Ask once for what is missing and write it."""
    headers = {}
    if part.size and part.validator:
        headers = {"Range": f"bytes={part.size}-", "If-Range": part.validator}
    elif part.size:
        part.restart()
    try:
        answer = open_url(url, headers)
    except AnswerError as error:
        if headers and error.status == 416:  # no such range: another file by now
            part.restart()
            raise BrokenError("the file has changed at the server", 0.0) from error
        raise
    with answer:
        total = _total(answer, part)
        _check_answer(url, answer, total, most, size)
        while total is None or part.size < total:
            try:
                # read1: what has come before a break is not lost.
                data = answer.read1(CHUNK if total is None else min(CHUNK, total - part.size))
            except (http.client.HTTPException, OSError) as error:
                raise BrokenError(f"the connection broke at {part.size:,} bytes") from error
            if not data:
                break
            if part.size + len(data) > most:
                part.restart()
                raise _too_large(url, most)
            part.append(data)
            show(part.size, total)
    if total is not None and part.size < total:
        raise BrokenError(f"the connection broke at {part.size:,} of {total:,} bytes")
    if size not in (None, part.size):
        wrong = part.size
        part.restart()
        raise DownloadError(f"{url}: has {wrong:,} bytes and not {size:,}, as its registry says")


def _total(answer: http.client.HTTPResponse, part: PartFile) -> int | None:
    """Return the size of the whole file where the answer tells it; start again where it must."""
    length = answer.headers.get("Content-Length", "")
    if answer.status == 206:
        match = re.fullmatch(
            r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", answer.headers.get("Content-Range", "")
        )
        if match and part.size and int(match[1]) == part.size:
            return int(match[3])
        part.restart()
        raise BrokenError("the server sent another part than it was asked for", 0.0)
    part.restart()
    part.begin(answer.headers)
    return int(length) if re.fullmatch(r"\d{1,15}", length) else None


def _check_answer(
    url: str, answer: http.client.HTTPResponse, total: int | None, most: int, size: int | None
) -> None:
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{url}: the server packs the file, which it was asked not to do")
    if answer.headers.get_content_type() == "text/html":
        raise DownloadError(
            f"{url}: is a web page and no file: has it moved, or must you log in to the network?"
        )
    if total is not None and total > most:
        raise _too_large(url, most)
    if total is not None and size is not None and total != size:
        raise DownloadError(f"{url}: has {total:,} bytes and not {size:,}, as its registry says")


def _too_large(url: str, most: int) -> DownloadError:
    return DownloadError(f"{url}: is larger than {most / 1e6:,.0f} MB, so it is not fetched")
