"""Claim 3: it is not one scalar per channel. That is the depthwise 1x1, which can neither mix nor add nor drop channels."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, count, shapes
from fcn.layers import Conv, PointwiseConv

LAYERS = {"pointwise": PointwiseConv(3), "depthwise": Conv(3, kernel_size=1, groups=3)}
"""All three channels to each of three; and each channel to itself, times one scalar."""

VOICES_TO_MICROPHONES = np.array([[0.8, 0.7, 0.4], [0.5, 0.9, 0.9]])
"""How loud each of two voices is in each of three microphones."""


def exchange_red_and_blue(image: Float[np.ndarray, "*space 3"]) -> Float[np.ndarray, "*space 3"]:
    """The target: the same photo with two channels exchanged. No scaling of single channels does that."""
    return image[..., ::-1]


def fit(
    layer: nn.Module, x: Float[Array | np.ndarray, "*space c"], y: Float[Array | np.ndarray, "*space k"], steps: int
) -> dict:
    """Trains the layer (its kernel and bias) to turn x into y by gradient descent with momentum, and returns its variables.

    The mean squared error is quadratic in the parameters; the rate is 1 / (its largest possible curvature).
    """
    x, y = jnp.asarray(x)[None], jnp.asarray(y)[None]
    rate = y.shape[-1] / (2.0 * (1.0 + float((x**2).sum(-1).mean())))
    optimizer = optax.sgd(rate, momentum=0.9, nesterov=True)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes(layer, x))

    def loss(params):
        result: Any = layer.apply(params, x)
        return jnp.mean((result - y) ** 2)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def depthwise_residual(x: Float[np.ndarray, "*space c"], y: Float[np.ndarray, "*space c"]) -> Float[np.ndarray, " c"]:
    """Closed form of the best a scale and a bias per channel can do: variance of the target x (1 - correlation^2).

    Args:
        x: input.
        y: target, as many channels as the input.

    Returns:
        The mean squared error that remains in each channel, float64.
    """
    x, y = x.reshape(-1, x.shape[-1]).astype(np.float64), y.reshape(-1, y.shape[-1]).astype(np.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    covariance, variance = (x * y).mean(0), (x**2).mean(0)
    return (y**2).mean(0) - np.divide(covariance**2, variance, out=np.zeros_like(variance), where=variance > 0)


def voices(length: int = 240) -> Float[np.ndarray, "l 2"]:
    """Two made-up voices: a swelling tone and a saw-tooth, float32 in -1..1."""
    t = np.arange(length) / length
    tone = np.sin(2 * np.pi * 9 * t) * (0.45 + 0.55 * np.sin(2 * np.pi * 1.5 * t) ** 2)
    saw = 2 * ((4 * t) % 1.0) - 1
    return np.stack([tone, saw], axis=-1).astype(np.float32)


def best_single_microphone(sound: Float[np.ndarray, "l m"], voice: Float[np.ndarray, " l"]) -> float:
    """What remains when one microphone, scaled, has to stand for the voice, as a share of the voice's variance."""
    return float(depthwise_residual(sound, np.repeat(voice[:, None], sound.shape[1], axis=1)).min() / voice.var())


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    step = 4 if setting.fast else 2
    image, steps = setting.image[::step, ::step], 1500
    target = exchange_red_and_blue(image)
    trained = {name: fit(layer, image, target, steps) for name, layer in LAYERS.items()}
    errors = {name: ((_output(name, trained, image) - target) ** 2).mean((0, 1)) for name in LAYERS}
    theory = depthwise_residual(image, target)

    spoken = voices()
    heard = (spoken @ VOICES_TO_MICROPHONES).astype(np.float32)
    unmixed = np.asarray(PointwiseConv(2).apply(fit(PointwiseConv(2), heard, spoken, steps), heard[None])[0])
    single = [best_single_microphone(heard, spoken[:, v]) for v in range(2)]
    numbers = {
        "parameters": {name: count(variables) for name, variables in trained.items()},
        "pointwise_error": errors["pointwise"].tolist(),
        "depthwise_error": errors["depthwise"].tolist(),
        "depthwise_error_closed_form": theory.tolist(),
        "voices_share_pointwise": (((unmixed - spoken) ** 2).mean(0) / spoken.var(0)).tolist(),
        "voices_share_best_single_microphone": single,
    }
    rgb = "red {:.4f}, green {:.4f}, blue {:.4f}".format
    lines = (
        "task: exchange red and blue. What remains (mean squared error) after training",
        f"  1x1 convolution, {numbers['parameters']['pointwise']} parameters:           {rgb(*errors['pointwise'])}",
        f"  one scalar per channel, {numbers['parameters']['depthwise']} parameters:     {rgb(*errors['depthwise'])}",
        f"  closed form, variance (1 - corr.^2):      {rgb(*theory)}",
        f"in 1-D, 3 microphones -> 2 voices: 1x1 leaves {max(numbers['voices_share_pointwise']):.0%} of the voices'"
        f" variance, one scaled microphone {single[0]:.0%} and {single[1]:.0%}",
    )
    colourful = theory.max() > 1e-3
    holds = max(errors["pointwise"]) < 1e-5 and np.abs(errors["depthwise"] - theory).max() < 1e-5 and colourful
    return Claim(
        title="It is not one scalar per channel",
        lines=lines,
        verdict="A 1x1 convolution mixes channels; one scalar per channel (depthwise) cannot, however long it trains."
        if colourful
        else "Nothing to see on this picture: its channels are almost the same, so there is nothing to mix.",
        holds=bool(holds),
        numbers=numbers,
        figures={
            "pointwise_mixing.png": draw_mixing(setting.image, trained, theory.mean()),
            "pointwise_voices.png": draw_voices(spoken, heard, unmixed),
        },
    )


