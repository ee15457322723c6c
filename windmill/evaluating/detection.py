"""Detectors: average precision as COCO defines it, and precision and recall of what they answer."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from windmill import vocabularies
from windmill.core import classes
from windmill.errors import ConfigError
from windmill.evaluating.exam import Exam, Figure
from windmill.evaluating.truth import Known
from windmill.extras import needs
from windmill.model import Detection

_IOU = 0.5


def measure(exam: Exam) -> Sequence[Figure]:
    """AP50, precision and recall over all photos. Raises `ConfigError` without pycocotools."""
    coco, evaluation = _pycocotools()
    found = [exam.asked.analyze(photo.read()).reply.detections for photo in exam.over(exam.photos)]
    return _figures(coco, evaluation, _truth(exam.photos), _results(found))


@cache
def _numbers() -> Mapping[str, int]:
    """COCO's numbers by class: a detector with another vocabulary is measured by its men and sedans, too."""
    return {name: number for number, name in enumerate(vocabularies.names("coco"))}


def _truth(photos: Sequence[Known]) -> dict[str, Any]:
    """COCO's format. No object is a crowd, and areas are those of the boxes: only boxes are known."""
    objects = [(n, one) for n, photo in enumerate(photos) for one in photo.objects]
    coco = classes.words("coco")
    known = [(n, _numbers().get(coco.class_of(one.label, "")), one.box) for n, one in objects]
    annotations = [
        {
            "id": place + 1,
            "image_id": n,
            "category_id": category,
            "bbox": [box.x, box.y, box.width, box.height],
            "area": box.width * box.height,
            "iscrowd": 0,
        }
        for place, (n, category, box) in enumerate(known)
        if category is not None
    ]
    if not annotations:
        raise ConfigError("photos.json: none of its objects has the name of a class of COCO")
    categories = [{"id": n} for n in range(len(vocabularies.names("coco")))]
    images = [{"id": n} for n in range(len(photos))]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _results(found: Sequence[Sequence[Detection]]) -> list[dict[str, Any]]:
    """What COCO has no class for is left out: neither right nor wrong."""
    return [
        {
            "image_id": n,
            "category_id": category,
            "score": one.confidence,
            "bbox": [one.box.x, one.box.y, one.box.width, one.box.height],
        }
        for n, detections in enumerate(found)
        for one in detections
        if one.box is not None and (category := _numbers().get(one.class_name)) is not None
    ]


def _figures(
    coco: Any, evaluation: Any, truth: dict[str, Any], results: list[dict[str, Any]]
) -> Sequence[Figure]:
    ap, matched = _judged(coco, evaluation, truth, results) if results else (0.0, 0)
    objects = len(truth["annotations"])
    return (
        Figure("AP50", ap, "average precision at an IoU of 0.5, mean of the classes that the photos show"),
        Figure("precision", matched / max(1, len(results)), "share of the boxes that are right"),
        Figure("recall", matched / objects, "share of the objects that are found"),
    )


def _judged(
    coco: Any, evaluation: Any, truth: dict[str, Any], results: list[dict[str, Any]]
) -> tuple[float, int]:
    """AP50, and how many boxes are right, at most 100 of a class and photo."""
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
        known = coco.COCO()
        known.dataset = truth
        known.createIndex()
        judge = evaluation.COCOeval(known, known.loadRes(results), "bbox")
        judge.params.iouThrs = np.array([_IOU])
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1]  # recall × class, any area, 100 boxes
    any_area = [one for one in judge.evalImgs if one and one["aRng"] == judge.params.areaRng[0]]
    matched = sum(int((one["dtMatches"][0] > 0).sum()) for one in any_area)
    return float(precision[precision > -1].mean()), matched


def _pycocotools() -> tuple[Any, Any]:
    with needs("eval"):
        return importlib.import_module("pycocotools.coco"), importlib.import_module("pycocotools.cocoeval")
