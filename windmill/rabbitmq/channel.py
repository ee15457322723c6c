"""Channels that any thread may use: questions to the broker cross to the connection's thread, and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

import pika.exceptions

from windmill.errors import BrokerError
from windmill.rabbitmq import parameters
from windmill.settings import Settings

ANSWER_TIMEOUT = 10.0  # seconds; a live broker answers in milliseconds
CLOSE_TIMEOUT = 3.0


class ChannelLost(BrokerError):
    """The channel is closed; `code` is the broker's reply code, 0 when the connection went with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Reply:
    """What one question to the broker waits for."""

    def __init__(self) -> None:
        self._future: Future[Any] = Future()

    @property
    def done(self) -> bool:
        """Whether it has been answered or has failed."""
        return self._future.done()

    def give(self, value: object = None) -> None:
        """The answer; what comes after the first answer or failure is ignored."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: BrokerError) -> None:
        """No answer, for this reason."""
        if not self._future.done():
            self._future.set_exception(error)

    def settled_within(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds; whether it has been answered or has failed."""
        return bool(futures.wait([self._future], timeout).done)

    def wait(self, timeout: float) -> Any:
        """The answer. Raises the failure, or `BrokerError` after `timeout` seconds."""
        try:
            return self._future.result(timeout)
        except TimeoutError as exc:
            raise BrokerError(f"RabbitMQ did not answer for {timeout:g} s") from exc


Question = Callable[[Any, Reply], None]  # gets pika's channel; runs on the link's thread


class Owner(Protocol):
    """The connection, as its channels know it."""

    settings: Settings
    blocked: bool

    def submit(self, task: Callable[[], None]) -> None:
        """Has `task` run on the connection's thread."""
        ...

    def corked(self) -> AbstractContextManager[None]:
        """Holds back what is written meanwhile, to send it in one piece; on the connection's thread."""
        ...

    def drop(self, channel: Channel) -> None:
        """Forgets a channel that is lost."""
        ...


class Channel:
    """One channel of a link. Once lost it stays lost, and says so; its user opens a new one."""

    def __init__(self, link: Owner) -> None:
        self.link = link
        self.raw: Any = None
        self.gone = threading.Event()
        self.unwanted = False
        self.lost: tuple[str, int] | None = None  # why, and the broker's code: 0 if not this channel's fault
        self._waiting: set[Reply] = set()
        self._heirs: list[Callable[[], None]] = []

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Has `callback` run on the link's thread once the channel is lost; at once if it is already."""
        self.link.submit(partial(self._add_heir, callback))

    def ask(self, question: Question, timeout: float = ANSWER_TIMEOUT) -> Any:
        """Puts `question` and waits for the answer. Raises `ChannelLost` or `BrokerError`."""
        return self.post(question).wait(timeout)

    def post(self, question: Question) -> Reply:
        """Puts `question`; its reply fails with `ChannelLost` when the channel does."""
        reply = Reply()
        self.link.submit(partial(self._put, question, reply))
        return reply

    def tell(self, action: Callable[[Any], None]) -> None:
        """Runs `action` on the link's thread with pika's channel, unless it is lost by then."""
        self.link.submit(partial(self._tell, action))

    def close(self) -> None:
        """Closes the channel; what was delivered on it and not acked goes back to its queue."""
        self.abandon()
        self.gone.wait(CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Closes the channel without waiting for it, also one that the broker has not opened yet."""
        self.unwanted = True
        self.tell(lambda raw: raw.close())

    def on_close(self, _: object, reason: BaseException | None) -> None:
        """pika's callback; on the link's thread."""
        code = reason.reply_code if isinstance(reason, pika.exceptions.ChannelClosed) else 0
        self.lost = (parameters.lost(reason, self.link.settings), code)
        self.link.drop(self)
        while self._waiting:
            self._waiting.pop().fail(ChannelLost(*self.lost))
        self.gone.set()
        while self._heirs:
            self._heirs.pop()()

    def _add_heir(self, callback: Callable[[], None]) -> None:
        if self.lost:
            callback()
        else:
            self._heirs.append(callback)

    def _put(self, question: Question, reply: Reply) -> None:
        if self.lost:
            reply.fail(ChannelLost(*self.lost))
            return
        self._waiting = {waiting for waiting in self._waiting if not waiting.done} | {reply}
        try:
            question(self.raw, reply)
        except pika.exceptions.AMQPError as exc:
            error = ChannelLost(parameters.lost(exc, self.link.settings), 0)
            error.__cause__ = exc
            reply.fail(error)

    def _tell(self, action: Callable[[Any], None]) -> None:
        if not self.lost and self.raw is not None and self.raw.is_open:
            action(self.raw)
