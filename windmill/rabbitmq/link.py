"""One connection to RabbitMQ, owned by one thread, and channels on it that any thread may use."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika
import pika.exceptions
from pika.adapters.select_connection import IOLoop

from windmill.core.retrying import backoff
from windmill.errors import BrokerError, ConfigError
from windmill.rabbitmq import parameters
from windmill.rabbitmq.channel import CLOSE_TIMEOUT, Channel, Reply
from windmill.settings import Settings

log = logging.getLogger(__name__)

FIRST_ATTEMPT = 20.0  # seconds to wait for the outcome of the first attempt to connect
LONGEST_PAUSE = 5.0  # seconds between attempts: they are cheap, and a fleet's are spread by jitter


def _quiet_pika() -> None:
    """pika logs each error on its way to us, some with tracebacks; we say it once, in our words."""
    logger = logging.getLogger("pika")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


class CorkedConnection(pika.SelectConnection):  # type: ignore[misc]  # pika has no types
    """A connection that can hold back what it writes, so that many small frames leave in one write."""

    _held: list[bytes] | None = None

    @contextmanager
    def corked(self) -> Iterator[None]:
        """What is written meanwhile leaves at the end, in one piece."""
        self._held = []
        try:
            yield
        finally:
            frames, self._held = self._held, None
            if frames:
                self._adapter_emit_data(b"".join(frames))

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._held is None:
            super()._adapter_emit_data(data)
        else:
            self._held.append(data)


class Link:
    """Keeps a connection open until `close`: it comes back by itself, with backoff and jitter, for ever.

    Methods without a leading underscore may be called from any thread. All others, and all that `submit`
    is given, run on the link's own thread.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        _quiet_pika()
        self.settings = settings
        self.generation = 0  # counts connections
        self.blocked = False  # by an alarm: the broker reads nothing from this connection for now
        self._parameters = parameters.parameters(settings, name)
        self._loop = IOLoop()
        self._connection: CorkedConnection | None = None
        self._channels: set[Channel] = set()
        self._timer: object | None = None
        self._failures = 0
        self._state = threading.Condition()
        self._open = self._tried = self._closing = self._ended = False
        self._fatal = ""
        self._thread = threading.Thread(target=self._run, name=f"rabbitmq {name}", daemon=True)

    def start(self) -> None:
        """Connects. Raises `ConfigError` for what does not pass by itself; else goes on in the background."""
        self._thread.start()
        with self._state:
            self._state.wait_for(lambda: self._tried, FIRST_ATTEMPT)
        if self._fatal:
            self.close()
            raise ConfigError(self._fatal)

    def wait_open(self, patience: float) -> bool:
        """Waits up to `patience` seconds for the connection; whether it is there. Raises `ConfigError`."""
        with self._state:
            self._state.wait_for(lambda: self._open or self._closing or self._fatal, max(0.0, patience))
            if self._fatal:
                raise ConfigError(self._fatal)
            return self._open

    def await_open(self, patience: float) -> None:
        """Like `wait_open`, and raises `BrokerError` when it is not there."""
        if not self.wait_open(patience):
            raise BrokerError(f"no connection to RabbitMQ at {parameters.address(self.settings)}")

    def wait_unblocked(self, patience: float) -> bool:
        """Waits up to `patience` seconds for the end of an alarm; whether there is none."""
        with self._state:
            return self._state.wait_for(lambda: not self.blocked, patience)

    def channel(self, patience: float) -> Channel:
        """A new channel, after waiting at most `patience` seconds for the connection. Raises like that."""
        self.await_open(patience)
        channel = Channel(self)
        try:
            channel.ask(partial(self._open_channel, channel))
        except BrokerError:
            channel.abandon()  # it may open later: during an alarm the broker answers nothing
            raise
        return channel

    def submit(self, task: Callable[[], None]) -> None:
        """Has `task` run on the link's thread, in order. Raises `BrokerError` once closed."""
        with self._state:
            if self._ended:
                raise BrokerError("the connection to RabbitMQ has been closed")
            self._loop.add_callback_threadsafe(task)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """See `CorkedConnection.corked`; on the link's thread only."""
        if self._connection is None:
            raise pika.exceptions.ConnectionWrongStateError
        with self._connection.corked():
            yield

    def close(self) -> None:
        """Closes the connection and ends the thread, within a few seconds. Safe to call twice."""
        with self._state:
            first, self._closing = not self._closing, True
            self._state.notify_all()
            if first and not self._ended:
                self._loop.add_callback_threadsafe(self._shut)
        self._thread.join(CLOSE_TIMEOUT + 1)

    # --- on the link's own thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connect()
            self._loop_until_ended()
        finally:
            with self._state:
                self._open = self.blocked = False
                self._ended = self._tried = True
                self._state.notify_all()
            for channel in tuple(self._channels):
                channel.on_close(None, None)
            self._loop.close()

    def _loop_until_ended(self) -> None:
        """Runs pika's loop, and goes on when pika throws something at us instead of reporting it.

        A peer that resets a connection at the moment that it is made is a ValueError out of the loop, and one
        that goes while both shake hands an AssertionError.
        """
        while not self._ended:
            try:
                self._loop.start()
            except (ValueError, AssertionError) as exc:
                self._on_open_error(self._connection, exc)

    def _connect(self) -> None:
        self._timer = None
        connection = CorkedConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_open_error,
            on_close_callback=self._on_close,
            custom_ioloop=self._loop,
        )
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._connection = connection

    def _open_channel(self, channel: Channel, _: object, reply: Reply) -> None:
        if self._connection is None:
            raise pika.exceptions.ConnectionWrongStateError

        def opened(raw: Any) -> None:
            reply.give(raw)
            if channel.unwanted:
                raw.close()

        channel.raw = self._connection.channel(on_open_callback=opened)
        channel.raw.add_on_close_callback(channel.on_close)
        self._channels.add(channel)

    def drop(self, channel: Channel) -> None:
        """Forgets a channel that is lost."""
        self._channels.discard(channel)

    def _on_open(self, _: object) -> None:
        log.info("connected to RabbitMQ at %s", parameters.address(self.settings))
        self._failures = 0
        with self._state:
            self.generation += 1
            self._open = self._tried = True
            self._state.notify_all()

    def _on_open_error(self, connection: object, error: BaseException) -> None:
        if connection is not self._connection:
            return  # one that we have given up already: pika's own timers report it once more
        if self._closing:
            self._end()
            return
        found = parameters.diagnose(error, self.settings)
        fatal = isinstance(found, ConfigError) and not self.generation
        if not fatal:
            log.log(
                logging.DEBUG if self._failures else logging.WARNING, "%s; trying until it answers", found
            )
            self._connect_later()
        with self._state:
            self._tried = True
            self._fatal = str(found) if fatal else ""
            self._state.notify_all()

    def _on_close(self, _: object, error: BaseException) -> None:
        with self._state:
            self._open = self.blocked = False
            self._state.notify_all()
        if self._closing:
            self._end()
            return
        log.warning("%s; connecting again", parameters.lost(error, self.settings))
        self._connect_later()

    def _connect_later(self) -> None:
        self._failures += 1
        self._connection = None
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 -- not a secret
        self._timer = self._loop.call_later(
            backoff(self._failures, most=LONGEST_PAUSE) * jitter, self._connect
        )

    def _on_blocked(self, _: object, frame: Any) -> None:
        log.warning(
            "RabbitMQ at %s takes no messages for now, waiting: %s",
            parameters.address(self.settings),
            frame.method.reason,
        )
        self._set_blocked(True)

    def _on_unblocked(self, *_: object) -> None:
        log.info("RabbitMQ at %s takes messages again", parameters.address(self.settings))
        self._set_blocked(False)

    def _set_blocked(self, blocked: bool) -> None:
        with self._state:
            self.blocked = blocked
            self._state.notify_all()

    def _shut(self) -> None:
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        if self._connection is None or self._connection.is_closed:
            self._end()
            return
        self._loop.call_later(CLOSE_TIMEOUT, self._end)
        if not self._connection.is_closing:
            self._connection.close()

    def _end(self) -> None:
        """Stops the loop after everything that was submitted before."""
        with self._state:
            self._ended = True
            self._loop.add_callback_threadsafe(self._loop.stop)
