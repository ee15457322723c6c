"""Web addresses that strangers name: public ones, and the connection goes where was checked."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from windmill.errors import ImageError, ImageTooLargeError
from windmill.services import addresses


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_addresses_of_the_internet_are_public(address):
    assert addresses.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
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
        "::ffff:127.0.0.1",
        "2001:0:7f00:1::",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_all_others_are_not(address):
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "http"),
        ("ftp://8.8.8.8/x", "http"),
        ("file:///etc/passwd", "http"),
        ("http:///x", "host"),
        ("http://[::1/x", "not an address"),
        ("http://8.8.8.8:99999/", "not an address"),
        ("http://a..b/", "no such host"),
        ("http://localhost/", "private"),
        ("http://2130706433/", "private"),
        ("http://0x7f.1/", "private"),
        ("http://8.8.8.8@127.0.0.1/", "private"),
    ],
)
def test_what_is_no_public_address_is_refused(url, said):
    with pytest.raises(ImageError, match=said):
        addresses.read_public(url, 100)


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302 if self.path == "/elsewhere" else 200)
        self.send_header("Location", "/picture?size=1")
        self.end_headers()
        self.wfile.write(f"{self.headers['Host']} {self.path}".encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    """A site on loopback, called public here; its name leads there once, and nowhere when asked again."""
    answers = []

    def resolve(host, port, **_):
        answers.append(host)
        address = "127.0.0.1" if len(answers) == 1 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda h, p, *a, **k: resolve(h, p) if h == "site.test" else real(h, p, *a, **k),
        )
        monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.1")
        yield f"site.test:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_name_is_resolved_once_and_the_host_is_told_its_name(site):
    assert (
        addresses.read_public(f"http://{site}/picture?size=1#top", 100) == f"{site} /picture?size=1".encode()
    )


def test_a_redirect_is_not_followed(site):
    with pytest.raises(ImageError, match="answered 302"):
        addresses.read_public(f"http://{site}/elsewhere", 100)


def test_a_body_that_is_too_large_is_not_read_to_its_end(site):
    with pytest.raises(ImageTooLargeError):
        addresses.read_public(f"http://{site}/picture", 5)
