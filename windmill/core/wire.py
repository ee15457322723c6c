"""Jobs on the wire: JSON in UTF-8.

`{"v": 1, "image": {"id", "path"?, "url"?}, "box"?, "caption"?, "version"?}`

The service is not in it: the queue says that, so one body serves all queues of a dispatch.
"""

from __future__ import annotations

import json
import math
from typing import Any

from windmill.errors import MessageError
from windmill.model import Box, BoxRef, Caption, Image, Job

VERSION = 1


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
        fields = json.loads(body)
        if fields["v"] != VERSION:
            raise MessageError(f"message version {fields['v']!r}: this worker knows {VERSION}; upgrade it")
        return Job(
            image=_image(fields["image"]),
            box=_box(fields.get("box")),
            caption=_caption(fields.get("caption")),
            version=_text(fields.get("version", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as exc:
        start = body[:80].decode("utf-8", "replace")
        raise MessageError(f"not a job: {type(exc).__name__}: {exc} in message {start!r}") from exc


def _image_fields(image: Image) -> dict[str, int | str]:
    fields: dict[str, int | str] = {"id": image.image_id}
    if image.path is not None:
        fields["path"] = image.path
    if image.url is not None:
        fields["url"] = image.url
    return fields


def _image(fields: dict[str, Any]) -> Image:
    path, url = fields.get("path"), fields.get("url")
    if path is None and url is None:
        raise ValueError("an image needs a path or a url")
    return Image(
        image_id=_whole(fields["id"]),
        path=None if path is None else _text(path),
        url=None if url is None else _text(url),
    )


def _box(fields: dict[str, Any] | None) -> BoxRef | None:
    if fields is None:
        return None
    x, y, width, height = map(_finite, fields["bbox"])
    return BoxRef(key=_text(fields["key"]), box=Box(x=x, y=y, width=width, height=height))


def _caption(fields: dict[str, Any] | None) -> Caption | None:
    if fields is None:
        return None
    return Caption(service=_text(fields["service"]), text=_text(fields["text"]))


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"expected text, got {value!r}")
    return value
