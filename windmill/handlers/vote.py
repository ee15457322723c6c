"""All replies about an image and its merged boxes become its consensus."""

from __future__ import annotations

from dataclasses import dataclass

from windmill.catalog import VOTER
from windmill.core import seen, voting
from windmill.handlers.base import Clock
from windmill.model import ConsensusRow, Outcome, Snapshot, StageRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Recomputes an image's consensus; nothing follows from it."""

    clock: Clock

    def __call__(self, snapshot: Snapshot, *, resumed: bool) -> Outcome:  # noqa: ARG002 -- nothing follows
        if not snapshot.replies:
            return Outcome()
        started = self.clock()
        consensus = voting.vote(snapshot.replies, snapshot.boxes)
        row = ConsensusRow(
            image_id=snapshot.image.image_id,
            consensus=consensus,
            processing_time=self.clock() - started,
        )
        stage = StageRow(
            image_id=snapshot.image.image_id,
            stage=VOTER,
            seen=seen.by_voter(snapshot),
            found=len(consensus.votes),
            rule=voting.ALGORITHM,
        )
        return Outcome(rows=(row, stage))
