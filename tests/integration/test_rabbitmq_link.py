"""A connection to something that is not RabbitMQ, and behaves badly."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import pytest

from tests.waiting import until
from windmill.rabbitmq import link as links
from windmill.rabbitmq.link import Link
from windmill.settings import Settings

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset
MANY = 200  # about one in four breaks off at the very moment that pika looks at it


class Resetting:
    """A server that resets each connection as soon as it is made."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted = 0
        self.thread = threading.Thread(target=self._accept)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                connection.close()


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(links, "backoff", lambda *_, **__: 0.005)


@pytest.mark.usefixtures("_impatient")
def test_a_peer_that_resets_every_connection_is_tried_again_for_ever():
    with Resetting() as server:
        link = Link(Settings(queue_host="127.0.0.1", queue_port=server.port), "test")
        link.start()
        until(lambda: server.accepted >= MANY, 60)
        link.close()
        after = server.accepted
    assert server.accepted <= after + 1
