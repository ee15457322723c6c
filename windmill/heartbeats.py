"""A worker's signs of life: counted as jobs settle, written from a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from windmill.errors import WindmillError
from windmill.model import Again, Bury, Handled, Health, Heartbeat
from windmill.ports import HeartbeatSink

log = logging.getLogger(__name__)

WINDOW = 300.0  # seconds over which jobs per minute are counted
_CALM = 10.0  # seconds between beats out of turn, however often trouble comes and goes
_GOODBYE = 2.0  # seconds that the last heartbeat may take


def _now() -> datetime:
    return datetime.now(UTC)


class Pulse:
    """A middleware that counts; thread-safe. `clock` gives seconds, of any origin."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = _now
    ) -> None:
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._started = clock()
        self._recent: deque[tuple[int, int]] = deque()  # (second, jobs in it)
        self._completed = 0
        self._last: datetime | None = None
        self._trouble: str | None = None  # what is wrong at the moment
        self._untold: str | None = None  # what went wrong and stood in no heartbeat yet
        self.changed = threading.Event()  # set when trouble begins, changes or ends

    def settled(self, handled: Handled) -> None:
        """See `middleware.base.Middleware`; a job that goes round again is not completed."""
        if isinstance(handled.decision, Again):
            return
        with self._lock:
            self._count()
            if isinstance(handled.decision, Bury):  # the job's trouble and not the worker's: it is told once
                self._untold = handled.decision.reason
                self.changed.set()
            elif handled.error is None:
                self._note(None)

    def parked(self, reason: str) -> None:
        """See `middleware.base.Middleware`."""
        with self._lock:
            self._note(reason)

    def resumed(self) -> None:
        """See `middleware.base.Middleware`."""
        with self._lock:
            self._note(None)

    def rate(self) -> float:
        """Jobs per minute over the window, or over the worker's life while that is shorter."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            jobs = sum(count for _, count in self._recent)
            return 60 * jobs / max(1.0, min(WINDOW, now - self._started))

    def beat(self, worker_id: str, service: str, node: str, health: Health, depth: int | None) -> Heartbeat:
        """The heartbeat of this moment: `alive` becomes `error` while there is trouble, or was untold."""
        rate = self.rate()
        with self._lock:
            message = self._trouble or self._untold
            troubled = health is Health.ALIVE and message is not None
            return Heartbeat(
                worker_id=worker_id,
                service_name=service,
                node_hostname=node,
                status=Health.ERROR if troubled else health,
                jobs_completed=self._completed,
                jobs_per_minute=round(rate, 2),
                last_job_time=self._last,
                queue_depth=depth,
                error_message=message,
            )

    def told(self, heartbeat: Heartbeat) -> None:
        """The heartbeat is written: its error need not be told again, once it is over."""
        with self._lock:
            if heartbeat.error_message == self._untold:
                self._untold = None

    def _count(self) -> None:
        now = self._clock()
        second, jobs = self._recent.pop() if self._recent else (int(now), 0)
        if second != int(now):
            self._recent.append((second, jobs))
            second, jobs = int(now), 0
            self._forget(now)
        self._recent.append((second, jobs + 1))
        self._completed += 1
        self._last = self._now()

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] <= now - WINDOW:
            self._recent.popleft()

    def _note(self, trouble: str | None) -> None:
        if trouble is not None:
            self._untold = trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self.changed.set()


class Heart:
    """Beats at the start, every `interval` seconds, when trouble begins or ends, and at the stop.

    A sink that is down slows no job: it is tried again at the next beat, with one warning for all.
    """

    def __init__(
        self,
        pulse: Pulse,
        sink: HeartbeatSink,
        *,
        worker_id: str,
        service: str,
        node: str,
        interval: float,
        depth: Callable[[], int],
    ) -> None:
        self._pulse = pulse
        self._sink = sink
        self._who = (worker_id, service, node)
        self._interval = interval
        self._depth = depth
        self._stop = threading.Event()
        self._down = False
        self._thread = threading.Thread(target=self._beat_on, name="heartbeats", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def close(self) -> None:
        """Says goodbye, without waiting long for a sink that hangs."""
        self._stop.set()
        self._pulse.changed.set()
        self._thread.join(_GOODBYE)

    def _beat_on(self) -> None:
        self._beat(Health.STARTING)
        calm, quiet_until = min(_CALM, self._interval), time.monotonic()
        while not self._stop.is_set():
            if self._pulse.changed.wait(self._interval):
                self._stop.wait(quiet_until - time.monotonic())
                quiet_until = time.monotonic() + calm
            self._pulse.changed.clear()
            if not self._stop.is_set():
                self._beat(Health.ALIVE)
        self._beat(Health.STOPPING)

    def _beat(self, health: Health) -> None:
        depth = None if health is Health.STOPPING else self._asked_depth()  # a goodbye waits for no broker
        heartbeat = self._pulse.beat(*self._who, health, depth)
        try:
            self._sink.write(heartbeat)
        except WindmillError as error:
            if not self._down:
                log.warning("heartbeats are not written: %s; work goes on", error)
            self._down = True
            return
        self._pulse.told(heartbeat)
        if self._down:
            log.info("heartbeats are written again")
        self._down = False

    def _asked_depth(self) -> int | None:
        try:
            return self._depth()
        except WindmillError as error:
            log.debug("queue depth unknown: %s", error)
            return None
