"""What the heartbeats say of the fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from windmill.errors import WindmillError
from windmill.model import Health, Sighting
from windmill.ports import HeartbeatLog

_FORGOTTEN = 86_400.0  # seconds after which a dead worker is no longer news

Depths = Callable[[Collection[str]], Mapping[str, int]]  # jobs that wait, for these services at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Seconds: of silence after which a worker is dead, and over which rates and errors are counted."""

    dead: float
    performance: float
    errors: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """One service: workers that are alive, jobs per minute over the window, and jobs that wait.

    `queue_depth` is None when the broker could not be asked.
    """

    service: str
    workers: int
    jobs_per_minute: float
    queue_depth: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """An error within the window: how many heartbeats told of it, and how many seconds ago the last one."""

    worker_id: str
    service: str
    message: str
    count: int
    seconds_ago: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """The fleet at one moment. A worker that said goodbye is stopped, neither alive nor dead.

    `depths_unknown` says why the broker could not be asked, if so.
    """

    workers: tuple[Sighting, ...]
    dead: tuple[Sighting, ...]
    stopped: tuple[Sighting, ...]
    services: tuple[ServiceReport, ...]
    nodes: Mapping[str, int]
    errors: tuple[ErrorReport, ...]
    depths_unknown: str | None = None

    @property
    def well(self) -> bool:
        """No dead worker and no error."""
        return not self.dead and not self.errors


def survey(log: HeartbeatLog, depths: Depths, windows: Windows) -> FleetReport:
    """The report: what the heartbeats say, and the queues of the services that they speak of."""
    seen = log.latest()
    stopped = tuple(one for one in seen if one.heartbeat.status is Health.STOPPING)
    running = [one for one in seen if one.heartbeat.status is not Health.STOPPING]
    alive = tuple(one for one in running if one.silent_seconds <= windows.dead)
    dead = tuple(one for one in running if 0 < one.silent_seconds - windows.dead <= _FORGOTTEN)
    rates = _rates(log.completed(windows.performance), _services(alive), windows.performance)
    names = {*rates, *_services(dead)}
    waiting, unknown = _asked(depths, names)
    return FleetReport(
        workers=alive,
        dead=dead,
        stopped=stopped,
        services=_reports(names, _services(alive), rates, waiting),
        nodes=dict(sorted(Counter(one.heartbeat.node_hostname for one in alive).items())),
        errors=tuple(
            ErrorReport(worker_id=worker, service=service, message=text, count=count, seconds_ago=ago)
            for worker, service, text, count, ago in log.errors(windows.errors)
        ),
        depths_unknown=unknown,
    )


def _services(workers: Iterable[Sighting]) -> Counter[str]:
    """The number of workers of each service."""
    return Counter(one.heartbeat.service_name for one in workers)


def _rates(
    completed: Mapping[str, tuple[int, float]], alive: Mapping[str, int], window: float
) -> dict[str, float]:
    """Jobs per minute of each service that is alive or was in the window (seconds).

    Counted over the time that its heartbeats speak of, which is shorter than the window while the service
    is young; over the whole window once none of its workers is alive.
    """
    rates = dict.fromkeys(alive, 0.0)
    for service, (jobs, covered) in completed.items():
        seconds = min(window, max(1.0, covered)) if service in alive else window
        rates[service] = round(60 * jobs / seconds, 1)
    return rates


def _asked(depths: Depths, names: Collection[str]) -> tuple[Mapping[str, int] | None, str | None]:
    """What waits in the queues, or why that is unknown."""
    try:
        return depths(names), None
    except WindmillError as error:
        return None, str(error)


def _reports(
    names: Collection[str],
    alive: Mapping[str, int],
    rates: Mapping[str, float],
    waiting: Mapping[str, int] | None,
) -> tuple[ServiceReport, ...]:
    queued = {name for name, depth in (waiting or {}).items() if depth}
    return tuple(
        ServiceReport(
            service=name,
            workers=alive.get(name, 0),
            jobs_per_minute=rates.get(name, 0.0),
            queue_depth=None if waiting is None else waiting.get(name),
        )
        for name in sorted({*names, *queued})
    )
