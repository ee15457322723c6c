"""How a batch of handled jobs gets into the database: saved as it is, or recomputed from what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from windmill.handlers.base import Recomputation
from windmill.model import Handled, Job, Outcome, Seen, Snapshot
from windmill.ports import Store


class Writer(Protocol):
    """Writes a batch in one transaction and gives the outcomes whose followers are to be published."""

    def __call__(self, batch: Sequence[Handled]) -> Sequence[Outcome]: ...


class Save:
    """Writes what the handlers said."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, batch: Sequence[Handled]) -> Sequence[Outcome]:
        outcomes = [handled.outcome for handled in batch]
        if any(outcome.rows for outcome in outcomes):
            self._store.save(outcomes)
        return outcomes


class Recompute:
    """Recomputes each image of the batch once, however many jobs ask for it, and only if there is news.

    Of most results that come close together the stage has read all when it gets the first one's job. A job
    that may have been done before is done again, for what should follow it may not have been sent.
    """

    def __init__(self, store: Store, step: Recomputation) -> None:
        self._store = store
        self._step = step

    def __call__(self, batch: Sequence[Handled]) -> Sequence[Outcome]:
        asked = [handled for handled in batch if handled.job and handled.error is None]
        resumed = {h.job.image.image_id for h in asked if h.job and h.delivery.redelivered}

        def step(snapshot: Snapshot) -> Outcome:
            return self._step(snapshot, resumed=snapshot.image.image_id in resumed)

        others = [handled.outcome for handled in batch if handled.outcome.rows]  # of jobs that were given up
        if others:
            self._store.save(others)
        images = sorted({h.job.image.image_id for h in asked if h.job})
        if not images:
            return ()
        fresh = tuple(image for image in images if image not in resumed)
        seen = Seen(image_ids=fresh, stage=self._step.stage, rule=self._step.identity)
        return self._store.recompute(images, step, seen)


class Passing:
    """The handler of jobs that are recomputed when they are written: there is nothing to do before."""

    def __call__(self, job: Job) -> Outcome:  # noqa: ARG002 -- a handler's signature
        return Outcome()

    def failed(self, job: Job, error: Exception) -> Outcome:  # noqa: ARG002
        return Outcome()

    def postponed(self, job: Job, error: Exception) -> Outcome:  # noqa: ARG002
        return Outcome()
