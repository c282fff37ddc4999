"""What the benchmark of instance maps measures."""

import time

import flax.linen as nn
import numpy as np

from experiments.benchmark import instancing
from fcn import tasks
from fcn.layers import PointwiseConv
from fcn.metrics.instances import match


def test_every_task_is_measured_on_discs():
    label = instancing.discs(64)
    assert len(set(label.ravel().tolist())) == 5 and (label == 1).sum() > 100
    works = instancing.ours(label)
    assert {*works} == {f"{task}: {work}" for task in ("boundary", "stardist", "flows") for work in ("targets", "decoding")}
    for name in ("boundary", "stardist", "flows"):
        assert match(label, works[f"{name}: decoding"](), 0.7).ap == 1


class Pixelwise(nn.Module):
    """A network that sees no neighbours."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return PointwiseConv(3)(x)


def test_a_step_trains_and_others_are_shown_beside(monkeypatch):
    """Their images come in fours, or one where they are large."""
    label = instancing.discs(64)
    work = instancing.step(
        Pixelwise(), tasks.make("flows", ["object"]), instancing.noise(label[:32, :32], 1)[:1], label[:32, :32]
    )
    assert work()["loss"] > work()["loss"]
    assert [len(instancing.noise(np.zeros((size, size)), 1)) for size in (64, 256, 1024)] == [4, 4, 1]
    monkeypatch.setattr(instancing, "NETWORKS", {})
    monkeypatch.setattr(instancing, "THEIRS", [(lambda _: {"flows: targets": lambda: time.sleep(0.05)}, "cellpose")])
    facts = instancing.measure(rounds=1, sizes=(64,))
    assert facts["stardist: decoding, here (64x64, 4 objects), ms"] > 0
    ours, theirs = (facts[f"flows: targets, {by} (64x64, 4 objects), ms"] for by in ("here", "cellpose"))
    share = facts["flows: targets, here of cellpose's (64x64, 4 objects), %"]
    assert theirs > 50 and abs(share - 100 * ours / theirs) < 1e-6
