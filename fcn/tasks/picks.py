"""Picks: the moments at which something begins in a signal, such as the arrivals of P and S waves in a seismogram."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int

from fcn import visualize
from fcn.data.loading.samples import NAMES
from fcn.metrics.picks import Pick, Picks, picks_in
from fcn.ranges import Range, check_fields
from fcn.tasks.task import Task, defined
from fcn.text import short_name

_WIDE = 2.5
"""Deviations that a label reaches to each side."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PickTask(Task):
    """The softmax of as many channels as there are classes, of which the first is noise. A prediction is a list of picks.

    Zhu, Beroza, "PhaseNet: a deep-neural-network-based seismic arrival-time picking method", 2019: each pick is learnt as a
    Gaussian around it, noise as what is left, by the cross-entropy; picks are the peaks of the probabilities.

    Labels are class numbers [L], 0 but at the very samples of picks.

    Attributes:
        threshold: the least probability of a pick.
        distance: samples that picks of a class are apart.
        tolerance: samples by which a pick may be early or late.
        deviation: of the Gaussians, samples.
        rate: samples a second of the signals; it has no default.
    """

    threshold: Annotated[float | int, Range(0, 1)] = 0.5
    distance: Annotated[int, Range(1)] = 50
    tolerance: Annotated[int, Range(0)] = 10
    deviation: Annotated[float | int, Range(0, above=True)] = 6
    rate: Annotated[float | int | None, Range(0, above=True)] = None

    name: ClassVar[str] = "picks"
    best: ClassVar[str] = "f1"
    on_host: ClassVar[bool] = True
    suffixes: ClassVar[tuple[str, ...]] = ("picks.png", "picks.csv")

    def __post_init__(self):
        super().__post_init__()
        check_fields(self)
        if self.rate is None:
            raise ValueError("the task 'picks' tells seconds; give the sampling rate of the signals, such as rate=100 a second")
        if len(self.classes) < 2:
            raise ValueError(f"the task 'picks' tells noise and what begins apart; there is one class, {self.classes[0]!r}")
        if [term.name for term in self.loss_terms] != ["ce"] or self.loss_terms[0].options:
            raise ValueError("the task 'picks' learns shares of classes, by the loss 'ce' alone; leave out loss.terms")

    @property
    def channels(self):
        return len(self.classes)

    def check(self, samples):
        if (axes := len(samples.shape) - 1) != 1:
            raise ValueError(f"the task 'picks' is for signals, and {samples.name} holds {NAMES[axes]}")
        self.refuse_other_rate(samples.name, getattr(samples.source, "sampling_rate", None))

    def refuse_other_rate(self, name: str, rate: float | None) -> None:
        """Raises a ValueError for signals that tell another sampling rate than the task's."""
        if rate is not None and rate != self.rate:
            cure = f"resample the signals, or train with --task-options rate={rate:g}"
            raise ValueError(f"{name} has {rate:g} samples a second, and the network is for {self.rate:g}; {cure}")

    @property
    def fill(self):
        return {"label": self.ignore_index, "shares": -1.0}

    def targets(self, sample):
        label = np.asarray(sample["label"], np.int32)
        return {"label": label, "shares": self.shares(label)}

    def shares(self, label: Int[np.ndarray, " l"]) -> Float32[np.ndarray, "l k"]:
        """The share of each class at each sample: a Gaussian around picks, and noise."""
        shares, reach = np.zeros((len(label), self.channels), np.float32), round(_WIDE * self.deviation)
        for sample in np.flatnonzero((label > 0) & (label != self.ignore_index)):
            near = np.arange(max(0, sample - reach), min(len(label), sample + reach + 1))
            found = np.exp(-(((near - sample) / self.deviation) ** 2) / 2)
            shares[near, label[sample]] = np.maximum(shares[near, label[sample]], found)
        shares[:, 1:] /= np.maximum(shares[:, 1:].sum(-1, keepdims=True), 1)
        shares[:, 0] = 1 - shares[:, 1:].sum(-1)
        return shares

    def loss(self, logits, targets, *, axis_name=None):
        shares = jnp.asarray(targets["shares"])
        known = shares[..., 0] >= 0
        entropy = -jnp.sum(shares * jax.nn.log_softmax(logits), -1)
        parts = jnp.stack([jnp.sum(jnp.where(known, entropy, 0)), jnp.sum(known, dtype=jnp.float32)])
        total, count = parts if axis_name is None else jax.lax.psum(parts, axis_name)
        return total / jnp.maximum(count, 1)

    def scores(self, logits):
        return jax.nn.softmax(logits)

    def prediction(self, scores):
        return picks_in(np.asarray(scores), float(self.threshold), self.distance)

    def truth(self, targets):
        label = np.asarray(targets["label"])
        places = np.flatnonzero((label > 0) & (label != self.ignore_index))
        return [Pick(int(label[place]), int(place)) for place in places]

    def metric(self):
        return Picks(self.channels - 1, self.tolerance)

    def scalars(self, result, prefix=""):
        values = {"f1": np.nanmean(result.f1) if np.isfinite(result.f1).any() else np.nan}
        for number, name in enumerate(self.classes[1:]):
            values |= {f"{what}/{name}": getattr(result, what)[number] for what in ("precision", "recall", "f1")}
            values |= {f"seconds/{name}": self._seconds(result.deviation[number])}
        return {prefix + name: defined(value) for name, value in values.items()}

    def table(self, result):
        rows = [f"{'':<16}{'precision':>10}{'recall':>10}{'F1':>10}{'late (s)':>10}{'deviation (s)':>15}"]
        for number, name in enumerate(self.classes[1:]):
            shares = "".join(f"{values[number]:>10.3f}" for values in result[:3])
            late, spread = (self._seconds(values[number]) for values in result[3:])
            rows.append(f"{short_name(name, 15):<16}{shares}{late:>10.3f}{spread:>15.3f}")
        return "\n".join(rows)

    def image_scalars(self, state):
        metric = self.metric()
        return [{"f1": self.scalars(metric.compute(state._replace(counts=one[None])))["f1"]} for one in state.counts]

    def files(self, image, scores):
        found = self.prediction(scores)
        rows = [f"{self.classes[kind]},{sample},{self._seconds(sample):.10g},{share:.4f}" for kind, sample, share in found]
        return {
            "picks.png": self._picture(image, found, np.argmax(scores, -1)),
            "picks.csv": "\n".join(["phase,sample,seconds,probability", *rows, ""]),
        }

    def summary(self, scores):
        found = self.prediction(scores)
        told = [f"{short_name(self.classes[kind])} at {self._seconds(sample):.10g} s" for kind, sample, _ in found]
        return ", ".join(told) or "no picks"

    def figures(self, scores):
        found = self.prediction(scores)
        return {name: float(sum(pick.kind == number for pick in found)) for number, name in enumerate(self.classes) if number}

    def legend(self):
        return visualize.legend(self.classes, self.colours)

    def panel(self, images, truths, scores):
        rows = []
        for image, true, one in zip(images, truths, scores, strict=True):
            rows.append([self._picture(image, true), self._picture(image, self.prediction(one), np.argmax(one, -1))])
        return visualize.gallery(rows, ("label", "prediction"), self.classes, self.colours)

    def _seconds(self, samples: float | int) -> float:
        assert self.rate is not None  # or else it was refused
        return samples / self.rate

    def _picture(self, signal, picks, label=None) -> np.ndarray:
        marks = [(pick.sample, self.colours[pick.kind]) for pick in picks]
        label = np.zeros(len(signal), int) if label is None else label
        return visualize.draw_signal(np.asarray(signal), marks, label, self.colours)

    def options(self):
        return {name: getattr(self, name) for name in ("threshold", "distance", "tolerance", "deviation", "rate")}
