"""All replies about an image and its merged boxes become its consensus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from windmill.catalog import VOTER
from windmill.core import seen, voting
from windmill.handlers.base import Clock
from windmill.model import Consensus, ConsensusRow, MergedBox, Outcome, Snapshot, StageRow, StoredReply

Rule = Callable[[Sequence[StoredReply], Sequence[MergedBox]], Consensus]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """Recomputes an image's consensus; nothing follows from it."""

    clock: Clock
    rule: Rule = voting.vote
    identity: str = voting.ALGORITHM  # the rule's name, which its results carry
    stage: str = VOTER

    def __call__(self, snapshot: Snapshot, *, resumed: bool) -> Outcome:  # noqa: ARG002 -- nothing follows
        if not snapshot.replies:
            return Outcome()
        started = self.clock()
        consensus = self.rule(snapshot.replies, snapshot.boxes)
        row = ConsensusRow(
            image_id=snapshot.image.image_id,
            consensus=consensus,
            processing_time=self.clock() - started,
        )
        stage = StageRow(
            image_id=snapshot.image.image_id,
            stage=self.stage,
            seen=seen.by_voter(snapshot),
            found=len(consensus.votes),
            rule=self.identity,
        )
        return Outcome(rows=(row, stage))
