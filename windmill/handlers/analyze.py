"""One service looks at one image."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import Service
from windmill.core import documents, replies, routing
from windmill.handlers.base import dispatched, failure_status, waiting
from windmill.model import Job, Outcome, ResultRow, State, Status
from windmill.ports import ImageSource, ServiceCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyze:
    """Sends the upright image to the service; the reply is kept untouched."""

    service: Service
    images: ImageSource
    caller: ServiceCaller

    def __call__(self, job: Job) -> Outcome:
        body = self.caller.analyze(self.images.upright(job.image))
        reply = replies.parse(self.service, body)
        row = ResultRow(
            image_id=job.image.image_id,
            service=self.service.name,
            status=Status.SUCCESS,
            data=body.decode(),
            service_types=self.service.service_types,
            bbox_format=self.service.bbox_format,
            vocabulary=self.service.vocabulary,
            processing_time=reply.processing_time,
            model_version=reply.model_version,
        )
        return Outcome(
            rows=(row, dispatched(self.service.name, job, State.DONE, found=reply.found)),
            followers=routing.after_result(self.service, job.image, reply),
        )

    def failed(self, job: Job, error: Exception) -> Outcome:
        row = ResultRow(
            image_id=job.image.image_id,
            service=self.service.name,
            status=failure_status(error),
            data=documents.failure(error),
            service_types=self.service.service_types,
            bbox_format=self.service.bbox_format,
            vocabulary=self.service.vocabulary,
        )
        return Outcome(rows=(row, dispatched(self.service.name, job, State.FAILED, error)))

    def postponed(self, job: Job, error: Exception) -> Outcome:
        return Outcome(rows=(dispatched(self.service.name, job, waiting(error), error),))
