"""Objects that are networks: three 1x1 convolutions of 169 numbers find one of five equal discs, as seen from its place."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.instances import CENTRES, discs
from fcn.instances import mask_logits
from fcn.instances.conditional import FEATURES, REACH, offsets

HALF = 6.5
"""Half of the side of a disc's box, in pixels."""


class Conditional(NamedTuple):
    """Results.

    Attributes:
        inputs: [5, 72, 64, 10], what the network of each disc sees.
        masks: [5, 72, 64], the pixels that it takes.
        overlap: input -> the mean intersection over union of disc and mask.
    """

    inputs: np.ndarray
    masks: np.ndarray
    overlap: dict[str, float]


def by_hand() -> Float[np.ndarray, " 169"]:
    """The numbers of a network that takes pixels of the first feature in a box around its place.

    The first layer has that feature, and how far a pixel lies below, above, right and left; the second how far it lies outside
    of the box; the third takes that away from the feature.
    """
    first, second, outside = np.zeros((FEATURES + 2, FEATURES)), np.zeros((FEATURES, FEATURES)), np.zeros(FEATURES)
    first[0, 0] = second[0, 0] = 1
    first[FEATURES, 1:3] = first[FEATURES + 1, 3:5] = 1, -1
    second[1:3, 1] = second[3:5, 2] = 1
    outside[1:3] = -HALF / REACH
    third = np.array([1, -100, -100, 0, 0, 0, 0, 0])
    return np.concatenate([first.ravel(), np.zeros(FEATURES), second.ravel(), outside, third, [-0.5]])


def measure() -> Conditional:
    """What one network finds from five places, and what it finds where it does not see them."""
    labels = discs()
    rows, columns = (axis.reshape(1, -1) for axis in np.mgrid[: labels.shape[0], : labels.shape[1]])
    features = np.zeros((len(CENTRES), labels.size, FEATURES))
    features[..., 0] = labels.ravel() > 0
    away = np.stack(offsets(rows, columns, CENTRES, grid=1), -1)
    seen = {"features": np.zeros_like(away), "features and place": away}
    inputs = {name: np.concatenate([features, place], -1) for name, place in seen.items()}
    own = np.tile(by_hand(), (len(CENTRES), 1))
    masks = {name: np.asarray(mask_logits(own, given)) > 0 for name, given in inputs.items()}
    true = labels.ravel() == np.arange(1, len(CENTRES) + 1)[:, None]
    overlap = {name: _overlap(true, found) for name, found in masks.items()}
    shape = (len(CENTRES), *labels.shape)
    return Conditional(inputs["features and place"].reshape(*shape, -1), masks["features and place"].reshape(shape), overlap)


def _overlap(true: Bool[np.ndarray, "n p"], found: Bool[np.ndarray, "n p"]) -> float:
    return float(np.mean((true & found).sum(1) / (true | found).sum(1)))


def draw(result: Conditional) -> Figure:
    """What the network of one disc sees, what it takes, and what those of all five take."""
    figure = drawing.new_figure(12.5, 3.2)
    axes = figure.subplots(1, 5)
    inputs, shown = result.inputs[3], ListedColormap([drawing.GRID, drawing.PURPLE])
    drawing.show(axes[0], 0.25 + 0.6 * inputs[..., 0], "a feature")
    for ax, coordinate, title in zip(axes[1:3], (8, 9), ("rows from the fourth disc", "columns from it")):
        drawing.show(ax, inputs[..., coordinate], title, cmap="PuOr", vmin=-3, vmax=3)
    drawing.show(axes[3], result.masks[3], "what its network takes", cmap=shown, vmin=0, vmax=1)
    numbers = (result.masks * np.arange(1, len(CENTRES) + 1)[:, None, None]).max(0)
    colours = [drawing.GRID, drawing.RED, drawing.BLUE, drawing.GREEN, drawing.PURPLE, drawing.ORANGE]
    drawing.show(axes[4], numbers, "what all five take", cmap=ListedColormap(colours), vmin=0, vmax=5)
    figure.suptitle("169 numbers for each object: three 1x1 convolutions, seen from its place", fontsize=14, weight="bold")
    return figure
