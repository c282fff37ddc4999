"""How often samples come, and where they are cropped: by seed and epoch alone, and after a restart as before."""

from typing import Any

import numpy as np
import pytest

from fcn.data import Prepared, TrainLoader
from fcn.data.loading.crops import foreground_place
from fcn.data.loading.sampling import (
    Drawn,
    Repeated,
    SamplingConfig,
    Shuffled,
    class_weights,
    make_order,
    object_counts,
    occurrences,
)
from fcn.tasks import Flows as Task


class Five:
    """Five samples of two classes; the second class is in the last two only, in few pixels."""

    name, classes, palette, ignore_index = "five", ("ground", "thing"), np.zeros((2, 3), np.uint8), 255
    names = tuple("abcde")

    def __len__(self):
        return 5

    def __getitem__(self, index):
        label = np.zeros((20, 30), np.int32)
        if index > 2:
            label[17, 3 * index] = 1
        return {"image": np.full((20, 30, 3), index, np.uint8), "label": label, "name": self.names[index]}


def take(order, count, batch_size=4, start=0):
    samples = Prepared(Five())
    assert [sample["name"] for sample in samples] == list("abcde"), "all are read: no thread reads ahead"
    loader = TrainLoader(samples, batch_size=batch_size, seed=3, order=order)
    loader.set_state({"next_batch": start})
    batches = [next(loader) for _ in range(count)]
    return np.concatenate([batch["index"] for batch in batches]), np.concatenate([batch["epoch"] for batch in batches])


@pytest.mark.parametrize("order", [Shuffled(5), Repeated((1, 0, 3, 2, 1)), Drawn((1.0, 0.0, 4.0, 4.0, 1.0))])
def test_an_order_goes_on_where_it_stood_and_no_visit_comes_twice(order):
    indices, visits = take(order, 20)
    again = take(order, 13, start=7)
    np.testing.assert_array_equal(indices[28:], again[0])
    np.testing.assert_array_equal(visits[28:], again[1])
    assert len(set(zip(indices.tolist(), visits.tolist()))) == 80, "what is random of a sample differs from visit to visit"


class Backwards:
    """An order that says no more than is needed."""

    length = 5

    def turns(self, seed, epoch):
        return np.arange(5)[::-1], np.full(5, epoch)


def test_an_order_need_not_say_which_samples_come():
    assert take(Backwards(), 5)[0].tolist() == 4 * [4, 3, 2, 1, 0]
    batch = next(TrainLoader(Prepared(Five()), batch_size=40, seed=3, partners=True, order=Backwards()))
    others = batch["partner_image"][:, 0, 0, 0]
    assert set(others.tolist()) == set(range(5)) and np.all(others != batch["index"])


def test_each_comes_as_often_as_is_asked_for():
    counts = (1, 0, 3, 2, 1)
    indices, _ = take(Repeated(counts), 7)
    for epoch in indices.reshape(4, 7):
        np.testing.assert_array_equal(np.bincount(epoch, minlength=5), counts)
    drawn = np.concatenate([Drawn((1.0, 0.0, 4.0, 4.0, 1.0)).turns(0, epoch)[0] for epoch in range(200)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 1000, [0.1, 0, 0.4, 0.4, 0.1], atol=0.06)
    np.testing.assert_array_equal(occurrences(np.array([4, 1, 4, 4, 1])), [0, 0, 1, 2, 1])


def test_tables_of_weights_and_of_repeats(tmp_path):
    (tmp_path / "t.csv").write_text("name,w,n\na,1,1\nb,2.5,0\nc,0,2\nd,1,1\nx/e,1,1\n")
    assert make_order(SamplingConfig(), Five(), tmp_path) == Shuffled(5)
    with pytest.raises(ValueError, match=r"t\.csv has no row for 'e'"):
        make_order(SamplingConfig(weights="t.csv:w"), Five(), tmp_path)
    (tmp_path / "t.csv").write_text("\ufeffname,w,n\na,1,1\nb,2.5,0\nc,0,2\nd,1,1\ne,1,1\n", encoding="utf-8")
    prepared = Prepared(Five())
    assert make_order(SamplingConfig(weights="t.csv:w"), prepared, tmp_path) == Drawn((1.0, 2.5, 0.0, 1.0, 1.0))
    assert make_order(SamplingConfig(repeats="t.csv:n"), prepared, tmp_path) == Repeated((1, 0, 2, 1, 1))
    for text, column, message in (
        ("name,w\na,x\n", "w", "'x' is no weight"),
        ("name,w\na,-1\n", "w", "'-1' is no weight"),
        ("name,w\na,0\n", "w", "all of the column 'w' is 0"),
        ("name,w\na,1\n", "v", r"has no column 'v', but name, w"),
    ):
        rows = text + "".join(f"{name}{text.splitlines()[1][1:]}\n" for name in "bcde")
        (tmp_path / "t.csv").write_text(rows)
        with pytest.raises(ValueError, match=message):
            make_order(SamplingConfig(weights=f"t.csv:{column}"), Five(), tmp_path)
    (tmp_path / "t.csv").write_text("name,n\n" + "".join(f"{name},1.5\n" for name in "abcde"))
    with pytest.raises(ValueError, match=r"1\.5 is no number of repeats"):
        make_order(SamplingConfig(repeats="t.csv:n"), Five(), tmp_path)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(None, "^no image has a labelled pixel"), ("t.csv:n", "^none of the images that sampling.weights t.csv:n leaves has")],
)
def test_nothing_is_known_of_any_image(tmp_path, weights, message):
    (tmp_path / "t.csv").write_text("name,n\n" + "".join(f"{name},1\n" for name in "abcde"))
    with pytest.raises(ValueError, match=message):
        make_order(SamplingConfig(weights=weights, balance=True), Unknown(), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": "t.csv"}, "sampling.weights is 't.csv'; give a table and the name of its column"),
        ({"repeats": "t.csv:n", "balance": True}, "leave out sampling.weights and sampling.balance"),
        ({"foreground": 1.5}, "sampling.foreground is 1.5"),
    ],
)
def test_options_that_mean_nothing(fields, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**fields)


