"""A download ends whole and right, or not at all: breaks, lies, redirects, no network."""

import hashlib
import socket

import pytest

from ledcli.errors import DownloadError
from ledcli.reporting import Silent
from ledcli.zoo import download
from ledcli.zoo.download import check_url, fetch
from tests.webserver import serving

DATA = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def site():
    with serving() as site:
        site.files["/net.pth"] = DATA
        yield site


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited, without waiting."""
    waited = []
    monkeypatch.setattr(download, "sleep", waited.append)
    return waited


@pytest.fixture
def target(tmp_path):
    return tmp_path / "downloads" / "net.pth"


def get(site, target, path="/net.pth", **how):
    return fetch(site.url + path, target, **how)


class Seen(Silent):
    """What a download reports: warnings, and progress in MB."""

    def __init__(self):
        self.said, self.total, self.done = [], None, 0.0
        self.warn = self.said.append

    def resize(self, total):
        self.total = total

    def advance(self, steps=1, note=""):
        self.done += steps


def left(target):
    """What lies in the folder, but for the lock."""
    return sorted(p.name for p in target.parent.iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_whole_with_its_hash(site, target, waits):
    seen = Seen()
    assert get(site, target, report=seen) == SHA256
    assert target.read_bytes() == DATA
    assert left(target) == ["net.pth"]
    assert seen.total == seen.done == pytest.approx(len(DATA) / 1e6)
    assert site.requests[0][2]["user-agent"].startswith("led/")
    assert waits == []


def test_a_broken_connection_is_tried_again(site, target, waits):
    site.breaks = [100_000, 50_000]
    seen = Seen()
    assert get(site, target, report=seen) == SHA256
    assert target.read_bytes() == DATA
    assert waits == [1.0, 2.0]
    assert "connection broke" in seen.said[0] and "trying again in 1 s" in seen.said[0]


def test_a_broken_download_leaves_nothing(site, target, waits):
    site.breaks = [100_000] * 6
    with pytest.raises(DownloadError, match=r"connection broke.*try again later"):
        get(site, target)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert left(target) == []


def test_what_a_killed_run_left_is_removed(site, target, waits):
    target.parent.mkdir()
    (target.parent / "tmpabc").write_bytes(b"half")
    assert get(site, target) == SHA256
    assert left(target) == ["net.pth"]


def test_an_old_file_is_not_taken_for_the_new_one(site, target, waits):
    target.parent.mkdir()
    target.write_bytes(b"old")
    assert get(site, target) == SHA256


def test_a_wrong_hash_is_thrown_away_and_said_in_full(site, target, waits):
    with pytest.raises(DownloadError, match=f"expected sha256:{0:064d} but got {SHA256}"):
        get(site, target, sha256="0" * 64)
    assert left(target) == []
    assert len(site.requests) == 1
    assert get(site, target, sha256=SHA256) == SHA256


def test_a_busy_server_is_asked_again_with_growing_waits(site, target, waits):
    site.answers = [(503, {}), (500, {}), (429, {}), (502, {})]
    assert get(site, target) == SHA256
    assert waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("header", "wait"), [("7", 7.0), ("100000", 60.0), ("0", 0.0), ("nan", 1.0), ("x", 1.0)]
)
def test_a_wait_that_the_server_names_is_kept_within_bounds(site, target, waits, header, wait):
    site.answers = [(503, {"Retry-After": header})]
    assert get(site, target) == SHA256
    assert waits == [wait]


def test_a_server_that_stays_busy_is_given_up(site, target, waits):
    site.answers = [(503, {})] * 50
    with pytest.raises(DownloadError, match="answers 503: try again later"):
        get(site, target)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_clear_no_is_not_asked_again(site, target, waits, status):
    site.answers = [(status, {})]
    with pytest.raises(DownloadError, match=f"the server answers {status}"):
        get(site, target)
    assert len(site.requests) == 1
    assert left(target) == []


def test_too_large_a_file_is_not_fetched(site, target, waits, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", len(DATA) - 1)
    for headers in ({}, {"Content-Length": None}):  # also one that does not say how large it is
        site.headers = headers
        with pytest.raises(DownloadError, match="larger than"):
            get(site, target)
        assert left(target) == []


def test_an_endless_file_is_stopped(site, target, waits, monkeypatch):
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    site.headers = {"Content-Length": None}
    seen = Seen()
    with pytest.raises(DownloadError, match="larger than"):
        get(site, target, report=seen)
    assert seen.total is None and seen.done < len(DATA) / 1e6
    assert left(target) == []


def test_a_size_that_the_registry_says_holds(site, target, waits):
    with pytest.raises(DownloadError, match="has 512,000 bytes, not the 1,000"):
        get(site, target, size=1000)
    site.headers = {"Content-Length": None}
    with pytest.raises(DownloadError, match="has 512,000 bytes, not the 600,000"):
        get(site, target, size=600_000)
    assert get(site, target, size=len(DATA)) == SHA256


def test_a_web_page_is_no_file(site, target, waits):
    site.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DownloadError, match=r"is a web page.*led models import FILE\.pth"):
        get(site, target)


FORM = """<form id="download-form" action="{action}" method="get">
<input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t&amp;1">
<input type="submit" value="Download anyway"></form>"""


def test_the_confirmation_page_of_google_drive_is_followed(site, target, waits):
    site.files["/uc"] = FORM.format(action="/download").encode()
    site.types["/uc"] = "text/html"
    site.files["/download?id=abc&confirm=t%261"] = DATA
    assert get(site, target, "/uc") == SHA256
    assert [path for _, path, _ in site.requests] == ["/uc", "/download?id=abc&confirm=t%261"]


def test_a_second_confirmation_page_and_one_that_leads_away_are_refused(site, target, waits):
    site.files["/uc"] = FORM.format(action="/uc").encode()
    site.files["/uc?id=abc&confirm=t%261"] = site.files["/uc"]
    site.types = {path: "text/html" for path in site.files if path.startswith("/uc")}
    with pytest.raises(DownloadError, match="is a web page"):
        get(site, target, "/uc")
    site.files["/uc"] = FORM.format(action="http://example.com/").encode()
    with pytest.raises(DownloadError, match="only https is safe"):
        get(site, target, "/uc")


def test_the_page_of_a_file_on_google_drive_stands_for_the_file(target, waits, monkeypatch):
    asked = []
    monkeypatch.setattr(
        download.pooch, "retrieve", lambda url, *_, **__: (asked.append(url), target.touch())
    )
    page = "https://drive.google.com/file/d/1Ab_c-D/view?usp=drive_link"
    fetch(page, target)
    assert asked == ["https://drive.google.com/uc?export=download&id=1Ab_c-D"]


def test_redirects_are_followed_to_this_machine_and_to_https_only(site, target, waits):
    site.redirects["/old.pth"] = f"{site.url}/net.pth"
    assert get(site, target, "/old.pth") == SHA256
    for place in ("http://example.com/net.pth", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        site.redirects["/old.pth"] = place
        with pytest.raises(DownloadError, match="only https is safe"):
            get(site, target, "/old.pth")
    check_url("https://b.example/net.pth", redirected_from="https://a.example/net.pth")
    with pytest.raises(DownloadError, match=r"a\.example/net\.pth redirects to"):
        check_url("http://b.example/net.pth", redirected_from="https://a.example/net.pth")
    # Nobody outside may send led to a port of this machine.
    with pytest.raises(DownloadError):
        check_url("http://localhost:631/", redirected_from="https://a.example/net.pth")
    site.redirects = {"/a": "/b", "/b": "/a"}
    with pytest.raises(DownloadError, match="redirects in a circle"):
        get(site, target, "/a")


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a", "file:///etc/passwd", "ftp://h/a", "https://", "x", "http://[::1/"],
)
def test_only_https_is_fetched(url, target):
    with pytest.raises(DownloadError, match="only https is safe"):
        fetch(url, target)


def test_without_a_network_it_says_so_at_once(target, waits, monkeypatch):
    def nowhere(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(DownloadError) as caught:
        fetch("https://models.example/net.pth", target)
    message = str(caught.value)
    assert "models.example cannot be reached" in message and "offline?" in message
    assert "download https://models.example/net.pth by hand" in message
    assert "led models import FILE.pth" in message and "\n" not in message
    assert waits == []


def test_a_network_that_goes_away_in_between_is_waited_for(site, target, waits, monkeypatch):
    site.breaks = [100_000]
    connect, lost = socket.socket.connect, []

    def flaky(sock, address):
        if site.requests and len(lost) < 2:
            lost.append(address)
            raise ConnectionRefusedError(111, "Connection refused")
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", flaky)
    assert get(site, target) == SHA256
    assert waits == [1.0, 2.0, 4.0] and len(lost) == 2


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(
    site, target, waits, monkeypatch
):
    monkeypatch.setenv("https_proxy", site.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.answers = [(403, {})]
    with pytest.raises(DownloadError, match=r"Tunnel connection failed: 403.*proxy"):
        fetch("https://models.example/net.pth", target)
    assert site.requests[0][:2] == ("CONNECT", "models.example:443")
    assert get(site, target) == SHA256
