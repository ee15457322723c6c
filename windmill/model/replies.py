"""What a service says of an image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from windmill.model.jobs import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Something that a service saw; `box` is None when it speaks of the whole image, `emoji` may be "".

    `class_name` is the word under which services of all vocabularies mean the same: a taxi is a car.
    """

    label: str
    emoji: str
    confidence: float
    class_name: str
    box: Box | None = None
    shiny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A word of a caption or a text that stands for an emoji."""

    emoji: str
    word: str
    shiny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReply:
    """A successful reply, in Windmill's words.

    `knows` are the classes that the service can name; None if nobody said which.
    `text` is a captioner's sentence or the text that OCR read; `found` counts predictions, and 0 is a
    result too. `model_version` is what `metadata.model_info` says, "" when it says nothing.
    """

    service: str
    service_types: tuple[str, ...]
    knows: frozenset[str] | None
    detections: tuple[Detection, ...] = ()
    full_image: tuple[Detection, ...] = ()
    mentions: tuple[Mention, ...] = ()
    text: str = ""
    processing_time: float = 0.0
    found: int = 0
    model_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What an embedding service says of an image: numbers of length 1, or none where it holds nothing that
    could be embedded (a photo without a face); and the name and version of the model that says so."""

    vector: tuple[float, ...]
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """A reply with the row of `results` that holds it."""

    result_id: int
    created: datetime
    reply: ServiceReply
