"""A probability for each label of an image: the calibrated rule of `docs/voting.md`.

Evidence adds up in log-odds (I. J. Good, Weight of evidence, 1985): what a label begins with, and beside it
what each voter's word is worth, a logistic function of its confidence (Platt, 1999), as learned from other
images. The silence of a voter that knows the label counts as well. Voters look at the same pixels and err
together, so that n of them count for less than n.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from windmill import vocabularies
from windmill.core import emoji, voting
from windmill.core.replies import DEFAULT_CONFIDENCE
from windmill.model import Consensus, MergedBox, ServiceReply, StoredReply, Vote, Voter, Voters

NAME = "calibrated"
VERSION = 1
ANY_LABEL, THIS_LABEL = "any label", "this label"  # no service's name has a blank
STANDS = 0.5  # probability from which a label stands

Said = Mapping[str, float]  # confidence by voter
Known = Mapping[str, frozenset[str]]  # labels that a service knows, by its name


def identity(voters: Voters) -> str:
    """The rule's name, as results and stages carry it; another calibration is another rule."""
    known = [(name, sorted(voter.labels), _numbers(voter)) for name, voter in sorted(voters.known.items())]
    start = (voters.prior, voters.together, sorted(voters.labels.items()), _numbers(voters.average))
    return f"{NAME} {VERSION} {hashlib.sha256(repr((start, known)).encode()).hexdigest()[:8]}"


def vote(
    replies: Sequence[StoredReply], boxes: Sequence[MergedBox], voters: Voters, algorithm: str
) -> Consensus:
    """Consensus of one image: labels that are probably true, the surest first; order of replies is nothing.

    `algorithm` is the `identity` of `voters`, which is the same for many images.
    """
    looked = known(replies)
    said = evidence(replies)
    judged = [_judged(one, weights(one.emoji, said[one.emoji], looked, voters))
              for one in voting.tallied(replies, boxes)]  # fmt: skip
    standing = [one for one in judged if (one.probability or 0) >= STANDS]
    ranking = sorted(standing, key=lambda v: (-(v.probability or 0), -v.votes, -v.evidence_weight, v.emoji))
    return voting.concluded(replies, ranking, algorithm)


def evidence(replies: Iterable[StoredReply]) -> Mapping[str, Said]:
    """Each label that a service names, with the highest confidence of each voter that does."""
    said: dict[str, dict[str, float]] = {}
    for symbol, voter, confidence in _words(replies):
        by_voter = said.setdefault(symbol, {})
        by_voter[voter] = max(confidence, by_voter.get(voter, 0.0))
    return said


def known(replies: Iterable[StoredReply]) -> Known:
    """Every service that replied, with the labels of its vocabulary; none where nobody said which it has."""
    return {one.reply.service: _labels(one.reply.knows or frozenset()) for one in replies}


def weights(label: str, said: Said, looked: Known, voters: Voters) -> Mapping[str, float]:
    """What moves the log-odds of `label`, and by how much: the prior, the label, and each voter by name.

    `said` has the voters' confidences, `looked` all services that replied. Silence counts where a service is
    known to know the label: by its vocabulary, or since it named it on the images that were learned from.
    """
    heard = {
        name
        for name, own in looked.items()
        if name in said or label in own or label in _voter(name, voters).labels
    }
    factor = max(1, len(heard)) ** -voters.together
    own = {name: factor * worth(_voter(name, voters), said.get(name)) for name in sorted(heard)}
    return {ANY_LABEL: voters.prior, THIS_LABEL: voters.labels.get(label, 0.0)} | own


def worth(voter: Voter, confidence: float | None) -> float:
    """Log-odds that one voter's word adds by itself; None is silence about a label that it knows."""
    if confidence is None:
        return voter.silent
    return voter.said + voter.slope * logit(min(max(confidence, voter.least), voter.most))


def probability(parts: Mapping[str, float]) -> float:
    """What log-odds of these parts say, from 0 to 1."""
    odds = math.fsum(parts.values())
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def logit(share: float) -> float:
    """Log-odds of a probability that is neither 0 nor 1."""
    return math.log(share / (1 - share))


def _judged(one: Vote, parts: Mapping[str, float]) -> Vote:
    shown = tuple((name, round(part, 3)) for name, part in parts.items())
    return replace(one, probability=round(probability(parts), 4), weights=shown)


def _voter(name: str, voters: Voters) -> Voter:
    """A stranger is taken for the average voter."""
    return voters.known.get(name, voters.average)


@lru_cache(maxsize=100)
def _labels(classes: frozenset[str]) -> frozenset[str]:
    """The emoji under which classes are voted on."""
    return frozenset(
        emoji.normalise(vocabularies.emoji_of(name, vocabulary))
        for name in classes
        for vocabulary in vocabularies.OF_BOXES
    ) - {""}


def _words(replies: Iterable[StoredReply]) -> Iterator[tuple[str, str, float]]:
    """Label, voter, and confidence of everything that was said."""
    for stored in replies:
        for symbol, confidence in _said(stored.reply):
            if label := emoji.normalise(symbol):
                yield label, stored.reply.service, confidence


def _said(reply: ServiceReply) -> Iterator[tuple[str, float]]:
    if reply.service == voting.COLOURS:
        return
    for mention in reply.mentions:
        yield mention.emoji, DEFAULT_CONFIDENCE
    for detection in (*reply.detections, *reply.full_image):
        yield detection.emoji, detection.confidence


def _numbers(voter: Voter) -> tuple[float, ...]:
    return voter.said, voter.slope, voter.silent, voter.least, voter.most
