"""Services that say what the whole photo shows, or whether something is there at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from windmill.core.emoji import PERSON, normalise
from windmill.errors import ConfigError
from windmill.evaluating.asking import Answer
from windmill.evaluating.exam import Exam, Figure
from windmill.evaluating.truth import Known
from windmill.services import emoji

_FIRST = 5


def top_five(exam: Exam) -> Sequence[Figure]:
    """Classifiers and captioners: whether one of their first five emoji is an object of the photo.

    People count on neither side, as most photos show some. Chance is what the same answers score when each
    is held against all other photos.
    """
    telling = [(photo, things(photo)) for photo in exam.photos]
    telling = [(photo, shown) for photo, shown in telling if shown]
    if len(telling) < 2:
        raise ConfigError("photos.json: fewer than two photos with objects besides people")
    said = [_first(exam.asked.analyze(photo.read())) for photo, _ in exam.over(telling)]
    truth = [shown for _, shown in telling]
    right = [bool(symbols & truth[n]) for n, symbols in enumerate(said)]
    wrong = [
        bool(symbols & other) for n, symbols in enumerate(said) for m, other in enumerate(truth) if n != m
    ]
    meaning = "share of photos where one of the first five emoji, people aside, is one of their objects"
    return (Figure("top 5", _share(right), meaning, _share(wrong)),)


def things(photo: Known) -> set[str]:
    """Emoji of what a photo shows besides people."""
    symbols = {normalise(emoji.of(one.label, "coco")) for one in photo.objects}
    return symbols - {PERSON, ""}


def _first(answer: Answer) -> set[str]:
    reply = answer.reply
    said: list[str] = [one.emoji for one in sorted(reply.full_image, key=lambda one: -one.confidence)]
    said += [one.emoji for one in reply.mentions]
    different = dict.fromkeys(normalise(symbol) for symbol in said if symbol)
    return set(islice((symbol for symbol in different if symbol != PERSON), _FIRST))


def on_people(exam: Exam) -> Sequence[Figure]:
    """Faces and poses: where there is a person, is one found? Nothing tells of wrong ones, or of how well."""
    shown = [photo for photo in exam.photos if any(one.label == "person" for one in photo.objects)]
    if not shown:
        raise ConfigError("photos.json: no photo shows a person")
    found = [exam.asked.analyze(photo.read()).reply.found > 0 for photo in exam.over(shown)]
    return (
        Figure("found", _share(found), "share of the photos with a person on which it finds at least one"),
    )


def flagged(exam: Exam) -> Sequence[Figure]:
    """Nudity: how many of the photos it takes for such. On photos that show none, each is an error."""
    marked = [_marked(exam.asked.analyze(photo.read())) for photo in exam.over(exam.photos)]
    return (Figure("flagged", _share(marked), "share of the photos with 🔞; of harmless ones, false alarms"),)


def _marked(answer: Answer) -> bool:
    return any(one.emoji == "🔞" for one in answer.reply.detections)


def captions(exam: Exam) -> Sequence[Figure]:
    """Scorers of captions: is a photo's own caption nearer to it than the next photo's?"""
    told = [photo for photo in exam.photos if photo.captions]
    if len(told) < 2:
        raise ConfigError("photos.json: fewer than two photos with captions")
    pairs = list(zip(told, told[1:] + told[:1], strict=True))
    right = [_nearer(exam, photo, other) for photo, other in exam.over(pairs)]
    meaning = "share of photos whose own caption scores higher than the next photo's"
    return (Figure("own caption", _share(right), meaning, 0.5),)


def _nearer(exam: Exam, photo: Known, other: Known) -> bool:
    picture = photo.read()
    return exam.asked.score(picture, photo.captions[0]) > exam.asked.score(picture, other.captions[0])


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return sum(counted) / len(counted)
