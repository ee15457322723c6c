"""The service door: every answer becomes a reply or the right error, in plain words."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.servers.base import free_port
from tests.talking import read_request
from windmill import wiring
from windmill.catalog import Service
from windmill.errors import ServiceBusy, ServiceFull, ServiceRejected, ServiceUnavailable
from windmill.service_http import HttpService
from windmill.settings import Settings

ERROR = b'{"status": "error", "error": {"message": "too dark"}}'


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names; `/slow` waits until the test is over."""

    protocol_version = "HTTP/1.1"
    over = threading.Event()
    seen: ClassVar[list[bytes]] = []

    def do_POST(self):
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/slow":
            self.over.wait(10)
        self._answer(int(self.path.strip("/")) if self.path != "/slow" else 200)

    def do_GET(self):
        self._answer(self.server.health)

    def _answer(self, status):
        self.send_response(status)
        if status in (429, 503):
            self.send_header("Retry-After", "17")
        self.send_header("Content-Length", str(len(ERROR)))
        self.end_headers()
        self.wfile.write(ERROR)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        listening.health = 200
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        Answers.over.set()
        listening.shutdown()
        thread.join()


def service(server, path, timeout=5.0):
    entry = Service(name="yolov8", host="127.0.0.1", port=server.server_port, endpoint=path)
    return HttpService(entry, timeout=timeout)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ServiceRejected),
        (413, ServiceRejected),
        (422, ServiceRejected),
        (408, ServiceBusy),
        (425, ServiceBusy),
        (429, ServiceBusy),
        (500, ServiceBusy),
        (502, ServiceBusy),
        (503, ServiceFull),
    ],
)
def test_a_status_is_the_error_it_stands_for(server, status, kind):
    with pytest.raises(kind, match=f"yolov8 at http.* answered {status}: too dark") as caught:
        service(server, f"/{status}").analyze(b"jpeg")
    assert type(caught.value) is kind


def test_a_success_is_the_body_and_the_picture_was_sent(server):
    assert service(server, "/200").analyze(b"my picture") == ERROR
    assert b"my picture" in Answers.seen[-1]
    assert b'name="file"' in Answers.seen[-1]


def test_a_caption_is_sent_with_its_picture(server):
    service(server, "/200").score(b"jpeg", "a wave")
    assert b'name="caption"' in Answers.seen[-1]
    assert b"a wave" in Answers.seen[-1]


@pytest.mark.parametrize(("status", "kind"), [(429, ServiceBusy), (503, ServiceFull)])
def test_retry_after_is_kept(server, status, kind):
    with pytest.raises(kind) as caught:
        service(server, f"/{status}").analyze(b"")
    assert caught.value.retry_after == 17


def test_no_answer_in_time_is_a_timeout(server):
    with pytest.raises(ServiceUnavailable, match=r"no answer within 0\.05 s \(REQUEST_TIMEOUT\)") as caught:
        service(server, "/slow", timeout=0.05).analyze(b"")
    assert caught.value.timed_out


def test_a_timeout_that_the_catalog_sets_is_named_as_such(server):
    entry = Service(name="blip", host="127.0.0.1", port=server.server_port, endpoint="/slow", timeout=0.05)
    with pytest.raises(
        ServiceUnavailable, match=r"no answer within 0\.05 s \(timeout in service_config\.json\)"
    ):
        wiring.caller(entry, Settings()).analyze(b"")


class OneAnswer:
    """A service that answers once on a connection that it keeps, and dies of the next picture."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.server_port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        with self.listening.accept()[0] as connection:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            read_request(connection)
            self.listening.close()


def test_a_service_that_dies_of_a_picture_on_a_kept_connection_broke_off():
    mortal = OneAnswer()
    caller = service(mortal, "/v3/analyze")
    assert caller.analyze(b"jpeg") == b"{}"
    with pytest.raises(ServiceUnavailable, match="closed") as caught:
        caller.analyze(b"poison")
    assert caught.value.broke_off
    mortal.thread.join(60)
    with pytest.raises(ServiceUnavailable) as caught:
        caller.analyze(b"jpeg")
    assert not caught.value.broke_off


def test_a_kept_connection_that_is_closed_under_a_picture_is_no_answer_and_a_new_one_is_tried():
    def serve(listening):
        with listening.accept()[0] as connection:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            connection.recv(2000)
        with listening.accept()[0] as connection:
            read_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(serve, listening)
        caller = HttpService(
            Service(name="blip", host="127.0.0.1", port=listening.getsockname()[1]), timeout=5
        )
        assert caller.analyze(b"jpeg") == b"{}"
        assert caller.analyze(bytes(6_000_000)) == b"again"


def test_a_service_that_is_not_there_is_named_with_its_address():
    entry = Service(name="blip", host="127.0.0.1", port=free_port())
    with pytest.raises(ServiceUnavailable, match=f"blip at {entry.url} cannot be reached") as caught:
        HttpService(entry, timeout=1).analyze(b"")
    assert not caught.value.timed_out
    assert not HttpService(entry, timeout=1).healthy()


@pytest.mark.parametrize(("status", "well"), [(200, True), (404, True), (500, False), (503, False)])
def test_health_is_anything_but_a_server_error(server, status, well):
    server.health = status
    assert service(server, "/200").healthy() is well
