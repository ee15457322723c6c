"""What follows a job, once its rows are stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from windmill.catalog import BOX_WORKERS, SCORER, Service
from windmill.core.classes import PERSON
from windmill.model import BoxRef, Caption, Dispatch, Image, Job, MergedBox, ServiceReply, Snapshot

_PEOPLE_ONLY = frozenset({"bbox_face", "bbox_pose"})


def after_result(service: Service, image: Image, reply: ServiceReply) -> tuple[Dispatch, ...]:
    """The service's triggers for this image; the scorer gets the caption, if there is one."""
    stages = tuple(name for name in service.triggers if name != SCORER)
    followers = [Dispatch(job=Job(image=image), services=stages)] if stages else []
    if SCORER in service.triggers and reply.text:
        caption = Caption(service=service.name, text=reply.text)
        followers.append(Dispatch(job=Job(image=image, caption=caption), services=(SCORER,)))
    return tuple(followers)


def after_merge(
    merger: Service, before: Snapshot, boxes: Iterable[MergedBox], *, resumed: bool
) -> tuple[Dispatch, ...]:
    """The merger's triggers: for each new box its crop's, and the image's if any box changed.

    `resumed`: an earlier merge may have stored the boxes and died before it said so; then whatever is not
    yet postprocessed is sent (again).
    """
    after = tuple(boxes)
    known = {box.key for box in before.boxes}
    fresh = [box for box in after if resumed or box.key not in known]
    stages = tuple(name for name in merger.triggers if name not in BOX_WORKERS)
    changed = resumed or set(after) != set(before.boxes)
    image_wide = [Dispatch(job=Job(image=before.image), services=stages)] if stages and changed else []
    return (*image_wide, *_crops(merger, before, fresh))


def _crops(merger: Service, before: Snapshot, boxes: Iterable[MergedBox]) -> Iterator[Dispatch]:
    for box in boxes:
        workers = tuple(name for name in merger.triggers if _wants(name, box, before))
        if workers:
            yield Dispatch(
                job=Job(image=before.image, box=BoxRef(key=box.key, box=box.crop)), services=workers
            )


def _wants(worker: str, box: MergedBox, before: Snapshot) -> bool:
    """Colours of every box, faces and poses of people; each once."""
    if worker not in BOX_WORKERS or (box.key, BOX_WORKERS[worker]) in before.postprocessed:
        return False
    return looks_only_at(worker) in (None, box.class_name)


def looks_only_at(worker: str) -> str | None:
    """The class of the boxes that a box worker looks at; None for all of them."""
    return PERSON if worker in _PEOPLE_ONLY else None
