"""Batches of samples: shuffled, endless and checkpointable for training, in order and padded for evaluation."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from fcn.data.loading.crops import Size, bucket_shapes
from fcn.data.loading.samples import Batch, Prepared, prepared
from fcn.data.loading.sampling import Order, Shuffled, Turns, generator
from fcn.data.source import Source

LARGEST_BATCH = 65536


class TrainLoader:
    """An endless iterator over shuffled batches that can be saved and restored.

    Every epoch holds every sample once, in an order drawn from the seed and the epoch; batches run on across the end of an
    epoch. The global batch k depends on source, `batch_size` and `seed` only: process p of P gets the p-th of its P parts.

    Args:
        source: where samples come from.
        batch_size: samples in a global batch, a multiple of `process_count`. It may exceed the size of the source.
        seed: of the order, 0 or more.
        size: (height, width) that samples are resized to; None where all have one size.
        process_index, process_count: this process and their number.
        cache: keep decoded samples in memory if they take at most 2 GiB, or FCN_CACHE_BYTES in the environment.
        partners: give each sample another one of those that come, drawn by the seed, the epoch and its number, for operations
            that mix.
        order: how often samples come, and when; each once an epoch by default. Partners are those of its `indices`, or all.

    Yields:
        {"image": uint8 [b, H, W, C], "label": int32 [b, H, W], "index": int32 [b], "epoch": int32 [b]} with
        b = batch_size / process_count, index the number of the sample in the source; of a `Prepared` source the targets of its
        codec in place of the label. With `partners` the same of the partners: "partner_image", "partner_label" ...

    Raises:
        ValueError: the batch does not divide by the processes, or a negative seed; later, a sample has another size and `size`
            is None.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        size: tuple[int, int] | None = None,
        process_index: int = 0,
        process_count: int = 1,
        cache: bool = True,
        partners: bool = False,
        order: Order | None = None,
    ):
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be at least 0")
        self._part = _part(batch_size, process_index, process_count)
        self._order, self.batch_size, self.seed = order or Shuffled(len(source)), batch_size, seed
        self._samples, self._partners = prepared(source, size, cache), partners
        self._indices = getattr(self._order, "indices", np.arange(len(source))) if partners else np.arange(0)
        self._next = 0  # number of the next batch
        self.waited = 0.0
        """Seconds that callers have waited for batches."""
        self._ahead: Any = None  # what reads it and those after it: grain's iterator

    def __iter__(self) -> "TrainLoader":
        return self

    def __next__(self) -> Batch:
        begun = time.perf_counter()
        if self._samples.in_memory:
            self._stop_reading()
            batch = self._load(self._next)
        else:
            self._ahead = self._ahead or self._read_ahead()
            try:
                batch = next(self._ahead)
            except BaseException:
                self._stop_reading()  # what failed is read again, not passed over
                raise
        self._next += 1
        self.waited += time.perf_counter() - begun
        return batch

    def get_state(self) -> dict:
        """Where the iterator stands, fit for JSON: {"next_batch": number of the batch that comes next}."""
        return {"next_batch": self._next}

    def set_state(self, state: dict) -> None:
        """Continue from a state of `get_state`."""
        self._stop_reading()
        self._next = state["next_batch"]

    def _load(self, number: int) -> Batch:
        places = np.arange(number * self.batch_size, (number + 1) * self.batch_size)[self._part]
        turns = [_turns(self._order, self.seed, epoch) for epoch in (places // self._order.length).tolist()]
        chosen = [(a[i], b[i]) for (a, b), i in zip(turns, (places % self._order.length).tolist())]
        indices, visits = np.array(chosen).reshape(-1, 2).T
        return self.read(indices, visits)

    def read(self, indices: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"]) -> Batch:
        """Any samples, as batches hold them; index -1 gives one of which nothing is known."""
        batch = self._samples.batch(indices, epochs)
        if not self._partners:
            return batch
        others = self._samples.batch(partners(self.seed, indices, epochs, self._indices), epochs)
        return batch | {f"partner_{name}": values for name, values in others.items() if name not in ("index", "epoch")}

    def _read_ahead(self) -> Any:
        """The batches from the next one on, read by threads, which cost more than they save once all samples are in memory."""
        import grain

        threads = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
        return iter(grain.MapDataset.range(self._next, 2**48).map(self._load).to_iter_dataset(threads))

    def _stop_reading(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None


@functools.lru_cache(maxsize=4)
def _turns(order: Order, seed: int, epoch: int) -> Turns:
    """Those of an epoch, made once for all its batches."""
    return order.turns(seed, epoch)


def partners(
    seed: int, indices: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], among: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " b"]:
    """For each sample another of those `among` which it is (in rising order), all as likely, by seed, epoch and sample.

    Itself where it is alone, -1 for -1.
    """

    def partner(index: int, epoch: int) -> int:
        if index < 0 or len(among) == 1:
            return index
        steps = generator(seed, epoch, index, 1).randint(1, len(among))
        return int(among[(np.searchsorted(among, index) + steps) % len(among)])

    return np.array([partner(index, epoch) for index, epoch in zip(indices.tolist(), epochs.tolist())])


def eval_batches(
    source: Source,
    batch_size: int,
    *,
    size: tuple[int, int] | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Every sample once, in order; the last batch is filled with index -1, whose labels are ignored everywhere.

    Samples of mixed sizes come in the order of `eval_plan`, whole, padded with ignored pixels.

    All processes get the same number of batches. Give a `Prepared` source to keep samples in memory between evaluations.

    Args and values as in `TrainLoader`; "epoch" is 0.
    """
    part = _part(batch_size, process_index, process_count)
    samples = prepared(source, size, cache=False)
    for indices, shape in eval_plan(samples, batch_size):
        mine = indices[part]
        yield samples.batch(mine, np.zeros(len(mine), int), shape)


def eval_plan(samples: Prepared, batch_size: int) -> list[tuple[Int[np.ndarray, " b"], Size]]:
    """The samples of each batch of an evaluation, -1 where there are too few, and the size to which they are padded."""
    shapes = bucket_shapes(samples.sizes())
    groups: dict[Size, list[int]] = {}
    for index, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(index)
    plan = []
    for shape, group in groups.items():
        for start in range(0, len(group), batch_size):
            chosen = group[start : start + batch_size]
            plan.append((np.array([*chosen, *[-1] * (batch_size - len(chosen))]), shape))
    return plan


def _part(batch_size: int, process_index: int, process_count: int) -> slice:
    """The rows of a global batch that belong to a process."""
    if batch_size > LARGEST_BATCH:
        raise ValueError(f"a batch of {batch_size}; it holds at most {LARGEST_BATCH} samples")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"a batch of {batch_size} does not divide among {process_count} processes")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} of {process_count}: numbers run from 0 to {process_count - 1}")
    rows = batch_size // process_count
    return slice(process_index * rows, (process_index + 1) * rows)
