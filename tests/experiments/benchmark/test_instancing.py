"""What the benchmark of instance maps measures."""

from experiments.benchmark import instancing
from fcn.metrics.instances import match


def test_every_task_is_measured_on_discs():
    label = instancing.discs(64)
    assert len(set(label.ravel().tolist())) == 5 and (label == 1).sum() > 100
    works = instancing.ours(label)
    assert {*works} == {f"{task}: {work}" for task in ("boundary", "stardist", "flows") for work in ("targets", "decoding")}
    for name in ("boundary", "stardist", "flows"):
        assert match(label, works[f"{name}: decoding"](), 0.7).ap == 1
    facts = instancing.measure(rounds=1, sizes=(64,))
    assert facts["stardist: decoding, here (64x64, 4 objects), ms"] > 0
