"""Prepared TensorFlow Datasets sets as a `Source`, read without TensorFlow."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds

from fcn.data.reading.depth import SetRange, ValueRange
from fcn.data.reading.images import read_image, read_mask
from fcn.data.source import IGNORE, Sample, illegal_values, position
from fcn.data.sources.prepared import INFO, DamagedSetError, open_builder
from fcn.data.sources.tfrecord import TFRecords
from fcn.errors import unknown
from fcn.visualize import default_palette

_NAME_FEATURES = ("name", "file_name", "filename", "image_id", "image/filename", "id")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a TFDS data set keeps its images and masks, and what the values of a mask mean."""

    image: str
    """The feature that holds the image."""
    mask: str
    """The feature that holds the mask; of several channels the first counts."""
    classes: tuple[str, ...]
    ids: tuple[int, ...]
    """The stored value of each class; all others are errors, or ignored where `rest_ignored`."""
    rest_ignored: bool = False


_CITYSCAPES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19, "traffic sign": 20,
    "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31,
    "motorcycle": 32, "bicycle": 33,
}  # fmt: skip

LAYOUTS = {
    "oxford_iiit_pet": Layout("image", "segmentation_mask", ("pet", "background", "border"), (1, 2, 3)),
    # The mask's first channel holds category numbers from 1; 0 is everything else, which the benchmark does not count.
    "scene_parse150": Layout(
        "image", "annotation", tuple(f"category_{i}" for i in range(1, 151)), tuple(range(1, 151)), rest_ignored=True
    ),
    # The 19 classes of the benchmark among the 34 label ids.
    "cityscapes": Layout(
        "image_left", "segmentation_label", tuple(_CITYSCAPES), tuple(_CITYSCAPES.values()), rest_ignored=True
    ),
}


