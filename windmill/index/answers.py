"""A search's answer as JSON, and back: `windmill search --json`, the web app and `--remote` all speak it.

`image_id` of an index without a database needs 63 bits, more than a number of JavaScript holds exactly: the
last part of `file` is the same number as text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from windmill.findings import Findings, FoundBox
from windmill.index.searching import Answer, Query
from windmill.index.vectors import Hit
from windmill.model import Box

IMAGES = "/images"  # below it lies the file of each image of an index


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, and what the pipeline found in its hits, by their ids: in some or all of them nothing."""

    answer: Answer
    found: Mapping[int, Findings] = field(default_factory=dict)


def document(query: Query, told: Told, where: str = "") -> dict[str, Any]:
    """The answer as JSON. `where` is the query's condition as it was written.

    `fits` says whether anything does; `best_score` is None where no image was looked at, `matching` (how many
    images meet the condition) where there is no condition, and `found` (`windmill.findings.Findings`, as
    `windmill run --json` has it) where the database does not know the image.
    """
    answer = told.answer
    return {
        "query": _query(query, where),
        "fits": bool(answer.hits),
        "cutoff": answer.least,
        "best_score": answer.best,
        "matching": answer.matching,
        "hits": [_hit(rank, hit, told.found.get(hit.image_id)) for rank, hit in enumerate(answer.hits, 1)],
    }


def file_of(image_id: int) -> str:
    """Where the web app has the file of an image: a path below its address."""
    return f"{IMAGES}/{image_id}"


def parse(data: Any) -> Told:
    """What `document` made, from decoded JSON. Raises `ValueError` that names the field."""
    try:
        hits = [_read_hit(one) for one in data["hits"]]
        answer = Answer(
            hits=tuple(hit for hit, _ in hits),
            best=None if data["best_score"] is None else _number(data["best_score"]),
            least=_number(data["cutoff"]),
            matching=None if data["matching"] is None else int(data["matching"]),
        )
    except KeyError as exc:
        raise ValueError(f"{exc.args[0]}: not there") from exc
    except (AttributeError, TypeError, OverflowError) as exc:
        raise ValueError(f"not the answer to a search: {exc}") from exc
    return Told(answer, {hit.image_id: found for hit, found in hits if found is not None})


def _query(query: Query, where: str) -> dict[str, Any]:
    return {
        "text": query.text,
        "image": query.image[0] if query.image else None,
        "like": query.like,
        "top_k": query.most,
        "where": where,
        "min_score": query.least,
    }


def _hit(rank: int, hit: Hit, found: Findings | None) -> dict[str, Any]:
    return {
        "rank": rank,
        "image_id": hit.image_id,
        "path": hit.path,
        "score": round(hit.score, 6),
        "file": file_of(hit.image_id),
        "found": asdict(found) if found else None,
    }


def _read_hit(data: Any) -> tuple[Hit, Findings | None]:
    hit = Hit(image_id=int(data["image_id"]), path=str(data["path"]), score=_number(data["score"]))
    return hit, None if data["found"] is None else _findings(data["found"])


def _findings(data: Mapping[str, Any]) -> Findings:
    return Findings(
        image_id=int(data["image_id"]),
        filename=str(data["filename"]),
        path=None if data["path"] is None else str(data["path"]),
        width=int(data["width"]),
        height=int(data["height"]),
        votes=tuple((str(emoji), str(label), int(count)) for emoji, label, count in data["votes"]),
        boxes=tuple(_found_box(one) for one in data["boxes"]),
        faces=tuple(_box(one) for one in data["faces"]),
        colours=tuple((str(code), str(name)) for code, name in data["colours"]),
        text=str(data["text"]),
        group=str(data["group"]),
        captions=tuple((str(service), str(text)) for service, text in data["captions"]),
        errors=tuple(str(one) for one in data["errors"]),
    )


def _found_box(data: Mapping[str, Any]) -> FoundBox:
    return FoundBox(
        label=str(data["label"]),
        box=_box(data["box"]),
        detection_count=int(data["detection_count"]),
        score=_number(data["score"]),
    )


def _box(data: Mapping[str, Any]) -> Box:
    return Box(**{side: _number(data[side]) for side in ("x", "y", "width", "height")})


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value}: expected a number")
    return number
