"""Batches: what they hold, in which order, on how many processes, and after a restart."""

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fcn.data import Prepared, TrainLoader, eval_batches, resize_image, resize_label


class Numbers:
    """Sample i is filled with the number i; counts how often it is read."""

    name, classes, ignore_index = "numbers", tuple("abcdefgh"), 255
    palette = np.zeros((8, 3), np.uint8)

    def __init__(self, length, size=(4, 6), odd=None):
        self.length, self.size, self.odd, self.reads, self.broken = length, size, odd, 0, False

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.broken:
            raise OSError("broken")
        self.reads += 1
        size = (3, 3) if index == self.odd else self.size
        image = np.full((*size, 3), index, np.uint8)
        image[0, 0] = 200
        return {"image": image, "label": np.full(size, index % 8, np.int32), "name": f"sample {index}"}


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def joined(batches, key):
    return np.concatenate([batch[key] for batch in batches])


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for a, b in zip(batches, others):
        assert sorted(a) == sorted(b) == ["epoch", "image", "index", "label"]
        for key in a:
            assert a[key].dtype == b[key].dtype
            np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_holds_the_samples_that_its_indices_name():
    source = Numbers(10)
    batch = next(TrainLoader(source, batch_size=4, seed=0))
    assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
        "image": ("uint8", (4, 4, 6, 3)),
        "label": ("int32", (4, 4, 6)),
        "index": ("int32", (4,)),
        "epoch": ("int32", (4,)),
    }
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(batch["image"][row], source[index]["image"])
        np.testing.assert_array_equal(batch["label"][row], source[index]["label"])


