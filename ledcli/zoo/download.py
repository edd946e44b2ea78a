"""Fetching a file whole or not at all: resumed after a break, retried, checked. No torch."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import sleep
from typing import Protocol
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

import ledcli
from ledcli.errors import DownloadError, OutputError
from ledcli.output.atomic import atomic_write, explain, make_folder
from ledcli.zoo.model_file import file_sha256

TIMEOUT_S = 30.0
"""Seconds without a byte after which a connection counts as broken."""
LONGEST_WAIT_S = 60.0
"""What a server may ask to wait, at most."""
LATER = (408, 425, 429, 500, 502, 503, 504)
"""What a server says that may answer if asked again."""

_HERE = ("localhost", "127.0.0.1", "::1")


class AnswerError(DownloadError):
    """The server answers that it will not give the file; `status` is its number for why."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class BrokenError(Exception):
    """A connection broke, or the server asks to come again: worth another try.

    Parameters
    ----------
    why : str
        For people.
    wait : float, optional
        Seconds to wait, if the server named them.
    """

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class UnreachableError(BrokenError):
    """There is no way to the server at all: most likely no network."""


def check_url(url: str, before: str | None = None) -> None:
    """Refuse an address that is not https, nor http on this machine.

    Parameters
    ----------
    url : str
    before : str, optional
        The address that redirected here.

    Raises
    ------
    DownloadError
    """
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and (
            parts.scheme == "https" or (is_here(url) and (before is None or is_here(before)))
        )
    except ValueError:
        fine = False
    if not fine:
        way = f"{before} sends to {url!r}" if before else f"{url!r} is no address to fetch from"
        raise DownloadError(f"{way}: only https is safe. Name a mirror with https")


def is_here(url: str) -> bool:
    """Tell whether an address is http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in _HERE


def open_url(url: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
    """Ask for an address and return the answer, a 200 or 206.

    Raises
    ------
    BrokenError
        When another try may help.
    DownloadError
        When none will.
    """
    check_url(url)
    handlers: list[urllib.request.BaseHandler] = [_Redirects()]
    if is_here(url):
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy is on the way to this machine
    opener = urllib.request.build_opener(*handlers)
    own = {"User-Agent": f"led/{ledcli.__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers={**own, **headers})
    try:
        answer: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in LATER:
                why = f"{_host(url)} answers {error.code}"
                raise BrokenError(why, _wait(error.headers.get("Retry-After"))) from error
            raise AnswerError(f"{url}: the server answers {_answer(error)}", error.code) from error
    except urllib.error.URLError as error:
        raise _no_way(url, error.reason) from error
    except (http.client.HTTPException, OSError) as error:
        raise BrokenError(f"{_host(url)}: {_text(error)}") from error
    if answer.status not in (200, 206):
        answer.close()
        raise DownloadError(f"{url}: the server answers {answer.status}, which is no file")
    return answer


def _no_way(url: str, reason: object) -> BrokenError | DownloadError:
    """Tell a network that is not there from a server that cannot be trusted and one that fails."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(
            f"{url}: the server's certificate is not valid ({reason.verify_message}): nothing was "
            "fetched. Check the address, the clock and the proxy"
        )
    if isinstance(reason, socket.gaierror | ConnectionRefusedError) or (
        isinstance(reason, OSError) and not isinstance(reason, TimeoutError | ConnectionError)
    ):
        return UnreachableError(f"{_host(url)} cannot be reached ({_text(reason)})")
    return BrokenError(f"{_host(url)}: {_text(reason)}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: object,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_url(newurl, before=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _wait(retry_after: str | None) -> float | None:
    """Seconds that a server asks to wait, bounded; it says a number, or a date."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after or "")
            seconds = (date.astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    # A NaN is none of these and gives the longest.
    return max(seconds, 0.0) if seconds <= LONGEST_WAIT_S else LONGEST_WAIT_S


def _answer(error: urllib.error.HTTPError) -> str:
    text = " ".join(str(error.reason).split())[:80]
    return f"{error.code} {text}".strip()


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _text(reason: object) -> str:
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(str(text).split())[:120] or type(reason).__name__


class PartFile:
    """`NAME.part` and, beside it, `NAME.part.json`: whose beginning it is.

    The second holds the address and what names this version of the file there (`ETag`, else
    `Last-Modified`). Without one, or of another address, what has come is of no use.

    Parameters
    ----------
    target : Path
        Where the whole file is going to be.
    url : str
        Where it comes from.
    """

    def __init__(self, target: Path, url: str) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._state = target.with_name(target.name + ".part.json")
        self._url = url
        self.validator = self._known()
        """What names this version of the file; empty when it cannot be gone on with."""
        self.size = self.path.stat().st_size if self.validator and self.path.is_file() else 0
        if not self.size:
            self.restart()

    def _known(self) -> str:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            same = state["url"] == self._url and isinstance(state["validator"], str)
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        validator: str = state["validator"] if same else ""
        return validator if validator.isascii() and validator.isprintable() else ""

    def restart(self) -> None:
        """Forget what has come."""
        try:
            self._state.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be removed: {explain(error)}") from error
        self.validator, self.size = "", 0

    def begin(self, headers: Message) -> None:
        """Note the version that begins to come."""
        etag = headers.get("ETag", "")
        # A weak tag names no bytes: a range may not be asked for by it (RFC 9110, 13.1.5).
        self.validator = headers.get("Last-Modified", "") if etag[:2] in ("", "W/") else etag
        if self.validator:
            state = {"url": self._url, "validator": self.validator}
            atomic_write(self._state, json.dumps(state).encode())

    def append(self, data: bytes) -> None:
        """Write what came next."""
        try:
            with open(self.path, "ab") as file:
                file.write(data)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {explain(error)}") from error
        self.size += len(data)

    def place(self) -> None:
        """Put the whole file under its name, in one step."""
        try:
            with open(self.path, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(self.path, self.target)
            self._state.unlink(missing_ok=True)
        except FileNotFoundError:
            raise DownloadError(f"{self.target.name}: the server sent an empty file") from None
        except OSError as error:
            raise OutputError(f"{self.target}: cannot be written: {explain(error)}") from error


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
