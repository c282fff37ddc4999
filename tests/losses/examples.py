"""Logits and labels of each mode, and a loss of the table by name."""

import numpy as np

from fcn import losses

CHANNELS = {"multiclass": 3, "binary": 1, "multilabel": 3}
NAMES = [name for name, row in losses.LOSSES.items() if not row.regression]


def example(mode, shape=(4, 5, 6)):
    rng = np.random.default_rng(0)
    k = CHANNELS[mode]
    labels = rng.integers(0, k if mode == "multiclass" else 2, (*shape, k) if mode == "multilabel" else shape).astype(np.int32)
    labels[rng.random(labels.shape) < 0.2] = 255
    labels[1] = 255  # one of the devices below sees ignored pixels only
    return rng.normal(0, 2, (*shape, k)).astype(np.float32), labels, rng.random((*shape, k)).astype(np.float32)


FEW = {"cldice": {"iterations": 1}}
"""Options with which a loss does what it does once: compilation takes the time."""


def call(name, logits, labels, distances, mode, **options):
    extra = {"distances": distances[..., : 1 if name == "border" else None]} if losses.LOSSES[name].distances else {}
    return losses.LOSSES[name].function(logits, labels, mode, **extra, **FEW.get(name, {}), **options)
