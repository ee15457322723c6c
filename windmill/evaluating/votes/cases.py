"""Images with what services said of them, and what is true: of photos, or of a folder of detections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from windmill import vocabularies
from windmill.calibrating.found import Found
from windmill.calibrating.table import LabelledImage
from windmill.core import calibrated, classes, merging
from windmill.core.classes import Words
from windmill.core.emoji import normalise
from windmill.errors import ConfigError, WindmillError
from windmill.evaluating import truth
from windmill.evaluating.boxes import folder
from windmill.evaluating.exam import Exam
from windmill.evaluating.table import Candidate
from windmill.model import Box, Detection, ServiceReply, StoredReply
from windmill.plain import line

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # rows of results have a time, which says nothing here


@dataclass(frozen=True, slots=True)
class Case:
    """An image: its name, the replies about it, and what it shows: as normalised emoji that COCO has classes
    for, since of others nobody's labels count; and of any class, where that is.

    In `crowds` nobody marked the single objects.
    """

    image: str
    replies: tuple[StoredReply, ...]
    truth: frozenset[str]
    objects: tuple[Detection, ...]
    crowds: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True)
class Cases:
    """All images of a folder. `marked`: the classes whose objects are marked on them; `absent`: services that
    did not answer, with the reason."""

    name: str
    cases: tuple[Case, ...]
    marked: frozenset[str]
    absent: Mapping[str, str]

    @property
    def services(self) -> Sequence[str]:
        """All that said something which the truth can judge."""
        return sorted({voter for one in self.cases for by in self.judged(one).values() for voter in by})

    def check(self) -> None:
        """Raises `ConfigError` if there is no label to be judged."""
        if not self.services:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.absent.items())
            raise ConfigError(f"{self.name}: nobody named anything that COCO has a class for. {reasons}")

    @property
    def unjudged(self) -> int:
        """How many labels were named of which nobody knows whether they are true."""
        return sum(len(calibrated.evidence(one.replies)) - len(self.judged(one)) for one in self.cases)

    @property
    def boxes(self) -> Sequence[LabelledImage]:
        """What the services that draw boxes say, as far as the truth can judge it."""
        return [
            LabelledImage(
                tuple(self._judgeable(one) for one in case.replies if merging.looked_for_boxes(one.reply)),
                case.objects,
                case.crowds,
            )
            for case in self.cases
        ]

    def _judgeable(self, stored: StoredReply) -> StoredReply:
        known = tuple(one for one in stored.reply.detections if one.class_name in self.marked)
        return replace(stored, reply=replace(stored.reply, detections=known))

    def judged(self, case: Case) -> Mapping[str, Mapping[str, float]]:
        """The labels that COCO has classes for, with the confidence of each voter."""
        said = calibrated.evidence(case.replies)
        return {label: by for label, by in said.items() if label in judged_labels()}


@cache
def judged_labels() -> frozenset[str]:
    """The normalised emoji of COCO's classes: whether others are true, the annotations do not say."""
    return _labels(vocabularies.names("coco"))


def is_photos(data: Path) -> bool:
    """Whether a folder has photos to be looked at; else it has what detectors said."""
    return (data / "photos.json").exists()


def of_photos(data: Path, candidates: Sequence[Candidate], limit: int | None) -> Cases:
    """What the services that are there say of the photos. Raises `ConfigError`."""
    photos = truth.photos(data, limit)
    said: list[list[StoredReply]] = [[] for _ in photos]
    absent = {}
    for n, candidate in enumerate(candidates):
        try:
            exam = Exam(candidate.open(), photos, {}, f"{n + 1} of {len(candidates)}")
            heard = [exam.asked.analyze(photo.read()).reply for photo in exam.over(photos)]
        except WindmillError as exc:
            absent[candidate.name] = line(exc)
            continue
        for replies, reply in zip(said, heard, strict=True):
            replies.append(_stored(n, reply))
    words = classes.words("coco")
    cases = (
        Case(photo.path.stem, tuple(replies), _true(one.label for one in photo.objects), objects)
        for photo, replies, objects in zip(photos, said, _objects(photos, words), strict=True)
    )
    return Cases(data.resolve().name, tuple(cases), words.knows or frozenset(), absent)


def of_boxes(data: Path, limit: int | None) -> Cases:
    """What the detectors of a folder said: the labels of their boxes. Raises `ConfigError`."""
    source = folder.load(data, limit)
    names = tuple(one.name for one in source.categories)
    words = classes.words(names)
    images = len(source.pictures)
    true = [_true(names[n] for n in own.category) for own in source.truth.by_image(images)]
    objects, crowds = (
        [_detections(own, names, words) for own in source.truth.where(chosen).by_image(images)]
        for chosen in (~source.crowd, source.crowd)
    )
    said: list[list[StoredReply]] = [[] for _ in source.pictures]
    for n, (service, found) in enumerate(sorted(source.detectors.items())):
        for replies, own in zip(said, found.by_image(images), strict=True):
            replies.append(_stored(n, _reply(service, _detections(own, names, words), words)))
    cases = (
        Case(str(picture.id), tuple(replies), labels, shown, crowd)
        for picture, replies, labels, shown, crowd in zip(
            source.pictures, said, true, objects, crowds, strict=True
        )
    )
    return Cases(source.name, tuple(cases), words.knows or frozenset(), {})


def _objects(photos: Sequence[truth.Known], words: Words) -> Iterator[tuple[Detection, ...]]:
    for photo in photos:
        yield tuple(
            Detection(
                label=one.label,
                emoji="",
                confidence=1.0,
                class_name=words.class_of(one.label, ""),
                box=one.box,
            )
            for one in photo.objects
        )


def _detections(own: Found, names: Sequence[str], words: Words) -> tuple[Detection, ...]:
    return tuple(
        Detection(
            label=names[category],
            emoji=vocabularies.emoji_of(names[category], "coco"),
            confidence=float(score),
            class_name=words.class_of(names[category], ""),
            box=Box(x=float(box[0]), y=float(box[1]), width=float(box[2]), height=float(box[3])),
        )
        for category, score, box in zip(own.category, own.score, own.box, strict=True)
    )


def _reply(service: str, detections: tuple[Detection, ...], words: Words) -> ServiceReply:
    return ServiceReply(
        service=service,
        service_types=("spatial",),
        knows=words.knows,
        detections=detections,
        found=len(detections),
    )


def _stored(number: int, reply: ServiceReply) -> StoredReply:
    return StoredReply(result_id=number, created=_NEVER, reply=replace(reply, processing_time=0.0))


def _labels(names: Iterable[str]) -> frozenset[str]:
    return frozenset(_label(name) for name in names) - {""}


def _true(names: Iterable[str]) -> frozenset[str]:
    return _labels(names) & judged_labels()


def _label(name: str) -> str:
    return normalise(vocabularies.emoji_of(name, "coco"))
