"""COCO's average precision of instances, by pycocotools (the extra `coco`)."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from fcn.metrics.instances.overlaps import Ids

NAMES = "AP AP50 AP75 AP_small AP_medium AP_large AR1 AR10 AR100 AR_small AR_medium AR_large".split()


class ScoredInstances(NamedTuple):
    """The objects of an image.

    Attributes:
        ids: instance map [H, W]: 0 for background, a number above 0 for each object.
        scores: how sure each prediction is, by id (`scores[id]`); None for true objects.
        classes: the class of each, by id; None: one class.
    """

    ids: Ids
    scores: Sequence[float] | np.ndarray | None = None
    classes: Integer[np.ndarray, " ids"] | Sequence[int] | None = None


def coco_average_precision(images: Iterable[tuple[ScoredInstances, ScoredInstances]]) -> dict[str, float]:
    """COCO's summary of instance masks: "AP" (mean over IoU 0.5 to 0.95), "AP50", "AP75", "AP_small" ... "AR_large".

    Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its evaluation server. Unlike `Matching.ap` it ranks
    predictions by score and is the area below a precision-recall curve; at most 100 of an image count.

    Args:
        images: of each image the true objects and the predicted ones, with scores.

    Returns:
        Twelve numbers from 0 to 1; NaN where there is no object of that size.

    Raises:
        ImportError: without pycocotools.
        ValueError: for predictions without scores.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise ImportError("COCO's average precision needs pycocotools: pip install 'fcn-zoo[coco]'") from None
    true, found, sizes = [], [], []
    for number, (truth, prediction) in enumerate(images):
        if prediction.scores is None:
            raise ValueError("COCO's average precision ranks predictions; give the score of each")
        true += [each | {"id": len(true) + i + 1} for i, each in enumerate(_annotations(truth, number))]
        found += _annotations(prediction, number)
        sizes.append({"id": number, "height": truth.ids.shape[0], "width": truth.ids.shape[1]})
    with contextlib.redirect_stdout(io.StringIO()):
        data: Any = COCO()
        categories = {each["category_id"] for each in true + found}
        data.dataset = {"images": sizes, "annotations": true, "categories": [{"id": c} for c in sorted(categories)]}
        data.createIndex()
        evaluation = COCOeval(data, data.loadRes(found) if found else _without(data), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) if value >= 0 else float("nan") for name, value in zip(NAMES, evaluation.stats)}


def _without(data: Any) -> Any:
    """No predictions for the images of `data`; its own reader refuses an empty list."""
    nothing = type(data)()
    nothing.dataset = {**data.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _annotations(objects: ScoredInstances, image: int) -> list[dict[str, Any]]:
    from pycocotools import mask

    made = []
    for number in np.setdiff1d(objects.ids, [0]):
        code = mask.encode(np.asfortranarray(objects.ids == number, np.uint8))
        area, kind = int(mask.area(code)), 0 if objects.classes is None else int(objects.classes[number])
        each = {"image_id": image, "category_id": kind, "segmentation": code, "area": area, "iscrowd": 0}
        made.append(each | ({} if objects.scores is None else {"score": float(objects.scores[number])}))
    return made
