"""Samples as batches take them: resized, cropped, with the targets of a task, and kept in memory while they fit."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int

from fcn.data.codec import Codec, Objects, Values
from fcn.data.loading.crops import Size, crop_place, foreground_place, put_crop
from fcn.data.loading.mapped import Mapped
from fcn.data.reading.depth import ValueRange
from fcn.data.reading.images import resize_image, resize_label
from fcn.data.source import Sample, Source, image_size, kind_of, padding, position, refuse_other_types, verify
from fcn.preprocessing import Resize, fitted

CACHE_BYTES = 2 << 30
LARGEST_SIDE = 32768
NAMES = {1: "signals", 2: "images", 3: "volumes"}
"""What samples are called, by the number of their spatial dimensions."""
Batch = dict[str, np.ndarray]


class Prepared:
    """A source whose samples are resized to one size, or cropped, and, once read, kept in memory (read-only) while they fit.

    Args:
        source: where samples come from.
        size: (height, width) of images, or None where all samples have one size, or where sizes are mixed.
        cache: keep samples in memory: all, if the whole source takes at most `cache_budget()`, or none; of mixed sizes, whole,
            as many as that holds. Volumes beyond it are kept in temporary files, from which batches read their patches.
        codec: makes the targets of a sample; its label alone by default.
        crop: (height, width), or a side for each dimension, of what batches take of each sample, at a place that its number and
            the epoch decide. What lies outside a smaller image is black (`source.padding`) and ignored. Samples may then have
            any size.
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
        crop: Size | None = None,
        mixed: bool = False,
        resize: Resize = "exact",
        foreground: float = 0.0,
    ):
        self.source, self.name = source, source.name
        self.codec = codec or _plain_codec(source)
        self.classes, self.palette, self.ignore_index = source.classes, source.palette, source.ignore_index
        self.size = None if size is None else (int(size[0]), int(size[1]))
        if self.size is not None and not all(1 <= length <= LARGEST_SIDE for length in self.size):
            raise ValueError(f"size is {self.size}; height and width run from 1 to {LARGEST_SIDE}")
        self.crop = None if crop is None else tuple(map(int, crop))
        self.resize: Resize = resize
        self.foreground = foreground
        self.mixed = mixed or crop is not None or (size is not None and resize != "exact")
        self._sizes: list[Size] | None = None
        first = self.read(0)
        *sides, channels = first["image"].shape
        self._refuse_other_axes(len(sides))
        self.shape = (*(self.crop or sides), channels)
        """Of what batches hold: sides, and channels last."""
        self._kind, self._padding = first["image"].dtype, padding(source)
        self._blank = {name: np.full_like(first[name], value) for name, value in self.codec.fill.items()}
        if foreground and (crop is None or self._blank.get("label", first["image"]).ndim != len(sides)):
            raise ValueError("sampling.foreground takes crops (data.crop) of images with one class a pixel")
        fits = self.mixed or len(source) * _bytes(first, self._blank) <= cache_budget()
        self._room = cache_budget() if self.mixed else float("inf")
        self._kept: dict[int, dict] | None = {} if cache and fits else None
        self._mapped = Mapped()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        index = position(index, len(self))
        if self._kept is None:
            return self.read(index)
        if index not in self._kept:
            sample = self.read(index)
            if (size := _bytes(sample, self._blank)) <= self._room:
                self._room -= size
                sample["image"].setflags(write=False)
                self._kept[index] = sample | {name: _compact(sample[name]) for name in self._blank}
            elif sample["image"].ndim == 4:  # batches read patches of it
                self._kept[index] = sample | self._mapped.put(
                    {name: _compact(sample[name]) for name in ("image", *self._blank)}
                )
            else:
                return sample
        kept = self._kept[index]
        return kept | {name: _as(blank.dtype, kept[name]) for name, blank in self._blank.items()}

    def encoded(self, codec: Codec, foreground: float = 0.0) -> "Prepared":
        """The same samples with the targets of another codec, and another share of crops around foreground."""
        how = {"crop": self.crop, "mixed": self.mixed, "resize": self.resize, "foreground": foreground}
        return Prepared(self.source, self.size, self._kept is not None, codec, **how)

    def sizes(self) -> list[Size]:
        """Height and width of each sample as it is evaluated, or as many sides as it has."""
        if not self.mixed:
            return [self.shape[:-1]] * len(self)
        if self._sizes is None:  # of each evaluation the same
            self._sizes = [self._fitted(image_size(self.source, index)) for index in range(len(self))]
        return self._sizes

    def read(self, index: int) -> dict:
        """A sample read anew: its image, its name and the targets of its codec, resized, not cropped."""
        sample = self.source[index]
        refuse_other_types(sample, kind_of(self.source))
        image, label = sample["image"], sample["label"]
        if self.size is not None:
            self._refuse_resize(image.ndim - 1)
            height, width = self._fitted(image.shape[:2])
            image, label = resize_image(image, (height, width)), resize_label(label, (height, width))
        known = getattr(self, "shape", image.shape)
        if image.ndim != len(known) or image.shape[-1] != known[-1] or not (self.mixed or image.shape == known):
            raise ValueError(
                f"{sample['name']}: image of shape {image.shape} among images of shape {self.shape}; set a size (height, width)"
            )
        sized: Sample = {"image": image, "label": label, "name": sample["name"]}
        return {"image": image, "name": sample["name"], **self.codec.targets(sized)}

    def _fitted(self, size: Size) -> Size:
        """What a sample of some size is resized to."""
        return size if self.size is None else fitted((size[0], size[1]), self.size, self.resize)

    def _refuse_other_axes(self, axes: int) -> None:
        """Raises a ValueError for a crop of another number of sides than samples have."""
        if self.crop is not None and len(self.crop) != axes:
            what = f"{NAMES[axes]}, which have {axes} side{'s' * (axes > 1)}"
            raise ValueError(f"the crop {'x'.join(map(str, self.crop))} has {len(self.crop)} sides; {self.name} holds {what}")

    def _refuse_resize(self, axes: int) -> None:
        if axes != 2:
            raise ValueError(f"size resizes images, and {self.name} holds {NAMES[axes]}; take a crop instead")

    def _place(self, sample: dict, index: int, epoch: int) -> Size:
        """Where the part of a sample that a batch takes begins."""
        size = sample["image"].shape[:-1]
        if self.foreground:
            ignored = int(self.codec.fill["label"])
            aimed = foreground_place(sample["label"], self.shape[:-1], index, epoch, self.foreground, ignored)
            if aimed is not None:
                return aimed
        if self.crop is not None:
            return crop_place(size, self.crop, index, epoch)
        if size != self.shape[:-1]:
            raise ValueError(f"{sample['name']}: images of mixed sizes in one batch; set a crop, or a shape to pad them to")
        return (0,) * len(size)

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
        """The samples `indices` as arrays; index -1 gives an empty image, of which no target is known.

        Args:
            indices, epochs: of each sample.
            shape: height and width to which whole samples are padded, below and to the right; the crop by default.
        """
        size = shape or self.shape[:-1]
        arrays = {"image": np.full((len(indices), *size, self.shape[-1]), self._padding, self._kind)}
        for name, value in self._blank.items():
            further = value.shape[len(size) :]
            arrays[name] = np.full((len(indices), *size, *further), self.codec.fill[name], value.dtype)
        for row, (index, epoch) in enumerate(zip(indices.tolist(), epochs.tolist())):
            if index >= 0:
                sample = self[index]
                place = (0,) * len(size) if shape else self._place(sample, index, epoch)
                for name, values in arrays.items():
                    put_crop(values[row], sample[name], place)
        return {**arrays, "index": indices.astype(np.int32), "epoch": epochs.astype(np.int32)}


