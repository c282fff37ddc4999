"""Claim 1: a 1x1 convolution is a dense layer that is applied at every position."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, largest_difference, random_variables
from fcn.layers import Conv, PointwiseConv

LIST = np.array([[2, 1, 3], [0, 1, 0], [1, 0, 0], [1, 1, 1]], np.float32)
"""Four positions with three channels each: the example to check by hand."""
KERNEL = np.array([[1, 2], [0, -1], [2, 1]], np.float32)
BIAS = np.array([1, 0], np.float32)

VIEWS = np.array([[0.299, 0.5], [0.587, 0.0], [0.114, -0.5]], np.float32)
"""Two ways to look at a photo: its brightness, and how much redder than blue it is."""
VIEWS_BIAS = np.array([0.0, 0.5], np.float32)


def apply_pointwise(
    x: Float[Array | np.ndarray, "b *space c"], kernel: Float[np.ndarray, "c k"], bias: Float[np.ndarray, " k"]
) -> Float[Array, "b *space k"]:
    """`fcn.layers.PointwiseConv` with the given matrix, whatever the number of spatial axes."""
    shape = (1,) * (x.ndim - 2) + kernel.shape
    result: Any = PointwiseConv(kernel.shape[1]).apply({"params": {"kernel": kernel.reshape(shape), "bias": bias}}, x)
    return result


def worked_example() -> Float[np.ndarray, "4 2"]:
    """The layer of kernel size 1 in 1-D on `LIST`: two output channels at each of the four positions."""
    return np.asarray(apply_pointwise(LIST[None], KERNEL, BIAS)[0])


def against_dense(rng: np.random.Generator, space: tuple[int, ...]) -> float:
    """Largest difference between the layer and a loop that applies `flax.linen.Dense` to one position at a time."""
    x = rng.normal(size=(1, *space, 5)).astype(np.float32)
    kernel, bias = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=7).astype(np.float32)
    y = apply_pointwise(x, kernel, bias)
    at_one_pixel = jax.jit(lambda pixel: nn.Dense(7).apply({"params": {"kernel": kernel, "bias": bias}}, pixel))
    loop = [np.asarray(at_one_pixel(pixel)) for pixel in x.reshape(-1, 5)]
    return largest_difference(y, np.reshape(loop, y.shape))


def positions_reached(rng: np.random.Generator, kernel_size: int) -> int:
    """How many output positions change when one input pixel of a 9x9 map changes."""
    layer = PointwiseConv(4) if kernel_size == 1 else Conv(4, kernel_size)
    x = rng.normal(size=(1, 9, 9, 3)).astype(np.float32)
    variables = random_variables(layer, x, rng)
    changed = x.copy()
    changed[0, 4, 4] += 1.0
    difference = np.subtract(*jax.jit(jax.vmap(partial(layer.apply, variables)))(np.stack([x, changed])))
    return int((np.abs(difference).max(-1) > 1e-6).sum())


def shuffle_difference(rng: np.random.Generator, image: np.ndarray) -> float:
    """Layer after shuffling all pixels of the photo, against shuffling after the layer: the order does not matter."""
    pixels = image.reshape(1, -1, 3)
    order = rng.permutation(pixels.shape[1])
    shuffled = apply_pointwise(pixels[:, order], VIEWS, VIEWS_BIAS)
    return largest_difference(shuffled, np.asarray(apply_pointwise(pixels, VIEWS, VIEWS_BIAS))[:, order])


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    rng = setting.rng()
    numbers = {
        "worked_example": worked_example().tolist(),
        "difference_to_dense": {f"{n}-D": against_dense(rng, (7, 5, 3)[:n]) for n in (1, 2, 3)},
        "positions_reached": {f"{k}x{k}": positions_reached(rng, k) for k in (1, 3)},
        "difference_after_shuffling": shuffle_difference(rng, setting.image),
    }
    difference, reached = numbers["difference_to_dense"], numbers["positions_reached"]
    first = "({:.0f}, {:.0f})".format(*worked_example()[0])
    lines = (
        f"pixel (2, 1, 3) x kernel 3 -> 2 + bias = {first}: check it by hand in docs/pointwise.md",
        "against a loop of dense layers, largest difference: " + ", ".join(f"{k} {v:.1e}" for k, v in difference.items()),
        f"one input pixel changed -> output positions changed: {reached['1x1']} with 1x1, {reached['3x3']} with 3x3",
        f"shuffle all pixels before or after the layer: largest difference {numbers['difference_after_shuffling']:.1e}",
    )
    holds = max(*difference.values(), numbers["difference_after_shuffling"]) < 1e-5 and reached["1x1"] == 1
    return Claim(
        title="It is a dense layer, applied at every position",
        lines=lines,
        verdict="Every output channel is a weighted sum of all input channels, with the same weights at every position.",
        holds=holds,
        numbers=numbers,
        figures={"pointwise_pixel.png": draw_pixel(setting.image), "pointwise_list.png": draw_list()},
    )


def draw_pixel(image: np.ndarray) -> Figure:
    """A photo, the dense layer at one of its pixels, and the two pictures that the layer makes of all pixels."""
    row, column = int(0.68 * image.shape[0]), int(0.42 * image.shape[1])
    out = np.asarray(apply_pointwise(image[None], VIEWS, VIEWS_BIAS)[0])
    figure = drawing.new_figure(12.5, 3.1)
    left, middle, *right = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1))
    drawing.show(left, image, "input: 3 channels")
    _draw_network(middle, image[row, column], out[row, column])
    for ax, channel, title in zip(right, (0, 1), ("output channel 1: brightness", "output channel 2: red minus blue")):
        drawing.show(ax, out[..., channel], title)
    for ax in (left, *right):
        size = image.shape[0] / 20
        ax.add_patch(Rectangle((column - size / 2, row - size / 2), size, size, fill=False, edgecolor="white", linewidth=2))
    figure.suptitle("A 1x1 convolution 3 -> 2: the same little dense layer at every pixel", fontsize=14, weight="bold")
    return figure


def _draw_network(ax, pixel, out):
    drawing.blank(ax, 10, 7.5)
    inputs = [(1.2, y) for y in (1.0, 3.75, 6.5)]
    outputs = [(8.8, y) for y in (1.9, 5.3)]
    for i, start in enumerate(inputs):
        for o, end in enumerate(outputs):
            weight = VIEWS[i, o]
            ax.plot(*zip(start, end), color=drawing.CHANNELS[i], linewidth=0.6 + 4 * abs(weight), alpha=0.55, zorder=1)
            x, y = (start[0] * 0.66 + end[0] * 0.34, start[1] * 0.66 + end[1] * 0.34)
            drawing.note(ax, x, y, f"{weight:.3g}", fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    for place, value, colour in zip(inputs, pixel, drawing.CHANNELS):
        _draw_node(ax, place, f"{value:.2f}", colour)
    for place, value, bias in zip(outputs, out, VIEWS_BIAS):
        _draw_node(ax, place, f"{value:.2f}", drawing.INK)
        drawing.note(ax, place[0], place[1] + 1.25, f"bias {bias:.1f}", fontsize=9, colour=drawing.SOFT)
    ax.set_title("at the marked pixel")


def _draw_node(ax, place, text, colour):
    ax.scatter(*place, s=850, color=colour, zorder=2)
    drawing.note(ax, place[0], place[1], text, colour="white", weight="bold", zorder=3)


def draw_list() -> Figure:
    """The worked example in 1-D: list of positions x kernel + bias = list of positions."""
    figure = drawing.new_figure(11, 3.6)
    ax = figure.subplots()
    drawing.blank(ax, 22.5, 7.2)
    title = "Kernel size 1 in 1-D: a list of 4 positions with 3 channels"
    drawing.note(ax, 0.3, 0.5, title, align="left", fontsize=14, weight="bold")
    _draw_table(ax, 2.2, 2.3, LIST, [drawing.tint(c, 0.25) for c in drawing.CHANNELS], "input  [4, 3]")
    for position in range(4):
        drawing.note(ax, 2.0, 2.8 + position, f"position {position + 1}", align="right", colour=drawing.SOFT)
    drawing.note(ax, 6.1, 4.3, "×", fontsize=20)
    _draw_table(ax, 7.0, 2.8, KERNEL, None, "kernel  [1, 3, 2]", rows=[drawing.tint(c, 0.25) for c in drawing.CHANNELS])
    drawing.note(ax, 9.9, 4.3, "+", fontsize=20)
    _draw_table(ax, 10.8, 3.8, BIAS[None], [drawing.GRID] * 2, "bias  [2]")
    drawing.note(ax, 13.7, 4.3, "=", fontsize=20)
    _draw_table(ax, 14.6, 2.3, worked_example(), [drawing.tint(drawing.PURPLE, 0.25)] * 2, "output  [4, 2]")
    drawing.note(ax, 17.0, 2.8, "9 = 2·1 + 1·0 + 3·2 + 1", align="left", fontsize=10)
    drawing.note(ax, 17.0, 3.8, "−1 = 0·2 + 1·(−1) + 0·1 + 0", align="left", fontsize=10)
    text = "The kernel is a 3 x 2 matrix: not one number, and not one number per channel. Every position uses the same matrix."
    drawing.note(ax, 0.3, 6.9, text, align="left", colour=drawing.SOFT)
    return figure


def _draw_table(ax, x, y, values, columns, title, rows=None):
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            drawing.cell(ax, x + j, y + i, f"{value:.0f}".replace("-", "−"), colour=rows[i] if rows else columns[j])
    drawing.note(ax, x + values.shape[1] / 2, 1.7, title, weight="bold")