def test_classes_are_drawn_equally_often():
    """A class is drawn, then one of the images that have it: ground is in five of them, the thing in two."""
    order = make_order(SamplingConfig(balance=True), Five(), None)
    np.testing.assert_allclose(order.weights, np.array([0.2, 0.2, 0.2, 0.7, 0.7]) / 2)
    np.testing.assert_allclose(class_weights([np.full((2, 2), 255), np.zeros((2, 2), int)], 3), [0, 1])
    values: Any = type("Values", (Five,), {"label_kind": "values"})()
    with pytest.raises(ValueError, match="takes labels that are class numbers, or objects; this task has values"):
        make_order(SamplingConfig(balance=True), values, None)


def test_objects_are_drawn_equally_often():
    """Not those numbers that say that nothing is known; 255 is an object like others, and no object as rare as one."""
    assert make_order(SamplingConfig(balance=True), Objects(), None).weights == (1,) * 5
    unknown = np.full((2, 2), -1)
    assert object_counts([np.array([[0, 3, 3, 255, 70_000, -1]]), np.zeros((2, 2), int), unknown]).tolist() == [3, 1, 0]


class Objects(Five):
    """Instance maps: numbers of objects, not of classes; object 255 lies alone in one corner, in the other nothing is known."""

    label_kind = "instances"

    def __getitem__(self, index):
        label = np.zeros((20, 30), np.int32)
        label[0, 0], label[19, 29] = 255, -1
        return super().__getitem__(index) | {"label": label}


class Unknown(Five):
    """Class numbers that are all ignored."""

    def __getitem__(self, index):
        return super().__getitem__(index) | {"label": np.full((20, 30), 255)}


def test_crops_lie_around_objects_of_any_number():
    samples = Prepared(Objects(), codec=Task(classes=["thing"]), crop=(4, 4), foreground=1.0)
    epochs = np.arange(8)
    assert all((samples.batch(np.zeros(8, int), epochs)["label"] == 255).any((1, 2)))


def test_crops_around_foreground():
    label = Five()[3]["label"]
    places = [foreground_place(label, (8, 10), 3, epoch, 0.33, 255) for epoch in range(300)]
    assert sum(place is not None for place in places) / 300 == pytest.approx(0.33, abs=0.09)
    assert {place for place in places if place is not None} == {(12, 4)}, (
        "row 17 less 4, no further than 20 - 8; column 9 less 5"
    )
    assert foreground_place(np.zeros((9, 9), int), (3, 3), 0, 0, 1.0, 255) is None
    assert foreground_place(label, (50, 50), 0, 0, 1.0, 255) == (-8, -16), (
        "the image lies in the crop, the pixel near its middle"
    )


def test_training_sees_foreground_as_often_as_is_asked_for():
    samples = Prepared(Five(), crop=(4, 4), foreground=0.5)
    loader = TrainLoader(samples, batch_size=5, seed=0)
    batches = [loader._load(number) for number in range(40)]
    seen = [(label == 1).any() for batch in batches for label, index in zip(batch["label"], batch["index"]) if index > 2]
    assert 0.35 < np.mean(seen) < 0.7
    with pytest.raises(ValueError, match=r"sampling\.foreground takes crops"):
        Prepared(Five(), foreground=0.5)
