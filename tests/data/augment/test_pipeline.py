"""Lists of operations: streams of random numbers, crops, partners, boundaries, presets, and what does not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fcn.data import AugmentConfig, TrainLoader, augment_batch
from fcn.data.augment import (
    PRESETS,
    Blur,
    Brightness,
    ClassMix,
    CopyPaste,
    CutMix,
    Elastic,
    Flip,
    Gamma,
    Pipeline,
    Rotate,
    Rotate90,
    Scale,
    rand_augment,
    transform,
)
from fcn.data.augment.cropping import class_pixel
from fcn.data.augment.operation import Geometric, Operation, Photometric, streams
from fcn.data.codec import Codec, Objects
from fcn.data.loading.loader import partners
from fcn.data.loading.sampling import Drawn, Repeated
from fcn.data.panoptic import STEP
from fcn.preprocessing import Preprocessing, default_preprocessing

KEY = jax.random.key(7)
KEYS = jax.random.split(KEY, 300)
HALF = Preprocessing((0.5,) * 3, (0.25,) * 3)


def sample(size=(9, 12), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*size, 3)).astype(np.uint8), rng.integers(0, 5, size).astype(np.int32)


def test_no_operation_changes_the_numbers_of_another():
    few = (Flip(), Gamma(), Gamma(inverted=True), Blur(probability=0.3))
    more = (Brightness(), Rotate(), *few, Flip(axis=0), Blur())

    def numbers(key, operations):
        return {op.stream: (jax.random.key_data(own), used) for op, own, used in streams(key, operations)}

    some, all_ = jax.jit(lambda key: (numbers(key, few), numbers(key, more[:-1])))(KEY)
    for name, (own, used) in some.items():
        np.testing.assert_array_equal(own, all_[name][0])
        assert used == all_[name][1]
    assert len({np.asarray(own).tobytes() for own, _ in all_.values()}) == 7
    twice = [np.asarray(jax.random.key_data(own)) for _, own, _ in streams(KEY, (Blur(), Blur()))]
    assert np.any(twice[0] != twice[1])


def test_an_operation_changes_its_share_of_samples():
    run = jax.jit(jax.vmap(lambda key: [used for _, _, used in streams(key, (Blur(probability=0.2), Gamma(probability=0)))]))
    blurred, bright = (np.asarray(used) for used in run(jax.random.split(KEY, 1000)))
    assert abs(blurred.mean() - 0.2) < 0.051 and not bright.any()


SOME = Pipeline(operations=(Flip(), Rotate(degrees=40), Gamma(probability=0.5)), crop=(8, 10))


def test_a_sample_changes_in_the_same_way_wherever_it_stands():
    parts = [sample(seed=i) for i in range(4)]

    def batch(order):
        arrays = {"image": np.stack([parts[i][0] for i in order]), "label": np.stack([parts[i][1] for i in order])}
        return arrays | {"index": np.array(order, np.int32), "epoch": np.full(4, 3, np.int32)}

    run = jax.jit(lambda batch: augment_batch(KEY, batch, SOME, HALF))
    first, second = run(batch([0, 1, 2, 3])), run(batch([2, 0, 3, 1]))
    for name in ("image", "label"):
        np.testing.assert_array_equal(np.asarray(first[name])[[2, 0, 3, 1]], second[name])
    later = run(batch([0, 1, 2, 3]) | {"epoch": np.full(4, 4, np.int32)})
    assert np.abs(np.asarray(later["image"]) - np.asarray(first["image"])).max() > 0.1
    devices = NamedSharding(jax.make_mesh((4,), ("data",), (AxisType.Auto,), devices=jax.devices()[:4]), PartitionSpec("data"))
    divided = run(jax.device_put(batch([0, 1, 2, 3]), devices))
    np.testing.assert_array_equal(divided["label"], first["label"])
    np.testing.assert_allclose(divided["image"], first["image"], atol=1e-5)
    outside = np.asarray(first["label"]) == 255
    assert outside.any() and np.abs(np.asarray(first["image"])[outside]).max() < 1e-6  # the mean


def test_an_image_that_shows_its_label_still_does():
    label = np.arange(12, dtype=np.int32)[:, None] // 4 + np.arange(14) // 5 * 3
    image = np.repeat(20.0 * label[..., None], 3, -1)
    for boundary in ("ignore", "mirror"):
        pipeline = dataclasses.replace(PRESETS["nnunet"](), boundary=boundary)
        moved = tuple(op for op in pipeline.operations if isinstance(op, Flip | Rotate | Scale))
        pipeline = dataclasses.replace(pipeline, operations=tuple(dataclasses.replace(op, probability=1.0) for op in moved))
        run = jax.jit(jax.vmap(lambda key, p=pipeline: transform(key, image, {"label": label}, p, fill=-1.0)))
        images, targets = (np.asarray(x) for x in jax.tree.leaves(run(KEYS[:40])))
        inside = targets != 255
        assert inside.all() == (boundary == "mirror") and np.all(images[~inside] == -1)
        assert (np.abs(images[..., 0] - 20 * targets)[inside] < 1e-3).mean() > 0.5  # the others lie between two classes
        shares = np.bincount(targets[inside], minlength=9) / inside.sum()
        assert np.abs(shares - np.bincount(label.ravel()) / label.size).max() < 0.08


def test_crops_copy_pixels_and_show_rare_classes_as_often_as_asked():
    image, label = sample((12, 15))
    label = np.zeros((12, 15), np.int32)
    label[0, 14], label[6:, :7] = 2, 1  # of class 2 there is one pixel, in the corner
    label[3, 3] = 255

    def crops(foreground):
        pipeline = Pipeline(crop=(5, 4), foreground=foreground)
        run = jax.jit(jax.vmap(lambda key: transform(key, image, {"label": label}, pipeline)))
        return (np.asarray(x) for x in jax.tree.leaves(run(KEYS)))

    images, labels = crops(0.8)
    assert abs((labels == 2).any((1, 2)).mean() - 0.4) < 0.13
    places = {image[i : i + 5, j : j + 4].tobytes(): (i, j) for i in range(8) for j in range(12)}
    found = [places[new.astype(np.uint8).tobytes()] for new in images]
    for (i, j), new in zip(found, labels):
        np.testing.assert_array_equal(new, label[i : i + 5, j : j + 4])
    images, _ = crops(0.0)
    counts = np.unique([places[new.astype(np.uint8).tobytes()][0] for new in images], return_counts=True)[1]
    assert len(counts) == 8 and np.abs(counts - 300 / 8).max() < 24


def test_a_crop_that_is_larger_has_the_image_somewhere_inside():
    image, label = sample((4, 5))
    pipeline = Pipeline(crop=(6, 5))
    run = jax.jit(jax.vmap(lambda key: transform(key, image, {"label": label}, pipeline, fill=9.0)))
    images, targets = (np.asarray(x) for x in jax.tree.leaves(run(KEYS[:40])))
    tops = (targets != 255).any(2).argmax(1)
    assert set(tops) == {0, 1, 2}
    for new_image, new, top in zip(images, targets, tops):
        np.testing.assert_array_equal(new, np.pad(label, ((top, 2 - top), (0, 0)), constant_values=255))
        np.testing.assert_array_equal(new_image, np.pad(image, ((top, 2 - top), (0, 0), (0, 0)), constant_values=9))


@pytest.mark.parametrize("size", [(11,), (4, 5, 6)])
def test_signals_and_volumes(size):
    rng = np.random.default_rng(0)
    image, label = rng.uniform(0, 255, (*size, 1)).astype(np.float32), rng.integers(0, 3, size).astype(np.int32)
    pipeline = Pipeline(operations=(Flip(axis=0, probability=1), Brightness(range=(0.5, 0.5))))
    new, targets = jax.jit(lambda key: transform(key, image, {"label": label}, pipeline))(KEY)
    np.testing.assert_allclose(new, image[::-1] / 2, rtol=1e-6)
    np.testing.assert_array_equal(targets["label"], label[::-1])


def mixed(operation, label, other, codec=None):
    """300 draws: images that show which sample a pixel is from, and labels."""
    images = np.zeros((*label.shape, 1), np.float32), np.full((*label.shape, 1), 9, np.float32)
    pipeline = Pipeline(operations=(operation,))

    def run(key):
        return transform(key, images[0], {"label": label}, pipeline, codec=codec, partner=(images[1], {"label": other}))

    image, targets = (np.asarray(x) for x in jax.tree.leaves(jax.jit(jax.vmap(run))(KEYS)))
    return image[..., 0] == 9, targets


def test_cutmix():
    label, other = sample()[1], 5 + sample(seed=1)[1]
    taken, labels = mixed(CutMix(share=(0.3, 0.6), probability=0.5), label, other)
    np.testing.assert_array_equal(labels, np.where(taken, other, label))
    shares = taken.mean((1, 2))
    assert abs((shares > 0).mean() - 0.5) < 0.12 and abs(shares[shares > 0].mean() - 0.45**2) < 0.03


def test_classmix_takes_half_of_the_classes():
    label, other = sample()[1], 5 + sample(seed=1)[1]
    other[0] = 255
    taken, labels = mixed(ClassMix(), label, other)
    np.testing.assert_array_equal(labels, np.where(taken, other, label))
    chosen = np.stack([[(taken & (other == c)).any((1, 2)) == (other == c).any()] for c in range(5, 10)]).squeeze()
    assert np.all(chosen.sum(0) == 3) and np.all(np.abs(chosen.mean(1) - 0.6) < 0.12)  # of 5
    assert not taken[:, 0].any()
    for c in range(5, 10):  # whole
        part = taken[:, other == c]
        assert np.all(part.all(1) | ~part.any(1))


@pytest.mark.parametrize(("classes", "codec"), [((0, 0), Codec(ignore_index=-1)), ((3, 5), Objects())])
def test_copy_paste_gives_objects_numbers_of_their_own(classes, codec):
    """Beside which classes stay: the number of an object is STEP times its class, plus a number of its own."""
    label, other = np.zeros((6, 6), np.int32), np.zeros((6, 6), np.int32)
    label[:3, :3], label[4:, 4:], label[5, 0] = STEP * classes[0] + 1, STEP * classes[1] + 2, -1
    other[2:5, 2:5], other[0, 5], other[0, 4] = STEP * classes[1] + 1, STEP * classes[0] + 3, -1
    taken, labels = mixed(CopyPaste(), label, other, codec)
    np.testing.assert_array_equal(labels, np.where(taken, other + 2, label))
    assert not taken[:, other <= 0].any()
    for number in (STEP * classes[1] + 1, STEP * classes[0] + 3):
        part = taken[:, other == number]
        assert abs(part.any(1).mean() - 0.5) < 0.12 and np.all(part.all(1) | ~part.any(1))


def test_objects_pasted_where_nothing_is_known_stay_objects():
    nothing, other = np.full((2, 2), -1, np.int32), np.array([[0, 1], [-1, 2]], np.int32)
    _, labels = mixed(CopyPaste(share=1), nothing, other, Objects())
    np.testing.assert_array_equal(labels[0], [[-1, 1], [-1, 2]])


class Numbers:
    """Images whose value is their number."""

    name, classes, palette, ignore_index = "numbers", ("a", "b"), np.zeros((2, 3), np.uint8), 255

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"image": np.full((2, 2, 1), index, np.uint8), "label": np.full((2, 2), index % 2, np.int32), "name": str(index)}


def test_partners_are_others_by_sample_and_epoch():
    whole = [next(TrainLoader(Numbers(), batch_size=21, seed=3, partners=True, cache=cache)) for cache in (False, True)]
    for batch in whole:
        own, other = batch["image"][:, 0, 0, 0], batch["partner_image"][:, 0, 0, 0]
        np.testing.assert_array_equal(batch["partner_label"][:, 0, 0], other % 2)
        np.testing.assert_array_equal(other, partners(3, batch["index"], batch["epoch"], np.arange(7)))
        assert np.all(own != other)
    batch = whole[0]
    epochs = np.arange(600)
    drawn = partners(3, np.full(600, 4), epochs, np.arange(7))
    counts = np.bincount(drawn, minlength=7)
    assert counts[4] == 0 and np.abs(counts[[0, 1, 2, 3, 5, 6]] - 100).max() < 40
    np.testing.assert_array_equal(partners(3, np.array([4, 4]), epochs[[9, 5]], np.arange(7)), drawn[[9, 5]])
    assert partners(0, np.array([0]), np.array([1]), np.arange(1)) == [0]
    for order in (Repeated((1, 0, 1, 0, 2, 0, 0)), Drawn((1.0, 0.0, 0.1, 0.0, 3.0, 0.0, 0.0))):
        drawn = next(TrainLoader(Numbers(), batch_size=60, seed=3, partners=True, order=order))
        own, other = drawn["image"][:, 0, 0, 0], drawn["partner_image"][:, 0, 0, 0]
        assert set(other.tolist()) == {0, 2, 4} and np.all(own != other), "what is left out is no partner"
    parts = [
        next(TrainLoader(Numbers(), batch_size=14, seed=3, partners=True, process_index=p, process_count=2)) for p in (0, 1)
    ]
    np.testing.assert_array_equal(np.concatenate([p["partner_image"] for p in parts]), whole[0]["partner_image"][:14])
    nothing = TrainLoader(Numbers(), batch_size=2, seed=3, partners=True).read(np.array([-1, -1]), np.zeros(2, int))
    assert nothing.keys() == batch.keys() and np.all(nothing["partner_label"] == 255)
    run = jax.jit(lambda b: augment_batch(KEY, b, Pipeline(operations=(CutMix(),)), Preprocessing((0.0,), (1 / 255,))))
    changed = np.asarray(run(batch)["image"])
    for new, a, b in zip(changed, batch["image"], batch["partner_image"]):
        assert set(np.unique(new)) <= {a[0, 0, 0], b[0, 0, 0]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distances(Codec):
    """Targets that grow with the image."""

    @property
    def fill(self):
        return {"label": 255, "far": 0.0}

    def moved(self, targets, scale, flipped):
        return targets | {"far": targets["far"] * scale * jnp.where(flipped[1], -1, 1)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rings(Objects):
    """Beside objects something that depends on several of them."""

    @property
    def fill(self):
        return {"label": -1, "ring": 0.0}


class Directions(Distances):
    """Targets that know of any linear map."""

    linear = True

    def turned(self, targets, matrix):
        return targets | {"far": targets["far"] + matrix[0, 1]}


def test_codecs_are_told_of_turns():
    image, label = sample((9, 9))
    targets = {"label": label, "far": np.ones((9, 9), np.float32)}
    _, new = transform(KEY, image, targets, Pipeline(operations=(Rotate90(),)), codec=Directions())
    turns = [k for k in range(4) if np.array_equal(new["label"], np.rot90(label, k))]
    np.testing.assert_allclose(new["far"], 1 + np.array([0, 1, 0, -1])[turns[0]], atol=1e-6)


def test_codecs_are_told_of_flips_and_scale():
    image, label = sample()
    targets = {"label": label, "far": np.ones((9, 12), np.float32)}
    pipeline = Pipeline(operations=(Scale(range=(2.0, 2.0)), Flip(probability=1)))
    _, new = jax.jit(lambda key: transform(key, image, targets, pipeline, codec=Distances()))(KEY)
    np.testing.assert_allclose(new["far"], -2, rtol=1e-6)
    still = transform(KEY, image, targets, Pipeline(operations=(Gamma(),)), codec=Ended())[1]
    np.testing.assert_array_equal(still["far"], 0)


class Ended(Distances):
    """What is moved ends at the border of the crop, whatever the operations: here all of it."""

    def moved(self, targets, scale, flipped):
        return targets | {"far": jnp.zeros_like(targets["far"])}


@pytest.mark.parametrize(
    ("pipeline", "codec", "message"),
    [
        ({"operations": (Rotate(),)}, Distances(), "Rotate turns or bends images, and the targets of Distances follow flips"),
        ({"operations": (Rotate(), Elastic())}, Directions(), "Elastic bends images, .* of Directions follow turns, flips and"),
        ({"boundary": "mirror"}, Distances(), "boundary is 'mirror', and the targets of Distances do not follow"),
        ({"operations": (CutMix(),)}, Distances(), "CutMix mixes label, not far; leave out one or the other"),
        ({"operations": (CutMix(),)}, Objects(), "CutMix takes parts of class maps, and Objects learns objects; take CopyP"),
        ({"operations": (CopyPaste(),)}, Rings(), "CopyPaste mixes label, not ring; leave out one or the other"),
        ({"operations": (CutMix(),)}, Codec(), "CutMix takes pixels from a partner, and none is given"),
        ({"crop": (4,)}, Codec(), r"the crop \(4,\) has 1 numbers; the images have 2 axes"),
        ({"crop": (0, 4)}, Codec(), r"Pipeline.crop is \(0, 4\); it must be at least 1"),
        ({"foreground": 0.3}, Codec(), "foreground is 0.3 of the crops, and none are taken; give their size"),
        (
            {"operations": (CopyPaste(),)},
            Codec(),
            "CopyPaste takes objects from instance maps, whose unknown pixels are below 0",
        ),
        ({"operations": (Operation(),)}, Codec(), r"Operation\(probability=1.0\) is no operation"),
    ],
)
def test_what_does_not_fit_is_refused(pipeline, codec, message):
    image, label = sample()
    with pytest.raises(ValueError, match=message):
        transform(KEY, image, {"label": label, "far": label}, Pipeline(**pipeline), codec=codec)


def test_labels_of_other_kinds_do_not_mix():
    image, values = sample()[0], np.zeros((9, 12, 2), np.float32)
    with pytest.raises(ValueError, match="CutMix mixes class numbers and instance maps, no other labels"):
        transform(KEY, image, {"label": values}, Pipeline(operations=(CutMix(),)), partner=(image, {"label": values}))


def test_foreground_may_be_objects_with_large_numbers():
    label = jnp.array([[0, 0], [2**20 + 300, -1]])
    for number in (1, 256, 2**20 + 300):
        place, found = class_pixel(KEY, jnp.where(label > 0, number, label), -1)
        assert found and place == (1, 0)


def test_foreground_wants_class_numbers():
    with pytest.raises(ValueError, match=r"foreground is 0\.5, but the label holds no class numbers"):
        pipeline = Pipeline(crop=(4, 4), foreground=0.5)
        transform(KEY, sample()[0], {"label": np.zeros((9, 12, 2), np.float32)}, pipeline)


def test_nnunets_list():
    """Order, probabilities and ranges of version 2.8."""
    pipeline = PRESETS["nnunet"]()
    rows = [(type(op).__name__, op.probability, getattr(op, "range", None)) for op in pipeline.operations]
    assert rows == [
        ("Rotate", 0.2, None),
        ("Scale", 0.2, (0.7, 1.4)),
        ("GaussianNoise", 0.1, None),
        ("Blur", 0.2, None),
        ("Brightness", 0.15, (0.75, 1.25)),
        ("Contrast", 0.15, (0.75, 1.25)),
        ("LowResolution", 0.25, (0.5, 1.0)),
        ("Gamma", 0.1, (0.7, 1.5)),
        ("Gamma", 0.3, (0.7, 1.5)),
        ("Flip", 0.5, None),
        ("Flip", 0.5, None),
    ]
    assert not pipeline.clip and [op.stream for op in pipeline.operations[-4:]] == ["GammaInverted", "Gamma", "Flip0", "Flip1"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_as_options(name):
    """For gray images as well."""
    config = AugmentConfig(preset=name, crop=(8, 8))
    for channels in (1, 3):
        batch = {"image": np.zeros((2, 12, 9, channels), np.uint8), "label": np.zeros((2, 12, 9), np.int32)}
        batch |= {"index": np.zeros(2, np.int32), "epoch": np.zeros(2, np.int32)}
        record = default_preprocessing(channels)
        new = jax.eval_shape(lambda key, batch, record=record: augment_batch(key, batch, config, record), KEY, batch)
        assert new["image"].shape == (2, 8, 8, channels) and new["image"].dtype == np.float32
        assert new["label"].shape == (2, 8, 8) and new["label"].dtype == np.int32


def test_a_strength_of_nothing_changes_nothing():
    operations = (*rand_augment(0, operations=14), Elastic(sigma=0))
    assert {op.probability for op in operations} == {1} and {op.probability for op in rand_augment(0.5)} == {2 / 14}
    matrices, shifts, images = jax.jit(
        lambda key, image: (
            [op.matrix(key, (9, 12)) for op in operations if isinstance(op, Geometric)],
            [op.shifts(key, (9, 12)) for op in operations if isinstance(op, Elastic)],
            [op.change(key, image) for op in operations if isinstance(op, Photometric)],
        )
    )(KEY, sample()[0].astype(np.float32))
    assert (len(matrices), len(shifts), len(images)) == (6, 1, 8) and not np.any(shifts)
    for matrix in matrices:
        np.testing.assert_array_equal(matrix, np.eye(3))
    for image in images:
        np.testing.assert_allclose(image, sample()[0], atol=1e-3)
    with pytest.raises(ValueError, match="strength is 2; it must be at least 0 and at most 1"):
        rand_augment(2)
