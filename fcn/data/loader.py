"""Batches of samples: shuffled, endless and checkpointable for training, in order and padded for evaluation."""

import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from fcn.data.codec import Codec, Values
from fcn.data.crops import Size, bucket_shapes, crop_place, foreground_place, put_crop
from fcn.data.depth import ValueRange
from fcn.data.images import resize_image, resize_label
from fcn.data.sampling import Order, Shuffled, Turns
from fcn.data.source import Sample, Source, image_size, kind_of, position, refuse_other_types, verify
from fcn.preprocessing import Resize, fitted

CACHE_BYTES = 2 << 30
LARGEST_SIDE, LARGEST_BATCH = 32768, 65536
Batch = dict[str, np.ndarray]


class Prepared:
    """A source whose samples are resized to one size, or cropped, and, once read, kept in memory (read-only) while they fit.

    Args:
        source: where samples come from.
        size: (height, width), or None where all samples have one size, or where sizes are mixed.
        cache: keep samples in memory: all, if the whole source takes at most `CACHE_BYTES`, or none; of mixed sizes, whole, as
            many as that holds.
        codec: makes the targets of a sample; its label alone by default.
        crop: (height, width) of what batches take of each sample, at a place that its number and the epoch decide. What lies
            outside a smaller image is black and ignored. Samples may then have any size.
        mixed: samples may have any size; `eval_batches` pads them to a few.
        resize: what samples get of `size`; but for "exact" their sizes are mixed (`fcn.preprocessing.fitted`).
        foreground: the share of crops that lie around a pixel of a class other than the first.
    """

    def __init__(
        self,
        source: Source,
        size: tuple[int, int] | None = None,
        cache: bool = True,
        codec: Codec | None = None,
        *,
        crop: tuple[int, int] | None = None,
        mixed: bool = False,
        resize: Resize = "exact",
        foreground: float = 0.0,
    ):
        self.source, self.name = source, source.name
        plain = Values if kind_of(source) == "values" else Codec
        self.codec = codec or plain(ignore_index=source.ignore_index)
        self.classes, self.palette, self.ignore_index = source.classes, source.palette, source.ignore_index
        self.size = None if size is None else (int(size[0]), int(size[1]))
        if self.size is not None and not all(1 <= length <= LARGEST_SIDE for length in self.size):
            raise ValueError(f"size is {self.size}; height and width run from 1 to {LARGEST_SIDE}")
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self.resize, self.foreground = resize, foreground
        self.mixed = mixed or crop is not None or (size is not None and resize != "exact")
        self._sizes: list[Size] | None = None
        first = self.read(0)
        self.shape = (*(self.crop or first["image"].shape[:2]), first["image"].shape[2])
        self._blank = {name: np.full_like(first[name], value) for name, value in self.codec.fill.items()}
        if foreground and (crop is None or self._blank.get("label", first["image"]).ndim != 2):
            raise ValueError("sampling.foreground takes crops (data.crop) of images with one class a pixel")
        fits = self.mixed or len(source) * _bytes(first, self._blank) <= CACHE_BYTES
        self._room = CACHE_BYTES if self.mixed else float("inf")
        self._kept: dict[int, dict] | None = {} if cache and fits else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        index = position(index, len(self))
        if self._kept is None:
            return self.read(index)
        if index not in self._kept:
            sample = self.read(index)
            if (size := _bytes(sample, self._blank)) > self._room:
                return sample
            self._room -= size
            sample["image"].setflags(write=False)
            self._kept[index] = sample | {name: _compact(sample[name]) for name in self._blank}
        kept = self._kept[index]
        return kept | {name: kept[name].astype(blank.dtype) for name, blank in self._blank.items()}

    def encoded(self, codec: Codec, foreground: float = 0.0) -> "Prepared":
        """The same samples with the targets of another codec, and another share of crops around foreground."""
        how = {"crop": self.crop, "mixed": self.mixed, "resize": self.resize, "foreground": foreground}
        return Prepared(self.source, self.size, self._kept is not None, codec, **how)

    def sizes(self) -> list[Size]:
        """Height and width of each sample as it is evaluated."""
        if not self.mixed:
            return [self.shape[:2]] * len(self)
        if self._sizes is None:  # of each evaluation the same
            self._sizes = [self._fitted(image_size(self.source, index)) for index in range(len(self))]
        return self._sizes

    def read(self, index: int) -> dict:
        """A sample read anew: its image, its name and the targets of its codec, resized, not cropped."""
        sample = self.source[index]
        refuse_other_types(sample, kind_of(self.source))
        image, label = sample["image"], sample["label"]
        if self.size is not None:
            size = self._fitted(image.shape[:2])
            image, label = resize_image(image, size), resize_label(label, size)
        if hasattr(self, "shape") and (image.shape[2:] if self.mixed else image.shape) != self.shape[2 * self.mixed :]:
            raise ValueError(
                f"{sample['name']}: image of shape {image.shape} among images of shape {self.shape}; set a size (height, width)"
            )
        sized: Sample = {"image": image, "label": label, "name": sample["name"]}
        return {"image": image, "name": sample["name"], **self.codec.targets(sized)}

    def _fitted(self, size: Size) -> Size:
        """What a sample of some size is resized to."""
        return size if self.size is None else fitted(size, self.size, self.resize)

    def _place(self, sample: dict, index: int, epoch: int) -> Size:
        """Where the part of a sample that a batch takes begins."""
        size = sample["image"].shape[:2]
        if self.foreground:
            aimed = foreground_place(sample["label"], self.shape[:2], index, epoch, self.foreground, self.ignore_index)
            if aimed is not None:
                return aimed
        if self.crop is not None:
            return crop_place(size, self.crop, index, epoch)
        if size != self.shape[:2]:
            raise ValueError(f"{sample['name']}: images of mixed sizes in one batch; set a crop, or a shape to pad them to")
        return 0, 0

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values of 16-bit images that become 0 and 255; None: 0 and 65535."""
        return getattr(self.source, "value_range", None)

    @property
    def in_memory(self) -> bool:
        """Whether every sample has been read and kept."""
        return self._kept is not None and len(self._kept) == len(self)

    def verify(self, index: int) -> dict:
        """What `check_source` needs: of the sample as it was, before the resize."""
        return verify(self.source, index)

    def batch(self, indices: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], shape: Size | None = None) -> Batch:
        """The samples `indices` as arrays; index -1 gives an image of zeros of which no target is known.

        Args:
            indices, epochs: of each sample.
            shape: height and width to which whole samples are padded, below and to the right; the crop by default.
        """
        size = shape or self.shape[:2]
        arrays = {"image": np.zeros((len(indices), *size, self.shape[2]), np.uint8)}
        for name, value in self._blank.items():
            arrays[name] = np.full((len(indices), *size, *value.shape[2:]), self.codec.fill[name], value.dtype)
        for row, (index, epoch) in enumerate(zip(indices.tolist(), epochs.tolist())):
            if index >= 0:
                sample = self[index]
                place = (0, 0) if shape else self._place(sample, index, epoch)
                for name, values in arrays.items():
                    put_crop(values[row], sample[name], place)
        return {**arrays, "index": indices.astype(np.int32), "epoch": epochs.astype(np.int32)}


def _bytes(sample: dict, targets: Iterable[str]) -> int:
    """What a sample takes in memory."""
    return sum(_compact(sample[name]).nbytes for name in ("image", *targets))


def _compact(values: np.ndarray) -> np.ndarray:
    """Integers of 0..255 in a byte each."""
    small = values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= 255
    return values.astype(np.uint8) if small else values


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
        cache: keep decoded samples in memory if they take at most 2 GiB.
        partners: give each sample another one, drawn by the seed, the epoch and its number, for operations that mix.
        order: how often samples come, and when; each once an epoch by default.

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
        others = self._samples.batch(partners(self.seed, indices, epochs, len(self._samples)), epochs)
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


def partners(seed: int, indices: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], length: int) -> Int[np.ndarray, " b"]:
    """For each sample another of `length`, all as likely, by seed, epoch and sample; itself where it is alone, -1 for -1."""

    def partner(index: int, epoch: int) -> int:
        if index < 0 or length == 1:
            return index
        steps = np.random.RandomState(np.random.MT19937((seed, epoch, index, 1))).randint(1, length)
        return (index + steps) % length

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


def prepared(source: Source, size: tuple[int, int] | None, cache: bool) -> Prepared:
    """`source` itself if it is prepared for this size already."""
    if isinstance(source, Prepared) and size in (None, source.size):
        return source
    return Prepared(source, size, cache)


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
