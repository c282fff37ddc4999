"""Optimizer and learning-rate schedule from a small frozen config, built on Optax."""

import dataclasses
from typing import Annotated, Literal

import flax
import optax

from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated."""

    name: Literal["adamw", "sgd"] = "adamw"
    """adamw (Loshchilov & Hutter 2019) or sgd with momentum."""
    learning_rate: Annotated[float, Range(0, above=True)] = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "cosine", "poly"] = "cosine"
    """How the rate falls after the warm-up: not at all, by a half cosine, or as (1 - t)^0.9."""
    final: Annotated[float, Range(0, 1)] = 0.0
    """Share of the peak rate that is left at the end of a cosine or poly schedule."""
    warmup: Annotated[float, Range(0, 1, below=True)] = 0.05
    """Share of all steps in which the rate rises linearly from zero."""
    weight_decay: Annotated[float, Range(0)] = 1e-4
    """Decay of convolution kernels; biases and normalisation parameters are not decayed."""
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Momentum of sgd, or the first-moment decay of adamw."""
    clip_norm: Annotated[float | None, Range(0, above=True)] = None
    """Gradients of a larger global norm are scaled down to it."""

    def __post_init__(self):
        check_fields(self)


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate as a function of the number of finished steps, for a run of `steps` steps."""
    warmup_steps = round(config.warmup * steps)
    decay_steps = max(1, steps - warmup_steps)
    peak = config.learning_rate
    decay = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, decay_steps, config.final),
        "poly": lambda: optax.polynomial_schedule(peak, config.final * peak, 0.9, decay_steps),
    }[config.schedule]()
    if warmup_steps == 0:
        return decay
    # The first step already moves: its rate is peak / warmup_steps, not zero.
    rise = optax.linear_schedule(peak / warmup_steps, peak, warmup_steps)
    return optax.join_schedules([rise, decay], [warmup_steps])


def decay_mask(params):
    """True for kernels; biases, scales and other vectors are not decayed."""
    return flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The Optax transformation that `config` describes."""
    schedule = make_schedule(config, steps)
    if config.name == "adamw":
        update = optax.adamw(schedule, b1=config.momentum, weight_decay=config.weight_decay, mask=decay_mask)
    else:  # PyTorch's order: the decay enters the momentum
        update = optax.chain(
            optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
            optax.sgd(schedule, momentum=config.momentum or None),
        )
    clip = optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm)
    return optax.chain(clip, update)
