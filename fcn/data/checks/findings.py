"""What is wrong, or strange, with a folder of images and labels that has been seen through: all at once, by kind."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fcn.data.checks.check import are_objects
from fcn.data.checks.survey import Record, Survey

_BOTH = ("train", "val")
_NAMED = 10
"""Classes that are named in a sentence."""
_SKIPPED = ("no label", "cannot be used")
"""Findings of single images, which training leaves out where it is told so."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong, in a sentence, with the files that show it."""

    kind: str
    refused: bool
    """Whether training would refuse the data for it."""
    text: str
    files: tuple[str, ...] = ()


def findings(seen: Survey, *, resized: bool = False, converted: bool = False, skip_bad: bool = False) -> list[Finding]:
    """Everything that is wrong or strange, what training would refuse first.

    Args:
        seen: the folder.
        resized: images are to be resized to one size, or cropped, so that their sizes do not matter.
        converted: all images are to have one number of channels.
        skip_bad: training is to leave out what cannot be used.
    """
    passed: dict[Callable, bool] = {_mixed_sizes: resized, _mixed_channels: converted}
    checks = [check for check in _CHECKS if not passed.get(check)]
    found = [finding for check in checks for finding in check(seen)]
    if skip_bad:
        found = [dataclasses.replace(one, refused=one.refused and one.kind not in _SKIPPED) for one in found]
    return sorted(found, key=lambda finding: not finding.refused)


def _missing_splits(seen: Survey) -> Iterator[Finding]:
    for split in _BOTH:
        records = seen.of(split)
        if not records:
            text = f"there is no split {split!r}, but {', '.join(seen.sources)}; name others by --data.train and --data.val"
            yield Finding("no split", True, text)
        elif not any(record.label for record in records):
            yield Finding("no labels", True, f"no image of the split {split!r} has a label", _files(records))


def _missing_labels(seen: Survey) -> Iterator[Finding]:
    for split in seen.sources:
        bare = [record for record in seen.of(split) if record.label is None]
        if bare and len(bare) < len(seen.of(split)):
            yield Finding("no label", split in _BOTH, f"{len(bare)} images of the split {split!r} have no label", _files(bare))


def _problems(seen: Survey) -> Iterator[Finding]:
    """What cannot be read, or does not fit, in the words of whoever reads it."""
    bad = [record for record in seen.records if record.problems]
    if not bad:
        return
    texts = tuple(problem for record in bad for problem in record.problems)
    serious = any(record.split in _BOTH for record in bad)
    yield Finding("cannot be used", serious, f"{len(bad)} of {len(seen.records)} images cannot be used", texts)


def _off_by_one(seen: Survey) -> Iterator[Finding]:
    """Ids 1..K where classes are 0..K-1."""
    stored = {value for record in seen.records for value in record.strange_ids}
    stored -= next(iter(seen.sources.values())).void_ids
    bad = [record for record in seen.records if record.strange_ids]
    counts, last = seen.counts().sum(0), len(seen.classes)
    if stored and max(stored) == last and 0 not in stored and not (counts.any() and counts[0]):
        text = f"labels run from {min(stored)} to {last}, but classes from 0 to {last - 1}: subtract 1, or change classes.csv"
        yield Finding("off by one", True, text, _files(bad, label=True))


def _all_ignored(seen: Survey) -> Iterator[Finding]:
    for split in _BOTH:
        if len(counts := seen.counts(split)) and not counts.any():
            yield Finding("all ignored", True, f"every pixel of all {len(counts)} labels of {split!r} is ignored")


def _mixed_channels(seen: Survey) -> Iterator[Finding]:
    """Unasked, gray becomes colour; other numbers must be the same."""
    numbers: dict[int, list[Record]] = collections.defaultdict(list)
    for record in _used(seen, lambda record: record.channels > 0):
        numbers[record.channels].append(record)
    if numbers.keys() == {1, 3}:
        text = f"{len(numbers[1])} images are gray, {len(numbers[3])} are in colour; all are read as RGB"
        yield Finding(
            "gray and colour", False, f"{text}, or as gray by --data.channels 1", _files(min(numbers[1], numbers[3], key=len))
        )
    elif len(numbers) > 1:
        shown = ", ".join(f"{len(records)} of {channels}" for channels, records in sorted(numbers.items()))
        fewest = min(numbers.values(), key=len)
        yield Finding("mixed channels", True, f"images have several numbers of channels: {shown}", _files(fewest))


