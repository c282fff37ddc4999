"""What a data set is to this package (`Source`), and what it may hold."""

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int, Integer, Shaped, UInt8

IGNORE = 255
LabelKind = Literal["classes", "binary", "masks", "values", "instances", "panoptic"]
"""What a label is, of images (of signals with an axis less, of volumes with one more): class numbers int [H, W]; those of two
classes; a mask for each class, int [H, W, K] of 0, 1 and ignored entries; K values float [H, W, K], NaN where none is known; or
an instance map int [H, W]: 0 for background, another number above for each object, below 0 where nothing is known; "panoptic":
one whose numbers tell the classes of objects, too (`fcn.data.panoptic`)."""


class Sample(TypedDict):
    """One labelled image, signal or volume: the axes of the image say which.

    Images are uint8. Signals and volumes are float32 on the same scale, on which 0 and 255 are what their range or their own
    statistics make them; values may lie beyond.
    """

    image: UInt8[np.ndarray, "h w c"] | Float32[np.ndarray, "*spatial c"]
    label: Shaped[np.ndarray, "..."]
    name: str
    spacing: NotRequired[tuple[float, ...]]
    """Of a volume, millimetres between voxels along each axis."""


@runtime_checkable
class Source(Protocol):
    """A random-access sequence of labelled images: `len(source)`, `source[i]`.

    Labels are class numbers 0..K-1 (K = `len(classes)`), or what `label_kind` says; `ignore_index` marks pixels that
    count nowhere.
    """

    name: str
    classes: tuple[str, ...]
    palette: UInt8[np.ndarray, "k 3"]
    ignore_index: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def verify(source: Source, index: int) -> dict:
    """What the checks need of a sample: "image_size", "channels", "label", "name"; from `source.verify` where there is one."""
    own = getattr(source, "verify", None)
    if own is not None:
        return own(index)
    sample = source[index]
    refuse_other_types(sample, kind_of(source))
    *size, channels = sample["image"].shape
    return {"image_size": tuple(size), "channels": channels, "label": sample["label"], "name": sample["name"]}


def image_size(source: Source, index: int) -> tuple[int, ...]:
    """Height and width of an image, the length of a signal, three sides of a volume; by the source's own
    `image_size`, which need not decode it, where there is one.
    """
    own = getattr(source, "image_size", None)
    return verify(source, index)["image_size"] if own is None else own(index)


class Subset:
    """Some samples of another source.

    Args:
        source: where they come from.
        indices: their numbers there.
        remarks: what a user should know of the choice, a sentence each.
        left_out: the numbers of the others, where that is because they cannot be used.
    """

    def __init__(self, source: Source, indices: Sequence[int], remarks: Sequence[str] = (), left_out: Sequence[int] = ()):
        self.source, self.indices = source, indices
        self.name, self.classes, self.palette = source.name, source.classes, source.palette
        self.ignore_index, self.checked = source.ignore_index, getattr(source, "checked", False)
        self.label_kind, self._remarks, self.left_out = kind_of(source), tuple(remarks), tuple(left_out)

    @property
    def value_range(self) -> Any:
        """That of the whole source."""
        return getattr(self.source, "value_range", None)

    @property
    def sampling_rate(self) -> float | None:
        """Samples a second of its signals, where the whole source tells them."""
        return getattr(self.source, "sampling_rate", None)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Those of the whole source, and of the choice."""
        return (*getattr(self.source, "remarks", ()), *self._remarks)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[position(index, len(self))]]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Those of the whole source."""
        return channel_names(self.source)

    @property
    def padding(self) -> int | float:
        """What lies outside of its images, signals or volumes."""
        return padding(self.source)

    def image_size(self, index: int) -> tuple[int, ...]:
        """Height and width of an image, and so on."""
        return image_size(self.source, self.indices[index])

    def verify(self, index: int) -> dict:
        """What the checks need of a sample."""
        return verify(self.source, self.indices[index])


_FORMS = {
    "classes": ("iu", 2, "integers [height, width]: class numbers"),
    "binary": ("iu", 2, "integers [height, width]: 0 and 1"),
    "masks": ("iu", 3, "integers [height, width, classes]: 0 and 1"),
    "values": ("f", 3, "floats [height, width, channels]"),
    "instances": ("iu", 2, "integers [height, width]: 0, and a number for each object"),
    "panoptic": ("iu", 2, "integers [height, width]: 0, and a number for each object and its class"),
}


def kind_of(source: Source) -> LabelKind:
    """What the labels of a source are; those that do not say it have class numbers."""
    return getattr(source, "label_kind", "classes")


def padding(source: Source) -> int | float:
    """What lies outside of the images of a source, on the scale 0..255; black, unless it says otherwise."""
    return getattr(source, "padding", 0)


def channel_names(source: Source) -> tuple[str, ...]:
    """What a data set calls the channels of its images, such as "CT"; of one that does not say it nothing."""
    return getattr(source, "channel_names", ())


def refuse_other_types(sample: Sample, kind: LabelKind = "classes") -> None:
    """Raise a ValueError for a sample that is no uint8 image [h, w, c], float32 signal [l, c] or float32 volume [d, h, w, c],
    all sides at least 1, with a label of the given kind.
    """
    image, label, name = np.asarray(sample["image"]), np.asarray(sample["label"]), sample["name"]
    floats = image.dtype == np.float32 and image.ndim in (2, 4)
    if image.dtype != np.uint8 and not floats:
        raise ValueError(f"{name}: an image of type {image.dtype}{_span(image)}; images are uint8, 0..255: scale and round it")
    if (image.ndim != 3 and not floats) or not image.size:
        raise ValueError(f"{name}: an image of shape {image.shape}; images are [height, width, channels], none of them 0")
    types, axes, form = _FORMS[kind]
    if label.dtype.kind not in types or label.ndim != axes + image.ndim - 3:
        raise ValueError(f"{name}: a label of type {label.dtype} and shape {label.shape}; labels are {form}")


def _span(values: np.ndarray) -> str:
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    finite = values[np.isfinite(values)]
    span = f" ({finite.min():g}..{finite.max():g}" if finite.size else " ("
    return span + (", NaN or infinite ones among them)" if finite.size < values.size else ")")


def spread(length: int, count: int) -> list[int]:
    """`count` of the positions 0..length-1, spread evenly from the first to the last; all where there are fewer."""
    return np.linspace(0, length - 1, min(count, length)).astype(int).tolist()


def position(index: int, length: int) -> int:
    """`index` as a number in 0..length-1 (negative counts from the end); IndexError beyond."""
    if not -length <= index < length:
        raise IndexError(f"index {index} of a source of {length} samples")
    return int(index) % length


def illegal_values(stored: Int[np.ndarray, "..."], table: Int[np.ndarray, " n"]) -> list[int]:
    """The values of a mask to which `table`, from stored value to class number, gives none (-1, or nothing at all)."""
    low, high = int(stored.min()), int(stored.max())
    if low >= 0 and high < len(table) and table[stored].min() >= 0:
        return []
    return [int(v) for v in np.unique(stored) if not 0 <= v < len(table) or table[v] < 0]


def different_values(label: Integer[np.ndarray, "..."]) -> Int[np.ndarray, " n"]:
    """The different values of a label in rising order, without a sort where they lie close together."""
    low, high = int(label.min()), int(label.max())
    if high - low > 65535:
        return np.unique(label)
    return np.flatnonzero(np.bincount((label.astype(np.int64) - low).ravel())) + low
