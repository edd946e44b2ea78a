"""A download ends whole and right, or not at all: breaks, lies, redirects, no network."""

import hashlib
import socket

import pytest

from ledcli.errors import DownloadError
from ledcli.zoo import download
from ledcli.zoo import download as web
from ledcli.zoo.download import fetch
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


def get(site, target, **how):
    return fetch(f"{site.url}/net.pth", target, most=1 << 20, **how)


def left(target):
    """What lies beside the target, but for the lock."""
    return sorted(p.name for p in target.parent.iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_whole_with_its_hash(site, target, waits):
    seen = []
    assert get(site, target, show=lambda done, total: seen.append((done, total))) == SHA256
    assert target.read_bytes() == DATA
    assert left(target) == ["net.pth"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert site.requests[0][2]["user-agent"].startswith("led/")
    assert waits == []


def test_it_goes_on_after_a_break_and_asks_for_the_rest_only(site, target, waits):
    site.breaks = [100_000, 50_000]
    said = []
    assert get(site, target, say=said.append) == SHA256
    assert target.read_bytes() == DATA
    assert site.asked_ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert site.requests[1][2]["if-range"] == '"v1"'
    # Every break brought something: the waits start again.
    assert waits == [1.0, 1.0]
    assert "broke at 100,000 of 512,000 bytes; trying again in 1 s" in said[0]


def test_the_next_call_goes_on_where_this_one_gave_up(site, target, waits):
    site.breaks = [100_000] + [0] * 5
    with pytest.raises(DownloadError, match="what has come is kept"):
        get(site, target)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert left(target) == ["net.pth.part", "net.pth.part.json"]
    site.requests.clear()
    site.breaks = []
    assert get(site, target, sha256=SHA256) == SHA256
    assert site.asked_ranges() == ["bytes=100000-"]


def test_a_server_without_ranges_starts_again(site, target, waits):
    site.ranges = False
    site.breaks = [100_000]
    assert get(site, target) == SHA256
    assert target.read_bytes() == DATA
    assert site.asked_ranges() == [None, "bytes=100000-"]


@pytest.mark.parametrize(("etag", "modified"), [(None, None), ('W/"v1"', None)])
def test_a_file_whose_version_has_no_name_starts_again(site, target, waits, etag, modified):
    site.etag, site.modified = etag, modified
    site.breaks = [100_000]
    assert get(site, target) == SHA256
    assert site.asked_ranges() == [None, None]


def test_a_date_names_the_version_where_there_is_no_tag(site, target, waits):
    site.etag, site.modified = None, "Sat, 01 Jun 2024 10:00:00 GMT"
    site.breaks = [100_000]
    assert get(site, target) == SHA256
    assert site.requests[1][2]["if-range"] == site.modified


def test_a_file_that_changed_meanwhile_is_not_mixed(site, target, waits, monkeypatch):
    site.breaks = [100_000]
    new = DATA[::-1]

    def change(_):
        site.etag, site.files["/net.pth"] = '"v2"', new

    monkeypatch.setattr(download, "sleep", change)
    assert get(site, target) == hashlib.sha256(new).hexdigest()
    assert target.read_bytes() == new


def test_a_part_of_another_address_is_not_used(site, target, waits):
    other = b"x" * len(DATA)
    site.files["/other.pth"] = other
    with pytest.raises(DownloadError):
        site.breaks = [100_000] + [0] * 10
        fetch(f"{site.url}/other.pth", target, most=1 << 20)
    site.breaks = []
    assert get(site, target) == SHA256
    assert site.asked_ranges()[-1] is None


def test_a_file_that_shrank_below_the_part_starts_again(site, target, waits, monkeypatch):
    site.breaks = [400_000]

    def change(_):
        site.files["/net.pth"] = DATA[:300_000]

    monkeypatch.setattr(download, "sleep", change)
    assert get(site, target) == hashlib.sha256(DATA[:300_000]).hexdigest()
    assert site.asked_ranges() == [None, "bytes=400000-", None]


def test_another_part_than_was_asked_for_is_not_taken(site, target, waits):
    site.breaks = [100_000]
    site.headers = {"Content-Range": "bytes 0-10/512000"}
    assert get(site, target, sha256=SHA256) == SHA256
    assert site.asked_ranges() == [None, "bytes=100000-", None]


def test_a_wrong_hash_is_thrown_away_and_said_in_full(site, target, waits):
    with pytest.raises(DownloadError, match=f"has SHA-256 {SHA256} and not {'0' * 64}"):
        get(site, target, sha256="0" * 64)
    assert left(target) == []
    assert len(site.requests) == 1


def test_a_wrong_hash_after_a_break_is_fetched_again_once(site, target, waits):
    site.breaks = [100_000] + [0] * 6
    with pytest.raises(DownloadError):
        get(site, target, sha256=SHA256)
    part = target.with_name("net.pth.part")
    part.write_bytes(b"?" * 100_000)
    site.breaks = []
    site.requests.clear()
    assert get(site, target, sha256=SHA256) == SHA256
    assert site.asked_ranges() == ["bytes=100000-", None]


def test_a_server_that_is_busy_is_asked_again_with_growing_waits(site, target, waits):
    site.answers = [(503, {}), (500, {}), (429, {}), (502, {})]
    assert get(site, target) == SHA256
    assert waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7.0),
        ("100000", 60.0),
        ("Sat, 01 Jun 2024 10:00:00 GMT", 0.0),
        ("nan", 60.0),
        ("x", 1.0),
    ],
)
def test_a_wait_that_the_server_names_is_kept_within_bounds(site, target, waits, header, wait):
    site.answers = [(503, {"Retry-After": header})]
    assert get(site, target) == SHA256
    assert waits == [wait]


