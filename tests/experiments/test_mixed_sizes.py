"""Runs on images of mixed sizes: what training and validation are given."""

import numpy as np
import pytest
from PIL import Image

from experiments.build import load_data, load_splits
from experiments.config import DataConfig
from experiments.evaluate import counted_order
from experiments.report import cut_alike
from fcn import tasks


@pytest.fixture
def mixed(tmp_path):
    for number, (name, size) in enumerate([("train/a", (20, 9)), ("train/b", (8, 30)), ("val/c", (7, 5)), ("val/d", (5, 7))]):
        rng = np.random.default_rng(number)
        for kind, values in (("images", rng.integers(0, 256, (*size, 3))), ("labels", rng.integers(0, 2, size))):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def test_training_takes_crops_and_validation_whole_images(mixed):
    train, val = load_splits(DataConfig("folder", str(mixed), crop=(8, 8)))
    assert train.shape == (8, 8, 3) and train.crop == (8, 8)
    assert val.crop is None and val.sizes() == [(7, 5), (5, 7)]
    whole = load_data(DataConfig("folder", str(mixed)), "val", mixed=True)
    assert whole.mixed and whole.sizes() == val.sizes()
    with pytest.raises(ValueError, match=r"set a size .*, or a crop"):
        load_splits(DataConfig("folder", str(mixed)))


def test_the_order_in_which_images_are_counted(mixed):
    val = load_data(DataConfig("folder", str(mixed), crop=(4, 4)), "val")
    task = tasks.make("semantic", val.classes)
    assert counted_order(val, task, 2) == [0, -1, 1, -1]
    resized = load_data(DataConfig("folder", str(mixed), size=(6, 6)), "val")
    assert counted_order(resized, task, 2) == [0, 1]


def test_pictured_samples_are_cut_to_one_size(mixed):
    val = load_data(DataConfig("folder", str(mixed), crop=(4, 4)), "val")
    samples = cut_alike([val[0], val[1]])
    assert [sample["image"].shape for sample in samples] == [(5, 5, 3)] * 2 and samples[0]["name"] == val[0]["name"]
    np.testing.assert_array_equal(samples[1]["label"], val[1]["label"][:5, :5])
