"""The cases: each is one small function that disturbs a run, and one line in the table below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chaos.site import BROKERS, RABBITMQ, WORKERS
from chaos.stage import Stage
from chaos.tables import Failure

ONE_OF_EACH: Mapping[str, int] = dict.fromkeys(WORKERS, 1)
PACE = 0.05  # seconds that a service takes, so that there is always a job in hand


def nothing(_: Stage) -> None:
    """The run that all others are compared with, compared with itself."""


def kill_service_workers(stage: Stage) -> None:
    for n in range(10):
        stage.await_results(0.05 + 0.04 * n)
        stage.fleet.kill("yolov8" if n % 2 else "blip")


def kill_stages(stage: Stage) -> None:
    for n in range(10):
        stage.await_results(0.05 + 0.08 * n)
        stage.fleet.kill("consensus" if n % 2 else "bbox_merger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`disturb` runs once all is submitted and the workers are up, while the services take `pace` seconds.

    `failure` says what is to become of the marked photos at one service, `tampered` which workers run with
    something changed (`chaos.tampered`), `proxied` that the broker is behind a proxy.
    """

    name: str
    does: str
    disturb: Callable[[Stage], None]
    brokers: tuple[str, ...] = BROKERS
    submit: Callable[[Stage], None] = Stage.submit
    counts: Mapping[str, int] = field(default_factory=lambda: ONE_OF_EACH)
    environment: Mapping[str, str] = field(default_factory=dict)
    tampered: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    proxied: bool = False
    pace: float = PACE


CASES: tuple[Case, ...] = (
    Case(name="calm", does="Nothing.", disturb=nothing),
    Case(
        name="kill-service-worker",
        does="`kill -9` of a service's worker with jobs in hand, ten times.",
        disturb=kill_service_workers,
    ),
    Case(
        name="kill-merger-and-consensus",
        does="`kill -9` of the merger and the consensus worker in turn, ten times.",
        disturb=kill_stages,
    ),
)
