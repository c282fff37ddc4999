"""Claim 4: it changes the number of channels cheaply, so that the expensive 3x3 sees few of them."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, count, largest_difference, random_variables, seconds, shapes
from fcn.layers import Conv, PointwiseConv


def _one(features: int) -> nn.Module:
    return PointwiseConv(features, use_bias=False)


def _square(features: int, size: int = 3, groups: int = 1) -> nn.Module:
    return Conv(features, size, groups=groups, use_bias=False)


class Expand(nn.Module):
    """SqueezeNet's expand layer: half of its output channels from 1x1, half from 3x3."""

    features: int

    @nn.compact
    def __call__(self, x):
        return jnp.concatenate([_one(self.features // 2)(x), _square(self.features // 2)(x)], axis=-1)


class Block(NamedTuple):
    """A block of convolutions with 1x1 among them, and the single convolution with the same input and output.

    Attributes:
        source: paper, figure or table.
        size: height and width of the maps there.
        channels: of the input.
        direct: the single convolution.
        layers: the block's convolutions; a ReLU stands between them.
    """

    source: str
    size: int
    channels: int
    direct: nn.Module
    layers: tuple[nn.Module, ...]

    def parameters(self) -> tuple[int, list[int]]:
        """Weights of the single convolution, and of each layer of the block (biases left out)."""
        x = jax.ShapeDtypeStruct((1, 8, 8, self.channels), jnp.float32)
        block = []
        for layer in self.layers:
            y, variables = jax.eval_shape(lambda x, layer=layer: layer.init_with_output(jax.random.key(0), x), x)
            block.append(count(variables))
            x = y
        return count(shapes(self.direct, jax.ShapeDtypeStruct((1, 8, 8, self.channels), jnp.float32))), block

    def times(self, rng: np.random.Generator, repeats: int) -> tuple[float, float]:
        """Seconds for one image, forward: the single convolution, and the block."""
        x = rng.normal(size=(1, self.size, self.size, self.channels)).astype(np.float32)
        chain = [layer for pair in zip(self.layers, [nn.relu] * len(self.layers)) for layer in pair][:-1]
        networks = (self.direct, nn.Sequential(chain))
        both = [seconds(jax.jit(net.apply), random_variables(net, x, rng), jnp.asarray(x), repeats=repeats) for net in networks]
        return both[0], both[1]


BLOCKS = {
    "ResNet bottleneck": Block("He et al. 2016, fig. 5", 56, 256, _square(256), (_one(64), _square(64), _one(256))),
    "Inception 3a, 5x5": Block("Szegedy et al. 2015, tab. 1", 28, 192, _square(32, 5), (_one(16), _square(32, 5))),
    "SqueezeNet fire2": Block("Iandola et al. 2016, tab. 1", 55, 96, _square(128), (_one(16), Expand(128))),
    "MobileNet separable": Block("Howard et al. 2017, tab. 1", 14, 512, _square(512), (_square(512, groups=512), _one(512))),
}


def two_layers_as_one(rng: np.random.Generator) -> tuple[float, int]:
    """256 -> 64 -> 256 without a nonlinearity between, against one layer with the product of the two matrices.

    Returns:
        The largest difference, relative to the largest output, and the rank of the product: at most 64.
    """
    squeeze, expand = (rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32) for shape in ((256, 64), (64, 256)))
    x = rng.normal(size=(1, 10, 10, 256)).astype(np.float32)
    twice = _apply(_apply(x, squeeze), expand)
    once = _apply(x, squeeze @ expand)
    return largest_difference(once, twice) / float(np.abs(twice).max()), int(np.linalg.matrix_rank(squeeze @ expand))


def _apply(x: np.ndarray, kernel: Float[np.ndarray, "c k"]) -> np.ndarray:
    layer = PointwiseConv(kernel.shape[1], use_bias=False)
    return np.asarray(layer.apply({"params": {"kernel": kernel.reshape(1, 1, *kernel.shape)}}, x))


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    rng = setting.rng()
    table = {}
    for name, block in BLOCKS.items():
        direct, layers = block.parameters()
        table[name] = {"direct": direct, "block": sum(layers), "layers": layers, "ratio": direct / sum(layers)}
        table[name]["direct_gmac"], table[name]["block_gmac"] = (n * block.size**2 / 1e9 for n in (direct, sum(layers)))
        if name == "ResNet bottleneck" or not setting.fast:
            times = block.times(rng, repeats=3 if setting.fast else 7)
            table[name]["direct_seconds"], table[name]["block_seconds"] = times
    difference, rank = two_layers_as_one(rng)
    rows = [_row(name, row) for name, row in table.items()]
    return Claim(
        title="It changes the number of channels cheaply",
        lines=(
            f"{'':20} {'weights: direct':>16} -> with 1x1           multiply-adds         time, measured",
            *rows,
            f"256 -> 64 -> 256 with nothing between is one layer of rank {rank} (difference {difference:.0e}): keep the ReLU",
        ),
        verdict="Squeeze with 1x1, do the spatial work on few channels, expand with 1x1: about a ninth of the weights.",
        holds=all(8 < row["ratio"] < 10 for row in table.values()) and rank == 64 and difference < 1e-5,
        numbers={"blocks": table, "two_layers_as_one": {"difference": difference, "rank": rank}},
        figures={"pointwise_cost.png": draw(table)},
    )


def _row(name: str, row: dict) -> str:
    text = f"{name:20} {row['direct']:>16,} -> {row['block']:>8,} ({row['ratio']:.1f}x)"
    text += f"    {row['direct_gmac']:.2f} -> {row['block_gmac']:.2f} G"
    if "direct_seconds" in row:
        text += f"    {1e3 * row['direct_seconds']:5.1f} -> {1e3 * row['block_seconds']:4.1f} ms"
    return text


def draw(table: dict) -> Figure:
    """The ResNet bottleneck layer by layer, and the four blocks as shares of their single convolutions."""
    figure = drawing.new_figure(12, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_bottleneck(left, table["ResNet bottleneck"])
    names = list(table)[::-1]
    shares = [100 / table[name]["ratio"] for name in names]
    right.barh(names, [100] * len(names), color=drawing.GRID, height=0.6)
    right.barh(names, shares, color=drawing.BLUE, height=0.6)
    for i, (name, share) in enumerate(zip(names, shares)):
        text = f"{table[name]['block']:,} of {table[name]['direct']:,}"
        right.text(share + 1.5, i, f"{share:.1f} %", va="center", color=drawing.BLUE, weight="bold")
        right.text(99, i, text, va="center", ha="right", color=drawing.SOFT, fontsize=9)
    right.set(xlim=(0, 101), xlabel="weights, % of the direct convolution", title="four blocks with 1x1 convolutions")
    right.tick_params(axis="y", length=0, labelcolor=drawing.INK)
    figure.suptitle("Cheap channel changes: squeeze, convolve, expand", fontsize=14, weight="bold")
    return figure


def _draw_bottleneck(ax, row):
    ax.barh([1], [row["direct"]], color=drawing.GRAY, height=0.55)
    ax.text(row["direct"] / 2, 1, "3x3, 256 → 256", ha="center", va="center", color="white", weight="bold")
    start = 0
    colours = (drawing.BLUE, drawing.ORANGE, drawing.BLUE)
    labels = ("1x1, 256 → 64", "3x3, 64 → 64", "1x1, 64 → 256")
    for i, (weights, colour, label) in enumerate(zip(row["layers"], colours, labels)):
        ax.barh([0], [weights], left=start, color=colour, height=0.55, edgecolor="white")
        ax.text(row["block"] * 1.15, 0.18 - 0.18 * i, f"{label}: {weights:,}", color=colour, va="center")
        start += weights
    ax.set_yticks([0, 1], [f"bottleneck\n{row['block']:,}", f"direct\n{row['direct']:,}"], weight="bold")
    ax.tick_params(axis="y", length=0, labelcolor=drawing.INK)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:.0f} k")
    ax.set(xlabel="weights", title="ResNet bottleneck", ylim=(-0.5, 1.45))
