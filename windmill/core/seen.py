"""What a stage has seen of an image: the mark by which one later knows that it has not seen everything.

The same marks are made in SQL (`LostStage` in selections.sql), which is how lost jobs are found.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from windmill.catalog import MERGER
from windmill.model import Snapshot, StoredReply

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def by_merger(snapshot: Snapshot) -> dict[str, int]:
    """Each detector whose reply was read, with that reply's time in microseconds since 1970."""
    return _times(stored for stored in snapshot.replies if "spatial" in stored.reply.service_types)


def by_voter(snapshot: Snapshot) -> dict[str, int]:
    """Each service whose reply was read, and the merger for its boxes, with their times in microseconds."""
    boxes = {} if snapshot.boxes_changed is None else {MERGER: microseconds(snapshot.boxes_changed)}
    return _times(snapshot.replies) | boxes


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _times(replies: Iterable[StoredReply]) -> dict[str, int]:
    return {stored.reply.service: microseconds(stored.created) for stored in replies}