def cache_budget() -> int:
    """So many bytes of decoded samples a source may keep in memory: FCN_CACHE_BYTES, else 2 GiB.

    Raises:
        ValueError: FCN_CACHE_BYTES is no number.
    """
    if (given := os.environ.get("FCN_CACHE_BYTES")) is None:
        return CACHE_BYTES
    if not given.isdecimal():
        raise ValueError(f"FCN_CACHE_BYTES is {given!r}; give a number of bytes, such as 500000000, or 0 to keep nothing")
    return int(given)


def _plain_codec(source: Source) -> Codec:
    """Labels as they are."""
    if kind_of(source) in ("instances", "panoptic"):
        return Objects()
    return (Values if kind_of(source) == "values" else Codec)(ignore_index=source.ignore_index)


def _bytes(sample: dict, targets: Iterable[str]) -> int:
    """What a sample takes in memory."""
    return sum(_compact(sample[name]).nbytes for name in ("image", *targets))


def _as(kind: np.dtype, values: np.ndarray) -> np.ndarray:
    """Values of some type; those that lie on the disk as they are."""
    return values if isinstance(values, np.memmap) else values.astype(kind)


def _compact(values: np.ndarray) -> np.ndarray:
    """Integers of 0..255 in a byte each."""
    small = values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= 255
    return values.astype(np.uint8) if small else values


def prepared(source: Source, size: tuple[int, int] | None, cache: bool) -> Prepared:
    """`source` itself if it is prepared for this size already."""
    if isinstance(source, Prepared) and size in (None, source.size):
        return source
    return Prepared(source, size, cache)
