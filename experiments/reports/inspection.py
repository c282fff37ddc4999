"""What is said about a folder of images and labels: numbers by name, and the same as lines of a table."""

import collections
import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fcn.data.checks.findings import Finding
from fcn.data.checks.survey import BINS, Record, Survey
from fcn.losses import enet_weights, median_frequency_weights
from fcn.preprocessing import IMAGENET_MEAN
from fcn.text import pad, printable, short_name

WIDTH = 80
SHOWN = 3
"""Files that are named for each finding."""
_ABSENT = 10
"""Classes without a pixel that have a line each."""
_LARGEST_CROP, _STEP = 512, 32


def summary(seen: Survey, found: Sequence[Finding]) -> dict[str, Any]:
    """All that is known, as JSON values; shares are of the labelled pixels, but for the ignored share."""
    train = seen.of("train") or list(seen.records)
    return {
        "root": str(seen.root),
        "layout": seen.layout.name,
        "remarks": list(seen.remarks),
        "classes": list(seen.classes),
        "splits": {split: _split(seen, split) for split in seen.sources},
        "types": dict(collections.Counter(record.type for record in seen.records if record.type)),
        "channels": channel_statistics(train),
        "objects": _objects(seen.records),
        "suggestions": {
            "class_weights": _weights(seen),
            "crop": _crop(train),
            "normalisation": _normalisation(train),
        },
        "findings": [dataclasses.asdict(finding) | {"files": list(finding.files)} for finding in found],
        "refused": any(finding.refused for finding in found),
    }


def _split(seen: Survey, split: str) -> dict[str, Any]:
    records = seen.of(split)
    sizes = collections.Counter(f"{r.size[0]}x{r.size[1]}" for r in records if r.size is not None)
    counts, ignored = seen.counts(split).sum(0), sum(record.ignored for record in records)
    labelled = int(counts.sum())
    return {
        "images": len(records),
        "labels": sum(record.label is not None for record in records),
        "sizes": dict(sizes.most_common()),
        "class_shares": dict(zip(seen.classes, (counts / max(labelled, 1)).tolist())) if labelled else {},
        "ignored_share": ignored / (labelled + ignored) if labelled + ignored else None,
    }


def channel_statistics(records: Sequence[Record]) -> dict[str, list[float]]:
    """Mean and deviation of the values 0..255 of each channel over all pixels, of the images of most channels alike."""
    known = _alike(records)
    if not known:
        return {"mean": [], "std": []}
    mean, square = np.sum([r.sums for r in known], axis=0) / sum(r.pixels for r in known)
    return {"mean": mean.tolist(), "std": np.sqrt(np.maximum(square - mean**2, 0)).tolist()}


def _alike(records: Sequence[Record]) -> list[Any]:
    """Those records that could be read and have the most frequent number of channels."""
    numbers = collections.Counter(record.channels for record in records if record.sums is not None)
    most = numbers.most_common(1)
    return [record for record in records if most and record.sums is not None and record.channels == most[0][0]]


def _objects(records: Sequence[Record]) -> dict[str, float] | None:
    counts = [record.objects for record in records if record.objects is not None]
    if not counts:
        return None
    return {"total": sum(counts), "min": min(counts), "median": float(np.median(counts)), "max": max(counts)}


def _weights(seen: Survey) -> dict[str, list[float]]:
    counts = seen.counts("train")
    if not counts.sum():
        return {}
    return {"enet": enet_weights(counts).tolist(), "median_frequency": median_frequency_weights(counts).tolist()}


