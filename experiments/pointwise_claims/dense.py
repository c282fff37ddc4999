"""Claim 5: a dense layer on a feature map is a convolution whose kernel covers the map."""

import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import fcn
from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, count, largest_difference, random_variables, seconds, shapes
from experiments.pointwise_claims.learning import train
from experiments.pointwise_claims.scenes import KINDS, scenes
from fcn.classifiers.dense import FlattenClassifier
from fcn.layers import Conv, max_pool
from fcn.surgery import convolutionalize

FC6 = 7 * 7 * 512 * 4096 + 4096
"""Parameters of VGG16's first dense layer, by the sizes in the paper: 102,764,544."""

CROP, STRIDE = 22, 4
"""The small classifier: the side of the pictures that it is trained on (its map is 4x4 then), and the stride of its map."""


class ValidEncoder(nn.Module):
    """Twice a 3x3 convolution without padding, ReLU and a 2x2 max-pool: stride 4, and no border anywhere."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Images [B, H, W, C] -> features [B, H2, W2, 48]; H = 22 gives H2 = 4."""
        x = 4.0 * (x - 0.5)
        for features in (16, 48):
            x = max_pool(nn.relu(Conv(features, 3, padding="VALID")(x)), 2)
        return x


class Features(nn.Module):
    """Stands in for an encoder where the feature map itself is the input."""

    def __call__(self, x, *, train: bool = False):
        return x


SMALL = FlattenClassifier(ValidEncoder(), len(KINDS), hidden=(64,), window=(4, 4), dropout_rate=0.0)


