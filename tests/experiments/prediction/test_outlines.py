"""What `evaluate --outlines` measures and shows."""

import numpy as np
import pytest

from experiments import evaluate
from experiments.building.networks import Network
from experiments.prediction.outlines import added, means, of_image, table
from fcn import tasks

LABEL = np.zeros((20, 30), np.int32)
LABEL[5:15, 5:15], LABEL[:2] = 1, 255


def test_of_class_maps():
    """A square that lies three pixels too far right; a class that is nowhere; ignored pixels count nowhere."""
    task = tasks.make("semantic", ["ground", "square", "nothing"])
    predicted = np.where(LABEL == 255, 1, np.roll(LABEL, 3, 1))
    found = of_image(task, predicted, LABEL)
    assert found["hd95/square"] == 3 and found["hd95/nothing"] is None and found["boundary_iou/nothing"] is None
    assert found["hd95"] == np.mean([found["hd95/ground"], 3])
    assert 0 < found["boundary_f1/square"] < 1 and 0 < found["boundary_iou/square"] < 1
    perfect = of_image(task, np.where(LABEL == 255, 2, LABEL), LABEL)
    assert [perfect[name] for name in ("boundary_f1", "boundary_iou", "hd95")] == [1, 1, 0]
    missed = of_image(task, np.zeros_like(LABEL), LABEL)
    assert missed["boundary_f1/square"] == 0 and missed["hd95/square"] is None


@pytest.mark.parametrize("name", ["binary", "multilabel"])
def test_of_channels_and_how_they_are_shown(name):
    task = tasks.make(name, ["ground", "square"])
    label = LABEL if name == "binary" else np.stack([np.where(LABEL == 255, 255, LABEL == 0), LABEL], -1).astype(np.int32)
    rows = [{"miou": 1.0, **of_image(task, predicted, label)} for predicted in (label % 255, np.zeros_like(label))]
    assert rows[0]["boundary_f1/square"] == 1 and ("hd95/ground" in rows[0]) == (name == "multilabel")
    values = means(rows)
    assert values["val/boundary_iou/square"] == 0.5 and values["val/hd95/square"] == 0 and "val/miou" not in values
    lines = table({"step": 2, **values}).splitlines()
    assert lines[0].split() == "class boundary F1 boundary IoU HD95 (pixels)".split()
    assert lines[-2].split() == ["square", "0.500", "0.500", "0.000"] and lines[-1].startswith("mean ")


def test_tasks_without_classes_have_none():
    with pytest.raises(ValueError, match="--outlines are those of classes, and the network's task is 'regression'; leave it"):
        added(Network(None, {}, tasks.make("regression", ["depth"]), None), None, [])
    with pytest.raises(ValueError, match="--outlines is for images, and the network takes volumes; leave it out"):
        evaluate.evaluate_volumes(evaluate.EvaluateConfig("run", outlines=True), None, None)
