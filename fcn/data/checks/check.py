"""Check every sample of a source before the first step, and say which files are wrong: all of them, by kind."""

import collections
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fcn.data.source import IGNORE, Source, Subset, different_values, kind_of, spread, verify

MANY_CLASSES = 20
"""From so many classes without a table on, labels that count 1, 2, 3 ... are taken for maps of objects."""
_SHOWN = 3
"""Samples that are named for each kind of fault."""
_KIND = re.compile(r"\S*[\d/]\S*")
"""What is left out of a message to see what kind of fault it tells: numbers and paths."""


class _Fault(NamedTuple):
    """A sample that cannot be used, and why."""

    index: int
    error: ValueError | OSError


def check_source(
    source: Source, *, size: tuple[int, int] | None = None, samples: int | None = None, mixed: bool = False
) -> None:
    """Raise one error that names what training would trip over: the first files of each kind of fault.

    Checked: that images and labels can be read to the end, agree in size, are all of one size (unless a `size` is given to
    which they will be brought, or sizes may be `mixed`) and of one number of channels, that label values are class numbers or
    the ignore index and not the numbers of objects, and that not all are ignored.
    Sets that this package made itself (`source.checked`) are passed over.

    Args:
        source: any source.
        size: the (height, width) that the loader will resize to, if any.
        samples: check only so many, evenly spread; all by default.
        mixed: images may have any sizes.

    Raises:
        ValueError, OSError: a sample is wrong; the message begins with its name. A ValueError with a line for each where there
            are several.
    """
    if getattr(source, "checked", False):
        return
    facts, faults = _examine(source, samples)
    errors = [fault.error for fault in faults]
    if facts:
        errors += _disagreements(source, facts, any_size=mixed or size is not None, all_seen=samples is None and not faults)
    if errors:
        raise _joined(source, errors, skippable=bool(faults) and bool(facts))


def without_faults(source: Source, *, size: tuple[int, int] | None = None, mixed: bool = False) -> Source:
    """The samples that can be used; its `remarks` say which are left out, and why.

    Args:
        source, size, mixed: as in `check_source`.

    Raises:
        ValueError, OSError: none can be used, or those that are left do not fit each other.
    """
    if getattr(source, "checked", False):
        return source
    facts, faults = _examine(source, None)
    errors = list(_disagreements(source, facts, any_size=mixed or size is not None, all_seen=True)) if facts else []
    if errors or not facts:
        raise _joined(source, [*(fault.error for fault in faults), *errors])
    if not faults:
        return source
    bad = sorted(fault.index for fault in faults)
    told = "\n".join([f"{len(bad)} of {len(source)} samples are left out:", *_lines([fault.error for fault in faults])])
    return Subset(source, np.delete(np.arange(len(source)), bad).tolist(), (told,), bad)


def are_objects(labels: Sequence[Sequence[int]], classes: Sequence[str]) -> bool:
    """Whether labels look like maps of objects: nothing names their values, and they count 1, 2, 3 ..., each to another number.

    Args:
        labels: the values of each, in order, without 0 and without that of ignored pixels.
        classes: what the values are called.
    """
    present = [values for values in labels if len(values)]
    counted = len(present) > 1 and all(values[0] == 1 and values[-1] == len(values) for values in present)
    unnamed = len(classes) >= MANY_CLASSES and classes[-1] == f"class_{len(classes) - 1}"
    return counted and unnamed and len({len(values) for values in present}) > 1


def _examine(source: Source, samples: int | None) -> tuple[list[dict], list[_Fault]]:
    """What is known of the samples, and those of which nothing is."""
    if not len(source):
        raise ValueError(f"{source.name} has no samples")
    if samples is not None and samples < 1:
        raise ValueError(f"samples is {samples}; check at least 1")
    indices = spread(len(source), samples or len(source))

    def look(index: int) -> dict | _Fault:
        try:
            return _facts(source, index)
        except (ValueError, OSError) as error:
            return _Fault(index, error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(look, indices))
    return [one for one in found if isinstance(one, dict)], [one for one in found if isinstance(one, _Fault)]


