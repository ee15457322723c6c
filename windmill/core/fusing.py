"""The arithmetic of merging: many boxes as columns of numbers, grouped, placed and judged all at once.

Boxes are clustered around their surest, as in non-maximum suppression, a service once in each cluster; a
cluster's corners are a weighted mean (weighted boxes fusion, Solovyev et al. 2021, arXiv:1910.13302), with
weights by how well each detector places its boxes. That none of its detectors is right has the product of
their chances of being wrong (noisy-or, Pearl 1988, section 4.3.2). Silence and a surer box that overlaps
lower the log-odds of that (as soft-NMS lowers scores, Bodla et al. 2017, arXiv:1704.04503).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from windmill.core.overlaps import Floats, Ints, Pairs, Touching, iou, neighbours, overlapping

Flags = NDArray[np.bool_]

SAME_OBJECT = 0.65  # IoU with a cluster's surest box from which another service's box belongs to it
RIVAL = 0.3  # IoU from which a surer box of the class makes one doubtful
ALIGNED = 2  # power of a box's IoU with its cluster's surest, by which its chance counts
CROWDED = 128  # neighbours of a box from which comparing with leaders alone is faster
SHARPEST = 4.6  # logit of 0.99: a box of more confidence is placed no better
NEAR_CERTAIN = 1e-6  # no confidence is nearer to 0 or 1


@dataclass(frozen=True, slots=True)
class Sightings:
    """Boxes of all services, a row each.

    `corners`: left, top, right, bottom in pixels; `logit`: of the confidence; `service` and `group`: numbers
    from 0. Only boxes of one group meet: a class of an image.
    """

    corners: Floats
    logit: Floats
    service: Ints
    group: Ints


@dataclass(frozen=True, slots=True)
class Weights:
    """What each service's boxes are worth, by its number (docs/merging.md), and what clusters are."""

    right: Floats
    slope: Floats
    place: Floats
    place_slope: Floats
    silent: Floats
    bias: float
    agreement: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Clusters:
    """Boxes that are one object: each box's `cluster`, and each cluster's surest box, its `leader`.

    `rivals` are pairs of clusters whose leaders overlap, with their IoU, in batches.
    """

    cluster: Ints
    leader: Ints
    rivals: Iterable[Pairs]


@dataclass(frozen=True, slots=True)
class Placed:
    """Clusters with their corners.

    By box: its share in them, its IoU with the surest box, and what its chance counts there; by cluster: the
    log-odds that some box is right, the largest IoU with a surer cluster, and whether another service has a
    rival there.
    """

    clusters: Clusters
    corners: Floats
    share: Floats
    iou: Floats
    chance: Floats
    log_odds: Floats
    overlap: Floats
    rivalled: Flags


def logit(confidence: Floats) -> Floats:
    kept = np.clip(confidence, NEAR_CERTAIN, 1 - NEAR_CERTAIN)
    return np.asarray(np.log(kept / (1 - kept)))


def sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def chances(seen: Sightings, weights: Weights) -> Floats:
    """How likely each box is right by itself: calibrated confidences (Platt 1999)."""
    log_odds = weights.right[seen.service] + weights.slope[seen.service] * seen.logit
    return np.clip(sigmoid(log_odds), NEAR_CERTAIN, 1 - NEAR_CERTAIN)


def sharpness(logit: Floats) -> Floats:
    """By what a box's place is weighed: who rounds a confidence to 1 would have all the weight there is."""
    return np.clip(logit, -SHARPEST, SHARPEST)


def clusters(seen: Sightings, chance: Floats) -> Clusters:
    """Who belongs together, clusters by falling chance.

    The surest box of all leads; each further one joins the nearest leader that has none of its service yet,
    or leads. A leader never moves, so who says nothing there changes nothing there.
    """
    order = _surest_first(seen, chance)
    near = neighbours(seen.corners, seen.group, RIVAL)
    if near.count > CROWDED * len(order):
        leads = _leaders_in_crowds(seen, order)
        leader = order[leads[order] == order]
        rivals: Iterable[Pairs] = Touching(seen.corners[leader], seen.group[leader], RIVAL)
    else:
        touching = overlapping(seen.corners, *near.pairs(), RIVAL)
        leads = _leaders(seen, order, touching)
        leader = order[leads[order] == order]
        rivals = [_rivals(touching, leads, leader)]
    return Clusters(_numbers(leader, len(order))[leads], leader, rivals)


def _numbers(leader: Ints, boxes: int) -> Ints:
    """By each leader the number of its cluster."""
    number = np.zeros(boxes, np.int64)
    number[leader] = np.arange(len(leader))
    return number


def _rivals(touching: Pairs, leads: Ints, leader: Ints) -> Pairs:
    one, other, overlap = touching
    both = (leads[one] == one) & (leads[other] == other)
    number = _numbers(leader, len(leads))
    return number[one[both]], number[other[both]], overlap[both]


def _surest_first(seen: Sightings, chance: Floats) -> Ints:
    """Boxes of equal chance have an order of their own, whichever they came in."""
    order = np.argsort(-chance)
    falling = chance[order]
    if (falling[1:] == falling[:-1]).any():
        order = np.lexsort((*seen.corners.T, seen.group, seen.service, -chance))
    return order


