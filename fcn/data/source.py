"""What a data set is to this package (`Source`), and what it may hold."""

from typing import Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

IGNORE = 255


class Sample(TypedDict):
    """One labelled image."""

    image: UInt8[np.ndarray, "h w c"]
    label: Int[np.ndarray, "h w"]
    name: str


@runtime_checkable
class Source(Protocol):
    """A random-access sequence of labelled images: `len(source)`, `source[i]`.

    Labels are class numbers 0..K-1 (K = `len(classes)`); `ignore_index` marks pixels that count nowhere.
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
    refuse_other_types(sample)
    *size, channels = sample["image"].shape
    return {"image_size": tuple(size), "channels": channels, "label": sample["label"], "name": sample["name"]}


def refuse_other_types(sample: Sample) -> None:
    """Raise a ValueError for a sample that is no uint8 image [h, w, c] with integer labels [h, w], h, w and c at least 1."""
    image, label, name = np.asarray(sample["image"]), np.asarray(sample["label"]), sample["name"]
    if image.dtype != np.uint8:
        raise ValueError(f"{name}: an image of type {image.dtype}{_span(image)}; images are uint8, 0..255: scale and round it")
    if image.ndim != 3 or not image.size:
        raise ValueError(f"{name}: an image of shape {image.shape}; images are [height, width, channels], none of them 0")
    if label.dtype.kind not in "iu" or label.ndim != 2:
        raise ValueError(
            f"{name}: a label of type {label.dtype} and shape {label.shape}; labels are integers [height, width]: class numbers"
        )


def _span(values: np.ndarray) -> str:
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    finite = values[np.isfinite(values)]
    span = f" ({finite.min():g}..{finite.max():g}" if finite.size else " ("
    return span + (", NaN or infinite ones among them)" if finite.size < values.size else ")")


def position(index: int, length: int) -> int:
    """`index` as a number in 0..length-1 (negative counts from the end); IndexError beyond."""
    if not -length <= index < length:
        raise IndexError(f"index {index} of a source of {length} samples")
    return int(index) % length


def illegal_values(stored: Int[np.ndarray, "h w"], table: Int[np.ndarray, " n"]) -> list[int]:
    """The values of a mask to which `table`, from stored value to class number, gives none (-1, or nothing at all)."""
    low, high = int(stored.min()), int(stored.max())
    if low >= 0 and high < len(table) and table[stored].min() >= 0:
        return []
    return [int(v) for v in np.unique(stored) if not 0 <= v < len(table) or table[v] < 0]
