"""Web addresses that strangers name: public ones, and the connection goes where was checked."""

import base64
import gzip
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from windmill import addresses
from windmill.addresses import WebAddresses, is_public
from windmill.core.urls import shown
from windmill.errors import ImageError, ImageTooLargeError, ImageUnavailable, Verdict

DRIP = 8.0  # seconds that a server says nothing more
PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::7f00:1",
    "fc00::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_all_others_are_not(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "http"),
        ("ftp://8.8.8.8/x", "http"),
        ("file:///etc/passwd", "http"),
        ("gopher://127.0.0.1:6379/_x", "http"),
        ("http:///x", "host"),
        ("http://[::1/x", "not an address"),
        ("http://8.8.8.8:99999/", "not an address"),
        ("http://a..b/", "not an address|no such host"),
        ("http://localhost/", "private"),
        ("http://LOCALHOST./", "private"),
        ("http://127.1/", "private"),
        ("http://2130706433/", "private"),
        ("http://0x7f.1/", "private"),
        ("http://0x7f000001/", "private"),
        ("http://017700000001/", "private"),
        ("http://0/", "private"),
        ("http://169.254.169.254/latest/meta-data/", "private"),
        ("http://[::ffff:10.0.0.1]/", "private"),
        ("http://[::1]/", "private"),
        ("http://[fe80::1%25lo]/", "private|no such host"),
        ("http://8.8.8.8@127.0.0.1/", "private"),
        ("http://127。0。0。1/", "private"),
    ],
)
def test_what_is_no_public_address_is_refused(url, said):
    with pytest.raises(ImageError, match=said):
        WebAddresses().read(url, 100)


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.2.3", False),
        ("fd00::/8", "fd12::1", True),
        ("::/0", "10.0.0.1", False),
        ("192.168.0.7", "192.168.0.7", True),
        ("192.168.0.7", "192.168.0.8", False),
        ("media.lan", "192.168.0.7", False),
    ],
)
def test_what_is_listed_may_be_read_and_nothing_beside_it(allowed, address, may):
    host = f"[{address}]" if ":" in address else address
    refused = refusal(WebAddresses((allowed,), patience=0.05), f"http://{host}:1/")
    assert ("private" not in refused) is may


def refusal(web, url):
    with pytest.raises(ImageError) as caught:
        web.read(url, 100)
    return str(caught.value)


class Site(BaseHTTPRequestHandler):
    """Says what it was asked, and sends elsewhere."""

    def do_GET(self):
        status, headers = self.head()
        body = f"{self.headers['Host']} {self.path}".encode()
        if self.path == "/who":
            body = self.headers.get("Authorization", "nobody").encode()
        if self.path == "/squeezed":
            headers, body = {"Content-Encoding": "gzip"}, gzip.compress(b"0" * 5000)
        if self.path == "/short":
            headers = {"Content-Length": str(len(body) + 7)}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/drip":
            self.wfile.flush()
            self.server.stop.wait(DRIP)

    def head(self):
        if self.path.startswith("/to/"):
            return 302, {"Location": self.path[4:]}
        if self.path.startswith("/round"):
            return 301, {"Location": self.path + "o"}
        if self.path.startswith("/status/"):
            return int(self.path[8:]), {"Retry-After": "17"}
        return 200, {}

    def log_message(self, *_):
        pass


@contextmanager
def running():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.stop = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def port():
    with running() as found:
        yield found


@pytest.fixture
def names(monkeypatch):
    """What names mean: a list of answers each, of which the last one stays."""
    book, real = {}, socket.getaddrinfo

    def resolve(host, port, *args, **options):
        if host not in book:
            return real(host, port, *args, **options)
        answers = book[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found.split()]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return book


LOCAL = WebAddresses(("127.0.0.1",))


def test_the_name_is_resolved_once_and_the_host_is_told_its_name(names, port):
    names["site.test"] = ["127.0.0.1", "192.0.2.1"]
    read = LOCAL.read(f"http://site.test:{port}/picture?size=1#top", 100)
    assert read == f"site.test:{port} /picture?size=1".encode()


def test_a_name_that_changes_its_meaning_after_the_check_leads_nowhere_private(names, port, monkeypatch):
    names["rebinding.test"] = ["203.0.113.1", "127.0.0.1"]
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "203.0.113.1")
    assert "127.0.0.1" not in refusal(WebAddresses(patience=0.05), f"http://rebinding.test:{port}/")


def test_one_private_address_among_public_ones_is_enough_to_refuse(names):
    names["mixed.test"] = ["8.8.8.8 10.0.0.1"]
    assert "mixed.test/: a private address" in refusal(WebAddresses(), "http://mixed.test/")


def test_the_next_address_of_a_host_is_tried(names, port):
    names["site.test"] = ["127.0.0.2 127.0.0.1"]
    assert WebAddresses(("site.test",)).read(f"http://site.test:{port}/x", 100)


