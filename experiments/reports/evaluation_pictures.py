"""The pictures of `evaluate --report`: the worst and best images, what was counted, and what probabilities are worth."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.building.networks import Network
from experiments.prediction.volumes import tile_of
from experiments.reports.examples import panel
from fcn.data import Prepared
from fcn.draft import draft_folder
from fcn.inference import Predictor, VolumePredictor, make_predictor
from fcn.metrics import Calibration, PrecisionRecall
from fcn.visualize import plot_precision_recall, plot_reliability
from fcn.visualize.files import save_pictures

WORST, BEST, CONFUSION = "worst.png", "best.png", "confusion.png"
RELIABILITY, CURVE = "reliability.png", "precision_recall.png"
FILES = (WORST, BEST, CONFUSION, RELIABILITY, CURVE)


def write_pictures(
    folder: Path, network: Network, source: Prepared, state: Any, worst: Sequence[int], best: Sequence[int] = ()
) -> str:
    """Writes the pictures, in place of all that an earlier call wrote.

    Args:
      folder: where to, which is made; other files there stay.
      network: what was measured.
      source: on which images.
      state: of its task's metric; None: there are pictures of images, or volumes, alone.
      worst, best: positions of the images that are shown, in this order.

    Returns:
      What they say, in lines; "" where numbers say it all.
    """
    with draft_folder(folder / "pictures") as draft:
        told = _draw(draft, network, source, state, {WORST: worst, BEST: best})
        for name in FILES:
            if (draft / name).exists():
                os.replace(draft / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    return told


def _draw(folder: Path, network: Network, source: Prepared, state: Any, shown: Mapping[str, Sequence[int]]) -> str:
    """Draws them into a folder; what they say."""
    predict = _predictor(network)
    for name, positions in shown.items():
        if len(positions):
            save_pictures({folder / name: panel(source, positions, network.task, predict, network.variables)})
    if state is None:
        return ""
    network.task.draw(state, folder / CONFUSION)
    if network.task.name == "semantic":
        return _draw_calibration(folder, network, source)
    return _draw_probabilities(folder, network, source, predict) if network.task.name == "binary" else ""


def _predictor(network: Network) -> Callable[..., np.ndarray]:
    """(variables, an image, a signal or a volume as a batch of one) -> its scores; volumes are seen in blocks."""
    if network.preprocessing.axes != 3:
        return make_predictor(network.model, network.preprocessing.as_read(), network.task)
    how = {"task": network.task, "as_read": True}
    predictor = VolumePredictor(network.model, network.variables, network.preprocessing, **how)
    return lambda _, batch: predictor.scores(batch[0], tile=tile_of(network))[None]


def _draw_calibration(folder: Path, network: Network, source: Prepared) -> str:
    """The diagram of the probabilities of all classes, and what sums it up."""
    known = network.model, network.variables, network.preprocessing.as_read(), network.task
    predictor, calibration = Predictor(*known, bucket=None), Calibration(ignore_index=network.task.ignore_index)
    counted = calibration.init()
    for sample in map(source.__getitem__, range(len(source))):
        counted = calibration.update(counted, predictor.probabilities(sample["image"][None]), sample["label"][None])
    diagram = calibration.compute(counted)
    if not diagram.counts.sum():
        return ""
    plot_reliability(diagram.confidence, diagram.accuracy, diagram.counts, folder / RELIABILITY)
    return f"calibration error {diagram.ece:.4f}"


def _draw_probabilities(folder: Path, network: Network, source: Prepared, predict) -> str:
    """Two diagrams of the probabilities of a binary task, and the numbers that sum them up."""
    ignored = {"ignore_index": network.task.ignore_index}
    curve, calibration = PrecisionRecall(**ignored), Calibration(**ignored)
    counted, reliability = curve.init(), calibration.init()
    for sample in map(source.__getitem__, range(len(source))):
        scores, label = predict(network.variables, sample["image"][None]), np.asarray(sample["label"])[None]
        counted = curve.update(counted, scores, label)
        reliability = calibration.update(reliability, scores[..., None], label)
    found, diagram = curve.compute(counted), calibration.compute(reliability)
    plot_precision_recall(found.precision, found.recall, folder / CURVE)
    plot_reliability(diagram.confidence, diagram.accuracy, diagram.counts, folder / RELIABILITY)
    if np.isnan(found.average_precision):  # no pixel is of the second class
        return ""
    best, threshold = found.f_beta().max(), found.best_threshold()
    task: Any = network.task  # of two classes, with a threshold
    return (
        f"average precision {found.average_precision:.4f}, calibration error {diagram.ece:.4f}; F1 is the largest ({best:.4f}) "
        f"with the threshold {threshold:.3f}; that of the task is {task.threshold:g}"
    )
