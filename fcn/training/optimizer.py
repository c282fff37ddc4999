"""Optimizer and learning-rate schedule from a small frozen config, built on Optax."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map
from jaxtyping import PyTree

from fcn.ranges import Range, check_fields
from fcn.training.finetuning import check_parts, is_within, learning_rates


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated."""

    name: Literal[
        "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad", "lamb",
        "lars", "lion", "nadam", "nadamw", "novograd", "radam", "rmsprop", "sgd", "sign_sgd", "signum", "yogi",
    ] = "adamw"  # fmt: skip
    """One of Optax's, under its name there."""
    learning_rate: Annotated[float, Range(0, above=True)] = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "cosine", "poly", "one-cycle", "step", "exponential"] = "cosine"
    """How the rate falls after the warm-up: not at all, by a half cosine, as (1 - t)^0.9, at milestones, or exponentially;
    one-cycle rises and falls by half cosines, from a 25th of the peak to next to nothing."""
    final: Annotated[float, Range(0, 1)] = 0.0
    """Share of the peak rate that is left at the end of a cosine, poly or exponential schedule."""
    warmup: Annotated[float, Range(0, 1, below=True)] = 0.05
    """Share of all steps in which the rate rises: linearly from zero, or as one-cycle does (usually 0.3 of them)."""
    weight_decay: Annotated[float, Range(0)] = 1e-4
    """Decay of convolution kernels; biases and normalisation parameters are not decayed. Optimizers that have no decay of their
    own add it to the gradient."""
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
    """Momentum, or the decay of the first moment (Optax's momentum, beta or b1)."""
    clip_norm: Annotated[float | None, Range(0, above=True)] = None
    """Gradients of a larger global norm are scaled down to it."""
    milestones: Annotated[tuple[float, ...], Range(0, 1)] = (0.5, 0.75)
    """Where the rate of a step schedule falls, in shares of all steps."""
    gamma: Annotated[float, Range(0, 1)] = 0.1
    """By what it is multiplied there."""
    bias_rate: Annotated[float, Range(0)] = 1.0
    """Learning rate of biases beside that of the rest: 2 in FCN."""
    encoder_rate: Annotated[float, Range(0, above=True)] = 1.0
    """Learning rate of the encoder beside that of the rest: 0.1 is usual for one that is trained."""
    layer_decay: Annotated[float, Range(0, 1, above=True)] = 1.0
    """Factor of the learning rate from each block of a transformer's encoder to the one below: 0.65 to 0.95 are usual."""

    def __post_init__(self):
        check_fields(self)
        if self.schedule == "exponential" and self.final == 0:
            raise ValueError("final is 0.0; an exponential schedule ends above 0, such as at 0.01")


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate as a function of the number of finished steps, for a run of `steps` steps.

    One-cycle: Smith & Topin, Super-Convergence, 2017, with PyTorch's numbers.
    """
    peak = config.learning_rate
    if config.schedule == "one-cycle":
        return optax.cosine_onecycle_schedule(steps, peak, pct_start=config.warmup)
    warmup_steps = round(config.warmup * steps)
    decay_steps = max(1, steps - warmup_steps)
    decay = {
        "constant": lambda: optax.constant_schedule(peak),
        "cosine": lambda: optax.cosine_decay_schedule(peak, decay_steps, config.final),
        "poly": lambda: optax.polynomial_schedule(peak, config.final * peak, 0.9, decay_steps),
        "step": lambda: optax.piecewise_constant_schedule(peak, _falls(config, steps, warmup_steps)),
        "exponential": lambda: optax.exponential_decay(peak, decay_steps, config.final),
    }[config.schedule]()
    if warmup_steps == 0:
        return decay
    # The first step already moves: its rate is peak / warmup_steps, not zero.
    rise = optax.linear_schedule(peak / warmup_steps, peak, warmup_steps)
    return optax.join_schedules([rise, decay], [warmup_steps])


def _falls(config: OptimizerConfig, steps: int, warmup_steps: int) -> dict[int, float]:
    """Factors of the rate by the step, counted from the end of the warm-up, at which they come in."""
    falls: dict[int, float] = {}
    for share in config.milestones:
        step = round(share * steps) - warmup_steps
        falls[step] = falls.get(step, 1.0) * config.gamma
    return falls


def decay_mask(params):
    """True for kernels; biases, scales and other vectors are not decayed."""
    return path_aware_map(lambda path, _: path[-1] == "kernel", params)


def make_optimizer(
    config: OptimizerConfig,
    steps: int,
    *,
    encoder: str = "encoder",
    frozen: Sequence[str] = (),
    unfreeze_after: int | None = None,
) -> optax.GradientTransformation:
    """The Optax transformation that `config` describes.

    Args:
      config: what it does.
      steps: length of the run.
      encoder: the encoder's name in the network.
      frozen: parts of the network, such as "encoder", whose parameters stay as they are, and
      unfreeze_after: after how many steps they are updated as the others are; None: never. The schedule is the same for all.

    Raises:
      ValueError: when it is initialised, or updates: the network has no such parts.
    """
    clip = optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm)
    schedule = make_schedule(config, steps)
    update = _update(config, schedule)
    if frozen:
        update = optax.partition({"trained": update, "frozen": _later(config, schedule, unfreeze_after)}, _labels(frozen))
    rates = {"bias_rate": config.bias_rate, "encoder_rate": config.encoder_rate, "layer_decay": config.layer_decay}
    if set(rates.values()) == {1.0}:
        return optax.chain(clip, update)

    def scaled(updates, _):
        return jax.tree.map(jnp.multiply, updates, learning_rates(updates, encoder=encoder, **rates))

    return optax.chain(clip, update, optax.stateless(scaled))


def _labels(frozen: Sequence[str]) -> Callable[[PyTree], PyTree]:
    def labels(params):
        check_parts(params, frozen)
        return path_aware_map(lambda path, _: "frozen" if is_within(path, frozen) else "trained", params)

    return labels


def _later(config: OptimizerConfig, schedule: optax.Schedule, begin: int | None) -> optax.GradientTransformation:
    """The optimizer from step `begin` on, where its moments begin as well; nothing where that is None."""
    if begin is None:
        return optax.set_to_zero()
    return optax.conditionally_mask(
        _update(config, lambda count: schedule(count + begin)), lambda step, **_: jnp.greater_equal(step, begin)
    )


def _update(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Optax's own optimizer, with momentum and decay under the names that it has for them."""
    make = getattr(optax, config.name)
    known = inspect.signature(make).parameters
    options: dict[str, Any] = {}
    if momentum := next((name for name in ("b1", "momentum", "beta") if name in known), None):
        options[momentum] = config.momentum or (None if known[momentum].default is None else 0.0)
    mask = next((name for name in ("mask", "weight_decay_mask") if name in known), None)
    if mask is None:  # PyTorch's order: the decay enters the momentum
        decay = optax.add_decayed_weights(config.weight_decay, mask=decay_mask)
        return optax.chain(decay, make(schedule, **options))
    if "weight_decay" in known:
        return make(schedule, **options, weight_decay=config.weight_decay, **{mask: decay_mask})
    # Adafactor's decay comes after the rate, which it would not follow.
    return make(schedule, **options, weight_decay_rate=lambda n: config.weight_decay * schedule(n), **{mask: decay_mask})
