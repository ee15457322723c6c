"""One service looks at one image."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import Service
from windmill.core import documents, replies, retrying, routing
from windmill.errors import ServiceDown, Verdict
from windmill.handlers.base import failure_status
from windmill.model import DispatchRow, Job, Outcome, ResultRow, State, Status
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
            vocabulary=self.service.vocabulary,
            processing_time=reply.processing_time,
            model_version=reply.model_version,
        )
        return Outcome(
            rows=(row, self._dispatch(job, State.DONE, found=reply.found)),
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
        return Outcome(rows=(row, self._dispatch(job, State.FAILED, error)))

    def postponed(self, job: Job, error: Exception) -> Outcome:
        state = State.PARKED if isinstance(error, ServiceDown) else State.QUEUED
        return Outcome(rows=(self._dispatch(job, state, error),))

    def _dispatch(
        self, job: Job, state: State, error: Exception | None = None, found: int | None = None
    ) -> DispatchRow:
        return DispatchRow(
            image_id=job.image.image_id,
            service=self.service.name,
            version=job.version,
            state=state,
            attempted=error is None or retrying.verdict(error) is not Verdict.PARK,
            found=found,
            error_class=None if error is None else type(error).__name__,
            error=None if error is None else line(error),
        )
