"""What per-class scores cannot do: tell equal objects apart. An embedding of features and place can."""

import itertools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import largest_difference, random_variables
from experiments.pointwise_claims.learning import train
from fcn.layers import Conv, PointwiseConv

CENTRES = np.array([[16, 16], [16, 48], [44, 18], [44, 46], [57, 46]])
"""Rows and columns of five equal discs on a 72x64 picture; the last two touch."""
RADIUS = 7


class Embedding(nn.Module):
    """Two 1x1 layers with a ReLU between: at each pixel a small dense network from its features to a point in the plane."""

    @nn.compact
    def __call__(self, x):
        return PointwiseConv(2)(nn.relu(PointwiseConv(32)(x)))


class Instances(NamedTuple):
    """Results.

    Attributes:
        picture: [72, 64], 1 inside the discs.
        labels: [72, 64], number of the disc 1..5, 0 outside.
        twin_difference: largest difference of the features of the first two discs.
        embeddings: input -> [pixels of discs, 2].
        nearest: input -> [72, 64], the disc whose mean embedding is nearest, 0 outside.
        accuracy: input -> share of the discs' pixels for which that is their own disc.
    """

    picture: np.ndarray
    labels: np.ndarray
    twin_difference: float
    embeddings: dict[str, np.ndarray]
    nearest: dict[str, np.ndarray]
    accuracy: dict[str, float]


def discs() -> np.ndarray:
    """[72, 64] int: which disc a pixel belongs to, 0 for none."""
    y, x = np.mgrid[:72, :64]
    labels = np.zeros(y.shape, int)
    for number, (row, column) in enumerate(CENTRES, start=1):
        labels[np.hypot(y - row, x - column) < RADIUS] = number
    return labels


def random_features(rng: np.random.Generator, picture: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 16"]:
    """Three 3x3 convolutions with random weights: features that know a pixel's surroundings, not its place."""
    network = nn.Sequential([Conv(16), nn.relu, Conv(16), nn.relu, Conv(16)])
    x = picture[None, ..., None].astype(np.float32)
    return np.asarray(jax.jit(network.apply)(random_variables(network, x, rng), x)[0])


def pull_and_push(embedding: Float[Array | np.ndarray, "p 2"], member: Float[np.ndarray, "p n"]) -> Float[Array, ""]:
    """De Brabandere et al. 2017: pixels to their object's mean, means to a distance of at least 2 from each other.

    Args:
        embedding: of the pixels.
        member: 1 where pixel p belongs to object n.
    """
    means = member.T @ embedding / member.sum(0)[:, None]
    pull = ((embedding - member @ means) ** 2).sum(-1).mean()
    first, second = np.triu_indices(member.shape[1], 1)
    distance = jnp.sqrt(((means[first] - means[second]) ** 2).sum(-1) + 1e-6)
    return pull + (jnp.maximum(0.0, 2.0 - distance) ** 2).mean()


def embed(
    rng: np.random.Generator, x: Float[np.ndarray, "p c"], labels: Int[np.ndarray, " p"], steps: int
) -> tuple[Float[np.ndarray, "p 2"], Int[np.ndarray, " p"]]:
    """Trains an embedding of the pixels; returns it, and for each pixel the object (1..5) whose mean is nearest."""
    member = np.eye(len(CENTRES), dtype=np.float32)[labels - 1]
    network = Embedding()

    def loss(variables):
        embedding: Any = network.apply(variables, x)
        return pull_and_push(embedding, member), {}

    variables, _ = train(loss, random_variables(network, x, rng), itertools.repeat(()), steps, 3e-2)
    points = np.asarray(network.apply(variables, x))
    means = member.T @ points / member.sum(0)[:, None]
    return points, np.linalg.norm(points[:, None] - means, axis=-1).argmin(-1) + 1


def measure(rng: np.random.Generator, steps: int) -> Instances:
    """Everything that the claim and its picture need."""
    labels = discs()
    picture = (labels > 0).astype(np.float32)
    features = random_features(rng, picture)
    inside = labels > 0
    first, second = (features[row - 9 : row + 10, column - 9 : column + 10] for row, column in CENTRES[:2])

    place = np.moveaxis(np.mgrid[:72, :64] / 32.0 - 1.0, 0, -1).astype(np.float32)
    inputs = {"features": features, "features and place": np.concatenate([features, place], axis=-1)}
    results = {name: embed(rng, x[inside], labels[inside], steps) for name, x in inputs.items()}
    maps = {name: np.zeros_like(labels) for name in results}
    for name, (_, nearest) in results.items():
        maps[name][inside] = nearest
    return Instances(
        picture,
        labels,
        largest_difference(first, second),
        {name: points for name, (points, _) in results.items()},
        maps,
        {name: float((nearest == labels[inside]).mean()) for name, (_, nearest) in results.items()},
    )


def draw(result: Instances) -> Figure:
    """The picture, its class map, the two embeddings, and the objects that the second one finds."""
    figure = drawing.new_figure(12.5, 3.5)
    axes = figure.subplots(1, 5)
    colours = np.array([drawing.RED, drawing.BLUE, drawing.GREEN, drawing.PURPLE, drawing.ORANGE])
    drawing.show(axes[0], 0.25 + 0.6 * result.picture, "five equal discs")
    drawing.show(axes[1], result.picture, "class map: one class", cmap=ListedColormap([drawing.GRID, drawing.INK]))
    own = colours[result.labels[result.labels > 0] - 1]
    for ax, (name, points) in zip(axes[2:4], result.embeddings.items()):
        ax.scatter(*points.T, c=own, s=10, alpha=0.5, linewidths=0)
        ax.set(title=f"embedding of\n{name}", xticks=[], yticks=[])
        ax.set_xlabel(f"{result.accuracy[name]:.1%} of the pixels at their disc", fontsize=9)
        ax.set_aspect("equal", "datalim")
    shown = ListedColormap([drawing.GRID, *colours])
    drawing.show(axes[4], result.nearest["features and place"], "objects it finds", cmap=shown, vmin=0, vmax=5)
    figure.suptitle("Scores per class do not count objects; an embedding per pixel can", fontsize=14, weight="bold")
    return figure
