"""What happened to one image, stage by stage, and what each stage waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from windmill import catalog
from windmill.catalog import BOX_WORKERS, MERGER, SCORER, STAGES, VOTER, Catalog
from windmill.core import routing
from windmill.model import QueueState


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A row of the ledger; `answered` is the version of the model whose result is stored."""

    service: str
    version: str
    state: str
    found: int | None
    attempts: int
    error_class: str | None
    error: str | None
    worker_id: str | None
    dispatched_at: datetime
    settled_at: datetime | None
    answered: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a stage last made, from the replies in `seen`: service → time in microseconds."""

    stage: str
    seen: Mapping[str, int]
    found: int
    rule: str
    made_at: datetime
    worker_id: str | None
    changed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a box worker or a scorer has said about an image's boxes or captions."""

    service: str
    done: int
    failed: int
    latest: datetime
    worker_id: str | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that the database knows of one image. `replies` are (service, its types, microseconds); `texts` are
    the services whose replies hold one."""

    image_id: int
    filename: str
    path: str | None
    url: str | None
    group: str
    width: int | None
    height: int | None
    admitted: datetime
    asked: tuple[Asked, ...] = ()
    replies: tuple[tuple[str, tuple[str, ...], int], ...] = ()
    texts: tuple[str, ...] = ()
    made: tuple[Made, ...] = ()
    boxes: int = 0
    people: int = 0
    looked: tuple[Looked, ...] = ()
    parked: Mapping[str, str] = field(default_factory=dict)  # of any image: why a service's jobs are parked


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the story. `waits` is empty when nothing is left to do."""

    stage: str
    state: str
    when: datetime | None = None
    worker: str | None = None
    what: str = ""
    waits: str = ""


def waits_for(history: History, services: Catalog) -> Sequence[str]:
    """Whose queues `steps` may speak of: also of stages that another box's catalog lists."""
    return sorted({*services.services, *STAGES, *(one.service for one in history.asked)})


def steps(history: History, services: Catalog, queues: Mapping[str, QueueState]) -> Sequence[Step]:
    """The story of an image, in the order of the pipeline."""
    return (
        *_all_asked(history, queues),
        *_never_asked(history, services),
        *_stages(history, queues),
        *_boxes(history, services, queues),
        *_scores(history, services, queues),
    )


def _all_asked(history: History, queues: Mapping[str, QueueState]) -> Iterator[Step]:
    latest = {one.service: one for one in history.asked}  # they are in order
    for one in history.asked:
        yield _asked(one, history, queues, superseded=one is not latest[one.service])


def _asked(one: Asked, history: History, queues: Mapping[str, QueueState], *, superseded: bool) -> Step:
    tries = (
        f"after {_plural(one.attempts, 'failed attempt')}: " if one.attempts and not one.settled_at else ""
    )
    error = f"{one.error_class}: {one.error}" if one.error_class else one.error or ""
    found = f"found {one.found:,}" if one.found is not None else ""
    model = f" by {one.answered}" if one.answered and found and not superseded else ""
    return Step(
        stage=one.service if not one.version else f"{one.service} ({one.version})",
        state=one.state,
        when=one.settled_at or one.dispatched_at,
        worker=one.worker_id,
        what=(found + model) or (tries + error),
        waits="" if superseded and one.settled_at else _waits(one, history, queues),
    )


def _waits(one: Asked, history: History, queues: Mapping[str, QueueState]) -> str:
    if one.state == "failed":
        return f"for you: windmill rerun --service {one.service} --failed"
    if one.state not in ("queued", "parked"):
        return ""
    reason = history.parked.get(one.service)
    down = f"for its service to be back ({reason}); " if reason else ""
    return down + _line(one.service, queues)


def _never_asked(history: History, services: Catalog) -> Iterator[Step]:
    asked = {one.service for one in history.asked}
    for one in services.services.values():
        if one.category != "postprocessing" and one.name not in asked:
            yield Step(stage=one.name, state="never asked", waits=f"windmill produce --services {one.name}")


def _stages(history: History, queues: Mapping[str, QueueState]) -> Iterator[Step]:
    made = {one.stage: one for one in history.made}
    spatial = {name: time for name, types, time in history.replies if "spatial" in types}
    every = {name: time for name, _, time in history.replies}
    merged = made.get(MERGER)
    if merged and merged.changed is not None:
        every[MERGER] = merged.changed
    for stage, there, unit in ((MERGER, spatial, "boxes"), (VOTER, every, "emoji")):
        yield _stage(stage, there, unit, made.get(stage), queues)


def _stage(
    stage: str, there: Mapping[str, int], unit: str, made: Made | None, queues: Mapping[str, QueueState]
) -> Step:
    seen = made.seen if made else {}
    unseen = sorted(name for name, time in there.items() if seen.get(name) != time)
    waits = f"to see {', '.join(unseen)}: {_line(stage, queues)}" if unseen else ""
    if made is None:
        return Step(stage=stage, state="waits" if there else "nothing to do", waits=waits)
    return Step(
        stage=stage,
        state="waits" if unseen else "done",
        when=made.made_at,
        worker=made.worker_id,
        what=f"{made.found:,} {unit} from {', '.join(sorted(seen)) or 'nothing'} by {made.rule}",
        waits=waits,
    )


def _boxes(history: History, services: Catalog, queues: Mapping[str, QueueState]) -> Iterator[Step]:
    for worker in (name for name in services.stage(MERGER).triggers if name in BOX_WORKERS):
        expected = history.people if routing.looks_only_at(worker) else history.boxes
        if expected:
            yield _looked(worker, BOX_WORKERS[worker], expected, "boxes", history, queues)


def _scores(history: History, services: Catalog, queues: Mapping[str, QueueState]) -> Iterator[Step]:
    for name, _, _ in history.replies:
        if SCORER not in services.stage(name).triggers:
            continue
        if name in history.texts:
            yield _looked(SCORER, f"{SCORER}_{name}", 1, f"caption of {name}", history, queues)
        else:
            yield Step(stage=SCORER, state="nothing to do", what=f"no text in the reply of {name}")


def _looked(
    worker: str,
    kept_as: str,
    expected: int,
    unit: str,
    history: History,
    queues: Mapping[str, QueueState],
) -> Step:
    one = next((one for one in history.looked if one.service == kept_as), None)
    done, failed = (one.done, one.failed) if one else (0, 0)
    missing = expected - done - failed
    failures = f", {failed:,} failed: {one.error}" if one and failed else ""
    remedy = f"for you: windmill rerun --service {worker} --failed" if failed else ""
    return Step(
        stage=worker,
        state="waits" if missing > 0 else "failed" if failed else "done",
        when=one.latest if one else None,
        worker=one.worker_id if one else None,
        what=f"{done:,} of {expected:,} {unit}{failures}",
        waits=_line(worker, queues) if missing > 0 else remedy,
    )


def _line(service: str, queues: Mapping[str, QueueState]) -> str:
    """What stands between a job and its turn."""
    state = queues.get(service)
    if state is None:
        return f"the broker cannot be asked about {catalog.queue(service)}"
    workers = _plural(state.consumers, "worker") if state.consumers else "no worker"
    later = f" and {state.delayed:,} for later" if state.delayed else ""
    hint = "" if state.waiting or state.delayed else "; if it stays so: windmill reconcile"
    return f"{_plural(state.waiting, 'job')} in {catalog.queue(service)}{later}, {workers} on it{hint}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
