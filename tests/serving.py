"""A service's application on a real port, in a thread of the test's own process."""

import socket
import threading
from contextlib import contextmanager

import uvicorn

from tests.waiting import until


@contextmanager
def serving(app):
    """The port where a `ServiceApp` answers."""
    server = uvicorn.Server(uvicorn.Config(app.asgi, log_config=None, lifespan="off"))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        until(lambda: server.started, 10)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)
