"""What is said of how fast images are read."""

import itertools
from types import SimpleNamespace

from experiments.building.loading import Waiting


def test_a_training_that_waits_for_images_is_told_once(capsys):
    batches = SimpleNamespace(waited=0.0)
    hook = Waiting(batches, clock=itertools.count(0, 10).__next__)
    for waited, told in ((4.0, ""), (10.0, "waits for images 60% of its time"), (20.0, "")):
        batches.waited = waited
        hook(1, None, {})
        said = capsys.readouterr().err
        assert told in said and bool(said) == bool(told)
