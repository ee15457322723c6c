"""Deliveries from one queue, and what becomes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence

from windmill import catalog
from windmill.core.reach import Reach
from windmill.errors import BrokerError, WindmillError
from windmill.model import Again, Delivery, Settlement
from windmill.rabbitmq import topology, watching
from windmill.rabbitmq.channel import CLOSE_TIMEOUT, ChannelLost
from windmill.rabbitmq.declaring import Declarer, counts, refusal
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Patience, Sender
from windmill.rabbitmq.subscription import ATTEMPT, DUE, REDELIVERED, Subscription, renewed, token
from windmill.rabbitmq.watching import Watchdog

log = logging.getLogger(__name__)

PAUSE_AFTER_ERROR = 1.0
SUSPECTS_EVERY = 3.0  # seconds between looks for what may have killed workers


class RabbitConsumer:
    """A `ports.Consumer` of the queue of `service`. Thread-safe.

    It subscribes at the first `take`, and again by itself after a lost connection. At most as many
    deliveries are unsettled at a time as `reach` says, taken or not; those from before a pause do not count.
    """

    def __init__(self, link: Link, declarer: Declarer, sender: Sender, *, service: str, reach: Reach) -> None:
        self.service = service
        self._queue = catalog.queue(service)
        self._link = link
        self._declarer = declarer
        self._sender = sender
        self._dead = catalog.dead_queue(service)
        self._reach = reach
        self._prefetch = reach.size  # of the subscription
        self._changed = threading.Condition()
        self._setup = threading.Lock()
        self._subscription: Subscription | None = None
        self._watchdog: Watchdog | None = None
        self._trials: Subscription | None = None
        self._looked, self._suspects = 0.0, False
        self._retired: list[Subscription] = []  # paused, with deliveries that may still be settled
        self._paused = self._closed = False

    def take(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """See `ports.Consumer`. Nothing arrives while unconnected. Raises `ConfigError`."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._paused, timeout)
        while True:
            self._drop_what_stalls()
            self._reach_out()
            self._subscribe(deadline)
            taken = self._pick(limit, min(deadline, time.monotonic() + watching.STALL / 10))
            if taken or self._idle or time.monotonic() >= deadline:
                return taken

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.Consumer`. Acks leave soon after, in one write; the others are confirmed first."""
        live = [one for one in settlements if not token(one.delivery).subscription.channel.gone.is_set()]
        messages = [_again(one.delivery, one.decision) for one in live if isinstance(one.decision, Again)]
        if messages:
            self._sender.send(messages)
        tags: defaultdict[Subscription, list[int]] = defaultdict(list)
        for one in live:
            tags[token(one.delivery).subscription].append(token(one.delivery).tag)
        for subscription, settled in tags.items():
            subscription.ack(settled)
        self._reach.note(len(live), time.monotonic())

    def suspects(self) -> bool:
        """See `ports.Consumer`. The broker has put them aside."""
        due = time.monotonic() - self._looked > SUSPECTS_EVERY
        if due and self._link.wait_open(0) and not self._link.blocked:
            self._looked = time.monotonic()
            try:
                self._suspects = counts(self._link, [self._dead]).get(self._dead, (0, 0))[0] > 0
            except BrokerError as exc:
                log.info("%s: cannot look for what may have killed workers: %s", self.service, exc)
        return self._suspects

    def take_suspect(self) -> Delivery | None:
        """See `ports.Consumer`."""
        self._suspects = False  # until the next look
        if self._trials is None or self._trials.channel.gone.is_set():
            channel = self._link.channel(0)
            self._trials = Subscription(channel, self.service, self._changed, self._declarer.forget)
        return self._trials.get(self._dead)

    def depth(self) -> int:
        """See `ports.Consumer`."""
        waiting, _ = counts(self._link, [self._queue]).get(self._queue, (0, 0))
        return waiting

    def pause(self) -> None:
        """See `ports.Consumer`. Where it cannot give back, the broker takes all that is in hand back."""
        self._set_paused(True)
        with self._setup:
            self._retire()

    def resume(self) -> None:
        """See `ports.Consumer`. Messages flow from the next `take` on."""
        self._set_paused(False)

    def close(self) -> None:
        """Ends consuming. What has not been settled goes back to the queue. Safe to call twice."""
        self._closed = True
        self.pause()
        with self._setup:
            retired, self._retired = [*self._retired, *filter(None, [self._trials])], []
            for subscription in retired:
                if not subscription.channel.gone.is_set():
                    subscription.channel.close()

    def _retire(self) -> None:
        """Ends the flow; what was taken can still be settled. With `_setup` held."""
        current, self._subscription = self._subscription, None
        if current is None or not current.active:
            return
        try:
            self._give_back(current)
        except BrokerError as exc:
            log.info("%s: the broker takes back by itself what nobody took: %s", self.service, exc)
            current.channel.abandon()
        self._retired = [one for one in (*self._retired, current) if not one.channel.gone.is_set()]

    def _reach_out(self) -> None:
        """Has as much flow in advance as `reach` says by now: that is fixed where consuming begins."""
        self._reach.note(0, time.monotonic())
        if self._prefetch == self._reach.size:
            return
        with self._setup:
            self._prefetch = self._reach.size
            self._retire()

    def _set_paused(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    @property
    def _idle(self) -> bool:
        return self._paused or self._closed

    def _needs_subscription(self) -> bool:
        """Whether messages should flow and do not."""
        active = self._subscription is not None and self._subscription.active
        return not (self._idle or active)

    def _subscribe(self, deadline: float) -> None:
        """Has messages flow, if it can be done before `deadline`."""
        if not self._needs_subscription() or not self._link.wait_open(deadline - time.monotonic()):
            return
        try:
            with self._setup:
                if self._needs_subscription():
                    self._subscription = self._new()
        except BrokerError as exc:
            log.info("%s: cannot consume yet: %s", self.service, exc)
            with self._changed:
                self._changed.wait(max(0.0, min(PAUSE_AFTER_ERROR, deadline - time.monotonic())))

    def _drop_what_stalls(self) -> None:
        """What is in hand goes back with the channel: a broker that has lost a consumer has lost its acks."""
        if not self._setup.acquire(blocking=False):
            return
        try:
            current, watchdog = self._subscription, self._watchdog
            if current is None or not current.active or watchdog is None or not watchdog.stalled():
                return
            log.warning("%s: jobs wait in RabbitMQ and none come; consuming anew", self.service)
            self._subscription = None
            current.channel.abandon()
        finally:
            self._setup.release()

    def _new(self) -> Subscription:
        channel = self._link.channel(0)
        subscription = Subscription(channel, self.service, self._changed, self._declarer.forget)
        try:
            self._declarer.ensure([self.service])
            subscription.consume({self._queue: self._prefetch})
        except ChannelLost as exc:
            raise refusal(exc, self._link.settings.queue_user) from exc
        except WindmillError:
            channel.close()
            raise
        self._watchdog = Watchdog(subscription, self._queue, self._prefetch)
        return subscription

    def _pick(self, limit: int, deadline: float) -> Sequence[Delivery]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._idle or self._ready or self._needs_subscription(),
                max(0.0, deadline - time.monotonic()),
            )
            ready = self._ready
            return [ready.popleft() for _ in range(min(limit, len(ready)))]

    @property
    def _ready(self) -> deque[Delivery]:
        return deque() if self._idle or self._subscription is None else self._subscription.ready

    def _give_back(self, subscription: Subscription) -> None:
        """Sends untaken messages to their queue anew: one that goes back by itself counts as delivered."""
        untaken = subscription.cancel()
        if untaken:
            self._sender.send([renewed(one) for one in untaken], Patience(confirm=CLOSE_TIMEOUT))
            subscription.ack([token(one).tag for one in untaken])


def _again(delivery: Delivery, decision: Again) -> Message:
    """The message that takes the place of one that failed."""
    headers: dict[str, object] = {ATTEMPT: decision.attempt}
    if delivery.redelivered:
        headers[REDELIVERED] = 1
    queue, lifetime = catalog.queue(delivery.service), None
    if decision.delay > 0:
        step = topology.step_for(decision.delay)
        queue, lifetime = catalog.retry_queue(delivery.service, step), min(decision.delay, step)
        headers[DUE] = int((time.time() + lifetime) * 1000)
    target = (delivery.service, queue)
    return Message(targets=(target,), body=delivery.body, headers=headers, lifetime=lifetime)
