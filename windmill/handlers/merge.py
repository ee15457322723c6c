"""The boxes of all detectors that have reported on an image become merged boxes."""

from __future__ import annotations

from dataclasses import dataclass, field

from windmill.catalog import Service
from windmill.core import merging, routing, seen
from windmill.model import Detectors, MergedBoxesRow, MergeRule, Outcome, Snapshot, StageRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Recomputes an image's merged boxes; what did not change keeps its row and is not cropped again."""

    merger: Service
    detectors: Detectors
    rule: MergeRule = field(init=False)  # of these detectors: the same for every image

    def __post_init__(self) -> None:
        object.__setattr__(self, "rule", merging.rule(self.detectors))

    @property
    def stage(self) -> str:
        return self.merger.name

    @property
    def identity(self) -> str:
        return str(self.rule)

    def __call__(self, snapshot: Snapshot, *, resumed: bool) -> Outcome:
        boxes = merging.merge(snapshot.replies, self.detectors)
        row = MergedBoxesRow(image_id=snapshot.image.image_id, boxes=boxes, rule=self.rule)
        stage = StageRow(
            image_id=snapshot.image.image_id,
            stage=self.stage,
            seen=seen.by_merger(snapshot),
            found=len(boxes),
            rule=self.identity,
        )
        followers = routing.after_merge(self.merger, snapshot, boxes, resumed=resumed)
        return Outcome(rows=(row, stage), followers=followers)
