"""Certificates: of the name in the address, although the connection goes to an IP address."""

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from windmill import addresses
from windmill.addresses import WebAddresses
from windmill.errors import ImageError


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.server.asked} {self.headers['Host']}".encode())

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that does not like our certificate hangs up."""


@pytest.fixture
def port(monkeypatch, tmp_path):
    """A site with a certificate for site.test; all names lead to it, and its authority is the only one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    addresses._trust.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("site.test").configure_cert(context)
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *args, **options: real("127.0.0.1", *args, **options)
    )
    with Quiet(("127.0.0.1", 0), Site) as server:
        context.sni_callback = lambda _, name, __: setattr(server, "asked", name)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
    addresses._trust.cache_clear()


WEB = WebAddresses(("127.0.0.1",))


def test_the_site_is_asked_for_by_name_and_its_certificate_is_for_that_name(port):
    assert WEB.read(f"https://site.test:{port}/cat.jpg", 100).decode() == f"site.test site.test:{port}"


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(port, host):
    with pytest.raises(ImageError, match="certificate verify failed"):
        WEB.read(f"https://{host}:{port}/cat.jpg", 100)


def test_a_certificate_of_an_unknown_authority_is_refused(port, monkeypatch, tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    addresses._trust.cache_clear()
    with pytest.raises(ImageError, match="certificate verify failed"):
        WEB.read(f"https://site.test:{port}/cat.jpg", 100)