def _crop(records: Sequence[Record]) -> list[int] | None:
    """The median height and width, down to a multiple of 32, at most 512."""
    sizes = [record.size for record in records if record.size is not None]
    if not sizes:
        return None
    return [min(_LARGEST_CROP, max(_STEP, int(length) // _STEP * _STEP)) for length in np.median(sizes, axis=0)]


def _normalisation(records: Sequence[Record]) -> str | None:
    """Per image where a tenth of the images is half as bright as the middle one; ImageNet's for colours like its own."""
    known = _alike(records)
    if not known:
        return None
    shares = [np.cumsum(h := record.histogram.sum(0)) / h.sum() for record in known]
    bright = [256 / BINS * (int(np.searchsorted(share, 0.998)) + 1) for share in shares]
    if np.quantile(bright, 0.1) < np.median(bright) / 2:
        return "per image (percentiles 1 and 99.8)"
    found = channel_statistics(known)
    near = len(found["mean"]) == 3 and np.abs(np.array(found["mean"]) - 255 * np.array(IMAGENET_MEAN)).max() < 40
    return "ImageNet's" if near else "the data set's own mean and deviation"


def facts(values: Mapping[str, Any]) -> dict[str, str]:
    """Types, statistics, objects and advice, as the terminal and the page have them."""
    mean, std = (" ".join(f"{value:.1f}" for value in values["channels"][name]) for name in ("mean", "std"))
    found = {
        "types": ", ".join(f"{kind} ({count})" for kind, count in values["types"].items()),
        "values 0..255": f"mean {mean}, deviation {std}" if mean else "no image could be read",
    }
    if (objects := values["objects"]) is not None:
        found["objects in an image"] = "{min} to {max}, median {median:g}; {total} in all".format(**objects)
    advice = values["suggestions"]
    return found | {"suggested": f"crops of {_times(advice['crop'])}; normalisation: {advice['normalisation']}"}


def lines(values: Mapping[str, Any]) -> Iterator[str]:
    """The summary for a terminal of 80 columns; the first line names the layout."""
    yield printable(f"{values['root']}: {values['layout']}")
    yield from (printable(f"  {text}") for text in _remarks(values))
    yield f"\n{'split':<12}{'images':>8}{'labels':>8}  sizes (height x width)"
    for name, split in values["splits"].items():
        sizes = ", ".join(f"{size} ({count})" for size, count in list(split["sizes"].items())[:3])
        more = len(split["sizes"]) - 3
        yield f"{pad(short_name(name, 11), 12)}{split['images']:>8}{split['labels']:>8}  {sizes}{f', {more} more' * (more > 0)}"
    types, statistics, *others = (f"{name}: {text}" for name, text in facts(values).items())
    yield from (f"\n{types}", statistics)
    yield from _class_lines(values)
    yield from (f"\n{other}" for other in others)
    yield from _finding_lines(values["findings"])
    yield f"\ntraining would {'refuse' if values['refused'] else 'take'} these data"


def _remarks(values: Mapping[str, Any]) -> Iterator[str]:
    """The remarks without what the first line says."""
    for remark in values["remarks"]:
        text = remark.removeprefix(f"{values['root']}: ").removeprefix(values["layout"]).removeprefix(": ")
        if text:
            yield text


def _class_lines(values: Mapping[str, Any]) -> Iterator[str]:
    labelled = {name: split for name, split in values["splits"].items() if split["class_shares"]}
    weights = values["suggestions"]["class_weights"]
    yield f"\n{'class':<24}" + "".join(f"{short_name(name, 9):>10}" for name in labelled) + f"{'weight':>10}" * bool(weights)
    absent = [name for name in values["classes"] if not any(split["class_shares"][name] for split in labelled.values())]
    hidden = absent if labelled and len(absent) > _ABSENT else []
    for number, name in enumerate(values["classes"]):
        if name in hidden:
            continue
        shares = "".join(f"{split['class_shares'][name]:>10.2%}" for split in labelled.values())
        weight = f"{weights['enet'][number]:>10.2f}" if weights else ""
        yield f"{pad(short_name(name, 23), 24)}{shares}{weight}"
    if hidden:
        yield f"and {len(hidden)} classes without a pixel"
    yield f"{'(ignored)':<24}" + "".join(f"{split['ignored_share']:>10.2%}" for split in labelled.values())


def _finding_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for finding in found:
        text = printable(f"{'error' if finding['refused'] else 'warning'}: {finding['text']}")
        yield "\n" + textwrap.fill(text, WIDTH, subsequent_indent="  ")
        yield from (printable(f"  {file}") for file in finding["files"][:SHOWN])
        if (more := len(finding["files"]) - SHOWN) > 0:
            yield f"  and {more} more"


def _times(size: Sequence[int] | None) -> str:
    return "any size" if size is None else "x".join(map(str, size))
