"""Scores and reductions of segmentation-models-pytorch, classes that are absent and ignored pixels included."""

import numpy as np
import pytest

from fcn.metrics import SCORES, Multilabel, Segmentation, score
from tests.parity import encoders, reference

torch, smp = reference.torch, encoders.smp().metrics

RNG = np.random.default_rng(0)
NAMES = {"iou": "iou_score", "f1": "f1_score", "f_beta": "fbeta_score"}
REDUCTIONS = [None, "micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise"]
WEIGHTS = [0.5, 1.0, 2.0, 4.0]


def multiclass():
    labels, predictions = RNG.integers(0, 4, (2, 3, 8, 9)).astype(np.int32)
    labels[0][labels[0] == 3], predictions[0][predictions[0] == 3] = 255, 1
    metric = Segmentation(4)
    ours = metric.update(metric.init(), predictions, labels).images
    return ours, smp.get_stats(*map(torch.tensor, (predictions, labels)), "multiclass", ignore_index=255, num_classes=4)


def multilabel():
    labels, predictions = RNG.integers(0, 2, (2, 3, 8, 9, 4)).astype(np.int32)
    labels[1, ..., 2] = predictions[1, ..., 2] = 0
    metric = Multilabel(4)
    theirs = (torch.tensor(np.moveaxis(x, -1, 1).copy()) for x in (predictions, labels))
    return metric.update(metric.init(), predictions, labels), smp.get_stats(*theirs, "multilabel")


@pytest.mark.parametrize("case", [multiclass, multilabel])
def test_scores_equal_those_of_smp(case):
    ours, theirs = case()
    for mine, other in zip(ours, theirs):
        np.testing.assert_array_equal(mine, other)
    for name in SCORES.keys() - {"kappa", "mcc"}:
        for reduction in REDUCTIONS:
            weights = {"class_weights": WEIGHTS} if reduction and reduction.startswith("weighted") else {}
            options = {"beta": 2} if name == "f_beta" else {}
            value = score(name, ours, reduction, zero_division=1.0, **weights, **options)
            function = getattr(smp, NAMES.get(name, name))
            expected = function(*theirs, reduction=reduction, zero_division=1.0, **weights, **options)
            if reduction == "weighted-imagewise":  # smp divides by the number of classes once more
                expected = expected * len(WEIGHTS)
            np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=f"{name} {reduction}")
