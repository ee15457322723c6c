"""The receiving side of the Postgres broker: a thread that keeps a few jobs in hand."""

from __future__ import annotations

import logging
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as PgConnection  # noqa: N812 -- a class, whatever its name

from windmill import catalog
from windmill.core.reach import Reach
from windmill.core.retrying import DELIVERY_LIMIT, TRIALS, backoff
from windmill.errors import WindmillError
from windmill.model import Again, Delivery, Settlement
from windmill.postgres.connection import connect, cut, translating
from windmill.postgres.queries import query
from windmill.settings import Settings

log = logging.getLogger(__name__)
STALL = 30.0  # seconds after which a server that does not answer is given up
_LOOK_AGAIN = 2.0  # seconds after which an idle consumer looks for what dead ones held
_CLOSING = 5.0  # seconds that closing may take
_EVER = "-infinity"
# A job has the time at which its transaction began, and is seen when that ends; where that takes longer, the
# next tidying finds it.
_UNDER_WAY = timedelta(seconds=1)
NEW, OLD = "new", "old"  # what a queue's listeners are told: of jobs just sent, of ones that were sent before


@dataclass(frozen=True, slots=True)
class Token:
    """What identifies a job in a consumer's hands."""

    job: int
    holder: int


class PostgresConsumer:
    """A `ports.Consumer`: as many jobs are in hand as `reach` says, taken as soon as they are announced."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        service: str,
        reach: Reach,
        settle: Callable[[Sequence[Settlement]], None],
        depth: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._name = name
        self._service = service
        self._queue = catalog.queue(service)
        self._here = {"queue": self._queue, "suspect_after": DELIVERY_LIMIT}
        self._reach = reach
        self._settle = settle
        self._depth = depth
        self._changed = threading.Condition()
        self._waiting: deque[Delivery] = deque()
        self._unsettled: set[Token] = set()
        self._paused = self._closed = False
        self._suspects = self._trial = False  # whether there are suspects; whether one is asked for
        self._suspect: Delivery | None = None
        self._counted = False  # among the queue's consumers
        self._failures = 0  # in a row
        self._connection: PgConnection | None = None
        self._busy_since: float | None = None  # waiting for the server's answer, by the monotonic clock
        self._tidied = 0.0  # when, by the monotonic clock
        self._next_due = 0.0  # when, by the monotonic clock, the first of the jobs that wait is due
        self._news = False  # there may be one that is due before
        self._since: datetime | str = _EVER  # what waits is not older, or will be found by the next tidying
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._keep_fetching, name=f"jobs {service}", daemon=True)
        self._thread.start()

    def take(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """See `ports.Consumer`."""
        self._cut_what_stalls()
        self._reach.note(0, time.monotonic())
        deadline = time.monotonic() + timeout
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._paused, timeout)
            self._changed.wait_for(
                lambda: self._waiting or self._paused or self._closed, max(0.0, deadline - time.monotonic())
            )
            if self._paused or self._closed:
                return []
            return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def suspects(self) -> bool:
        """See `ports.Consumer`."""
        with self._changed:
            return self._suspects

    def take_suspect(self) -> Delivery | None:
        """See `ports.Consumer`. None also where PostgreSQL does not answer for a while."""
        with self._changed:
            self._trial = True
            self._ring()
            self._changed.wait_for(lambda: not self._trial or self._closed, STALL)
            self._trial = False
            suspect, self._suspect = self._suspect, None
            return suspect

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.Consumer`."""
        with self._changed:
            ours = [one for one in settlements if one.delivery.token in self._unsettled]
        if ours:
            self._settle(ours)
        with self._changed:
            self._unsettled.difference_update(one.delivery.token for one in ours)
            if any(isinstance(one.decision, Again) for one in ours):
                self._news = True  # they are due again some time
        self._reach.note(len(ours), time.monotonic())
        self._ring()

    def depth(self) -> int:
        """See `ports.Consumer`."""
        return self._depth(self._service)

    def pause(self) -> None:
        """See `ports.Consumer`."""
        self._set_paused(True)

    def resume(self) -> None:
        """See `ports.Consumer`."""
        self._set_paused(False)

    def close(self) -> None:
        """See `ports.Consumer`."""
        if not self._closed:
            self._closed = True
            self.pause()
            self._thread.join(_CLOSING)
            self._bell.close()

    def _cut_what_stalls(self) -> None:
        """Ends a connection whose server does not answer; what is in hand goes to others then."""
        with self._changed:
            connection, since = self._connection, self._busy_since
            if connection is None or since is None or time.monotonic() - since < STALL:
                return
            log.warning("%s: PostgreSQL has not answered for %g s; connecting anew", self._service, STALL)
            self._busy_since = None
            cut(connection)

    def _set_paused(self, paused: bool) -> None:
        with self._changed:
            self._paused = paused
            self._changed.notify_all()
        self._ring()

    # --- the fetching thread ---------------------------------------------------------------------------

    def _keep_fetching(self) -> None:
        """Fetches until closed; a lost connection means a new holder, for the old one's lock is gone."""
        with self._ear:
            while not self._closed:
                try:
                    self._fetch()
                except WindmillError as error:
                    self._failures += 1
                    if self._failures == 1:
                        log.warning("%s; trying until it answers", error)
                    self._lose()
                    self._listen_for_bell(backoff(self._failures) * random.uniform(0.8, 1.2))  # noqa: S311

    def _fetch(self) -> None:
        """One connection's life."""
        with translating():
            connection = connect(self._settings, self._name)
            try:
                self._attend(connection)
                connection.autocommit = True
                with connection.cursor() as cursor:
                    holder = self._hold(cursor)
                    while not self._closed:
                        self._count(cursor)
                        if self._paused:
                            self._give_back(cursor, holder, taken=False)
                        else:
                            self._fill(cursor, holder)
                        if self._trial:
                            self._fill_suspect(cursor, holder)
                        self._failures = 0
                        self._await_news(connection, cursor)
                    self._give_back(cursor, holder, taken=True)
            finally:
                self._attend(None)
                connection.close()

    def _attend(self, connection: PgConnection | None) -> None:
        """Has the connection watched, from now on as one that waits for the server."""
        with self._changed:
            self._connection = connection
            self._busy_since = time.monotonic()

    def _hold(self, cursor: Any) -> int:
        """A new holder's number. What it takes needs no disk: if the server dies, so do all holders."""
        cursor.execute(query("never_wait_for_disk"))
        cursor.execute(query("new_holder"))
        holder = int(cursor.fetchone()[0])
        cursor.execute(query("hold"), {"holder": holder})
        self._counted = False
        cursor.execute(sql.SQL(query("listen")).format(queue=sql.Identifier(self._queue)))
        self._tidy(cursor)
        return holder

    def _tidy(self, cursor: Any) -> None:
        """Frees what dead holders had, and looks for what may have killed them."""
        cursor.execute(query("free_dead_holders"), {"queue": self._queue})
        cursor.execute(query("suspects"), self._here)
        self._suspects = cursor.fetchone()[0]
        self._tidied, self._news, self._since = time.monotonic(), True, _EVER

    def _count(self, cursor: Any) -> None:
        """Counts among the consumers unless paused."""
        if self._counted == self._paused:
            self._counted = not self._paused
            cursor.execute(query("be_counted" if self._counted else "be_uncounted"), {"queue": self._queue})

    def _fill(self, cursor: Any, holder: int) -> None:
        """Takes jobs until the hands are full or nothing is due."""
        with self._changed:
            room = self._reach.size - len(self._unsettled)
        if room < 0:  # the worker has become slow: others may have what it has not begun
            self._give_back(cursor, holder, taken=False)
        with self._changed:
            if room <= 0 or not (self._news or time.monotonic() >= self._next_due):
                return
            self._news = False
        here = {**self._here, "since": self._since}
        cursor.execute(query("take_jobs"), {**here, "limit": room, "holder": holder})
        rows = cursor.fetchall()
        taken = [self._delivery(holder, *row) for *row, _ in sorted(rows)]
        with self._changed:
            self._unsettled.update(one.token for one in taken if isinstance(one.token, Token))
            self._waiting.extend(taken)
            self._changed.notify_all()
        if len(rows) == room:  # there may be more
            self._next_due, oldest = 0.0, min(available for *_, available in rows)
        else:
            cursor.execute(query("seconds_until_next"), here)
            seconds, oldest = cursor.fetchone()
            patience = _LOOK_AGAIN if seconds is None else max(0.0, float(seconds))
            self._next_due = time.monotonic() + patience
        self._since = oldest - _UNDER_WAY

    def _fill_suspect(self, cursor: Any, holder: int) -> None:
        """Takes one job that may have killed workers."""
        cursor.execute(query("take_suspect"), {**self._here, "holder": holder})
        row = cursor.fetchone()
        with self._changed:
            self._suspect = None if row is None else self._delivery(holder, *row)
            if self._suspect is not None and isinstance(self._suspect.token, Token):
                self._unsettled.add(self._suspect.token)
            self._suspects, self._trial = row is not None, False
            self._changed.notify_all()

    def _delivery(self, holder: int, job: int, body: bytes, attempt: int, deliveries: int) -> Delivery:
        unsettled = deliveries - 1
        return Delivery(
            service=self._service,
            body=bytes(body),
            attempt=attempt,
            token=Token(job, holder),
            redelivered=unsettled > 0,
            undeliverable=unsettled > DELIVERY_LIMIT + TRIALS,
        )

    def _await_news(self, connection: Any, cursor: Any) -> None:
        """Until a job is announced or due, room was made, or it is time to look after the dead."""
        with self._changed:
            full = self._paused or len(self._unsettled) >= self._reach.size
            due = 0.0 if self._news or connection.notifies else self._next_due
        patience = _LOOK_AGAIN if full else min(_LOOK_AGAIN, due - time.monotonic())
        if patience > 0:
            self._busy_since = None
            ready, _, _ = select.select([connection, self._ear], [], [], patience)
            if self._ear in ready:
                self._ear.recv(4096)
        self._busy_since = time.monotonic()
        connection.poll()
        if connection.notifies:
            self._news = True
            if any(one.payload == OLD for one in connection.notifies):
                self._since = _EVER
            connection.notifies.clear()
        if time.monotonic() - self._tidied >= _LOOK_AGAIN:
            self._tidy(cursor)

    def _give_back(self, cursor: Any, holder: int, *, taken: bool) -> None:
        """Frees what nobody has taken, as if it had never left; what was `taken` too, where that is said."""
        with self._changed:
            untaken = {one.token for one in self._waiting if isinstance(one.token, Token)}
            tokens = set(self._unsettled) if taken else untaken
            self._waiting.clear()
            self._unsettled -= tokens
        if tokens:
            jobs, untouched = [one.job for one in tokens], [one.job for one in untaken]
            cursor.execute(query("give_back"), {"jobs": jobs, "untouched": untouched, "holder": holder})
            cursor.execute(query("notify"), {"queues": [self._queue], "news": OLD})

    def _lose(self) -> None:
        """Forgets what is in hand: someone else will have it, or has it already."""
        with self._changed:
            self._waiting.clear()
            self._unsettled.clear()

    def _listen_for_bell(self, seconds: float) -> None:
        ready, _, _ = select.select([self._ear], [], [], seconds)
        if ready:
            self._ear.recv(4096)

    def _ring(self) -> None:
        """Wakes the fetching thread; a full pipe means that it has not heard the last ring yet."""
        try:
            self._bell.send(b"!")
        except (BlockingIOError, OSError):
            log.debug("%s: the fetching thread is awake or gone", self._service)
