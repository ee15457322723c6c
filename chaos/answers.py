"""What the fake services say: replies that depend on the image's bytes alone, so that all runs must agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 160, 120  # pixels of the images that `photos` makes
THINGS = (("person", "🧑"), ("cat", "🐈"), ("car", "🚗"), ("person", "🧑"))


@dataclass(frozen=True, slots=True)
class Picture:
    """One call: the image's bytes, and the caption that came with them."""

    data: bytes
    caption: str = ""

    @property
    def name(self) -> str:
        """What one call is counted under: an image, or a caption of it."""
        return hashlib.sha256(self.data + self.caption.encode()).hexdigest()[:16]

    def number(self, *words: object, below: int) -> int:
        """A number that follows from the bytes and the words."""
        text = self.name + "/".join(map(str, words))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") % below


def answer(service: str, picture: Picture) -> bytes:
    """The reply of `service`, as its contract has it."""
    say = ANSWERS.get(service, _detect)
    return json.dumps(say(service, picture), ensure_ascii=False).encode()


def _reply(service: str, picture: Picture, predictions: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    seconds = picture.number(service, "seconds", below=1000) / 1000
    return {
        "service": service,
        "status": "success",
        "predictions": predictions,
        "metadata": {"processing_time": seconds},
        **more,
    }


def _objects(picture: Picture) -> list[tuple[str, str, int, int, int, int]]:
    """What is to be seen: the same for every detector."""
    count = 1 + picture.number("count", below=3)
    found = []
    for n in range(count):
        label, emoji = THINGS[picture.number("thing", n, below=len(THINGS))]
        left, top = 2 + 50 * n, 5 + picture.number("top", n, below=40)
        found.append((label, emoji, left, top, 40, 50 + picture.number("height", n, below=20)))
    return found


def _detect(service: str, picture: Picture) -> dict[str, Any]:
    """Most of the objects, each a pixel or three off, so that merging has something to weigh."""
    predictions = []
    for n, (label, emoji, x, y, width, height) in enumerate(_objects(picture)):
        if picture.number(service, "blind", n, below=5) == 0:
            continue
        dx, dy = picture.number(service, "x", n, below=4), picture.number(service, "y", n, below=4)
        box = {"x": x + dx, "y": y + dy, "width": width, "height": height}
        confidence = 0.4 + picture.number(service, "confidence", n, below=60) / 100
        predictions.append({"label": label, "emoji": emoji, "confidence": confidence, "bbox": box})
    return _reply(service, picture, predictions)


def _classify(service: str, picture: Picture) -> dict[str, Any]:
    label, emoji, *_ = _objects(picture)[0]
    whole = [{"label": label, "emoji": emoji, "confidence": 0.8}]
    return _detect(service, picture) | {"full_image": whole}


def _caption(service: str, picture: Picture) -> dict[str, Any]:
    things = _objects(picture)
    mappings = [{"emoji": emoji, "word": label} for label, emoji, *_ in things]
    text = " and ".join(f"a {label}" for label, *_ in things) + f" ({picture.name[:6]})"
    return _reply(service, picture, [{"text": text, "emoji_mappings": mappings}])


def _read(service: str, picture: Picture) -> dict[str, Any]:
    seen = picture.number("text", below=2) == 1
    text = f"sign {picture.name[:4]}" if seen else ""
    prediction = {"text": text, "emoji": "💬" if seen else "", "has_text": seen, "confidence": 0.9}
    return _reply(service, picture, [prediction])


def _colours(service: str, picture: Picture) -> dict[str, Any]:
    colour = {"hex": f"#{picture.name[:6]}", "copic": "B00", "prismacolor": "Blue", "temperature": "cool"}
    return _reply(service, picture, [{"primary": colour, "palette": {"colors": [colour]}}])


def _face(service: str, picture: Picture) -> dict[str, Any]:
    box = [1 + picture.number("face", below=5), 2, 20, 20]
    face = {"label": "face", "emoji": "🙂", "confidence": 0.9, "bbox": box, "keypoints": {"nose": [8, 9]}}
    return _reply(service, picture, [face])


def _pose(service: str, picture: Picture) -> dict[str, Any]:
    x = picture.number("nose", below=100) / 100
    landmarks = {"nose": {"x": x, "y": 0.1, "z": 0.0, "visibility": 0.9}}
    return _reply(service, picture, [{"landmarks": landmarks, "pose_analysis": {"joint_angles": {}}}])


def _score(service: str, picture: Picture) -> dict[str, Any]:
    similarity = picture.number("similarity", below=2001) / 1000 - 1
    return {"service": service, "status": "success", "similarity_score": similarity}


ANSWERS: Mapping[str, Callable[[str, Picture], dict[str, Any]]] = {
    "clip": _classify,
    "blip": _caption,
    "ocr": _read,
    "colors": _colours,
    "face": _face,
    "pose": _pose,
    "caption_score": _score,
}
