"""Check every sample of a source before the first step, and say which file is wrong."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fcn.data.source import Source, kind_of, verify


def check_source(
    source: Source, *, size: tuple[int, int] | None = None, samples: int | None = None, mixed: bool = False
) -> None:
    """Raise an error that names the file for the first sample that training would trip over.

    Checked: that images and labels can be read to the end, agree in size, are all of one size (unless a `size` is given to
    which they will be brought, or sizes may be `mixed`) and of one number of channels, that label values are class numbers or
    the ignore index, and that not all are ignored.
    Sets that this package made itself (`source.checked`) are passed over.

    Args:
        source: any source.
        size: the (height, width) that the loader will resize to, if any.
        samples: check only so many, evenly spread; all by default.
        mixed: images may have any sizes.

    Raises:
        ValueError: a sample is wrong; the message begins with its name.
    """
    if getattr(source, "checked", False):
        return
    if not len(source):
        raise ValueError(f"{source.name} has no samples")
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; check at least 1")
    count = min(samples or len(source), len(source))
    indices = np.linspace(0, len(source) - 1, count).astype(int).tolist()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(lambda index: _facts(source, index), indices))
    for facts in found:
        _compare(found[0], facts, mixed or size is not None)
    values = np.unique(np.concatenate([facts["values"] for facts in found]))
    if samples is None and set(values) == {source.ignore_index}:
        raise ValueError(
            f"{found[0]['name']}: every pixel of all {count} labels of this split is ignored ({source.ignore_index}); "
            "there is nothing to learn or to measure"
        )
    if (
        kind_of(source) in ("classes", "binary")
        and set(values) == {0, 255}
        and source.ignore_index == 255
        and len(source.classes) < 3
    ):
        raise ValueError(
            f"{found[0]['name']}: the labels of {source.name} hold only 0 and 255, and 255 means ignored pixels; "
            "store class ids 0 and 1, or write classes.csv with the rows 0,background and 255,foreground"
        )


def _compare(first: dict, other: dict, any_size: bool) -> None:
    if other["channels"] != first["channels"]:
        raise ValueError(
            f"{other['name']}: {other['channels']} channels, but {first['name']} has {first['channels']}; "
            "set channels to 3 (all as RGB) or to 1 (all as gray)"
        )
    if not any_size and other["image_size"] != first["image_size"]:
        raise ValueError(
            f"{other['name']}: {_times(other['image_size'])} (height x width), but {first['name']} is "
            f"{_times(first['image_size'])}; set a size (height, width), to which all are resized, "
            "or a crop, which training cuts from each"
        )


def _facts(source: Source, index: int) -> dict:
    facts = verify(source, index)
    label, size = facts.pop("label"), facts["image_size"]
    if label.shape[:2] != size:
        raise ValueError(f"{facts['name']}: the image is {_times(size)} (height x width), its label {_times(label.shape[:2])}")
    kind = kind_of(source)
    if kind == "values":  # any that is finite will do
        label = np.where(np.isfinite(label), 0, source.ignore_index)
    values = _values(label)
    largest = 1 if kind == "masks" else len(source.classes) - 1
    bad = [int(v) for v in values if v != source.ignore_index and not 0 <= v <= largest]
    if bad:
        raise ValueError(
            f"{facts['name']}: label value {', '.join(map(str, bad[:5]))} is out of range: "
            f"classes are 0..{largest}, ignored pixels {source.ignore_index}"
        )
    return {**facts, "values": values}


def _values(label: np.ndarray) -> np.ndarray:
    """The different values of a label, without a sort where they lie close together."""
    low, high = int(label.min()), int(label.max())
    if high - low > 65535:
        return np.unique(label)
    return np.flatnonzero(np.bincount((label.astype(np.int64) - low).ravel())) + low


def _times(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
