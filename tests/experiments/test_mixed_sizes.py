"""Runs on images of mixed sizes: what training and validation are given."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments.building.build import load_data, load_splits
from experiments.building.normalisation import configured
from experiments.configuration.config import DataConfig
from experiments.evaluate import counted_order
from experiments.reports.examples import panel
from experiments.runs.facts import describe
from fcn import tasks
from fcn.data import resize_image
from fcn.preprocessing import Preprocessing


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


def test_pictured_samples_are_predicted_whole(mixed):
    val = load_data(DataConfig("folder", str(mixed), crop=(4, 4)), "val")

    def predict(variables, images):
        (image,) = images
        return (image[..., 0] // 128 + variables).astype(np.int32)[None]

    task = SimpleNamespace(truth=lambda sample: sample["label"], panel=lambda *columns: zip(*columns, strict=True))
    for place, (image, truth, scores) in zip([1, 0], panel(val, [1, 0], task, predict, 3), strict=True):
        np.testing.assert_array_equal(image, val[place]["image"])
        np.testing.assert_array_equal(truth, val[place]["label"])
        np.testing.assert_array_equal(scores, val[place]["image"][..., 0] // 128 + 3)
    drawn = panel(val, [1, 0], tasks.make("semantic", val.classes), predict, 0)
    drawn_colours = {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}
    assert all(tuple(pixel) in drawn_colours for sample in val for pixel in sample["image"].reshape(-1, 3).tolist())


@pytest.mark.parametrize(("resize", "sizes"), [("longer", [(8, 6), (6, 8)]), ("shorter", [(11, 8), (8, 11)])])
def test_resizing_keeps_the_aspect_ratio(mixed, resize, sizes):
    train, val = load_splits(DataConfig("folder", str(mixed), size=(8, 8), resize=resize))
    assert train.shape == (8, 8, 3) and train.crop == (8, 8) and val.crop is None
    assert val.sizes() == sizes and [sample["label"].shape for sample in val] == sizes
    np.testing.assert_array_equal(val[0]["image"], resize_image(val.source[0]["image"], sizes[0]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize": "longer"}, "data.resize is 'longer', but there is no data.size"),
        ({"mean": (0.5,)}, "data.mean and data.std belong together"),
        ({"mean": (0.5,), "std": (1.0,), "normalise": "dataset"}, "data.mean takes the place of .* data.normalise dataset"),
    ],
)
def test_options_of_data_that_do_not_fit_each_other(fields, message):
    with pytest.raises(ValueError, match=message):
        DataConfig("folder", **fields)


def test_statistics_are_those_that_are_asked_for(mixed):
    def asked(wanted=None, **fields):
        data = DataConfig("folder", str(mixed), crop=(4, 4), **fields)
        train, _ = load_splits(data)
        return train, configured(data, wanted or Preprocessing(), train)

    blue_first = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), bgr=True)
    reversed_imagenet = Preprocessing((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), bgr=True)
    assert asked(blue_first)[1] == blue_first and asked(blue_first, normalise="imagenet")[1] == reversed_imagenet
    assert asked(blue_first, mean=(0.5,) * 3, std=(0.25,) * 3)[1] == Preprocessing((0.5,) * 3, (0.25,) * 3, bgr=True)
    train, found = asked(normalise="dataset")
    pixels = np.concatenate([sample["image"].reshape(-1, 3) for sample in train]) / 255
    np.testing.assert_allclose((found.mean, found.std), (pixels.mean(0), pixels.std(0)), rtol=1e-6)
    stored = train.source[0]["image"].astype(float)
    train, found = asked(normalise="z-score")
    deviation = stored.std((0, 1))
    seen = np.asarray(found.apply(train[0]["image"]))
    np.testing.assert_allclose(seen, (stored - stored.mean((0, 1))) / deviation, atol=1.01 * 3 / 255)
    train, found = asked(normalise="percentiles")
    low, high = np.percentile(stored, (1, 99.8), axis=(0, 1))
    seen = np.asarray(found.apply(train[0]["image"]))
    np.testing.assert_allclose(seen, np.clip((stored - low) / (high - low), 0, 1), atol=0.51 / 255)
    with pytest.raises(ValueError, match="have 1 and 1 numbers; images have 3 channels"):
        asked(mean=(0.5,), std=(1.0,))


def test_what_cannot_be_used_is_left_out_and_listed(mixed, capsys):
    (mixed / "images" / "train" / "broken.png").write_text("?")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(mixed / "images" / "val" / "bare.png")
    with pytest.raises(ValueError, match=r"broken\.png: not an image"):
        load_splits(DataConfig("folder", str(mixed), crop=(4, 4)))
    train, val = load_splits(DataConfig("folder", str(mixed), crop=(4, 4), skip_bad=True))
    assert [sample["name"] for sample in train] == ["a", "b"] and [sample["name"] for sample in val] == ["c", "d"]
    told = capsys.readouterr().err
    assert "1 of 3 samples are left out:\n  " in told and "broken.png: not an image" in told and "bare.png has no label" in told
    assert describe(DataConfig("folder"), train, val, Preprocessing(), tasks.make("semantic", val.classes))["files"]