def test_a_listed_name_may_lead_anywhere_and_is_no_pattern(names, port):
    names |= {"media.lan": ["127.0.0.1"], "evil.media.lan": ["127.0.0.1"]}
    web = WebAddresses(("Media.lan.",))
    assert web.read(f"http://media.LAN:{port}/x", 100)
    assert "private" in refusal(web, f"http://evil.media.lan:{port}/x")


def test_redirects_are_followed_and_each_is_checked(names, port):
    assert LOCAL.read(f"http://127.0.0.1:{port}/to//picture", 100).endswith(b"/picture")
    refused = refusal(LOCAL, f"http://127.0.0.1:{port}/to/http://169.254.169.254/x")
    assert "redirected to http://169.254.169.254/x: a private address" in refused
    assert "expected http" in refusal(LOCAL, f"http://127.0.0.1:{port}/to/file:///etc/passwd")


def test_redirects_without_end_are_given_up(port):
    assert "more than 5 times" in refusal(LOCAL, f"http://127.0.0.1:{port}/round")


def test_a_body_that_is_too_large_is_not_read_to_its_end(port):
    with pytest.raises(ImageTooLargeError):
        LOCAL.read(f"http://127.0.0.1:{port}/picture", 5)
    with pytest.raises(ImageTooLargeError):
        LOCAL.read(f"http://127.0.0.1:{port}/squeezed", 4999)


def test_what_comes_squeezed_unasked_is_read(port):
    assert LOCAL.read(f"http://127.0.0.1:{port}/squeezed", 5000) == b"0" * 5000


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(404, Verdict.BURY), (410, Verdict.BURY), (429, Verdict.AGAIN), (503, Verdict.AGAIN)],
)
def test_a_server_that_says_later_is_asked_later(port, status, verdict):
    with pytest.raises(ImageError, match=str(status)) as caught:
        LOCAL.read(f"http://127.0.0.1:{port}/status/{status}", 100)
    assert caught.value.verdict is verdict
    if verdict is Verdict.AGAIN:
        assert caught.value.retry_after == 17


def test_a_server_that_is_not_there_is_asked_later(unused_port=1):
    with pytest.raises(ImageUnavailable, match="cannot fetch"):
        LOCAL.read(f"http://127.0.0.1:{unused_port}/a.jpg", 100)


def test_a_body_that_ends_early_is_named(port):
    assert "stopped 7 bytes before the end" in refusal(LOCAL, f"http://127.0.0.1:{port}/short")


@pytest.mark.parametrize("path", ["a b.jpg", "größe.jpg", "a%20b.jpg", "a\x01b"])
def test_paths_are_asked_for_as_browsers_do(port, path):
    assert b"/" in LOCAL.read(f"http://127.0.0.1:{port}/{path}", 100)


def test_a_proxy_of_the_environment_is_not_asked(port, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert LOCAL.read(f"http://127.0.0.1:{port}/x", 100)


def test_a_sender_that_drips_is_given_up(port):
    web, started = WebAddresses(("127.0.0.1",), patience=0.1), time.monotonic()
    assert "not all there after 0.1 s" in refusal(web, f"http://127.0.0.1:{port}/drip")
    assert time.monotonic() - started < DRIP


def test_a_silent_handshake_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        web = WebAddresses(("127.0.0.1",), patience=0.1)
        assert "not all there" in refusal(web, f"https://127.0.0.1:{server.getsockname()[1]}/x")


def test_an_account_is_used_and_never_shown(port):
    pair = base64.b64encode(b"me:p@ss").decode()
    assert LOCAL.read(f"http://me:p%40ss@127.0.0.1:{port}/who", 100) == f"Basic {pair}".encode()
    for path in ("to/http://me:secret@10.0.0.1/", "round", "short"):
        refused = refusal(LOCAL, f"http://me:secret@127.0.0.1:{port}/{path}")
        assert "secret" not in refused.replace("/to/http://me:secret@10.0.0.1/", "")


def test_an_account_does_not_go_along_to_another_host(names, port):
    names["other.test"] = ["127.0.0.1"]
    assert LOCAL.read(f"http://me:pw@127.0.0.1:{port}/to/http://other.test:{port}/who", 100) == b"nobody"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://example.org/@user/cat.jpg", "https://example.org/@user/cat.jpg"),
        ("https://me:pw@example.org/@user/cat.jpg", "https://example.org/@user/cat.jpg"),
        ("HTTP://me@example.org:80/?a=@", "HTTP://example.org:80/?a=@"),
        ("http://me:p@w@example.org/", "http://example.org/"),
        ("http://me:p/w@example.org/", "http://example.org/"),
        ("http://me:pw@[::1/", "http://[::1/"),
        ("http:\\\\me:pw@example.org", "http:\\\\example.org"),
        ("http://me:pw＠example.org/", "http://example.org/"),
        ("me:pw@example.org", "example.org"),
    ],
)
def test_names_and_passwords_are_left_out_of_what_is_shown(url, seen):
    assert shown(url) == seen
