"""The record of what a network expects of images: its numbers, its JSON, and what it makes of images."""

import json

import numpy as np
import pytest

from fcn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, default_preprocessing, fitted, from_json
from fcn.registry import ENCODERS, MODELS

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("bgr", [False, True])
def test_apply(bgr):
    record = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.25, 2), bgr)
    seen = IMAGE[..., ::-1] if bgr else IMAGE
    np.testing.assert_allclose(record.apply(IMAGE), (seen / 255 - record.mean) / record.std, atol=1e-6)
    filled = np.broadcast_to(np.float32(record.fill), IMAGE.shape)
    np.testing.assert_allclose(record.apply(filled), 0, atol=1e-6)
    with pytest.raises(ValueError, match="images have 1 channels; the network takes 3"):
        record.apply(IMAGE[..., :1])


def test_there_and_back():
    record = Preprocessing((0.5, 0.5, 0.5), (1, 1, 1), True, (0, 4095), (30, 40))
    for one in (record, Preprocessing(size=(3, 4), resize="longer", per_image="z-score")):
        assert from_json(json.loads(json.dumps(one.to_json()))) == one
    assert {"resize", "per_image"}.isdisjoint(record.to_json()), "what says nothing is left out: older versions read it"
    assert from_json({}) == Preprocessing() == default_preprocessing(3) == Preprocessing(IMAGENET_MEAN, IMAGENET_STD)


def test_other_channels():
    assert default_preprocessing(2) == Preprocessing((0.449, 0.449), (0.226, 0.226))
    gray = MODELS["espnet"].preprocessing.with_channels(1)
    assert gray == Preprocessing((np.mean(MODELS["espnet"].mean),), (np.mean(MODELS["espnet"].std),))
    assert Preprocessing().with_channels(3) == Preprocessing()


def test_what_published_weights_expect():
    half = Preprocessing((0.5,) * 3, (0.5,) * 3)
    assert MODELS["dpt"].preprocessing == ENCODERS["vit_base_patch16"].preprocessing == half
    assert MODELS["espnet"].preprocessing.bgr and MODELS["deeplabv3_mobilenet_v2_tf"].preprocessing.mean == (128 / 255,) * 3
    assert ENCODERS["resnet18"].preprocessing == Preprocessing()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": [0, 0]}, "mean has 2 channels, std has 3"),
        ({"mean": [], "std": []}, "mean has 0 channels"),
        ({"mean": [0, float("nan"), 0]}, "mean is .*it must be a finite number"),
        ({"mean": "abc"}, "mean is 'abc'; it is a list of numbers"),
        ({"std": [1, 0, 1]}, r"std is \(1, 0, 1\); it must be above 0"),
        ({"std": None}, "std is None; it is a list of numbers"),
        ({"bgr": 1}, "bgr is 1; it is true or false"),
        ({"mean": [0], "std": [1], "bgr": True}, "bgr is true for 1 channels"),
        ({"value_range": [5, 5]}, r"value_range is \[5.0, 5.0\]; give the lower value, then the higher"),
        ({"value_range": [5]}, "value_range is"),
        ({"size": [0, 5]}, r"size is \(0, 5\); it must be at least 1"),
        ({"size": [5]}, r"size is \[5\]; give height and width"),
        ({"size": 5}, "size is 5; it is a list of numbers"),
        ({"resize": "wide"}, "unknown resize 'wide'"),
        ({"resize": None}, "resize is None; it is a word"),
        ({"per_image": ["x"]}, r"per_image is \('x',\); it is a word"),
        ({"per_image": "percentile"}, "unknown per_image 'percentile'; did you mean 'percentiles'"),
        ({"colour": 5}, "unknown field of preprocessing 'colour'"),
        ([1], r"preprocessing is \[1\]; it is an object"),
    ],
)
def test_what_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        from_json(fields)


def test_it_says_what_must_be_known():
    assert Preprocessing().describe() == "images have mean 0.485 0.456 0.406 and deviation 0.229 0.224 0.225 on the scale 0..1"
    full = Preprocessing((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), True, (0, 4095), (180, 240))
    assert full.describe() == (
        "images have mean 0.1 0.2 0.3 and deviation 1 1 1 on the scale 0..1 (blue, green, red); "
        "stored values 0..4095 are black..white; training resized them to 180x240"
    )
    own = Preprocessing(size=(3, 4), resize="shorter", per_image="percentiles").describe()
    assert own.endswith("resized them to 3x4 (shorter side); each image is first brought to its percentiles 1 and 99.8")


@pytest.mark.parametrize(
    ("size", "given", "seen"),
    [(None, (30, 45), (30, 45)), ((12, 16), (30, 45), (11, 16)), ((12, 16), (3, 2), (16, 11)), ((12, 16), (1, 999), (1, 16))],
)
def test_an_image_is_seen_as_large_as_those_of_training(size, given, seen):
    """The longer side has as many pixels as there; the shape stays; nothing becomes empty."""
    assert Preprocessing(size=size).seen_size(*given) == seen


@pytest.mark.parametrize(
    ("how", "given", "expected"),
    [
        ("exact", (30, 45), (12, 16)),
        ("longer", (30, 45), (11, 16)),
        ("longer", (60, 10), (12, 2)),
        ("shorter", (30, 45), (12, 18)),
        ("shorter", (60, 10), (96, 16)),
        ("longer", (1, 999), (1, 16)),
    ],
)
def test_what_images_are_resized_to(how, given, expected):
    assert fitted(given, (12, 16), how) == expected
    if how != "exact":
        assert Preprocessing(size=(12, 16), resize=how).seen_size(*given) == expected
