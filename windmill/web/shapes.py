"""What the API takes and gives, as its documentation shows it; `asked` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from windmill.core import where as conditions
from windmill.errors import ConfigError
from windmill.index.searching import MOST, Query
from windmill.model import MOST_ID
from windmill.web.refusals import complaints

_MOST_TEXT = 10_000  # characters

ImageId = Annotated[int, Field(ge=0, le=MOST_ID)]


class Asked(BaseModel):
    """A search. At least one of `text`, `like` and an image."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text: str = Field(
        "", max_length=_MOST_TEXT, description="What is to be seen, in words.", examples=["a yellow car"]
    )
    like: ImageId | None = Field(None, description="An image of the index: what is similar to it? Alone.")
    top_k: int = Field(10, ge=1, le=MOST, description="How many images, at most.")
    where: str = Field(
        "",
        max_length=_MOST_TEXT,
        description="Only images that meet this condition (docs/search.md). Needs the database.",
        examples=["votes ? '🚗' and nsfw < 0.1"],
    )
    min_score: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="The score below which nothing fits, if not the model's own; -1: whatever is nearest.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, fields: Any) -> Any:
        """A field that was left empty is none."""
        return {name: value for name, value in fields.items() if value != ""}

    def query(self, image: tuple[str, bytes] | None = None) -> Query:
        """The same for a `Searcher`. Raises `ConfigError`."""
        if not (self.text.strip() or image or self.like is not None):
            raise ConfigError(
                "what is looked for? Give text, like (an image's id), or POST a file to /api/search/image"
            )
        if self.like is not None and (self.text.strip() or image):
            raise ConfigError("like is a query by itself: leave text and file out")
        return Query(
            text=self.text,
            image=image,
            like=self.like,
            most=self.top_k,
            where=conditions.parse(self.where) if self.where.strip() else None,
            least=self.min_score,
        )


def asked(fields: Mapping[str, Any]) -> Asked:
    """The same from texts by name. Raises `ConfigError`."""
    try:
        return Asked.model_validate(fields)
    except ValidationError as exc:
        raise ConfigError(complaints(exc.errors())) from exc


class Box(BaseModel):
    """In pixels of the upright image, from its left upper corner."""

    x: float
    y: float
    width: float
    height: float


class MergedBox(BaseModel):
    """A merged box: what it is, how sure the detectors are of it, and how many agree."""

    label: str = Field(examples=["car"])
    box: Box
    detection_count: int = Field(examples=[3])
    score: float = Field(examples=[0.93])


class Found(BaseModel):
    """What the pipeline found in an image."""

    image_id: int
    filename: str
    path: str | None
    width: int
    height: int
    votes: list[tuple[str, str, int]] = Field(
        description="Emoji, label, and how many voted for it.", examples=[[("🚗", "car", 4)]]
    )
    boxes: list[MergedBox]
    faces: list[Box]
    colours: list[tuple[str, str]] = Field(
        description="Hex code and name.", examples=[[("#e3b130", "Goldenrod")]]
    )
    text: str = Field(description="What is written in it.")
    group: str = Field(description="The group it was admitted to.")
    captions: list[tuple[str, str]] = Field(description="Service and what it says of the image.")
    errors: list[str] = Field(description="What a service could not do with it.")


class Entry(BaseModel):
    """An image of the index. Ids can need 63 bits: JavaScript takes them from the end of `file`."""

    image_id: int = Field(examples=[12])
    path: str = Field(examples=["/photos/2024/DSC_0815.jpg"])
    file: str = Field(description="Where the picture is, below this address.", examples=["/images/12"])
    found: Found | None = Field(description="Null where the database does not know the image.")


class Hit(Entry):
    """An image that was found, and how near it is."""

    rank: int = Field(examples=[1])
    score: float = Field(description="Cosine between the image's embedding and the query's.", examples=[0.31])


class Question(BaseModel):
    """What was asked, as it was understood."""

    text: str
    image: str | None = Field(description="The name of the file that was sent.")
    like: int | None
    top_k: int
    where: str
    min_score: float | None


class Answer(BaseModel):
    """The images that fit, best first."""

    query: Question
    fits: bool = Field(description="Whether any image fits.")
    cutoff: float = Field(description="The score from which on an image fits.", examples=[0.24])
    best_score: float | None = Field(description="The best score there was, if any image was looked at.")
    matching: int | None = Field(description="How many images meet the condition, if there is one.")
    hits: list[Hit]


class Meeting(BaseModel):
    """Images that meet a condition, in the order of their ids."""

    matching: int = Field(description="How many images of the database meet it.")
    images: list[Entry] = Field(description="The first of them that are in the index.")


class Embedder(BaseModel):
    """What made the vectors."""

    service: str = Field(examples=["clip"])
    name: str
    version: str
    dimension: int


class Voted(BaseModel):
    """A vote's winner, and how many of the images that were looked at have it."""

    emoji: str
    label: str
    images: int


class Group(BaseModel):
    """A group of images, and how many of those that were looked at are of it."""

    group: str
    images: int


class Askable(BaseModel):
    """What a condition can ask of an image."""

    name: str = Field(examples=["nsfw"])
    about: str
    examples: list[str] = Field(examples=[["nsfw < 0.1"]])


class Overview(BaseModel):
    """The index, and what can be asked of it."""

    images: int
    embedder: Embedder
    reads_words: bool = Field(description="Whether `text` can be asked.")
    conditions: bool = Field(description="Whether `where` can be asked.")
    writable: bool = Field(description="Whether images can be removed, with a token.")
    votes: list[Voted]
    groups: list[Group]
    fields: list[Askable]
    examples: list[Entry]


class Health(BaseModel):
    """That it works."""

    status: str = Field(examples=["healthy"])
    images: int


class Message(BaseModel):
    """Why not."""

    message: str


class Error(BaseModel):
    """What every error looks like."""

    error: Message