def _leaders(seen: Sightings, order: Ints, touching: Pairs) -> Ints:
    """For each box its cluster's leader, itself if it leads."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    one, other, overlap = touching
    near = (overlap >= SAME_OBJECT) & (seen.service[one] != seen.service[other])
    one, other, overlap = rank[one[near]], rank[other[near]], overlap[near]
    later, earlier = np.maximum(one, other), np.minimum(one, other)
    turn = np.lexsort((earlier, -overlap, later))
    leads = list(range(len(order)))
    service = seen.service[order].tolist()
    taken: set[tuple[int, int]] = set()  # (leader, service) of those who joined
    for box, leader in zip(later[turn].tolist(), earlier[turn].tolist(), strict=True):
        if leads[box] == box and leads[leader] == leader and (leader, service[box]) not in taken:
            leads[box] = leader
            taken.add((leader, service[box]))
    return order[np.array(leads, np.int64)][rank]


def _leaders_in_crowds(seen: Sightings, order: Ints) -> Ints:
    """The same where boxes overlap so many others that each is better compared with leaders alone."""
    leads = np.empty_like(order)
    by_group = order[np.argsort(seen.group[order], kind="stable")]
    for members in np.split(by_group, np.flatnonzero(np.diff(seen.group[by_group])) + 1):
        leaders = np.empty_like(members)
        corners = np.empty((len(members), 4))
        free = np.ones((seen.service.max() + 1, len(members)), bool)
        many = 0
        for box, service in zip(members.tolist(), seen.service[members].tolist(), strict=True):
            overlap = iou(seen.corners[[box]], corners[:many]) * free[service, :many]
            nearest = int(overlap.argmax()) if many else 0
            if not many or overlap[nearest] < SAME_OBJECT:
                nearest, many = many, many + 1
                leaders[nearest], corners[nearest] = box, seen.corners[box]
            free[service, nearest] = False
            leads[box] = leaders[nearest]
    return leads


def placed(seen: Sightings, found: Clusters, chance: Floats, weights: Weights) -> Placed:
    """The clusters' corners, and what their boxes make of them together."""
    number, many = found.cluster, len(found.leader)
    by_place = weights.place[seen.service] + weights.place_slope[seen.service] * sharpness(seen.logit)
    weight = np.exp(by_place - by_place[found.leader][number])
    share = weight / np.bincount(number, weight, many)[number]
    corners = np.array([np.bincount(number, share * side, many) for side in seen.corners.T]).T
    near = iou(seen.corners, seen.corners[found.leader][number])
    near[found.leader] = 1.0  # even where it has no area
    right: Floats = chance * near**ALIGNED
    wrong = np.bincount(number, np.log1p(-right), many)  # logarithm of the chance that all are
    log_odds: Floats = np.log(np.maximum(-np.expm1(wrong), NEAR_CERTAIN)) - wrong
    return Placed(found, corners, share, near, right, log_odds, *_rivalry(seen, found, log_odds))


def _rivalry(seen: Sightings, found: Clusters, log_odds: Floats) -> tuple[Floats, Flags]:
    """Each cluster's largest IoU with a surer rival, and whether any rival is of another service."""
    most, rivalled = np.zeros(len(found.leader)), np.zeros(len(found.leader), bool)
    service = seen.service[found.leader]
    for one, other, overlap in found.rivals:
        less, equal = log_odds[one] < log_odds[other], log_odds[one] == log_odds[other]
        np.maximum.at(most, np.where(less | (equal & (one > other)), one, other), overlap)
        apart = service[one] != service[other]
        rivalled[one[apart]] = rivalled[other[apart]] = True
    return most, rivalled


def contested(seen: Sightings, clusters: Placed, knows: Flags) -> Flags:
    """Which clusters more than one service has an opinion of.

    Those are who knows the group (`knows`: service × group), who is in the cluster, and who has a rival box
    there. Whoever else sees the group elsewhere has said nothing about this place.
    """
    found, stranger = clusters.clusters, ~knows[seen.service, seen.group]
    concerned = knows.sum(axis=0)[seen.group[found.leader]] + clusters.rivalled
    return np.asarray(concerned + np.bincount(found.cluster, stranger, len(found.leader)) > 1)


def silence(seen: Sightings, found: Clusters, knows: Flags, weights: Weights) -> Floats:
    """What services that know a cluster's group (`knows`: service × group) and are not in it take from its
    log-odds."""
    all_silent = weights.silent @ knows
    spoke = weights.silent[seen.service] * knows[seen.service, seen.group]
    spoken = np.bincount(found.cluster, spoke, len(found.leader))
    return np.asarray(all_silent[seen.group[found.leader]] - spoken)


def score(clusters: Placed, silence: Floats, contested: Flags, weights: Weights) -> Floats:
    """How likely each cluster shows an object. Where only one service can have looked nothing is `contested`,
    and that its own boxes overlap is no reason for doubt."""
    overlap = np.where(contested, clusters.overlap, 0.0)
    log_odds = weights.bias + weights.agreement * clusters.log_odds + weights.overlap * overlap**2 + silence
    return sigmoid(log_odds)
