"""Images of mixed sizes: crops that depend on sample and epoch alone, and buckets in which each pixel counts once."""

import numpy as np
import pytest

from fcn.data import Prepared, TrainLoader, check_source, eval_batches
from fcn.data.loading.crops import bucket_shapes, crop_place, put_crop
from fcn.data.loading.loader import eval_plan

SIZES = [(5, 9), (8, 4), (3, 3), (5, 9), (7, 7)]


class Mixed:
    """Image i holds a number of its own at each pixel, red its row, green its column; the label is 1 everywhere."""

    name, classes, palette, ignore_index = "mixed", ("a", "b"), np.zeros((2, 3), np.uint8), 255

    def __init__(self, sizes=SIZES):
        self.sizes, self.reads = sizes, 0

    def __len__(self):
        return len(self.sizes)

    def image_size(self, index):
        return self.sizes[index]

    def __getitem__(self, index):
        self.reads += 1
        rows, columns = np.indices(self.sizes[index], np.uint8)
        image = np.stack([rows, columns, np.full_like(rows, index + 1)], -1)
        return {"image": image, "label": np.ones(self.sizes[index], np.int32), "name": str(index)}


def test_a_crop_depends_on_sample_and_epoch_alone():
    places = [crop_place((14, 24), (10, 20), index, epoch) for index in range(8) for epoch in range(8)]
    assert places[:20] == [crop_place((14, 24), (10, 20), index, epoch) for index in range(8) for epoch in range(8)][:20]
    tops, lefts = (set(axis) for axis in zip(*places))
    assert tops == set(range(5)) and lefts == set(range(5)), "every place comes"
    assert {crop_place((3, 10), (5, 10), i, 0)[0] for i in range(50)} == {-2, -1, 0} and crop_place((9, 9), (9, 9), 1, 2) == (
        0,
        0,
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [((1, 2), [[12, 13], [22, 23]]), ((-1, 0), [[7, 7], [0, 1]]), ((2, 3), [[23, 7], [7, 7]]), ((5, 5), [[7, 7], [7, 7]])],
)
def test_a_crop_beyond_the_image_keeps_the_fill(place, expected):
    target = np.full((2, 2), 7)
    put_crop(target, 10 * np.arange(3)[:, None] + np.arange(4), place)
    np.testing.assert_array_equal(target, expected)


def test_training_crops_when_it_reads():
    samples = Prepared(Mixed(), crop=(4, 6))
    assert samples.shape == (4, 6, 3)
    loader = TrainLoader(samples, batch_size=5, seed=0)
    batches = [loader._load(number) for number in range(3)]
    for batch in batches:
        assert batch["image"].shape == (5, 4, 6, 3)
        for image, label, index, epoch in zip(*(batch[name] for name in ("image", "label", "index", "epoch"))):
            place = np.array(crop_place(SIZES[index], (4, 6), int(index), int(epoch)))
            there = np.indices((4, 6)) + place[:, None, None]
            inside = ((there >= 0) & (there < np.reshape(SIZES[index], (2, 1, 1)))).all(0)
            np.testing.assert_array_equal(label, np.where(inside, 1, 255))
            np.testing.assert_array_equal(
                image, np.where(inside, np.stack([*there, np.full((4, 6), index + 1)]), 0).transpose(1, 2, 0)
            )
    assert samples.source.reads <= 1 + len(SIZES), "each image is decoded once"


def test_what_does_not_fit_the_budget_is_read_again(monkeypatch):
    monkeypatch.setenv("FCN_CACHE_BYTES", str(5 * 9 * 4 + 8 * 4 * 4))  # the first two, with their labels
    samples = Prepared(Mixed(), crop=(4, 6))
    for _ in range(2):
        assert [sample["image"].shape[:2] for sample in samples] == SIZES
    assert samples.source.reads == 1 + 5 + 3 and not samples.in_memory
    monkeypatch.setenv("FCN_CACHE_BYTES", "500MB")
    with pytest.raises(ValueError, match="FCN_CACHE_BYTES is '500MB'; give a number of bytes, such as 500000000"):
        Prepared(Mixed(), crop=(4, 6))


def test_evaluation_takes_whole_images_each_pixel_once():
    samples = Prepared(Mixed(), mixed=True)
    plan = eval_plan(samples, 2)
    assert sorted(index for indices, _ in plan for index in indices.tolist() if index >= 0) == [0, 1, 2, 3, 4]
    pixels = {}
    for batch in eval_batches(samples, 2):
        for image, label, index in zip(batch["image"], batch["label"], batch["index"].tolist()):
            if index < 0:
                assert (label == 255).all()
            else:
                height, width = SIZES[index]
                np.testing.assert_array_equal(image[:height, :width], samples[index]["image"])
                pixels[index] = int((label == 1).sum())
    assert [pixels[index] for index in range(5)] == [height * width for height, width in SIZES]


def test_few_buckets():
    assert bucket_shapes(SIZES) == SIZES, "up to eight stay as they are"
    sizes = [(100 + i, 200 + 2 * i) for i in range(60)]
    shapes = bucket_shapes(sizes)
    assert 1 < len(set(shapes)) <= 8 and all(h <= a and w <= b for (h, w), (a, b) in zip(sizes, shapes))
    assert set(shapes) <= {(height, width) for height, width in sizes}, "no bucket is larger than its images"
    assert len(set(bucket_shapes([(1, 20000), (20000, 1), (7, 7)], most=1))) == 1


def test_sizes_are_told_where_neither_size_nor_crop_is_given():
    with pytest.raises(ValueError, match=r"set a size .*or a crop"):
        check_source(Mixed())
    check_source(Mixed(), mixed=True)
