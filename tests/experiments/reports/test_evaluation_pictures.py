"""Pictures of an evaluation."""

import dataclasses
from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np
from PIL import Image

import fcn
from experiments.building.networks import Network
from experiments.reports.evaluation_pictures import write_pictures
from experiments.reports.examples import Examples
from fcn.metrics import Calibration, PrecisionRecall
from fcn.preprocessing import Preprocessing


class Gray(nn.Module):
    """Logits that are the image's first channels."""

    channels: int = 1
    axis_name: str | None = None

    def __call__(self, x):
        return x[..., : self.channels]


def test_a_binary_task_is_told_its_best_threshold(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 6, 8, 3), np.uint8)
    labels = (images[..., 0] + rng.normal(0, 60, images.shape[:3]) > 180).astype(np.int32)
    labels[0, 0] = 255
    source = [{"image": image, "label": label, "name": "x"} for image, label in zip(images, labels)]
    preprocessing = Preprocessing(mean=(127.5 / 255,) * 3, std=(0.25,) * 3)
    task = fcn.tasks.make("binary", ["ground", "disc"])
    network = Network(Gray(), {}, task, dataclasses.replace(preprocessing, per_image="percentiles"))  # images are as read
    metric = task.metric()
    state = metric.update(metric.init(), np.zeros_like(labels), labels)
    told = write_pictures(tmp_path / "new" / "report", network, source, state, [2, 0])

    probabilities = np.asarray(jax.nn.sigmoid(preprocessing.apply(images)[..., :1]))
    curve, calibration = PrecisionRecall(), Calibration()
    found = curve.compute(curve.update(curve.init(), probabilities[..., 0], labels))
    errors = calibration.compute(calibration.update(calibration.init(), probabilities, labels))
    best = f"F1 is the largest ({found.f_beta().max():.4f}) with the threshold {found.best_threshold():.3f}"
    numbers = f"average precision {found.average_precision:.4f}, calibration error {errors.ece:.4f}"
    assert told == f"{numbers}; {best}; that of the task is 0.5"
    assert 0.5 < found.best_threshold() < 1
    names = ["confusion.png", "precision_recall.png", "reliability.png", "worst.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == names
    with Image.open(tmp_path / "new" / "report" / "worst.png") as worst:
        pixels = np.asarray(worst.convert("RGB")).reshape(-1, 3)
    shown = {tuple(pixel) for pixel in pixels.tolist()}
    assert all(tuple(pixel) in shown for image in images[[2, 0]] for pixel in image.reshape(-1, 3).tolist())


def test_the_calibration_of_all_classes_is_drawn(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), np.uint8)
    labels = np.argmax(images[..., :2], -1).astype(np.int32)
    labels[0, :3] = 1
    source = [{"image": image, "label": label, "name": "x"} for image, label in zip(images, labels)]
    record, task = Preprocessing((0.5,) * 3, (0.25,) * 3), fcn.tasks.make("semantic", ["a", "b"])
    metric = task.metric()
    state = metric.update(metric.init(), labels, labels)
    told = write_pictures(tmp_path, Network(Gray(channels=2), {}, task, record), source, state, [], [1])
    probabilities = np.asarray(jax.nn.softmax(record.apply(images)[..., :2]))
    calibration = Calibration()
    found = calibration.compute(calibration.update(calibration.init(), probabilities, labels))
    assert told == f"calibration error {found.ece:.4f}" and found.ece > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.png", "confusion.png", "reliability.png"]


def test_examples_of_training_are_seen_as_they_were_read(monkeypatch):
    """Where images are brought to their own range as well."""
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), np.uint8)
    record, task = Preprocessing((0.5,) * 3, (0.25,) * 3, per_image="percentiles"), fcn.tasks.make("regression", ["gray"])
    monkeypatch.setattr(type(task), "panel", lambda self, images, truths, scores: scores)
    source = [{"image": image, "label": image[..., :1]} for image in images]
    experiment = SimpleNamespace(predicting=Gray(), preprocessing=record, task=task, val=source)
    found = Examples(experiment, None).picture({})
    np.testing.assert_allclose(found, (images[..., :1] / 255 - 0.5) / 0.25, atol=1e-5)


def test_a_task_without_such_pictures_has_that_of_its_worst_images(tmp_path):
    task = fcn.tasks.make("regression", ["depth"])
    source = [{"image": np.zeros((6, 8, 3), np.uint8), "label": np.zeros((6, 8, 1), np.float32), "name": "x"}]
    network = Network(Gray(), {}, task, Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3))
    for name in ("reliability.png", "worst.png", "mine.txt"):
        (tmp_path / name).write_text("of another evaluation")
    assert write_pictures(tmp_path, network, source, task.metric().init(), [0]) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "worst.png"]
    with Image.open(tmp_path / "worst.png") as worst:
        assert worst.format == "PNG"


def test_nothing_is_told_of_probabilities_where_no_pixel_has_the_class(tmp_path):
    task = fcn.tasks.make("binary", ["ground", "disc"])
    source = [{"image": np.zeros((4, 4, 3), np.uint8), "label": np.zeros((4, 4), np.int32), "name": "x"}]
    metric = task.metric()
    state = metric.update(metric.init(), np.zeros((1, 4, 4), np.int32), source[0]["label"][None])
    assert write_pictures(tmp_path, Network(Gray(), {}, task, Preprocessing()), source, state, []) == ""