def test_it_is_given_up_in_the_end(site, target, waits):
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


def test_too_large_a_file_is_not_fetched(site, target, waits):
    with pytest.raises(DownloadError, match="larger than"):
        fetch(f"{site.url}/net.pth", target, most=len(DATA) - 1)
    assert not target.with_name("net.pth.part").exists()
    # Nor one that does not say how large it is.
    site.headers = {"Content-Length": None}
    with pytest.raises(DownloadError, match="larger than"):
        fetch(f"{site.url}/net.pth", target, most=len(DATA) - 1)
    assert not target.exists()
    assert not target.with_name("net.pth.part").exists()


def test_a_size_that_the_registry_says_holds(site, target, waits):
    with pytest.raises(DownloadError, match="has 512,000 bytes and not 1,000"):
        get(site, target, size=1000)
    site.headers = {"Content-Length": None}
    with pytest.raises(DownloadError, match="has 512,000 bytes and not 600,000"):
        get(site, target, size=600_000)
    assert get(site, target, size=len(DATA)) == SHA256


def test_a_web_page_is_no_file(site, target, waits):
    site.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DownloadError, match="is a web page"):
        get(site, target)
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match="packs the file"):
        get(site, target)


def test_redirects_are_followed_to_this_machine_and_to_https_only(site, target, waits, monkeypatch):
    site.redirects["/old.pth"] = f"{site.url}/net.pth"
    assert fetch(f"{site.url}/old.pth", target, most=1 << 20) == SHA256
    for place in ("http://example.com/net.pth", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        site.redirects["/old.pth"] = place
        with pytest.raises(DownloadError, match=r"only https is safe|answers 302"):
            fetch(f"{site.url}/old.pth", target, most=1 << 20)
    web.check_url("https://b.example/net.pth", before="https://a.example/net.pth")
    with pytest.raises(DownloadError, match=r"a\.example/net\.pth sends to"):
        web.check_url("http://b.example/net.pth", before="https://a.example/net.pth")
    # Nobody outside may send led to a port of this machine.
    with pytest.raises(DownloadError):
        web.check_url("http://localhost:631/", before="https://a.example/net.pth")
    site.redirects = {"/a": "/b", "/b": "/a"}
    with pytest.raises(DownloadError, match=r"infinite loop|answers 302"):
        fetch(f"{site.url}/a", target, most=1 << 20)


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a", "file:///etc/passwd", "ftp://h/a", "https://", "x", "http://[::1/"],
)
def test_only_https_is_fetched(url, target):
    with pytest.raises(DownloadError, match="only https is safe"):
        fetch(url, target, most=1)


def test_without_a_network_it_says_so_at_once(target, waits, monkeypatch):
    def nowhere(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(
        DownloadError, match=r"models\.example cannot be reached .*offline\?.*import"
    ):
        fetch("https://models.example/net.pth", target, most=1)
    assert waits == []


def test_a_network_that_goes_away_in_between_is_waited_for(site, target, waits, monkeypatch):
    site.breaks = [100_000]
    real, lost = web.open_url, []

    def flaky(url, headers):
        if headers and len(lost) < 3:
            lost.append(url)
            raise web.UnreachableError("the network is gone")
        return real(url, headers)

    monkeypatch.setattr(download, "open_url", flaky)
    assert get(site, target) == SHA256
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_the_proxy_of_the_environment_is_used_but_not_for_this_machine(
    site, target, waits, monkeypatch
):
    monkeypatch.setenv("https_proxy", site.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    site.answers = [(403, {})]
    with pytest.raises(DownloadError, match=r"Tunnel connection failed: 403.*proxy"):
        fetch("https://models.example/net.pth", target, most=1)
    assert site.requests[0][:2] == ("CONNECT", "models.example:443")
    assert get(site, target) == SHA256


def test_a_second_led_does_not_fetch_the_same_file_at_once(site, target, waits):
    from filelock import FileLock

    target.parent.mkdir()
    with (
        FileLock(target.with_name("net.pth.lock")),
        pytest.raises(DownloadError, match="another led is fetching"),
    ):
        get(site, target)
