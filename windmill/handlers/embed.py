"""One embedding service looks at one image, for the index."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from windmill.catalog import INDEX_WORKERS, Service
from windmill.core import replies
from windmill.handlers.base import dispatched, waiting
from windmill.model import EmbeddingRow, Job, Outcome, State
from windmill.ports import ImageSource, ServiceCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Sends the upright image to the service of an index worker; its vector is for the index, and only the
    ledger's row for the database."""

    worker: Service
    images: ImageSource
    caller: ServiceCaller

    def __call__(self, job: Job) -> Outcome:
        body = self.caller.analyze(self.images.upright(job.image))
        told = replies.parse_embedded(self.worker, body)
        done = dispatched(self.worker.name, job, State.DONE, found=int(bool(told.vector)))
        if not told.vector:
            return Outcome(rows=(done,))
        row = EmbeddingRow(
            image_id=job.image.image_id,
            place=job.image.path or job.image.url or "",
            service=INDEX_WORKERS[self.worker.name],
            model_name=told.model_name,
            model_version=told.model_version,
            vector=array("f", told.vector).tobytes(),
        )
        return Outcome(rows=(row, done))

    def failed(self, job: Job, error: Exception) -> Outcome:
        return Outcome(rows=(dispatched(self.worker.name, job, State.FAILED, error),))

    def postponed(self, job: Job, error: Exception) -> Outcome:
        return Outcome(rows=(dispatched(self.worker.name, job, waiting(error), error),))