class TfdsSource:
    """One split of a prepared TFDS data set, in ArrayRecord or TFRecord files.

    Known sets and their classes are in `LAYOUTS`: oxford_iiit_pet (mask values 1..3 become 0..2), scene_parse150 (1..150
    become 0..149, 0 is ignored), cityscapes (the 19 classes of the benchmark, all else ignored). Of other sets the image is the
    feature "image" or the only one of three channels, and the mask the only `LabeledImage` or one-channel image; mask values
    are class numbers, 255 is ignored, and classes without names are counted by reading all masks once.

    Args:
        folder: the folder of one version, with dataset_info.json.
        split: the name of a split; "val" also finds "validation".
        channels: 1 or 3 converts images to gray or RGB; by default as many as the image feature has.
        layout: where images and masks are, if the rules above do not find them.
        value_range: the stored values of 16-bit images that become 0 and 255; by default found in the images of the split.

    Raises:
        ValueError: there is no such split, or the image or the mask cannot be told.
    """

    ignore_index = IGNORE
    checked = False

    def __init__(
        self,
        folder: str | Path,
        split: str,
        *,
        channels: int | None = None,
        layout: Layout | None = None,
        value_range: ValueRange | None = None,
    ):
        folder = Path(folder)
        builder = open_builder(folder)
        self.name, self._features = builder.name, _features(builder)
        if split == "val" and "val" not in builder.info.splits:
            split = "validation"
        if split not in builder.info.splits:
            raise unknown(f"split of {builder.name}", split, builder.info.splits)
        self.split, self._records = split, _records(builder, split)
        self._files = [Path(path) for path in builder.info.splits[split].filepaths]
        self.layout = layout or LAYOUTS.get(self.name) or _guess_layout(builder)
        self.classes, self.palette = self.layout.classes, default_palette(len(self.layout.classes))
        self.channels = channels or (1 if self._features[self.layout.image].shape[-1] == 1 else 3)
        self._table = _table(self.layout)
        self._decoders = {key: tfds.decode.SkipDecoding() for key in self._features}

        deep = np.dtype(self._features[self.layout.image].np_dtype) == np.uint16
        self._range = SetRange(value_range, lambda: self._stored_images() if deep else ())

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values of 16-bit images that become 0 and 255, found once; None: 0 and 65535, or none has 16 bits."""
        return self._range.get()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the set is read, a sentence each."""
        return tuple(f"{self.name}: {text}" for text in (self._range.remark(),) if text)

    def file_sizes(self) -> dict[str, int]:
        """The bytes of each file of the split, by name."""
        return {path.name: path.stat().st_size for path in self._files}

    def _stored_images(self) -> Iterator[bytes]:
        return (self._record(index)[self.layout.image] for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        record = self._record(index)
        name = self._name(record, index)
        image = read_image(record[self.layout.image], channels=self.channels, value_range=self.value_range, name=name)
        return {"image": image, "label": self._label(record[self.layout.mask], name), "name": name}

    def _record(self, index: int) -> dict:
        try:
            return self._features.deserialize_example_np(self._records[index], decoders=self._decoders)
        except Exception as error:  # whatever a damaged file leads to
            raise DamagedSetError(self._files[0], f"sample {index} of {self.split} cannot be read ({error})") from error

    def _name(self, record: dict, index: int) -> str:
        given = next((record[key] for key in _NAME_FEATURES if isinstance(record.get(key), bytes)), b"")
        return f"{self.name}, {self.split} sample {index}" + (f" ({given.decode()})" if given else "")

    def _label(self, data: bytes, name: str) -> np.ndarray:
        stored = read_ids(data, name)
        bad = illegal_values(stored, self._table)
        if bad:
            raise ValueError(f"{name}: mask value {bad[0]} is out of range; classes are stored as {_span(self.layout.ids)}")
        return self._table[stored]


def open_tfds(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    channels: int | None = None,
    value_range: ValueRange | None = None,
) -> TfdsSource:
    """Open "NAME", "NAME/CONFIG" or either with ":VERSION" below `root` (default: TFDS_DATA_DIR, else ~/tensorflow_datasets).

    Raises:
        FileNotFoundError: the set is not prepared there.
        ValueError: it has several configurations and the name gives none.
    """
    root = Path(root or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    return TfdsSource(find_prepared(root, name), split, channels=channels, value_range=value_range)


def find_prepared(root: Path, name: str) -> Path:
    """The folder of the newest (or the given) version of a prepared data set; `root` may be that folder itself."""
    name, _, version = name.partition(":")
    if (root / "dataset_info.json").is_file():
        return root
    found = [path.parent for depth in ("*", "*/*") for path in (root / name).glob(f"{depth}/dataset_info.json")]
    found = [path for path in found if version in ("", path.name)]
    if not found:
        raise FileNotFoundError(
            f"the data set {name!r} is not prepared in {root}; prepare it once, where TensorFlow is installed, with "
            f"`tfds build {name} --file_format=array_record --data_dir={root}`"
        )
    configs = sorted({path.parent.relative_to(root).as_posix() for path in found})
    if len(configs) > 1:
        raise ValueError(f"{root} holds several configurations: choose one of {', '.join('tfds:' + c for c in configs)}")
    return max(found, key=lambda path: [int(part) if part.isdigit() else -1 for part in path.name.split(".")])


def read_ids(data: bytes, name: str) -> np.ndarray:
    """Class ids of a mask: gray or palette values, or the first channel of a colour image."""
    stored = read_mask(data, name=name)
    return stored if stored.ndim == 2 else stored[..., 0]


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Sequence[bytes]:
    """The records of a split, whose number the files and their description agree on."""
    files, count = builder.info.splits[split].filepaths, builder.info.splits[split].num_examples
    first = Path(files[0]) if files else Path(builder.data_dir) / INFO
    try:
        records = _open_records(builder, split)
        found = len(records)
    except Exception as error:  # whatever a damaged file leads to
        raise DamagedSetError(first, f"it or another of {split} is damaged or cut short ({error})") from error
    if not found == count > 0:
        raise DamagedSetError(first, f"{found} records of {split}, of which there should be {count}")
    return records


def _features(builder: tfds.core.DatasetBuilder) -> Any:
    """What a sample holds, by name: a `FeaturesDict`, whose entries tfds gives no types that could be used."""
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        raise ValueError(f"samples of {builder.name} are no dictionaries, in which an image and its mask have names")
    return features


def _open_records(builder: tfds.core.DatasetBuilder, split: str) -> Sequence[bytes]:
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
        return TFRecords(builder.info.splits[split].file_instructions)
    return cast(Any, builder).as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)


def _guess_layout(builder: tfds.core.DatasetBuilder) -> Layout:
    features: dict[str, Any] = {key: f for key, f in _features(builder).items() if isinstance(f, tfds.features.Image)}
    masks = [key for key, f in features.items() if isinstance(f, tfds.features.LabeledImage)]
    masks = masks or [key for key, f in features.items() if f.shape[-1] == 1 and key != "image"]
    images = [key for key in features if key not in masks]
    images = ["image"] if "image" in images else images
    if len(masks) != 1 or len(images) != 1:
        raise ValueError(
            f"cannot tell the image and the mask of {builder.name} among its image features "
            f"{', '.join(sorted(features)) or '(none)'}; "
            "open it with TfdsSource(folder, split, layout=Layout(image, mask, classes, ids))"
        )
    names = getattr(features[masks[0]], "names", None) or _count_classes(builder, masks[0])
    return Layout(images[0], masks[0], tuple(names), tuple(range(len(names))))


def _count_classes(builder: tfds.core.DatasetBuilder, mask: str) -> list[str]:
    features, largest = _features(builder), 0
    decoders = {key: tfds.decode.SkipDecoding() for key in features}
    for split in builder.info.splits:
        for record in _records(builder, split):
            label = read_ids(features.deserialize_example_np(record, decoders=decoders)[mask], builder.name)
            largest = max(largest, int(label[label != IGNORE].max(initial=0)))
    return [f"class_{i}" for i in range(largest + 1)]


def _table(layout: Layout) -> np.ndarray:
    """From stored value to class number; -1 marks illegal values."""
    table = np.full(max(IGNORE, *layout.ids) + 1, IGNORE if layout.rest_ignored else -1, np.int32)
    table[IGNORE] = IGNORE
    table[list(layout.ids)] = np.arange(len(layout.ids))
    return table


def _span(ids: tuple[int, ...]) -> str:
    return f"{ids[0]}..{ids[-1]}, ignored pixels as {IGNORE}"
