"""Claim 7: one backbone, two heads: a class for the whole image (sparse), or a class for every pixel (dense)."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, count, largest_difference, random_variables
from experiments.pointwise_claims.learning import train
from experiments.pointwise_claims.scenes import KINDS, Scenes, scenes
from fcn.layers import ConvNormRelu, PointwiseConv, max_pool, resize_bilinear

SIZE = 32


class TwoHeads(nn.Module):
    """A small backbone of stride 4 with both heads.

    Attributes:
        num_classes: of both heads.
    """

    num_classes: int = len(KINDS)

    @nn.compact
    def __call__(
        self, x: Float[Array | np.ndarray, "b h w c"], *, train: bool = False
    ) -> tuple[Float[Array, "b k"], Float[Array, "b h w k"], Float[Array, "b h2 w2 f"]]:
        """Scores of the images, scores of the pixels, and the features that both come from, of images in 0..1."""
        size = x.shape[1:3]
        x = max_pool(ConvNormRelu(16)(4.0 * (x - 0.5), train=train), 2)
        x = max_pool(ConvNormRelu(32)(x, train=train), 2)
        x = ConvNormRelu(48)(x, train=train)
        features = ConvNormRelu(48, dilation=2)(x, train=train)
        of_image = PointwiseConv(self.num_classes, name="sparse")(features.mean((1, 2)))
        of_pixels = resize_bilinear(PointwiseConv(self.num_classes, name="dense")(features), size)
        return of_image, of_pixels, features


MODEL = TwoHeads()


def mean_of_scores(features: Float[Array | np.ndarray, "b h w f"], head: dict) -> tuple[np.ndarray, np.ndarray]:
    """One kernel used both ways: scores at every pixel, then their mean; and the mean of the features, then the score.

    Args:
        features: the backbone's output.
        head: kernel [f, k] and bias [k] of a head.

    Returns:
        Two arrays [b, k], which linearity makes equal.
    """
    kernel = head["kernel"].reshape(features.shape[-1], -1)
    layer = PointwiseConv(kernel.shape[1])
    everywhere: Any = layer.apply({"params": head | {"kernel": kernel[None, None]}}, features)
    of_mean = layer.apply({"params": head | {"kernel": kernel}}, features.mean((1, 2)))
    return np.asarray(everywhere.mean((1, 2))), np.asarray(of_mean)


def train_both(rng: np.random.Generator, pictures: Scenes, steps: int, held_out: int) -> dict:
    """Trains backbone and heads together on all pictures but the last `held_out`: the sum of the two cross-entropies."""

    def loss(variables, images, pixel_labels, image_labels):
        (of_image, of_pixels, _), stats = MODEL.apply(variables, images, train=True, mutable=["batch_stats"])
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return entropy(of_image, image_labels).mean() + entropy(of_pixels, pixel_labels).mean(), stats

    def batches():
        while True:
            chosen = rng.choice(len(pictures.images) - held_out, 32, replace=False)
            yield tuple(array[chosen] for array in pictures)

    return train(loss, random_variables(MODEL, pictures.images[:1], rng), batches(), steps, 1e-2)[0]


def intersection_over_union(predicted: np.ndarray, labels: np.ndarray) -> list[float]:
    """IoU of every kind."""
    pairs = [((predicted == k), (labels == k)) for k in range(len(KINDS))]
    return [float((p & q).sum() / (p | q).sum()) for p, q in pairs]


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    rng = setting.rng()
    held_out = 100
    pictures = scenes(rng, 300 if setting.fast else 1300, SIZE, jitter=6.0)
    variables = train_both(rng, pictures, 60 if setting.fast else 300, held_out)
    test = Scenes(*(array[-held_out:] for array in pictures))
    of_image, of_pixels, features = jax.jit(MODEL.apply)(variables, test.images)

    heads = variables["params"]
    equal = mean_of_scores(features, heads["sparse"])
    ious = intersection_over_union(np.asarray(of_pixels).argmax(-1), test.pixel_labels)
    numbers = {
        "parameters": {name: count(heads[name]) for name in ("sparse", "dense")} | {"all": count(heads)},
        "answers_per_image": {"sparse": 1, "dense": SIZE**2},
        "image_accuracy": float((np.asarray(of_image).argmax(-1) == test.image_labels).mean()),
        "pixel_accuracy": float((np.asarray(of_pixels).argmax(-1) == test.pixel_labels).mean()),
        "iou": dict(zip(KINDS, ious)),
        "mean_of_scores_difference": largest_difference(*equal) / float(np.abs(equal[0]).max()),
    }
    own, mean_iou = count(heads["sparse"]), np.mean(ious)
    lines = (
        f"backbone: {count(heads) - 2 * own:,} parameters; each head, 1x1 {features.shape[-1]} -> {len(KINDS)}: {own}",
        f"sparse head, 1 answer per image: {numbers['image_accuracy']:.0%} right on new images",
        f"dense head, {SIZE * SIZE:,} answers: {numbers['pixel_accuracy']:.0%} of the pixels right, mean IoU {mean_iou:.2f}",
        "one kernel used both ways, mean of the scores against score of the mean feature:"
        f" relative difference {numbers['mean_of_scores_difference']:.0e}",
    )
    return Claim(
        title="One backbone, two heads: a class per image, a class per pixel",
        lines=lines,
        verdict="Average, then 1x1: a class per image. 1x1, then upsample: a class per pixel. The rest is the same.",
        holds=numbers["mean_of_scores_difference"] < 1e-5 and numbers["parameters"]["sparse"] == numbers["parameters"]["dense"],
        numbers=numbers,
        figures={"pointwise_heads.png": draw(test, np.asarray(of_image), np.asarray(of_pixels))},
    )


def draw(test: Scenes, of_image: np.ndarray, of_pixels: np.ndarray) -> Figure:
    """Pictures, the class of each, and the class of each of their pixels."""
    figure = drawing.new_figure(12, 5.0)
    shades = [drawing.GRID, drawing.RED, drawing.BLUE, drawing.GREEN]
    colours = ListedColormap(shades)
    shown = [np.flatnonzero(test.image_labels == 1 + i % 3)[i // 3] for i in range(6)]
    rows = figure.subplots(3, 6)
    for column, i in enumerate(shown):
        kind = of_image[i].argmax()
        drawing.show(rows[0, column], test.images[i])
        drawing.show(rows[1, column], of_pixels[i].argmax(-1), cmap=colours, vmin=0, vmax=3)
        drawing.show(rows[2, column], test.pixel_labels[i], cmap=colours, vmin=0, vmax=3)
        right = "" if kind == test.image_labels[i] else f" (it is a {KINDS[test.image_labels[i]]})"
        rows[0, column].set_title(f"{KINDS[kind]}{right}", weight="bold", color=("#000000", *shades[1:])[kind])
    for ax, text in zip(rows[:, 0], ("image;\nsparse head: title", "dense head", "true labels")):
        ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=12)
    figure.suptitle("One backbone, two 1x1 heads: a class per image, a class per pixel", fontsize=14, weight="bold")
    return figure
