"""One service looks at the crop of one merged box."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import BOX_WORKERS, Service
from windmill.core import documents, replies
from windmill.core.geometry import pixel_bounds
from windmill.core.placing import place
from windmill.errors import MessageError
from windmill.handlers.base import failure_status
from windmill.model import BoxRef, Job, Outcome, PostprocessingRow, Status
from windmill.ports import ImageSource, ServiceCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocess:
    """Cuts the box out in memory; what is found in the crop is stored in pixels of the image."""

    worker: Service
    images: ImageSource
    caller: ServiceCaller

    def __call__(self, job: Job) -> Outcome:
        left, top, right, bottom = pixel_bounds(_box(job).box)
        left, top = max(0, left), max(0, top)
        body = self.caller.analyze(self.images.crop(job.image, left, top, right, bottom))
        reply = replies.parse(self.worker, body)
        placed = place(
            body,
            left=left,
            top=top,
            width=right - left,
            height=bottom - top,
            bbox_format=self.worker.bbox_format,
        )
        return self._outcome(job, Status.SUCCESS, placed, reply.model_version)

    def failed(self, job: Job, error: Exception) -> Outcome:
        return self._outcome(job, failure_status(error), documents.failure(error))

    def postponed(self, job: Job, error: Exception) -> Outcome:  # noqa: ARG002 -- the ledger is of images
        return Outcome()

    def _outcome(self, job: Job, status: Status, data: str, model_version: str = "") -> Outcome:
        row = PostprocessingRow(
            image_id=job.image.image_id,
            box_key=_box(job).key,
            service=BOX_WORKERS[self.worker.name],
            status=status,
            data=data,
            model_version=model_version,
        )
        return Outcome(rows=(row,))


def _box(job: Job) -> BoxRef:
    if job.box is None:
        raise MessageError(f"image {job.image.image_id}: a job for a box worker without a box")
    return job.box
