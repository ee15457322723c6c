"""What eleven services say of an image, as JSON: six detectors, and those who see no boxes.

Detectors speak of real photos where `FOLDER` is there, else of made scenes; captions, classes and the
embedding are about as long as real ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bench.made_scenes import scene
from windmill import vocabularies
from windmill.catalog import facts
from windmill.evaluating.boxes.folder import Source
from windmill.evaluating.boxes.rule import shown
from windmill.model import Detection, ResultRow, Status, StoredReply

FOLDER = Path("../shared/data/coco-boxes")
DETECTORS = ("yolov8", "rtdetr", "detectron2", "nanodet", "ssdlite", "centernet")
OTHERS = ("blip", "ollama", "xception", "nsfw2", "label_embedding")
SERVICES = (*DETECTORS, *OTHERS)
EACH = 8  # boxes of a detector on a made scene, as there are on a photo
NUMBERS = 512  # of an embedding
CLASSES = 5  # of a classifier

Bodies = Mapping[str, str]  # JSON by service, about one image


def bodies(images: int) -> Sequence[Bodies]:
    """What is said of so many images."""
    rng = random.Random(0)  # noqa: S311 -- not a secret
    return [
        {name: _dump(_detected(one)) for name, one in zip(DETECTORS, seen, strict=True)}
        | {name: _dump(**document) for name, document in _others(rng).items()}
        for seen in islice(_seen(images), images)
    ]


def row(image_id: int, name: str, body: str) -> ResultRow:
    """What `Analyze` makes of a reply."""
    service = facts(name)
    return ResultRow(
        image_id=image_id,
        service=name,
        status=Status.SUCCESS,
        data=body,
        service_types=service.service_types,
        bbox_format=service.bbox_format,
        vocabulary=service.vocabulary,
        processing_time=0.1,
    )


def _seen(images: int) -> Any:
    if not FOLDER.is_dir():
        yield from (scene(len(DETECTORS), EACH, seed) for seed in range(images))
        return
    photos = list(zip(*shown(Source(FOLDER, images)).replies.values(), strict=True))
    while True:
        yield from photos


def _detected(stored: StoredReply) -> list[dict[str, Any]]:
    return [_prediction(n, one) for n, one in enumerate(stored.reply.detections)]


def _prediction(number: int, seen: Detection) -> dict[str, Any]:
    label = seen.label if FOLDER.is_dir() else vocabularies.names("coco")[int(seen.label.split()[-1])]
    box = seen.box
    assert box is not None  # a detector's
    return {
        "label": label,
        "confidence": round(seen.confidence, 3),
        "emoji": vocabularies.emoji_of(label, "coco"),
        "bbox": {
            "x": round(box.x, 1),
            "y": round(box.y, 1),
            "width": round(box.width, 1),
            "height": round(box.height, 1),
        },
        "class_id": number,
    }


def _others(rng: random.Random) -> Mapping[str, dict[str, Any]]:
    said = [_captioned(rng) for _ in range(2)]
    classes = [
        {"label": name, "confidence": round(0.5 / n, 3), "emoji": vocabularies.emoji_of(name, "imagenet")}
        for n, name in enumerate(rng.sample(vocabularies.names("imagenet"), CLASSES), 1)
    ]
    vector = [round(rng.gauss(0, 0.05), 6) for _ in range(NUMBERS)]
    nude = [{"nsfw": True, "confidence": 0.9, "emoji": "🔞"}] if rng.random() < 0.02 else []
    documents = (
        *({"predictions": one} for one in (*said, classes, nude)),
        {"predictions": [], "embedding": vector},
    )
    return dict(zip(OTHERS, documents, strict=True))


def _captioned(rng: random.Random) -> list[dict[str, Any]]:
    words = rng.sample(vocabularies.names("coco"), 4)
    mentioned = [{"emoji": vocabularies.emoji_of(word, "coco"), "word": word} for word in words]
    return [{"text": f"a photo of {', '.join(words)}", "emoji_mappings": mentioned}]


def _dump(predictions: list[dict[str, Any]], **more: Any) -> str:
    info = {"name": "made", "version": "1", "framework": "none"}
    document = {
        **more,
        "service": "made",
        "status": "success",
        "predictions": predictions,
        "metadata": {"processing_time": 0.1, "model_info": info},
    }
    return json.dumps(document, ensure_ascii=False)