@pytest.mark.parametrize(("length", "batch_size"), [(10, 4), (12, 4), (3, 8), (1, 2)])
def test_every_epoch_is_a_new_permutation(length, batch_size):
    batches = take(TrainLoader(Numbers(length), batch_size=batch_size, seed=7), 6 * length // batch_size + 1)
    index, epoch = joined(batches, "index"), joined(batches, "epoch")
    np.testing.assert_array_equal(epoch, np.arange(len(epoch)) // length)
    orders = [tuple(index[epoch == e]) for e in range(6)]
    assert all(sorted(order) == list(range(length)) for order in orders)
    if length >= 10:
        assert len(set(orders)) == 6


def test_a_negative_seed_is_refused_at_once():
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        TrainLoader(Numbers(10), batch_size=4, seed=-1)


class Watched(Prepared):
    """Counts the batches that the first thread makes."""

    made = 0

    def batch(self, indices, epochs):
        if threading.current_thread() is threading.main_thread():
            self.made += 1
        return super().batch(indices, epochs)


def test_threads_read_ahead_until_all_samples_are_in_memory():
    samples = Watched(Numbers(10))
    loader = TrainLoader(samples, batch_size=5, seed=0)
    while not samples.in_memory:
        next(loader)
    made = samples.made
    take(loader, 20)
    assert samples.made == made + 20


@pytest.mark.parametrize("cache", [True, False])
def test_a_read_that_failed_is_tried_again(cache):
    source, settings = Numbers(200), {"batch_size": 2, "seed": 0, "cache": cache}
    loader, batches = TrainLoader(source, **settings), []
    for _ in range(2):
        source.broken = True
        with pytest.raises(OSError, match="broken"):
            while True:  # some batches may have been read ahead
                batches.append(next(loader))
        source.broken = False
        batches.append(next(loader))
    batches += take(loader, 5)
    assert_equal(batches, take(TrainLoader(Numbers(200), **settings), len(batches)))


def test_the_order_depends_on_the_seed_only():
    settings = ((1, True), (1, False), (2, True))
    runs = [take(TrainLoader(Numbers(20), batch_size=4, seed=seed, cache=cache), 12) for seed, cache in settings]
    assert_equal(runs[0], runs[1])
    assert (joined(runs[0], "index") != joined(runs[2], "index")).any()


@pytest.mark.parametrize("processes", [2, 3, 6])
def test_processes_share_the_same_global_batches(processes):
    whole = take(TrainLoader(Numbers(10), batch_size=6, seed=3), 9)
    parts = [
        take(TrainLoader(Numbers(10), batch_size=6, seed=3, process_index=p, process_count=processes), 9)
        for p in range(processes)
    ]
    assert_equal(whole, [{key: joined([part[k] for part in parts], key) for key in whole[0]} for k in range(9)])


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_restored_iterator_goes_on_where_it_was(stop):
    iterator = TrainLoader(Numbers(10), batch_size=4, seed=3)
    take(iterator, stop)
    state = json.loads(json.dumps(iterator.get_state()))
    rest = take(iterator, 6)
    fresh = TrainLoader(Numbers(10), batch_size=4, seed=3)
    take(fresh, 3)
    fresh.set_state(state)
    assert_equal(take(fresh, 6), rest)
    assert fresh.get_state() == iterator.get_state()


def test_a_state_serves_any_number_of_processes():
    whole = TrainLoader(Numbers(10), batch_size=4, seed=3)
    take(whole, 5)
    half = TrainLoader(Numbers(10), batch_size=4, seed=3, process_index=1, process_count=2)
    half.set_state(whole.get_state())
    np.testing.assert_array_equal(next(half)["index"], next(whole)["index"][2:])


def test_samples_are_resized():
    source = Numbers(5, size=(8, 10))
    batch = next(TrainLoader(source, batch_size=5, seed=0, size=(4, 6)))
    for row, index in enumerate(batch["index"]):
        np.testing.assert_array_equal(batch["image"][row], resize_image(source[index]["image"], (4, 6)))
        np.testing.assert_array_equal(batch["label"][row], resize_label(source[index]["label"], (4, 6)))


def test_mixed_sizes_need_a_size():
    with pytest.raises(ValueError, match=r"sample 2: image of shape \(3, 3, 3\) among .*set a size"):
        take(TrainLoader(Numbers(5, odd=2), batch_size=5, seed=0), 2)
    assert next(TrainLoader(Numbers(5, odd=2), batch_size=5, seed=0, size=(4, 6)))["image"].shape == (5, 4, 6, 3)


def test_small_sources_are_read_once(monkeypatch):
    source = Numbers(5)
    samples = Prepared(source)
    for _ in range(3):
        assert [s["name"] for s in samples] == [f"sample {i}" for i in range(5)]
    assert source.reads == 6  # sample 0 once more, for the shape
    monkeypatch.setattr(
        "fcn.data.loading.samples.CACHE_BYTES", 5 * 4 * 6 * 4 - 1
    )  # one byte too little for images and labels of a byte
    source = Numbers(5)
    assert [len(list(Prepared(source))) for _ in range(2)] == [5, 5] and source.reads == 12
    monkeypatch.setattr("fcn.data.loading.samples.CACHE_BYTES", 5 * 4 * 6 * 4)
    source = Numbers(5)
    kept = Prepared(source)
    assert [len(list(kept)) for _ in range(2)] == [5, 5] and source.reads == 6
    with pytest.raises(ValueError, match="read-only"):
        kept[0]["image"][0] = 0
    assert kept[3]["label"].dtype == np.int32
    batches = [*eval_batches(kept, 2), *take(TrainLoader(kept, batch_size=2, seed=0), 3)]
    assert source.reads == 6 and batches[0]["label"].dtype == np.int32


def test_evaluation_goes_in_order_and_fills_the_last_batch():
    batches = list(eval_batches(Numbers(7), 3, size=(4, 6)))
    np.testing.assert_array_equal(joined(batches, "index"), [0, 1, 2, 3, 4, 5, 6, -1, -1])
    assert (batches[-1]["label"][1:] == 255).all() and (batches[-1]["image"][1:] == 0).all()
    np.testing.assert_array_equal(batches[-1]["label"][0], 6)
    assert sum((b["label"] != 255).sum() for b in batches) == 7 * 24
    assert len(list(eval_batches(Numbers(6), 3))) == 2


def test_evaluation_on_several_processes_covers_each_sample_once():
    whole = list(eval_batches(Numbers(9), 4))
    parts = [list(eval_batches(Numbers(9), 4, process_index=p, process_count=4)) for p in range(4)]
    assert {len(part) for part in parts} == {3}
    assert_equal(whole, [{key: joined([part[k] for part in parts], key) for key in whole[0]} for k in range(3)])


def test_a_batch_must_divide_by_the_processes():
    with pytest.raises(ValueError, match="a batch of 6 does not divide among 4 processes"):
        TrainLoader(Numbers(5), batch_size=6, seed=0, process_count=4)
    with pytest.raises(ValueError, match="a batch of 0"):
        next(eval_batches(Numbers(5), 0))
    with pytest.raises(ValueError, match="process 2 of 2: numbers run from 0 to 1"):
        TrainLoader(Numbers(5), batch_size=6, seed=0, process_index=2, process_count=2)


def test_sizes_and_batches_have_a_range():
    for size in ((0, 4), (4, 10**9)):
        with pytest.raises(ValueError, match=r"size is .*; height and width run from 1 to 32768"):
            Prepared(Numbers(5), size)
    with pytest.raises(ValueError, match=r"a batch of 1000000000000; it holds at most 65536"):
        TrainLoader(Numbers(5), batch_size=10**12, seed=0)


@pytest.mark.filterwarnings("error")
def test_values_stay_what_they_are():
    """NaN, which says that a value is not known, is no integer; outside of the image none is known."""

    class Depths(Numbers):
        label_kind = "values"

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            values = np.full((*sample["label"].shape, 1), 0.25 + index, np.float32)
            values[0, 0] = np.nan
            return {**sample, "label": values}

    batch = Prepared(Depths(3)).batch(np.array([2, -1]), np.zeros(2, int))
    assert batch["label"].dtype == np.float32 and np.isnan(batch["label"][0, 0, 0]) and np.isnan(batch["label"][1]).all()
    assert (batch["label"][0, 1:] == 2.25).all()


def test_the_time_that_is_waited_for_batches_is_known(monkeypatch):
    loader, clock = TrainLoader(Numbers(10), batch_size=4, seed=0), iter([1.0, 3.5, 10.0, 10.5])
    monkeypatch.setattr("fcn.data.loading.loader.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    take(loader, 2)
    assert loader.waited == 3.0
