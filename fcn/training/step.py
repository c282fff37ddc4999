"""The pure training step and the pure evaluation step; `fcn.parallel` runs them on one device or many."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree, Shaped

from fcn.training.finetuning import evaluating, held
from fcn.training.gradients import gradient, gradient_in_parts
from fcn.training.heads import loss_of_heads
from fcn.training.protocols import Measured
from fcn.training.remat import Remat, rematerialised
from fcn.training.state import SkippingState, TrainState

Prepare = Callable[[dict], tuple[Array | np.ndarray, PyTree]]
"""A batch of the loader -> float images [B, H, W, C], and targets: an array, or arrays by name, [B, H, W, ...]."""
Objective = Callable[[Array, PyTree], Array]
"""(logits [B, H, W, K], targets) -> scalar loss, summed over devices where there are several."""


def crop_to(targets: PyTree[Shaped[Array, "b ..."]], shape: tuple[int, ...]) -> PyTree[Shaped[Array, "b ..."]]:
    """The central `shape` of each target: networks of valid convolutions give logits for the middle of the image only."""

    def middle(target):
        starts = [(full - part) // 2 for full, part in zip(target.shape[1:], shape)]
        return target[:, *(slice(start, start + part) for start, part in zip(starts, shape))]

    return jax.tree.map(middle, targets)


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    objective: Objective,
    prepare: Prepare,
    *,
    key: Array,
    aux_weight: float = 0.4,
    ema_decay: float = 0.0,
    frozen: Sequence[str] = (),
    unfreeze_after: int | None = None,
    remat: Remat = "none",
    accumulate: int = 1,
    axis_name: str | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """Builds `train_step(state, batch) -> (state, metrics)`.

    Args:
      model: maps images [B, H, W, C] to logits [B, H, W, K].
      tx: the optimizer.
      objective: the loss. Under `axis_name` it sums its numerator and denominator over that axis itself (`fcn.losses` does).
      prepare: turns a batch of the loader into float images and targets; augmentation happens here, on the device.
      key: seed of dropout; step t uses `fold_in(key, t)`.
      aux_weight: weight of each auxiliary head's loss; see `loss_of_heads`.
      ema_decay: decay of the moving average of the variables, which the state must carry if it is above 0.
      frozen: parts of the network, such as "encoder", that compute as with `train=False` and get no gradient, and
      unfreeze_after: for how many steps; None: for all. The optimizer must know it, too (`make_optimizer`).
      remat: what of the forward pass is computed again in the backward pass; see `rematerialised`.
      accumulate: in how many parts, one after the other, the gradient of a batch is computed; see `gradient_in_parts`.
      axis_name: the `pmap` axis, or None under `jit`.

    Returns:
      The step. Its metrics are float32 scalars: `loss` and `grad_norm`, both of the whole batch, before the update. Where one
      of them is not finite and the state is a `SkippingState`, only the number of the step and the counts move on; the counts
      are the metrics `skipped` and `skipped_in_a_row`.
    """

    def forward(params, model_state, batch, key, *, frozen):
        images, targets = prepare(batch)

        def network(params, images):
            with evaluating(frozen):
                logits, updates = model.apply(
                    {"params": held(params, frozen), **model_state},
                    images,
                    train=True,
                    mutable=["batch_stats", "aux_logits"],
                    rngs={"dropout": key},
                )
            statistics = {name: tree for name, tree in updates.items() if name != "aux_logits"}
            return (logits, updates.get("aux_logits", {})), {**model_state, **statistics}

        outputs, new = rematerialised(network, remat)(params, images)
        return outputs, targets, new

    def loss_of(outputs, targets):
        logits, auxiliary = outputs
        target = crop_to(targets, logits.shape[1:-1])
        return loss_of_heads(lambda head: objective(head, target), logits, auxiliary, aux_weight)

    compute = gradient if accumulate == 1 else partial(gradient_in_parts, parts=accumulate)

    def train_step(state, batch):
        dropout_key = jax.random.fold_in(key, state.step)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))

        def with_gradient(frozen):
            step_of = partial(forward, frozen=frozen)
            return lambda params: compute(step_of, loss_of, params, state.model_state, batch, dropout_key)

        if frozen and unfreeze_after is not None:
            ways = with_gradient(frozen), with_gradient(())
            (loss, model_state), grads = jax.lax.cond(state.updates < unfreeze_after, *ways, state.params)
        else:
            (loss, model_state), grads = with_gradient(frozen)(state.params)
        if axis_name is not None:
            # The loss is already the global one on every device; the transpose of its psum scales each device's share
            # by their number, so the mean over devices is the gradient of the global loss.
            grads = jax.lax.pmean(grads, axis_name)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            # As the average starts from the initial parameters, early decays are shorter (TensorFlow's rule).
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda a, b: b + decay * (a - b), ema, {"params": params, **model_state})
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        new = state.replace(step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state, ema=ema)
        return _unless_faulty(state, new, metrics) if isinstance(state, SkippingState) else (new, metrics)

    return train_step


def scanned(step: Callable[[PyTree, PyTree], tuple[PyTree, dict]]) -> Callable[[PyTree, Sequence[PyTree]], tuple[PyTree, dict]]:
    """Several steps in one program: (state, batches) -> (state, metrics), of which each has a leading axis over the steps."""

    def steps(state, batches):
        return jax.lax.scan(step, state, jax.tree.map(lambda *parts: jnp.stack(parts), *batches))

    return steps


def _unless_faulty(old: SkippingState, new: SkippingState, metrics: dict) -> tuple[SkippingState, dict]:
    """The new state, or where the metrics are not finite the old one, and how often that was so."""
    good = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
    total, in_a_row = old.skipped
    skipped = jnp.stack([total + ~good, jnp.where(good, 0, in_a_row + 1)])
    kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
    return kept.replace(step=new.step, skipped=skipped), metrics | {"skipped": skipped[0], "skipped_in_a_row": skipped[1]}


def make_eval_step(
    model: Any, task: Measured, prepare: Prepare, *, with_loss: bool = False, axis_name: str | None = None
) -> Callable[[dict, dict], tuple[PyTree, Array | None]]:
    """Builds `eval_step(variables, batch) -> what the task's metric counts in the batch of all devices, and its loss`.

    The loss is that of the logits alone, without auxiliary heads, as `task.weighed_losses` gives it.

    Args:
      model: maps images [B, H, W, C] to logits [B, H, W, K]; a module, or what has its `apply`.
      task: an `fcn.tasks.Task`. Where it predicts on the host the step gives (scores, targets) of each image instead.
      prepare: turns a batch of the loader into float images and targets.
      with_loss: whether there is a loss; else it is None.
      axis_name: the `pmap` axis, or None under `jit`.
    """
    metric = task.metric()

    def eval_step(variables, batch):
        images, targets = prepare(batch)
        logits = cast("Array", model.apply(variables, images))
        targets = crop_to(targets, logits.shape[1:-1])
        images = jnp.sum(batch["index"] >= 0, dtype=jnp.float32) if with_loss else None
        found = (task.scores(logits), targets)
        if axis_name is not None:
            images = None if images is None else jax.lax.psum(images, axis_name)
            found = jax.lax.all_gather(found, axis_name, tiled=True)
        losses = None if images is None else task.weighed_losses(logits, targets, images, axis_name=axis_name)
        scores, targets = found
        return found if task.on_host else metric.count(task.prediction(scores), task.truth(targets)), losses

    return eval_step
