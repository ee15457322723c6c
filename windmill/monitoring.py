"""What the heartbeats say of the fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from windmill.model import Health, Sighting
from windmill.ports import HeartbeatLog


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
    """An error that a worker told of: how often within the window, and how many seconds ago last."""

    worker_id: str
    service: str
    message: str
    count: int
    seconds_ago: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """The fleet at one moment."""

    workers: tuple[Sighting, ...]
    dead: tuple[Sighting, ...]
    services: tuple[ServiceReport, ...]
    nodes: Mapping[str, int]
    errors: tuple[ErrorReport, ...]

    @property
    def well(self) -> bool:
        """No dead worker and no error."""
        return not self.dead and not self.errors


def survey(log: HeartbeatLog, depths: Mapping[str, int] | None, windows: Windows) -> FleetReport:
    """The report. A worker that said goodbye is neither alive nor dead; it is left out."""
    seen = [one for one in log.latest() if one.heartbeat.status is not Health.STOPPING]
    alive = [one for one in seen if one.silent_seconds <= windows.dead]
    completed = log.completed(windows.performance)
    return FleetReport(
        workers=tuple(alive),
        dead=tuple(one for one in seen if one.silent_seconds > windows.dead),
        services=_services(alive, completed, depths, windows.performance / 60),
        nodes=dict(sorted(Counter(one.heartbeat.node_hostname for one in alive).items())),
        errors=tuple(
            ErrorReport(worker_id=worker, service=service, message=text, count=count, seconds_ago=ago)
            for worker, service, text, count, ago in log.errors(windows.errors)
        ),
    )


def _services(
    alive: Sequence[Sighting], completed: Mapping[str, int], depths: Mapping[str, int] | None, minutes: float
) -> tuple[ServiceReport, ...]:
    workers = Counter(one.heartbeat.service_name for one in alive)
    names = sorted({*workers, *completed, *(name for name, depth in (depths or {}).items() if depth)})
    return tuple(
        ServiceReport(
            service=name,
            workers=workers[name],
            jobs_per_minute=round(completed.get(name, 0) / minutes, 1),
            queue_depth=None if depths is None else depths.get(name, 0),
        )
        for name in names
    )
