"""How right voters have been, learned from images of which it is known what they show (docs/voting.md).

A logistic regression on everything that somebody named, in which what n voters say is scaled by n to a power
that is learned, too. Ridge penalties keep who said little near the average voter (partial pooling), and a
label that was rarely named near the average label: with standard deviations of 1 in log-odds for voters and
0.6 for labels. A third or three times of these penalties changes next to nothing (docs/voting.md).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from windmill.calibrating import fitting
from windmill.calibrating.fitting import Fit, Table
from windmill.core import calibrated
from windmill.core.calibrated import Known
from windmill.errors import ConfigError
from windmill.model import StoredReply, Voter, Voters

SUBSETS = 2  # random choices of an image's voters that are learned from beside all of them
_FEWEST = 20  # examples that are true, and as many false ones, without which nothing can be learned
_HEARD = 5  # words of a voter, without which it is a stranger
_SUREST = 0.99  # confidences beyond it and its contrary say no more
_PLACES = 4  # decimals: what is written and read again is the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What the voters said of one label on one image, and whether it is true.

    `looked` are the services that replied, with the labels of their vocabularies, `whole` says whether these
    are all of them, and `share` is how much the example counts.
    """

    image: str
    label: str
    said: Mapping[str, float]
    looked: Known
    true: bool
    whole: bool = True
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideas:
    """Which ideas the calibration makes use of: all, unless one asks what each of them brings."""

    silence: bool = True  # who knows a label and does not say it speaks against it
    labels: bool = True  # some labels are truer than others, whoever says them
    together: bool = True  # n voters count for less than n
    subsets: bool = True  # learn from fewer voters than there are, too


ALL = Ideas()


def examples(
    image: str, replies: Sequence[StoredReply], truth: frozenset[str], judged: frozenset[str]
) -> Sequence[Example]:
    """What all services named on `image`, and what some of them would have, as if the others were not there.

    Labels beside `judged` are left out: nobody knows whether they are true. Which services are left out hangs
    on the image's name alone.
    """
    chosen = [tuple(replies), *_subsets(image, replies)]
    return [
        Example(
            image=image,
            label=label,
            said=said,
            looked=calibrated.known(some),
            true=label in truth,
            whole=some is chosen[0],
            share=1 / len(chosen),
        )
        for some in chosen
        for label, said in calibrated.evidence(some).items()
        if label in judged
    ]


def learn(given: Iterable[Example], ideas: Ideas = ALL) -> Voters:
    """The voters of these examples, whatever their order. Raises `ConfigError` for too few."""
    used = sorted((one for one in given if ideas.subsets or one.whole), key=_order)
    whole = [one for one in used if one.whole]
    if min(sum(one.true for one in whole), sum(not one.true for one in whole)) < _FEWEST:
        raise ConfigError(f"too little to learn from: fewer than {_FEWEST} labels that are true, or false")
    names = sorted({name for one in used for name in one.said})
    voters = {name: _counted(name, whole) for name in names}
    if all(voter.count < _HEARD for voter in voters.values()):
        raise ConfigError(f"too little to learn from: no voter named {_HEARD} labels")
    labels = sorted({one.label for one in used})
    table = _table(used, voters, labels)
    count = len(labels) if ideas.labels else 0
    found = fitting.fit(table, silence=ideas.silence, together=ideas.together, labels=count)
    return _told(found, voters, labels)


def _subsets(image: str, replies: Sequence[StoredReply]) -> Iterable[Sequence[StoredReply]]:
    """Random choices of some of the replies, but not of all."""
    by_name = sorted(replies, key=lambda one: one.reply.service)
    chance = np.random.default_rng(list(hashlib.sha256(image.encode()).digest()))
    for _ in range(SUBSETS if len(by_name) > 1 else 0):
        some = chance.permutation(len(by_name))[: chance.integers(1, len(by_name))]
        yield tuple(by_name[n] for n in sorted(some))


def _order(one: Example) -> tuple[str, str, list[str]]:
    return one.image, one.label, sorted(one.looked)


def _counted(name: str, whole: Sequence[Example]) -> Voter:
    """A voter's record, with no weights yet. Its labels are those that it ever named."""
    own = [one for one in whole if name in one.said]
    confidences = [one.said[name] for one in own] or [0.5]
    least, most = (float(np.quantile(confidences, at)) for at in (0.01, 0.99))
    return Voter(
        said=0.0,
        slope=0.0,
        silent=0.0,
        least=round(min(max(least, 1 - _SUREST), _SUREST), _PLACES),
        most=round(min(max(most, 1 - _SUREST), _SUREST), _PLACES),
        count=len(own),
        right=round(sum(one.true for one in own) / max(1, len(own)), _PLACES),
        labels=frozenset(one.label for one in own),
    )


def _table(used: Sequence[Example], voters: Mapping[str, Voter], labels: Sequence[str]) -> Table:
    said = np.array([[name in one.said for name in voters] for one in used])
    knows = np.array([[_knows(one, name, voter) for name, voter in voters.items()] for one in used])
    number = {label: n for n, label in enumerate(labels)}
    return Table(
        said=said,
        logits=np.array(
            [[_logit(one.said.get(name), voter) for name, voter in voters.items()] for one in used]
        ),
        silent=knows & ~said,
        heard=np.maximum(1, (knows | said).sum(1)).astype(float),
        label=np.array([number[one.label] for one in used]),
        true=np.array([one.true for one in used], float),
        share=np.array([one.share for one in used]),
    )


def _knows(one: Example, name: str, voter: Voter) -> bool:
    return name in one.looked and (one.label in voter.labels or one.label in one.looked[name])


def _logit(confidence: float | None, voter: Voter) -> float:
    return 0.0 if confidence is None else calibrated.logit(min(max(confidence, voter.least), voter.most))


def _told(found: Fit, voters: Mapping[str, Voter], labels: Sequence[str]) -> Voters:
    weighed = {
        name: replace(
            voter,
            said=round(float(found.said[n]), _PLACES),
            slope=round(float(found.slope[n]), _PLACES),
            silent=round(float(found.silent[n]), _PLACES),
        )
        for n, (name, voter) in enumerate(voters.items())
    }
    heard = {name: voter for name, voter in weighed.items() if voter.count >= _HEARD}
    return Voters(
        prior=round(found.prior, _PLACES),
        together=round(found.together, _PLACES),
        average=_average(list(heard.values())),
        known=heard,
        labels={label: round(float(one), _PLACES) for label, one in zip(labels, found.labels, strict=False)},
    )


def _average(voters: Sequence[Voter]) -> Voter:
    """The voter that a stranger is taken for; which labels it knows, nobody can say."""
    count = sum(voter.count for voter in voters)
    return Voter(
        said=_mean([voter.said for voter in voters]),
        slope=_mean([voter.slope for voter in voters]),
        silent=_mean([voter.silent for voter in voters]),
        least=min(voter.least for voter in voters),
        most=max(voter.most for voter in voters),
        count=count,
        right=round(math.fsum(voter.right * voter.count for voter in voters) / count, _PLACES),
    )


def _mean(values: Sequence[float]) -> float:
    return round(math.fsum(values) / len(values), _PLACES)
