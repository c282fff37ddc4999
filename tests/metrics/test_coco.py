"""COCO's average precision in cases whose precision-recall curve is known."""

import builtins
import math

import numpy as np
import pytest

from fcn.metrics.instances import ScoredInstances, coco_average_precision

TRUE = np.zeros((60, 60), np.int32)
TRUE[:20, :20], TRUE[40:, 40:] = 3, 8  # of 400 pixels: small
SCORES = np.linspace(0, 1, 20)


def summary(predicted, scores=SCORES, classes=None, true_classes=None):
    return coco_average_precision(
        [(ScoredInstances(TRUE, None, true_classes), ScoredInstances(predicted, scores, classes))] * 2
    )


def test_curves_that_are_known():
    pytest.importorskip("pycocotools")
    assert summary(TRUE)["AP"] == summary(TRUE)["AP_small"] == 1 and math.isnan(summary(TRUE)["AP_large"])
    one = np.where(TRUE == 3, 5, 0)
    assert summary(one)["AP"] == pytest.approx(51 / 101)  # precision 1 at the recalls 0, 0.01 ... 0.5
    worse = np.where(TRUE == 3, 5, 0)
    worse[30:35, 30:35] = 19  # invented, and surer: precision 1/2
    assert summary(worse)["AP50"] == pytest.approx(0.5 * 51 / 101)
    narrow = TRUE.copy()
    narrow[:, 14:20], narrow[:, 40:46] = 0, 0  # an IoU of 0.7: at five of ten thresholds
    assert summary(narrow)["AP"] == pytest.approx(0.5) and summary(narrow)["AP75"] == 0
    assert summary(np.zeros_like(TRUE))["AP"] == 0


def test_classes_are_told_apart():
    pytest.importorskip("pycocotools")
    classes, others = np.zeros(20, int), np.zeros(20, int)
    classes[8], others[[3, 8]] = 1, 1
    assert summary(TRUE, classes=classes, true_classes=classes)["AP"] == 1
    assert summary(TRUE, classes=others, true_classes=classes)["AP"] == pytest.approx((0 + 1) / 2)  # 8 is the surer one


def test_what_is_missing_is_told(monkeypatch):
    usual = builtins.__import__

    def without(name, *rest):
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return usual(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"needs pycocotools: pip install 'fcn-zoo\[coco\]'"):
            summary(TRUE)
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match="give the score of each"):
        summary(TRUE, scores=None)
