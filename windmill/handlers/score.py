"""One scorer says how well a caption fits its image."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import SCORER, Service
from windmill.core import documents, replies
from windmill.errors import MessageError
from windmill.handlers.base import failure_status
from windmill.model import Caption, Job, Outcome, PostprocessingRow, Status
from windmill.ports import ImageSource, ServiceCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Sends the image and the caption; the score is stored under the captioner's name."""

    service: Service
    images: ImageSource
    caller: ServiceCaller

    def __call__(self, job: Job) -> Outcome:
        body = self.caller.score(self.images.upright(job.image), _caption(job).text)
        replies.parse_score(self.service, body)
        return _outcome(job, Status.SUCCESS, body.decode())

    def failed(self, job: Job, error: Exception) -> Outcome:
        return _outcome(job, failure_status(error), documents.failure(error))

    def postponed(self, job: Job, error: Exception) -> Outcome:  # noqa: ARG002 -- the ledger is of images
        return Outcome()


def _outcome(job: Job, status: Status, data: str) -> Outcome:
    row = PostprocessingRow(
        image_id=job.image.image_id,
        box_key=None,
        service=f"{SCORER}_{_caption(job).service}",
        status=status,
        data=data,
    )
    return Outcome(rows=(row,))


def _caption(job: Job) -> Caption:
    if job.caption is None:
        raise MessageError(f"image {job.image.image_id}: a job for {SCORER} without a caption")
    return job.caption