def slide(
    classify: Callable, image: Float[np.ndarray, "h w c"], size: int, stride: int, batch: int = 32
) -> Float[np.ndarray, "rows columns k"]:
    """The slow way to a map of scores: cut a crop at every place, classify the crops.

    Args:
        classify: crops [B, size, size, C] -> scores [B, K], compiled for batches of `batch`.
        image: the picture, or a feature map.
        size: side of a crop.
        stride: from one crop to the next.
        batch: crops that are classified together; the last batch is filled up.
    """
    crops = np.lib.stride_tricks.sliding_window_view(image, (size, size), (0, 1))[::stride, ::stride]
    rows, columns = crops.shape[:2]
    crops = crops.transpose(0, 1, 3, 4, 2).reshape(-1, size, size, image.shape[-1])
    number = len(crops)
    crops = crops[np.arange(-(-number // batch) * batch) % number]
    scores = [np.asarray(classify(crops[i : i + batch])) for i in range(0, len(crops), batch)]
    return np.concatenate(scores)[:number].reshape(rows, columns, -1)


def compare(
    model: FlattenClassifier, variables: dict, image: Float[np.ndarray, "h w c"], size: int, stride: int, batch: int
) -> dict:
    """Scores by sliding the classifier, and by one pass of the convolutionalized network over the whole image.

    Returns:
        "slid" and "map" [rows, columns, K]; "slid_seconds" and "map_seconds", compilation not counted; and
        "same_size_difference", the largest difference between the two networks on one crop of the training size.
    """
    network, converted = convolutionalize(model, variables)
    classify = jax.jit(lambda x: model.apply(variables, x))
    whole = jax.jit(lambda x: network.apply(converted, x))
    crop = image[:size, :size]
    both = classify(np.repeat(crop[None], batch, axis=0))[0], whole(crop[None])[0, 0, 0]
    start = time.perf_counter()
    slid = slide(classify, image, size, stride, batch)
    slid_seconds = time.perf_counter() - start
    return {
        "same_size_difference": largest_difference(*both) / float(np.abs(both[0]).max()),
        "slid": slid,
        "map": np.asarray(whole(image[None])[0]),
        "slid_seconds": slid_seconds,
        "map_seconds": seconds(whole, jnp.asarray(image)[None], repeats=3),
    }


def compare_vgg(setting: Setting) -> dict:
    """VGG16 (of `setting.width`, random weights) on a 10x10 grid of 224x224 crops, as in section 3.1 of the FCN paper."""
    rng = setting.rng()
    model: Any = fcn.create_classifier("vgg16", width_multiplier=setting.width, fc_features=round(4096 * setting.width))
    side = 224 + 32 * (2 if setting.fast else 9)
    image = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
    variables = random_variables(model, image[None, :224, :224], rng)
    result = compare(model, variables, image, 224, 32, batch=10)

    encoder = {"params": variables["params"]["encoder"]}
    features = np.asarray(jax.jit(lambda x: model.encoder.apply(encoder, x)[-1])(image[None])[0])
    head = FlattenClassifier(Features(), model.num_classes, model.hidden)
    layers = {"params": {name: value for name, value in variables["params"].items() if name != "encoder"}}
    slid = slide(jax.jit(lambda x: head.apply(layers, x)), features, 7, 1, batch=10)
    result["feature_difference"] = largest_difference(slid, result["map"]) / float(np.abs(slid).max())
    result["crop_correlation"] = float(np.corrcoef(result["slid"].ravel(), result["map"].ravel())[0, 1])
    return result


def train_small(rng: np.random.Generator, steps: int) -> tuple[dict, float]:
    """Teaches the small classifier to name the object in the middle of a crop; returns its accuracy on new crops.

    In half of the crops the object is not in the middle but 6 to 16 pixels off; these count as ground.
    """
    number, held_out = 2200, 200
    far = np.arange(number) % 2 == 0
    angle, distance = rng.uniform(0, 2 * np.pi, number), np.where(far, rng.uniform(6, 16, number), rng.uniform(0, 4, number))
    offsets = distance[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    pictures = scenes(rng, number, CROP, offsets=offsets)
    labels = np.where(far, 0, pictures.image_labels)

    def loss(variables, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(SMALL.apply(variables, images), labels).mean(), {}

    def batches():
        while True:
            chosen = rng.choice(number - held_out, 64, replace=False)
            yield pictures.images[chosen], labels[chosen]

    variables, _ = train(loss, random_variables(SMALL, pictures.images[:1], rng), batches(), steps, 8e-3)
    predicted = np.asarray(jax.jit(SMALL.apply)(variables, pictures.images[-held_out:])).argmax(-1)
    return variables, float((predicted == labels[-held_out:]).mean())


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    full = shapes(fcn.create_classifier("vgg16"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))["params"]
    vgg = compare_vgg(setting)
    rng = setting.rng()
    variables, accuracy = train_small(rng, 60 if setting.fast else 400)
    scene = scenes(rng, 1, CROP + STRIDE * 30, objects=16, jitter=4.0).images[0]
    small = compare(SMALL, variables, scene, CROP, STRIDE, batch=31)

    exact = largest_difference(small["slid"], small["map"]) / float(np.abs(small["slid"]).max())
    ratios = {name: r["slid_seconds"] / r["map_seconds"] for name, r in (("vgg16", vgg), ("small", small))}
    kept = ("same_size_difference", "slid_seconds", "map_seconds")
    numbers = {
        "parameters": {name: count(full[name]) for name in ("fc6", "fc7", "fc8")} | {"all": count(full)},
        "vgg16": {name: vgg[name] for name in (*kept, "feature_difference", "crop_correlation")},
        "small": {name: small[name] for name in kept} | {"accuracy": accuracy, "map_difference": exact},
        "ratios": ratios,
        "width": setting.width,
    }
    places = ["{}x{}".format(*r["map"].shape) for r in (vgg, small)]
    share = count(full["fc6"]) / count(full)
    lines = (
        f"VGG16's fc6 = 7x7 convolution 512 -> 4096: {count(full['fc6']):,} parameters, {share:.0%} of {count(full):,}",
        f"VGG16 (width {setting.width:g}) at 224x224, either way: relative difference {vgg['same_size_difference']:.0e}",
        f"{places[0]} scores of a larger image: crop by crop {vgg['slid_seconds']:.2f} s,"
        f" in one pass {vgg['map_seconds']:.2f} s, {ratios['vgg16']:.0f}x faster",
        f"  equal to the dense layers slid over the feature map: relative difference {vgg['feature_difference']:.0e}",
        f"  (but VGG pads each crop with zeros: the scores of whole crops have a correlation of {vgg['crop_correlation']:.3f})",
        f"trained classifier without padding, {places[1]} scores: equal to sliding whole crops, difference {exact:.0e},"
        f" {ratios['small']:.0f}x faster",
    )
    differences = (vgg["same_size_difference"], vgg["feature_difference"], small["same_size_difference"], exact)
    return Claim(
        title="A dense layer is a convolution whose kernel covers the map",
        lines=lines,
        verdict="The same weights, the same scores, any image size: overlapping crops share their work.",
        holds=count(full["fc6"]) == FC6 and max(differences) < 1e-4 and min(ratios.values()) > 1,
        numbers=numbers,
        figures={"pointwise_dense.png": draw(scene, small, vgg, setting.width)},
    )


def draw(scene: np.ndarray, small: dict, vgg: dict, width: float) -> Figure:
    """Above: the window on the feature map, and the times. Below: the trained classifier's maps of a larger image."""
    figure = drawing.new_figure(12, 6.6)
    above, below = drawing.parts(figure, 2, 1, height_ratios=(1, 1.12))
    grids, bars = above.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_window(grids)
    _draw_times(bars, {f"VGG16, width {width:g}": vgg, "trained, small": small})
    title = "A dense layer on a map is a convolution; on a larger image it gives a map of scores"
    above.suptitle(title, fontsize=14, weight="bold")
    axes = below.subplots(1, 4)
    drawing.show(axes[0], scene, "larger image, and one crop of it")
    scores = np.asarray(jax.nn.softmax(small["map"]))
    row, column = np.unravel_index(scores[..., 1].argmax(), scores.shape[:2])
    crop = (STRIDE * column - 0.5, STRIDE * row - 0.5)
    axes[0].add_patch(Rectangle(crop, CROP, CROP, fill=False, edgecolor="white", linewidth=2))
    ends = np.array([CROP / 2, CROP / 2 + STRIDE * len(scores)]) - STRIDE / 2 - 0.5  # a score lies at its crop's centre
    for kind in (1, 2, 3):
        drawing.show(axes[kind], 0.45 * scene.mean(-1), f"score map: {KINDS[kind]}")
        colour = np.broadcast_to([1.0, 0.75, 0.1], (*scores.shape[:2], 3))
        axes[kind].imshow(np.dstack([colour, scores[..., kind]]), extent=(*ends, *ends[::-1]), interpolation="nearest")
        axes[kind].set(xlim=(-0.5, len(scene) - 0.5), ylim=(len(scene) - 0.5, -0.5))
    return figure


def _draw_window(ax):
    drawing.blank(ax, 33, 17.6)
    for row, column in np.ndindex(16, 16):
        inside = 3 <= row < 10 and 8 <= column < 15
        pale = drawing.tint(drawing.BLUE, 0.4 if row < 7 and column < 7 else 0.14)
        _draw_cell(ax, column, row, drawing.ORANGE if inside else pale)
    for row, column in np.ndindex(10, 10):
        pale = drawing.tint(drawing.PURPLE, 0.6 if row == column == 0 else 0.18)
        _draw_cell(ax, column + 22.6, row + 3, drawing.ORANGE if (row, column) == (3, 8) else pale)
    ax.annotate("", (30.5, 6.5), (15.2, 6.5), arrowprops={"arrowstyle": "-|>", "color": drawing.ORANGE, "linewidth": 2})
    drawing.note(ax, 19.1, 5.1, "fc6 as a\n7x7 conv.", colour=drawing.ORANGE, weight="bold", fontsize=9.5)
    drawing.note(ax, 8, 17.0, "16x16 features of a 512x512 image", fontsize=9.5)
    drawing.note(ax, 27.6, 14.1, "10x10 scores", fontsize=9.5)
    drawing.note(ax, 27.6, 16.2, "dark corners: what a\n224x224 image has", fontsize=8.5, colour=drawing.SOFT)


def _draw_cell(ax, x, y, colour):
    ax.add_patch(Rectangle((x, y), 0.92, 0.92, facecolor=colour))


def _draw_times(ax, results):
    names = [f"{name}:\n{r['map'].shape[0]}x{r['map'].shape[1]} scores" for name, r in results.items()]
    for i, r in enumerate(results.values()):
        share = r["map_seconds"] / r["slid_seconds"]
        ax.barh(1.18 - i, 1, height=0.3, color=drawing.GRAY)
        ax.barh(0.84 - i, share, height=0.3, color=drawing.PURPLE)
        ax.text(0.985, 1.18 - i, f"crop by crop: {r['slid_seconds']:.2f} s", color="white", va="center", ha="right")
        text = f"one pass: {r['map_seconds']:.3f} s, {1 / share:.0f}x faster"
        ax.text(share + 0.015, 0.84 - i, text, color=drawing.PURPLE, weight="bold", va="center")
    ax.set_yticks([1, 0], names)
    ax.tick_params(axis="y", length=0, labelcolor=drawing.INK)
    ax.set(xticks=[], xlim=(0, 1), title="time, measured", ylim=(-0.4, 1.5))
    ax.spines["bottom"].set_visible(False)
