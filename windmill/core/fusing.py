"""The arithmetic of merging: many boxes as columns of numbers, grouped, placed and judged all at once.

Boxes are clustered around their surest, as in non-maximum suppression, a service once in each cluster; a
cluster's corners are a weighted mean (weighted boxes fusion, Solovyev et al. 2021, arXiv:1910.13302), with
weights by how well each detector places its boxes. That none of its detectors is right has the product of
their chances of being wrong (noisy-or, Pearl 1988, section 4.3.2). Silence and a surer box that overlaps
lower the log-odds of that (as soft-NMS lowers scores, Bodla et al. 2017, arXiv:1704.04503).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from windmill.core.overlaps import Floats, Ints, iou, pairs

Flags = NDArray[np.bool_]

SAME_OBJECT = 0.65  # IoU with a cluster's surest box from which another service's box belongs to it
RIVAL = 0.3  # IoU from which a surer box of the class makes one doubtful
ALIGNED = 2  # power of a box's IoU with the merged one, by which its chance counts
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

    `rivals` are pairs of clusters whose leaders overlap, with their IoU.
    """

    cluster: Ints
    leader: Ints
    rivals: tuple[Ints, Ints, Floats]


@dataclass(frozen=True, slots=True)
class Placed:
    """Clusters with their corners. By box: its share in them, IoU with them and chance of being right;
    by cluster: the log-odds that some box is, and the largest IoU with a surer cluster."""

    clusters: Clusters
    corners: Floats
    share: Floats
    iou: Floats
    chance: Floats
    log_odds: Floats
    overlap: Floats


def logit(confidence: Floats) -> Floats:
    kept = np.clip(confidence, NEAR_CERTAIN, 1 - NEAR_CERTAIN)
    return np.asarray(np.log(kept / (1 - kept)))


def sigmoid(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def chances(seen: Sightings, weights: Weights) -> Floats:
    """How likely each box is right by itself: calibrated confidences (Platt 1999)."""
    log_odds = weights.right[seen.service] + weights.slope[seen.service] * seen.logit
    return np.clip(sigmoid(log_odds), NEAR_CERTAIN, 1 - NEAR_CERTAIN)


def clusters(seen: Sightings, chance: Floats) -> Clusters:
    """Who belongs together, clusters by falling chance.

    The surest box of all leads; each further one joins the nearest leader that has none of its service yet,
    or leads. A leader never moves, so who says nothing there changes nothing there.
    """
    order = np.lexsort((*seen.corners.T, seen.group, seen.service, -chance))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    one, other, overlap = pairs(seen.corners, seen.group, RIVAL)
    swapped = rank[one] < rank[other]
    later, earlier = np.where(swapped, other, one), np.where(swapped, one, other)
    leads = _leaders(seen, rank, later, earlier, overlap)
    leader = order[leads[order] == order]
    number = np.zeros(len(order), np.int64)
    number[leader] = np.arange(len(leader))
    both = (leads[later] == later) & (leads[earlier] == earlier)
    return Clusters(number[leads], leader, (number[later[both]], number[earlier[both]], overlap[both]))


def _leaders(seen: Sightings, rank: Ints, later: Ints, earlier: Ints, overlap: Floats) -> Ints:
    """For each box its cluster's leader, itself if it leads."""
    near = (overlap >= SAME_OBJECT) & (seen.service[later] != seen.service[earlier])
    later, earlier, overlap = later[near], earlier[near], overlap[near]
    turn = np.lexsort((rank[earlier], -overlap, rank[later]))
    leads = list(range(len(rank)))
    service = seen.service.tolist()
    taken: set[tuple[int, int]] = set()  # (leader, service) of those who joined
    for box, leader in zip(later[turn].tolist(), earlier[turn].tolist(), strict=True):
        if leads[box] == box and leads[leader] == leader and (leader, service[box]) not in taken:
            leads[box] = leader
            taken.add((leader, service[box]))
    return np.array(leads, np.int64)


def placed(seen: Sightings, found: Clusters, chance: Floats, weights: Weights) -> Placed:
    """The clusters' corners, and what their boxes make of them together."""
    number, many = found.cluster, len(found.leader)
    by_place = weights.place[seen.service] + weights.place_slope[seen.service] * seen.logit
    weight = np.exp(by_place - by_place[found.leader][number])
    share = weight / np.bincount(number, weight, many)[number]
    sides = [np.bincount(number, share * side, many) for side in seen.corners.T]
    corners: Floats = np.stack(sides, axis=1)
    aligned: Floats = iou(seen.corners, corners[number])
    alone = np.bincount(number, minlength=many) == 1
    corners[alone] = seen.corners[found.leader[alone]]
    aligned[alone[number]] = 1.0
    right: Floats = chance * aligned**ALIGNED
    wrong = np.bincount(number, np.log1p(-right), many)  # logarithm of the chance that all are
    log_odds: Floats = np.log(np.maximum(-np.expm1(wrong), NEAR_CERTAIN)) - wrong
    return Placed(found, corners, share, aligned, right, log_odds, _overlaps(found, log_odds))


def _overlaps(found: Clusters, log_odds: Floats) -> Floats:
    one, other, overlap = found.rivals
    less, equal = log_odds[one] < log_odds[other], log_odds[one] == log_odds[other]
    weaker = np.where(less | (equal & (one > other)), one, other)
    most = np.zeros(len(found.leader))
    np.maximum.at(most, weaker, overlap)
    return most


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
