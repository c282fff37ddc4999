"""Regression: values of each pixel, such as depths or heat maps."""

import dataclasses
from typing import Annotated, ClassVar

import jax.numpy as jnp
import numpy as np

from fcn import visualize
from fcn.data.codec import Values
from fcn.data.source import LabelKind
from fcn.losses import total_loss, weighed_losses
from fcn.metrics import Errors, ErrorSums
from fcn.ranges import LARGEST, Range, check_fields
from fcn.tasks.task import Task, defined
from fcn.text import short_name

_REACH = 2.5
"""Deviations from the mean that the colours of pictures span, each way."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression(Values, Task):
    """A value for each channel and pixel; `classes` are the names of the channels. A prediction is float32 [H, W, K].

    The network learns (value - mean) / std, so that values of any scale suit it; NaN and infinity mark what is not known.

    Attributes:
        mean: for each channel, by default 0.
        std: the same, above 0, by default 1; `fitted` finds both.
    """

    mean: Annotated[tuple[float | int, ...], Range(-LARGEST[float])] = ()
    std: Annotated[tuple[float | int, ...], Range(0, above=True)] = ()

    name: ClassVar[str] = "regression"
    label_kind: ClassVar[LabelKind] = "values"
    default_loss: ClassVar[str] = "huber"
    best: ClassVar[str] = "mae"
    suffixes: ClassVar[tuple[str, ...]] = ("values.png", "values.npy")

    def __post_init__(self):
        super().__post_init__()
        for name, default in (("mean", 0.0), ("std", 1.0)):
            object.__setattr__(self, name, tuple(getattr(self, name)) or (default,) * len(self.classes))
            if len(getattr(self, name)) != len(self.classes):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.classes)} channels")
        check_fields(self)

    @property
    def channels(self):
        return len(self.classes)

    def fitted(self, samples):
        sums = np.zeros((3, self.channels))
        for sample in samples:
            values = sample["label"].reshape(-1, self.channels).astype(np.float64)
            known = np.isfinite(values)
            values[~known] = 0
            sums += known.sum(0), values.sum(0), (values**2).sum(0)
        mean, square = sums[1:] / sums[0].clip(1)
        std = np.sqrt((square - mean**2).clip(0))
        return dataclasses.replace(self, mean=tuple(mean.tolist()), std=tuple(np.where(std > 0, std, 1.0).tolist()))

    def loss(self, logits, targets, *, axis_name=None):
        return total_loss(self.loss_terms, logits, self._standardised(targets), axis_name=axis_name)

    def weighed_losses(self, logits, targets, images, *, axis_name=None):
        return weighed_losses(self.loss_terms, logits, self._standardised(targets), images, axis_name=axis_name)

    def _standardised(self, targets):
        mean, std = (jnp.asarray(values, jnp.float32) for values in (self.mean, self.std))
        return (targets["label"] - mean) / std

    def scores(self, logits):
        mean, std = (jnp.asarray(values, jnp.float32) for values in (self.mean, self.std))
        return logits * std + mean

    def metric(self):
        return Errors(self.channels)

    def scalars(self, result, prefix=""):
        values = {name: float(np.mean(getattr(result, name))) for name in ("mae", "rmse")}
        if self.channels > 1:
            values |= {f"mae/{name}": float(value) for name, value in zip(self.classes, result.mae)}
        return {prefix + name: defined(value) for name, value in values.items()}

    def image_scalars(self, state):
        metric = self.metric()
        return [self.scalars(metric.compute(ErrorSums(*(sums[None] for sums in image)))) for image in zip(*state)]

    def table(self, result):
        rows = [f"{'':<20}{'MAE':>12}{'RMSE':>12}"]
        rows += [f"{short_name(name):<20}{mae:>12.4g}{rmse:>12.4g}" for name, mae, rmse in zip(self.classes, *result)]
        return "\n".join(rows)

    def files(self, image, scores):
        return {"values.png": self._picture(scores), "values.npy": scores}

    def summary(self, scores):
        return ", ".join(
            f"{short_name(name)} {channel.min():.4g} to {channel.max():.4g}, mean {channel.mean():.4g}"
            for name, channel in zip(self.classes, np.moveaxis(scores, -1, 0))
        )

    def figures(self, scores):
        return {name: float(mean) for name, mean in zip(self.classes, scores.mean((0, 1)))}

    def panel(self, images, truths, scores):
        columns = [
            [visualize.rgb(image) for image in images],
            *([self._picture(v) for v in values] for values in (truths, scores)),
        ]
        return visualize.gallery(list(zip(*columns, strict=True)))

    def _picture(self, values: np.ndarray) -> np.ndarray:
        """The channels side by side, in colours."""
        spans = [(mean - _REACH * std, mean + _REACH * std) for mean, std in zip(self.mean, self.std)]
        return np.concatenate([visualize.heat(values[..., k], *span) for k, span in enumerate(spans)], 1)

    def options(self):
        return {"mean": list(self.mean), "std": list(self.std)}
