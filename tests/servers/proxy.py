"""A way to a server that can go dead without a word, as a firewall or a cable does."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Self

_LOOK = 0.1  # seconds between looks at the end


class Proxy:
    """Forwards TCP connections. Those that are open when it is `silenced` stay open and dead for good."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._dead: list[socket.socket] = []
        self._ended = threading.Event()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def silence(self) -> None:
        """Nothing passes any more, and new connections are not answered."""
        self._silent.set()

    def restore(self) -> None:
        """New connections pass."""
        self._silent.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for one in (self._listener, *self._peers, *self._dead):
            one.close()

    def _forward(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended.is_set():
                ready = [key.fileobj for key, _ in selector.select(_LOOK)]
                if self._silent.is_set():
                    self._bury(selector)
                for one in ready:
                    if one is self._listener:
                        self._accept(selector)
                    elif one in self._peers:
                        self._pass_on(selector, one)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        if self._silent.is_set():
            self._dead.append(client)
            return
        server = socket.create_connection(self._target)
        self._peers |= {client: server, server: client}
        for one in (client, server):
            selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, one: socket.socket) -> None:
        other = self._peers[one]
        data = b""
        with contextlib.suppress(OSError):
            data = one.recv(65536)
            other.sendall(data)
        if not data:
            for end in (one, other):
                selector.unregister(end)
                del self._peers[end]
                end.close()

    def _bury(self, selector: selectors.BaseSelector) -> None:
        for one in self._peers:
            selector.unregister(one)
        self._dead += self._peers
        self._peers = {}
