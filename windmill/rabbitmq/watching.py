"""Connected but not consuming: how that is noticed."""

from __future__ import annotations

import logging
import time

from windmill.errors import BrokerError
from windmill.rabbitmq.channel import Reply
from windmill.rabbitmq.declaring import passive
from windmill.rabbitmq.subscription import Subscription

log = logging.getLogger(__name__)

STALL = 30.0  # seconds without a delivery after which a look at the queue is due


class Watchdog:
    """Asks the broker how many messages wait, once a subscription has brought nothing for a while."""

    def __init__(self, subscription: Subscription, queue: str, prefetch: int) -> None:
        self._subscription = subscription
        self._queue = queue
        self._prefetch = prefetch
        self._question: Reply | None = None
        self._suspicious = False
        self._start_over()

    def stalled(self) -> bool:
        """Whether messages wait that do not come, though there is room. Never waits: what it asks is answered
        by a later call. It asks twice, since the first answer may tell of a message that is on its way."""
        channel = self._subscription.channel
        if self._delivered != self._subscription.delivered or self._is_full() or channel.link.blocked:
            self._start_over()
        elif self._question is not None:
            return self._question.done and self._judge(self._question)
        elif time.monotonic() >= self._next_look:
            self._question = channel.post(passive(self._queue))
        return False

    def _judge(self, answer: Reply) -> bool:
        self._question = None
        try:
            waiting = answer.wait(0).method.message_count
        except BrokerError as exc:
            log.info("%s: the channel is lost, which ends this watch: %s", self._queue, exc)
            return False
        if waiting and self._suspicious:
            return True
        self._start_over()
        if waiting:
            self._suspicious, self._next_look = True, time.monotonic() + STALL / 10
        return False

    def _is_full(self) -> bool:
        return self._subscription.unsettled >= self._prefetch

    def _start_over(self) -> None:
        self._delivered = self._subscription.delivered
        self._next_look = time.monotonic() + STALL
        self._suspicious = False
        self._question = None
