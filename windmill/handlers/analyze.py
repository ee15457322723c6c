"""One service looks at one image."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import Service
from windmill.core import documents, replies, routing
from windmill.handlers.base import failure_status
from windmill.model import Job, Outcome, ResultRow, Status
from windmill.plain import line
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
            found=reply.found,
            processing_time=reply.processing_time,
        )
        return Outcome(rows=(row,), followers=routing.after_result(self.service, job.image, reply))

    def failed(self, job: Job, error: Exception) -> Outcome:
        row = ResultRow(
            image_id=job.image.image_id,
            service=self.service.name,
            status=failure_status(error),
            data=documents.failure(error),
            service_types=self.service.service_types,
            bbox_format=self.service.bbox_format,
            error=line(f"{type(error).__name__}: {error}"),
        )
        return Outcome(rows=(row,))
