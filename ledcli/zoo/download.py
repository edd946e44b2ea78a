"""Download a file with pooch: whole or not at all, retried, checked and bounded. No torch."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from time import sleep
from typing import Any, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

import pooch
import requests

import ledcli
from ledcli.errors import DownloadError, OutputError, first_line
from ledcli.output.atomic import explain, make_folder
from ledcli.reporting import SILENT, ProgressBar, Reporter
from ledcli.zoo.checkpoint_file import MAX_BYTES
from ledcli.zoo.model_file import file_sha256

TIMEOUT_S = 30.0
"""Seconds without a byte after which a connection counts as broken."""
TRIES = 6
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 60.0
"""Wait before the second try, doubled before each further one; and the longest wait that a server
may ask for."""
RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may go away."""
CHUNK_BYTES = 1 << 17
MAX_PAGE_BYTES = 1 << 20

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_DRIVE_FILE = re.compile(r"https://drive\.google\.com/file/d/([\w-]+)(/.*)?")
_DRIVE_HOSTS = ("drive.google.com", "drive.usercontent.google.com")


class _ConfirmedError(Exception):
    """Google Drive asks for confirmation; the message is the address that it leads to."""


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    report: Reporter = SILENT,
) -> str:
    """Download a file to `target`, in one step when it is complete and right; return its SHA-256.

    The address is https, or http on this machine; the page of a file on Google Drive stands for
    the file. An old file is replaced; no other process may use the folder. `report` gets progress
    in MB and a warning about each new try. Raises DownloadError when it cannot be downloaded, is
    larger than a checkpoint, or has another size in bytes or hash; OutputError when it cannot be
    written.
    """
    check_url(url)
    make_folder(target.parent)
    try:
        for old in (target, *target.parent.glob("tmp*")):  # pooch's, of a killed run
            old.unlink(missing_ok=True)
        _retry(url, target, size, sha256, report)
        return file_sha256(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {explain(error)}") from error


def _retry(url: str, target: Path, size: int | None, sha256: str | None, report: Reporter) -> None:
    match = _DRIVE_FILE.fullmatch(url)
    source = f"https://drive.google.com/uc?export=download&id={match[1]}" if match else url
    confirmed = False
    pooch.get_logger().setLevel("WARNING")
    for failures in range(1, TRIES + 2):
        try:
            with report.progress(None, f"fetching {target.name}", "MB") as bar:
                pooch.retrieve(
                    source,
                    sha256 and f"sha256:{sha256}",
                    fname=target.name,
                    path=target.parent,
                    downloader=_Downloader(size, bar),
                )
            return
        except _ConfirmedError as page:
            if confirmed:
                raise _web_page(url) from None
            source, confirmed = str(page), True
        except requests.RequestException as error:
            why, wait = _reason(url, error, first=failures == 1)
            if failures >= TRIES:
                raise DownloadError(f"{why}: try again later, or {by_hand(url)}") from error
            wait = FIRST_WAIT_S * 2 ** (failures - 1) if wait is None else wait
            report.warn(f"{why}; trying again in {wait:g} s")
            sleep(wait)
        except ValueError as error:
            if "known hash" not in str(error):  # a header or an address that is none
                raise DownloadError(
                    f"{url}: the server's answer cannot be understood ({first_line(error)}): "
                    f"try again later, or {by_hand(url)}"
                ) from error
            raise DownloadError(
                f"{url}: {str(error).partition('. ')[0]}. The file has changed and was deleted; if "
                "that is right, put its sha256 into a registry of your own"
            ) from error


def by_hand(url: str) -> str:
    """Return the advice for a machine that cannot download by itself."""
    return f"download {url} by hand and run 'led models import FILE.pth'"


class _Downloader:
    def __init__(self, size: int | None, bar: ProgressBar) -> None:
        self.size, self.bar = size, bar

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        done = 0
        with (
            requests.get(
                url,
                stream=True,
                timeout=TIMEOUT_S,
                headers={"User-Agent": f"led/{ledcli.__version__}", "Accept-Encoding": "identity"},
                hooks={"response": self._check_response},
                auth=lambda request: request,  # no password from ~/.netrc
                # A proxy is not on the way to this machine.
                proxies={"http": None} if _is_local(url) else None,  # type: ignore[dict-item]
            ) as response,
            open(output_file, "wb") as file,
        ):
            if size := int(response.headers.get("Content-Length", 0)):
                self.bar.resize(size / 1e6)
            for chunk in response.iter_content(CHUNK_BYTES):
                done += file.write(chunk)
                self.bar.advance(len(chunk) / 1e6)
                if done > MAX_BYTES:
                    raise _too_large(url)
        self._check_size(url, done)

    def _check_response(self, response: requests.Response, **_: object) -> None:
        if response.is_redirect:
            to = urljoin(response.url, response.headers["Location"])
            check_url(to, redirected_from=response.url)
        elif response.status_code in RETRY_STATUS:
            response.raise_for_status()
        elif response.status_code != 200:
            raise DownloadError(
                f"{response.url}: the server answers {response.status_code} {response.reason}"
            )
        elif response.headers.get("Content-Type", "").startswith("text/html"):
            _check_page(response)
        elif length := response.headers.get("Content-Length"):
            self._check_size(response.url, int(length))

    def _check_size(self, url: str, size: int) -> None:
        if size > MAX_BYTES:
            raise _too_large(url)
        if self.size not in (None, size):
            raise DownloadError(f"{url}: has {size:,} bytes, not the {self.size:,} of its registry")


def check_url(url: str, redirected_from: str | None = None) -> None:
    """Raise DownloadError unless an address is https, or http on this machine.

    An address elsewhere must not redirect to this machine.
    """
    try:
        local = _is_local(url) and (redirected_from is None or _is_local(redirected_from))
        safe = bool(urlsplit(url).hostname) and (urlsplit(url).scheme == "https" or local)
    except ValueError:
        safe = False
    if not safe:
        where = f"{redirected_from} redirects to {url!r}" if redirected_from else repr(url)
        raise DownloadError(f"{where}: only https is safe. Name a mirror with https")


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOCAL_HOSTS


def _check_page(response: requests.Response) -> NoReturn:
    """Follow the form with which Google Drive asks whether to download a large file."""
    if _is_local(response.url) or urlsplit(response.url).hostname in _DRIVE_HOSTS:
        form = _Form()
        page = response.raw.read(MAX_PAGE_BYTES, decode_content=True)
        form.feed(page.decode("utf-8", "replace"))
        if form.action:
            to = urljoin(response.url, form.action)
            check_url(to, redirected_from=response.url)
            raise _ConfirmedError(f"{to}?{urlencode(form.fields)}")
    raise _web_page(response.url)


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and values.get("id") == "download-form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("type") == "hidden":
            self.fields[values.get("name", "")] = values.get("value", "")


def _web_page(url: str) -> DownloadError:
    return DownloadError(
        f"{url}: is a web page, not a file; it may have moved, or its download quota is used up: "
        f"{by_hand(url)}"
    )


def _too_large(url: str) -> DownloadError:
    return DownloadError(f"{url}: is larger than {MAX_BYTES / 1e6:,.0f} MB; not downloaded")


def _reason(url: str, error: requests.RequestException, *, first: bool) -> tuple[str, float | None]:
    """Return why a try failed and how long to wait, or raise DownloadError if it is final."""
    host = urlsplit(url).hostname
    if isinstance(error, requests.HTTPError) and error.response is not None:
        after = error.response.headers.get("Retry-After", "")
        wait = min(float(after), MAX_WAIT_S) if after.isdecimal() else None
        return f"{host} answers {error.response.status_code}", wait
    if isinstance(error, requests.TooManyRedirects):
        raise DownloadError(f"{url}: redirects in a circle") from error
    cause: Any = error.args[0] if error.args else error
    text = " ".join(str(getattr(cause, "reason", cause)).split())[-160:]
    if isinstance(error, requests.exceptions.SSLError):
        raise DownloadError(
            f"{url}: the server's certificate is not valid ({text}). Check the address, the clock "
            "and the proxy"
        ) from error
    if first and isinstance(error, requests.ConnectionError) and hasattr(cause, "reason"):
        raise DownloadError(
            f"{host} cannot be reached ({text}): is this machine offline? Check the network and "
            f"the proxy, or {by_hand(url)}"
        ) from error
    return f"{host}: the connection broke ({text})", None
