"""Which jobs to send: each selection is a question that the ledger answers from the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Which(StrEnum):
    """Whose results are to be made anew."""

    ALL = "all"
    STALE = "stale"  # of another version
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Each image with those of `services` that were never asked about it; all of them unless `resume`."""

    services: tuple[str, ...]
    group: str | None = None
    resume: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesAgain:
    """Images that a service is to look at again, for its version `version` ("": whichever it has)."""

    services: tuple[str]
    which: Which
    version: str = ""
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TheseImages:
    """These images for a service, whatever it said of them before; not those that wait for it anyhow."""

    services: tuple[str]
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagesAgain:
    """Images that the merger or the voter is to look at again; stale is what another rule made."""

    services: tuple[str]
    which: Which
    rule: str
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesAgain:
    """Boxes that a box worker is to look at again; `kept_as` is its name in `postprocessing`.

    `only` is the class of the boxes that it looks at, None for all.
    """

    services: tuple[str]
    kept_as: str
    which: Which
    version: str = ""
    only: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostDispatches:
    """What was asked for before `before`, is not settled, and was in no queue when they were counted."""

    services: tuple[str, ...]
    before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LostStage:
    """Images with replies of before `before` that the merger or the voter has not seen, nor has a job for.

    `spatial` are the services whose replies hold boxes where their row does not say.
    """

    services: tuple[str]
    before: datetime
    spatial: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCrops:
    """Boxes of before `before` about which a box worker neither said anything nor has a job."""

    services: tuple[str]
    kept_as: str
    before: datetime
    only: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostCaptions:
    """Captions by `captioners` of before `before` that were not scored and about which there is no job."""

    services: tuple[str]
    captioners: tuple[str, ...]
    before: datetime


Selection = (
    Missing
    | ImagesAgain
    | TheseImages
    | StagesAgain
    | BoxesAgain
    | LostDispatches
    | LostStage
    | LostCrops
    | LostCaptions
)