def _mixed_sizes(seen: Survey) -> Iterator[Finding]:
    """Within a split; those of training and of validation may differ. `auto` takes crops by itself."""
    splits = [[record.size for record in seen.of(split) if record.size is not None] for split in _BOTH]
    sizes = collections.Counter(size for found in splits if len(set(found)) > 1 for size in found)
    if sizes:
        shown = ", ".join(f"{h}x{w} ({count})" for (h, w), count in sizes.most_common(5))
        text = f"images have {len(sizes)} sizes: {shown}; `train auto` takes crops by itself"
        yield Finding("mixed sizes", False, f"{text}, other presets by --data.crop; --data.size resizes")


def _strange_colours(seen: Survey) -> Iterator[Finding]:
    if colours := seen.strange_colours:
        shown = sorted(colours.items(), key=lambda pair: -pair[1])
        told = tuple(f"{colour}: {count} pixels" for colour, count in shown)
        yield Finding("unknown colours", False, f"{len(colours)} colours in labels are of no class; they are ignored", told)


def _maps_of_objects(seen: Survey) -> Iterator[Finding]:
    """Every label counts 1, 2, 3 ... without a gap, each to another number, and no table says what that means."""
    if are_objects([(np.flatnonzero(counts[1:]) + 1).tolist() for counts in seen.counts()], seen.classes):
        text = f"labels look like maps of objects (up to {len(seen.classes) - 1} in an image); put them into instances/"
        yield Finding("objects as classes", True, text, _files([r for r in seen.records if r.label], label=True))


def _one_sided_classes(seen: Survey) -> Iterator[Finding]:
    train, val = (seen.counts(split).sum(0) > 0 for split in _BOTH)
    if not train.any() or not val.any():
        return
    for where, missing in (("train and not in val", train & ~val), ("val and not in train", val & ~train)):
        if names := _names(seen, missing):
            yield Finding("classes of one split", False, f"classes that are in {where}: {names}")
    if names := _names(seen, ~train & ~val):
        yield Finding("classes of no pixel", False, f"classes without a pixel in train and val: {names}")


def _same_images(seen: Survey) -> Iterator[Finding]:
    """Equal pixels, in several splits or in one."""
    groups = collections.defaultdict(list)
    for record in seen.records:
        if record.digest:
            groups[record.digest].append(record)
    several = [group for group in groups.values() if len(group) > 1]
    shared = [group for group in several if {*_BOTH} <= {record.split for record in group}]
    within = [group for group in several if len({record.image for record in group}) > 1 and group not in shared]
    if shared:
        yield Finding("in train and val", False, f"{len(shared)} images are in train and in val", _pairs(shared))
    if within:
        yield Finding("twice", False, f"{len(within)} images come more than once", _pairs(within))


def _blank_images(seen: Survey) -> Iterator[Finding]:
    blank = [r for r in seen.records if r.sums is not None and (r.deviation < 1e-3).all()]
    if blank:
        yield Finding("blank images", False, f"{len(blank)} images are of one value all over", _files(blank))


_CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    _missing_splits,
    _missing_labels,
    _problems,
    _off_by_one,
    _all_ignored,
    _mixed_channels,
    _mixed_sizes,
    _strange_colours,
    _maps_of_objects,
    _one_sided_classes,
    _same_images,
    _blank_images,
)


def _used(seen: Survey, wanted: Callable[[Record], bool]) -> list[Record]:
    """The records of training and validation that are as wanted."""
    return [record for record in seen.records if record.split in _BOTH and wanted(record)]


def _files(records: Sequence[Record], label: bool = False) -> tuple[str, ...]:
    return tuple(str(record.label if label else record.image) for record in records)


def _pairs(groups: Sequence[Sequence[Record]]) -> tuple[str, ...]:
    return tuple(" = ".join(dict.fromkeys(str(record.image) for record in group)) for group in groups)


def _names(seen: Survey, chosen: np.ndarray) -> str:
    names = [name for name, there in zip(seen.classes, chosen) if there]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + f" and {more} more" * (more > 0)
