"""Average precision by pycocotools itself."""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

from windmill.calibrating.found import Found
from windmill.calibrating.judge import MOST, Precision
from windmill.evaluating.boxes.folder import Folder
from windmill.extras import needs


def precision(folder: Folder, found: Found) -> Precision:
    """COCO's AP, AP50 and AP75 (objects of any size, 100 boxes). Raises `ConfigError` without pycocotools."""
    if not len(found):  # COCO.loadRes refuses an empty list
        return Precision(0.0, 0.0, 0.0)
    coco, evaluation = _pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long it took
        known = coco.COCO()
        known.dataset = _instances(folder)
        known.createIndex()
        judge = evaluation.COCOeval(known, known.loadRes(_results(folder, found)), "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], ["all"]
        judge.params.maxDets = [MOST]
        judge.evaluate()
        judge.accumulate()
    table = judge.eval["precision"][:, :, :, 0, 0]  # IoU × recall × class
    present = table[:, :, table[0, 0] > -1]
    return Precision(float(present.mean()), float(present[0].mean()), float(present[5].mean()))


def _instances(folder: Folder) -> dict[str, Any]:
    """COCO's format; areas are those of the boxes, since no figure here is by size."""
    annotations = [
        {**one, "id": n + 1, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": int(folder.crowd[n])}
        for n, one in enumerate(_results(folder, folder.truth))
    ]
    return {
        "info": {},
        "images": [{"id": one.id} for one in folder.pictures],
        "categories": [{"id": one.id, "name": one.name} for one in folder.categories],
        "annotations": annotations,
    }


def _results(folder: Folder, found: Found) -> list[dict[str, Any]]:
    rows = zip(
        found.image.tolist(), found.category.tolist(), found.score.tolist(), found.box.tolist(), strict=True
    )
    return [
        {
            "image_id": folder.pictures[image].id,
            "category_id": folder.categories[category].id,
            "score": score,
            "bbox": box,
        }
        for image, category, score, box in rows
    ]


def _pycocotools() -> tuple[Any, Any]:
    with needs("eval"):
        return importlib.import_module("pycocotools.coco"), importlib.import_module("pycocotools.cocoeval")
