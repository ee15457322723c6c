"""Jobs on the wire: JSON in UTF-8.

`{"v": 1, "image": {"id", "path"?, "url"?, "as_is"?}, "box"?, "caption"?, "version"?}`

The service is not in it: the queue says that, so one body serves all queues of a dispatch.
"""

from __future__ import annotations

import json
import re
from typing import Any

from windmill.core import strict_json
from windmill.core.geometry import FARTHEST
from windmill.errors import MessageError
from windmill.model import Box, BoxRef, Caption, Image, Job
from windmill.plain import line

VERSION = 1
_LARGEST_ID = 2**63 - 1  # of PostgreSQL's bigint
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")  # no path, URL or caption has them: no database holds them


def encode(job: Job) -> bytes:
    """The message body for `job`."""
    body: dict[str, Any] = {"v": VERSION, "image": _image_fields(job.image)}
    if job.box is not None:
        box = job.box.box
        body["box"] = {"key": job.box.key, "bbox": [box.x, box.y, box.width, box.height]}
    if job.caption is not None:
        body["caption"] = {"service": job.caption.service, "text": job.caption.text}
    if job.version:
        body["version"] = job.version
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def decode(body: bytes) -> Job:
    """The job in `body`. Raises `MessageError` for anything that `encode` would not have written."""
    try:
        fields = strict_json.loads(body)
        if fields["v"] != VERSION:
            said = line(repr(fields["v"]), 40)
            raise MessageError(f"message version {said}: this worker knows {VERSION}; upgrade it")
        return Job(
            image=_image(fields["image"]),
            box=_box(fields.get("box")),
            caption=_caption(fields.get("caption")),
            version=_text(fields.get("version", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        start = line(body[:80].decode("utf-8", "replace"))
        raise MessageError(f"not a job: {type(exc).__name__}: {line(exc, 200)} in message {start}") from exc


def _image_fields(image: Image) -> dict[str, int | str]:
    fields: dict[str, int | str] = {"id": image.image_id}
    if image.path is not None:
        fields["path"] = image.path
    if image.url is not None:
        fields["url"] = image.url
    if image.as_is is not None:
        fields["as_is"] = image.as_is
    return fields


def _image(fields: dict[str, Any]) -> Image:
    path, url, as_is = fields.get("path"), fields.get("url"), fields.get("as_is")
    if path is None and url is None:
        raise ValueError("an image needs a path or a url")
    return Image(
        image_id=_whole(fields["id"]),
        path=None if path is None else _text(path),
        url=None if url is None else _text(url),
        as_is=None if as_is is None else _whole(as_is),
    )


def _box(fields: dict[str, Any] | None) -> BoxRef | None:
    if fields is None:
        return None
    x, y, width, height = map(_pixels, fields["bbox"])
    if width < 0 or height < 0:
        raise ValueError("a box of negative size")
    return BoxRef(key=_text(fields["key"]), box=Box(x=x, y=y, width=width, height=height))


def _caption(fields: dict[str, Any] | None) -> Caption | None:
    if fields is None:
        return None
    return Caption(service=_text(fields["service"]), text=_text(fields["text"]))


def _pixels(value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise TypeError(f"expected a number, got {value!r}")
    if not -FARTHEST <= value <= FARTHEST:
        raise ValueError(f"{value!r} pixels are in no image")
    return float(value)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a whole number, got {value!r}")
    if not -_LARGEST_ID <= value <= _LARGEST_ID:
        raise ValueError(f"{value} is no id: too large")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"expected text, got {value!r}")
    if _UNSENDABLE.search(value):
        raise ValueError("a text with a character that no database holds")
    return value
