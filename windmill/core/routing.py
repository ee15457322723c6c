"""What follows a job, once its rows are stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from windmill.catalog import BOX_WORKERS, SCORER, Service
from windmill.core.emoji import PERSON
from windmill.model import BoxRef, Caption, Dispatch, Image, Job, MergedBox, ServiceReply

_PERSON_ONLY = frozenset({"bbox_face", "bbox_pose"})


def after_result(service: Service, image: Image, reply: ServiceReply) -> tuple[Dispatch, ...]:
    """The service's triggers for this image; the scorer gets the caption, if there is one."""
    stages = tuple(name for name in service.triggers if name != SCORER)
    followers = [Dispatch(job=Job(image=image), services=stages)] if stages else []
    if SCORER in service.triggers and reply.text:
        caption = Caption(service=service.name, text=reply.text)
        followers.append(Dispatch(job=Job(image=image, caption=caption), services=(SCORER,)))
    return tuple(followers)


def after_merge(
    merger: Service, image: Image, boxes: Collection[tuple[MergedBox, frozenset[str]]], *, changed: bool
) -> tuple[Dispatch, ...]:
    """The merger's triggers: the image's, if its boxes changed, and each box's that it still lacks.

    `boxes` are those to look at, each with the box workers that need not see it (again).
    """
    stages = tuple(name for name in merger.triggers if name not in BOX_WORKERS)
    image_wide = [Dispatch(job=Job(image=image), services=stages)] if changed and stages else []
    return (*image_wide, *_crops(merger, image, boxes))


def _crops(
    merger: Service, image: Image, boxes: Collection[tuple[MergedBox, frozenset[str]]]
) -> Iterator[Dispatch]:
    for box, served in boxes:
        workers = tuple(name for name in merger.triggers if name in BOX_WORKERS and _wants(name, box, served))
        if workers:
            yield Dispatch(job=Job(image=image, box=BoxRef(key=box.key, box=box.box)), services=workers)


def _wants(worker: str, box: MergedBox, served: frozenset[str]) -> bool:
    """Colours of every box, faces and poses of people."""
    return worker not in served and (worker not in _PERSON_ONLY or box.emoji == PERSON)