def _output(name: str, trained: dict, image: np.ndarray) -> np.ndarray:
    return np.asarray(LAYERS[name].apply(trained[name], image[None])[0])


def draw_mixing(image: np.ndarray, trained: dict, remains: float) -> Figure:
    """Input, target, and what the two trained layers make of the input."""
    figure = drawing.new_figure(12.5, 3.35)
    axes = figure.subplots(1, 4)
    drawing.show(axes[0], image, "input")
    drawing.show(axes[1], exchange_red_and_blue(image), "target: red and blue exchanged")
    drawing.show(axes[2], _output("pointwise", trained, image), "1x1 convolution, trained")
    drawing.show(axes[3], _output("depthwise", trained, image), "one scalar per channel, trained")
    axes[2].set_xlabel("mean squared error: 0", color=drawing.GREEN)
    axes[3].set_xlabel(f"mean squared error that remains: {remains:.3f}", color=drawing.RED)
    axes[2].title.set_color(drawing.GREEN)
    axes[3].title.set_color(drawing.RED)
    figure.suptitle("A 1x1 convolution mixes channels; a scalar per channel cannot", fontsize=14, weight="bold")
    return figure


def draw_voices(spoken: np.ndarray, heard: np.ndarray, unmixed: np.ndarray) -> Figure:
    """Three microphones in, two voices out: kernel size 1 along time."""
    figure = drawing.new_figure(12, 4.2)
    left, right = drawing.parts(figure, 1, 2)
    left.suptitle("input: 3 channels (microphones), 240 positions", fontsize=11)
    right.suptitle("output of kernel size 1: 2 channels (the voices)", fontsize=11)
    for i, ax in enumerate(left.subplots(3, 1, sharex=True, sharey=True)):
        ax.plot(heard[:, i], color=drawing.SOFT, linewidth=1.5)
        ax.set_ylabel(f"mic {i + 1}", rotation=0, ha="right", va="center")
    for i, (ax, colour) in enumerate(zip(right.subplots(2, 1, sharex=True, sharey=True), (drawing.BLUE, drawing.ORANGE))):
        alone = np.repeat(spoken[:, i, None], heard.shape[1], axis=1)
        microphone = heard[:, depthwise_residual(heard, alone).argmin()]
        ax.plot(
            np.polyval(np.polyfit(microphone, spoken[:, i], 1), microphone),
            color=drawing.GRAY,
            linewidth=1,
            label="best scalar × one microphone",
        )
        ax.plot(unmixed[:, i], color=colour, linewidth=2.2, label="1x1 convolution")
        ax.plot(np.arange(0, 240, 8), spoken[::8, i], "o", color=drawing.INK, markersize=3, label="what was spoken")
        ax.set_ylabel(f"voice {i + 1}", rotation=0, ha="right", va="center")
    ax.set_xlabel("position (time)")
    right.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    for ax in (*left.axes, *right.axes):
        ax.set_yticks([])
    left.axes[-1].set_xlabel("position (time)")
    return figure
