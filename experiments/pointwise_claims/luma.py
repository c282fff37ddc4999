"""Claim 2: one output channel turns a photo gray, and gradient descent finds the weights by itself."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, largest_difference
from fcn.layers import PointwiseConv

BT601 = np.array([0.299, 0.587, 0.114], np.float32)
"""Luma of ITU-R BT.601: how much red, green and blue count for the brightness."""

LAYER = PointwiseConv(1, use_bias=False)


class Learned(NamedTuple):
    """A run of gradient descent.

    Attributes:
        weights: [steps + 1, 3], the layer's kernel before the first and after every step.
        errors: [steps + 1], mean squared errors of these weights.
        rate: the learning rate.
    """

    weights: np.ndarray
    errors: np.ndarray
    rate: float


def gray(image: Float[np.ndarray, "h w 3"], weights: Float[np.ndarray, " 3"] = BT601) -> Float[np.ndarray, "h w"]:
    """The photo through a 1x1 convolution with one output channel."""
    mixed: Any = LAYER.apply({"params": {"kernel": weights.reshape(1, 1, 3, 1)}}, image[None])
    return np.asarray(mixed[0, ..., 0])


def gray_by_pillow(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """The same photo in gray as Pillow makes it: 8-bit, rounded, 0..1."""
    pixels = Image.fromarray(np.round(image * 255).astype(np.uint8))
    return np.asarray(pixels.convert("L"), np.float32) / 255


def learn(image: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w"], steps: int) -> Learned:
    """Plain gradient descent on the mean squared error, from weights 0 and at the rate 1 / (largest curvature)."""
    x, y = jnp.asarray(image)[None], jnp.asarray(target)[None, ..., None]
    rate = 1.0 / max(float(np.linalg.eigvalsh(curvature(image))[-1]), 1e-12)
    optimizer = optax.sgd(rate)
    params = {"kernel": jnp.zeros((1, 1, 3, 1))}

    def loss(params):
        mixed: Any = LAYER.apply({"params": params}, x)
        return jnp.mean((mixed - y) ** 2)

    @jax.jit
    def step(params, state):
        error, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, error

    state, weights, errors = optimizer.init(params), [], []
    for _ in range(steps + 1):
        weights.append(params["kernel"])
        params, state, error = step(params, state)
        errors.append(error)
    weights, errors = jax.device_get((weights, errors))
    return Learned(np.reshape(weights, (-1, 3)), np.array(errors), rate)


def curvature(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 3"]:
    """Second derivative of the mean squared error: twice the mean of x x^T over the pixels, float64."""
    x = image.reshape(-1, 3).astype(np.float64)
    return 2 * x.T @ x / len(x)


def steps_needed(image: Float[np.ndarray, "h w 3"]) -> float:
    """Steps of `learn` until the slowest direction is within e^-5 of its goal; inf where the channels are not independent."""
    values = np.linalg.eigvalsh(curvature(image))
    return float(np.ceil(5 * values[-1] / values[0])) if values[0] > 1e-9 * values[-1] else np.inf


def weights_by_theory(
    image: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w"], rate: float, steps: int
) -> Float[np.ndarray, "t 3"]:
    """Closed form of what `learn` does: w_t = (I - (I - rate H)^t) w*, H the curvature, w* the least squares solution."""
    x, y = image.reshape(-1, 3).astype(np.float64), target.reshape(-1).astype(np.float64)
    best = np.linalg.lstsq(x, y)[0]
    values, vectors = np.linalg.eigh(curvature(image))
    progress = 1 - (1 - rate * values) ** np.arange(steps + 1)[:, None]
    return (progress * (vectors.T @ best)) @ vectors.T


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    image = setting.image
    target = gray_by_pillow(image)
    needed = steps_needed(image)
    steps = 300 if setting.fast else int(np.clip(needed, 1000, 8000))
    learned = learn(image, target, steps)
    theory = weights_by_theory(image, target, learned.rate, steps)
    numbers = {
        "bt601": BT601.round(3).tolist(),
        "levels_from_pillow": 255 * largest_difference(gray(image), target),
        "learned_weights": learned.weights[-1].round(5).tolist(),
        "steps": steps,
        "steps_needed": needed if np.isfinite(needed) else None,
        "learning_rate": learned.rate,
        "first_error": float(learned.errors[0]),
        "last_error": float(learned.errors[-1]),
        "difference_to_theory": largest_difference(learned.weights, theory),
    }
    off = largest_difference(learned.weights[-1], BT601)
    lines = (
        f"fixed weights 0.299, 0.587, 0.114: at most {numbers['levels_from_pillow']:.2f} of 255 gray levels from Pillow's gray",
        f"learned from Pillow's gray in {steps} steps: " + ", ".join(f"{w:.4f}" for w in learned.weights[-1]),
        f"mean squared error {learned.errors[0]:.3f} -> {learned.errors[-1]:.1e}; weights off by at most {off:.4f}",
        f"all the way the weights follow w_t = (I - (I - rate H)^t) w*: within {numbers['difference_to_theory']:.1e}",
    )
    verdict = "A 1x1 layer with three weights makes the gray picture, and it can learn those weights from examples."
    if np.isinf(needed):
        verdict += " This picture has fewer than three independent channels: other weights do as well."
    elif steps < needed:
        verdict += f" The channels of this picture are much alike: it takes {needed:,.0f} steps to tell them apart."
    return Claim(
        title="One output channel of an RGB photo is a gray picture",
        lines=lines,
        verdict=verdict,
        holds=numbers["levels_from_pillow"] < 0.51 and numbers["difference_to_theory"] < 1e-4 and numbers["last_error"] < 1e-4,
        numbers=numbers,
        figures={"pointwise_gray.png": draw(image, learned, theory)},
    )


def draw(image: np.ndarray, learned: Learned, theory: np.ndarray) -> Figure:
    """Above: three channels, weighted and summed. Below: the weights and the error on their way."""
    figure = drawing.new_figure(12, 6.2)
    above, below = drawing.parts(figure, 2, 1, height_ratios=(1, 1.15))
    _draw_sum(above, image)
    left, right = below.subplots(1, 2, width_ratios=(1.6, 1))
    steps = np.arange(1, len(learned.weights))
    marks = np.unique(np.geomspace(1, len(steps), 22).astype(int))
    for channel, (name, colour) in enumerate(zip(("red", "green", "blue"), drawing.CHANNELS)):
        left.axhline(BT601[channel], color=colour, linewidth=0.8, linestyle=":")
        left.plot(steps, learned.weights[1:, channel], color=colour, linewidth=2)
        left.plot(marks, theory[marks, channel], "o", color=colour, markersize=4.5, markerfacecolor="white")
        text = f" {name} {learned.weights[-1, channel]:.3f}"
        left.annotate(text, (steps[-1], learned.weights[-1, channel]), color=colour, weight="bold", va="center")
    left.set(xscale="log", xlabel="step of gradient descent", title="learned weights (lines) and the closed form (circles)")
    left.set_xlim(1, steps[-1] * 1.02)
    right.plot(steps, np.maximum(learned.errors[1:], 1e-12), color=drawing.INK, linewidth=2)
    right.set(xscale="log", yscale="log", xlabel="step of gradient descent", title="mean squared error")
    return figure


def _draw_sum(figure, image):
    figure.suptitle("Gray from colour: one output channel of a 1x1 convolution", fontsize=14, weight="bold")
    axes = figure.subplots(1, 4)
    for channel, (name, ax) in enumerate(zip(("red", "green", "blue"), axes)):
        drawing.show(ax, image[..., channel])
        ax.set_title(f"{BT601[channel]:.3f} × {name}", color=drawing.CHANNELS[channel], weight="bold")
        ax.text(1.04, 0.5, "+" if channel < 2 else "=", transform=ax.transAxes, fontsize=20, ha="center", va="center")
    drawing.show(axes[3], gray(image), "brightness (BT.601 luma)")
