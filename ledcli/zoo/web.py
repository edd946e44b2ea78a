"""Opening an address: https only, by the proxy that the environment names. No torch.

`http` is for this machine alone (a mirror at `localhost`): nothing on the way can change what it
sends. A redirect may go to https, and from this machine to this machine.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import ledcli
from ledcli.errors import DownloadError

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