def _joined(source: Source, errors: Sequence[ValueError | OSError], skippable: bool = False) -> ValueError | OSError:
    """The error that tells of all; of a single one itself."""
    if len(errors) == 1:
        return errors[0]
    cure = "\nmend these files, or leave them out by skip_bad" * skippable
    return ValueError("\n".join([f"{source.name} cannot be used as it is:", *_lines(errors)]) + cure)


def _lines(errors: Sequence[Exception]) -> Iterator[str]:
    """The first of each kind; of one kind are those that say the same of other files and numbers."""
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    for text in map(str, errors):
        kinds[_KIND.sub("", text.partition(": ")[2] or text)].append(text)
    for texts in kinds.values():
        yield from (f"  {text}" for text in texts[:_SHOWN])
        if (more := len(texts) - _SHOWN) > 0:
            yield f"  and {more} more of this kind"


def _disagreements(source: Source, facts: Sequence[dict], *, any_size: bool, all_seen: bool) -> Iterator[ValueError]:
    """What is wrong with the samples together."""
    first, kind = facts[0]["name"], kind_of(source)
    for wrong in (_other_channels, *([] if any_size else [_other_size])):
        yield from [error for other in facts if (error := wrong(facts[0], other))][:1]
    values = np.unique(np.concatenate([one["values"] for one in facts]))
    if all_seen and set(values) == {source.ignore_index}:
        yield ValueError(
            f"{first}: every pixel of all {len(facts)} labels of this split is ignored ({source.ignore_index}); "
            "there is nothing to learn or to measure"
        )
    binary = kind in ("classes", "binary") and source.ignore_index == IGNORE and len(source.classes) < 3
    if binary and set(values) == {0, IGNORE}:
        yield ValueError(
            f"{first}: the labels of {source.name} hold only 0 and 255, and 255 means ignored pixels; "
            "store class ids 0 and 1, or write classes.csv with the rows 0,background and 255,foreground"
        )
    labels = [[value for value in one["values"].tolist() if value not in (0, source.ignore_index)] for one in facts]
    if kind == "classes" and are_objects(labels, source.classes):
        yield ValueError(
            f"{first}: the labels of {source.name} look like maps of objects (up to {max(map(len, labels))} in an image); "
            "put them into instances/ in place of labels/, or name the classes in classes.csv"
        )


def _other_channels(first: dict, other: dict) -> ValueError | None:
    if other["channels"] == first["channels"]:
        return None
    pictures = {other["channels"], first["channels"]} == {1, 3}
    cure = "set channels to 3 (all as RGB) or to 1 (all as gray)" if pictures else "give images of one number of channels"
    return ValueError(f"{other['name']}: {other['channels']} channels, but {first['name']} has {first['channels']}; {cure}")


def _other_size(first: dict, other: dict) -> ValueError | None:
    if other["image_size"] == first["image_size"]:
        return None
    size, known = other["image_size"], first["image_size"]
    if len(size) != len(known):
        return ValueError(f"{other['name']} has {len(size)} axes, {first['name']} has {len(known)}; a data set has one kind")
    cure = "set a size (height, width), to which all are resized, or a crop" if len(size) == 2 else "set a crop"
    told = f"{other['name']}: {_times(size)}{_what(size)}, but {first['name']} is {_times(known)}"
    return ValueError(f"{told}; {cure}, which training cuts from each")


def _facts(source: Source, index: int) -> dict[str, Any]:
    facts = verify(source, index)
    label, size = facts.pop("label"), facts["image_size"]
    if label.shape[: len(size)] != size:
        own = _times(label.shape[: len(size)])
        raise ValueError(f"{facts['name']}: the image is {_times(size)}{_what(size)}, its label {own}")
    kind = kind_of(source)
    if kind in ("values", "instances", "panoptic"):  # any that is known will do
        known = np.isfinite(label) if kind == "values" else label >= 0
        label = np.where(known, 0, source.ignore_index)
    values = different_values(label)
    largest = 1 if kind == "masks" else len(source.classes) - 1
    bad = [int(v) for v in values if v != source.ignore_index and not 0 <= v <= largest]
    if bad:
        raise ValueError(
            f"{facts['name']}: label value {', '.join(map(str, bad[:5]))} is out of range: "
            f"classes are 0..{largest}, ignored pixels {source.ignore_index}"
        )
    return {**facts, "values": values}


def _what(size: tuple[int, ...]) -> str:
    return " (height x width)" * (len(size) == 2)


def _times(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
