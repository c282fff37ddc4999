"""What is said about a folder of volumes or signals: numbers by name, and the same as lines of a table."""

import collections
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcn.data.checks.check import check_source, without_faults
from fcn.data.layouts.splits import known_splits
from fcn.data.loading.samples import NAMES
from fcn.data.source import IGNORE
from fcn.data.sources.picks import FILE, PickSource
from fcn.data.volumes import VolumeSource, find_volumes
from fcn.text import pad, printable, short_name

_SHOWN = 3
"""Spacings of a split that are named."""


def summary(root: Path, slices: bool, cropped: bool = False, skip_bad: bool = False) -> dict[str, Any]:
    """All that is known, as JSON values: of each split sizes, spacings, values and shares of classes; and what is wrong.

    Args:
        root: the folder.
        slices: the pages of TIFF files are slices.
        cropped: training is to take crops, so that sizes may be mixed.
        skip_bad: training is to leave out what cannot be used.
    """
    name, sources = _opened(root, slices)
    first = next(iter(sources.values()))
    splits = {split: _split(source) for split, source in sources.items()}
    labelled = [source for source in sources.values() if any(source.labels)] or [first]
    wrong = [text for source in labelled for text in _wrong(source, cropped, skip_bad)]
    return {
        "root": str(root),
        "layout": name,
        "kind": NAMES[first.axes],
        "classes": list(first.classes),
        "splits": splits,
        "findings": wrong,
        "refused": bool(wrong),
    }


def is_inspected(root: Path, slices: bool) -> bool:
    """Whether a folder holds volumes or signals."""
    return (root / FILE).is_file() or find_volumes(root, slices) is not None


def _opened(root: Path, slices: bool) -> tuple[str, Mapping[str, VolumeSource | PickSource]]:
    """What the layout of a folder is called, and its splits by name."""
    if (root / FILE).is_file():
        every = PickSource(root, "all")
        return f"{FILE} of signals and picks", {split: PickSource(root, split) for split in ("train", "val")[: len(every)]}
    layout = find_volumes(root, slices)
    assert layout is not None  # or else images are inspected
    return layout.name, {split: VolumeSource(root, split, unlabelled=True, slices=slices) for split in known_splits(layout)}


def _wrong(source: VolumeSource | PickSource, cropped: bool, skip_bad: bool) -> list[str]:
    """For what training would refuse a split."""
    try:
        (without_faults if skip_bad else check_source)(source, mixed=cropped)
    except (ValueError, OSError) as error:
        return [str(error)]
    return []


def _split(source: VolumeSource | PickSource) -> dict[str, Any]:
    """What is known of a split, of what can be read there."""
    sizes, spacings, ranges = [], collections.Counter(), []
    counts, ignored, labels = np.zeros(len(source.classes), np.int64), 0, 0
    for index in range(len(source)):
        with contextlib.suppress(ValueError, OSError):
            volume = source.read(index)
            sizes.append(volume.values.shape[:-1])
            known = volume.values[np.isfinite(volume.values)]
            ranges.append((float(known.min()), float(known.max())) if known.size else (0.0, 0.0))
            spacings["unknown" if volume.spacing is None else "x".join(f"{side:g}" for side in volume.spacing)] += 1
            if source.labels[index] is not None:
                found = np.bincount(source.label(index).ravel(), minlength=IGNORE + 1)
                counts, ignored, labels = counts + found[: len(counts)], ignored + int(found[IGNORE]), labels + 1
    shares = counts / max(int(counts.sum()), 1)
    return {
        "count": len(source),
        "labels": labels,
        "median_size": np.median(sizes, axis=0).astype(int).tolist() if sizes else None,
        "smallest_size": np.min(sizes, axis=0).tolist() if sizes else None,
        "largest_size": np.max(sizes, axis=0).tolist() if sizes else None,
        "spacings": dict(spacings.most_common()),
        "largest_values": [min(high for _, high in ranges), max(high for _, high in ranges)] if ranges else None,
        "class_shares": dict(zip(source.classes, shares.tolist())) if labels else {},
        "ignored_share": ignored / max(int(counts.sum()) + ignored, 1),
    }


def lines(values: Mapping[str, Any]) -> Iterator[str]:
    """The summary for a terminal."""
    yield printable(f"{values['root']}: {values['layout']}")
    yield f"\n{'split':<12}{values['kind']:>9}{'labels':>8}  {'median':<14}{'smallest':<14}{'largest':<14}spacing (mm)"
    for name, split in values["splits"].items():
        sizes = "".join(f"{_times(split[f'{which}_size']):<14}" for which in ("median", "smallest", "largest"))
        spacing = ", ".join(f"{spacing} ({count})" for spacing, count in list(split["spacings"].items())[:_SHOWN])
        yield f"{pad(short_name(name, 11), 12)}{split['count']:>9}{split['labels']:>8}  {sizes}{spacing}"
    labelled = {name: split for name, split in values["splits"].items() if split["class_shares"]}
    yield f"\n{'class':<24}" + "".join(f"{short_name(name, 9):>10}" for name in labelled)
    for name in values["classes"]:
        yield f"{pad(short_name(name, 23), 24)}" + "".join(
            f"{split['class_shares'][name]:>10.2%}" for split in labelled.values()
        )
    yield f"{'(ignored)':<24}" + "".join(f"{split['ignored_share']:>10.2%}" for split in labelled.values())
    yield from _value_lines(values["splits"])
    for text in values["findings"]:
        yield "\nerror: " + "\n".join(map(printable, text.split("\n")))
    yield f"\ntraining would {'refuse' if values['refused'] else 'take'} these data"


def _value_lines(splits: Mapping[str, Any]) -> Iterator[str]:
    tops = [top for split in splits.values() for top in split["largest_values"] or ()]
    if tops:
        advice = "; take each by its own: --data.normalise z-score" if max(tops) > 2 * max(min(tops), 0) else ""
        yield f"\nlargest values {min(tops):g} to {max(tops):g}{advice}"


def _times(size) -> str:
    return "-" if size is None else "x".join(map(str, size))
