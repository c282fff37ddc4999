"""What the benchmark of prediction measures."""

import time

import numpy as np
from PIL import Image

import fcn
from experiments.benchmark import predicting


def small(name="unet", **_):
    return fcn.create_model("unet", num_classes=3, base_features=2, depth=1)


def test_photos_of_a_folder(tmp_path, monkeypatch):
    """Both sides read all of them, and predict each at its size."""
    for i in range(predicting.BATCH + 1):
        Image.fromarray(np.full((20, 30, 3), 9 * i, np.uint8)).save(tmp_path / f"{i}.png")
    found = {}
    monkeypatch.setattr(
        predicting, "medians", lambda works, _: {name: found.setdefault(name, work()) and 2 for name, work in works.items()}
    )
    monkeypatch.setattr(predicting, "_network", small)
    facts = predicting.of_folder(tmp_path, 1)
    assert found["here"] == [(20, 30)] * 5 and found.get("smp", [(4, 20, 30), (1, 20, 30)]) == [(4, 20, 30), (1, 20, 30)]
    assert facts["unet/resnet18 on 5 photos, here, images/s"] == 2.5


def test_tiles_are_counted_with_what_they_read(monkeypatch):
    monkeypatch.setattr(predicting, "medians", lambda works, rounds: {"whole": 1.0, "tiles": 4.0})
    monkeypatch.setattr(predicting, "_network", small)
    speed, useful, corrected = predicting.of_tiles(1, side=128, tile=64).values()
    assert speed == 25 and 50 < useful < 100 and corrected == 100 * speed / useful


def test_memory_is_that_which_was_held():
    before = predicting._anonymous()
    with predicting._most_memory(0.001) as most:
        held = np.ones(2**23)
        time.sleep(0.1)
        del held
    assert most[0] - before > 2**25
