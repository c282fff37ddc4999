"""Volumes and signals of a folder as a `Source`."""

import contextlib
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Shaped

from fcn.data.layouts import nnunet
from fcn.data.layouts.layout import Layout, existing_folder
from fcn.data.layouts.splits import split_names, split_remark
from fcn.data.reading.classes import Row, read_classes
from fcn.data.reading.depth import ValueRange
from fcn.data.source import IGNORE, LabelKind, Sample, position, spread
from fcn.data.volumes.files import Volume, read_case, read_volume, refuse_other_place
from fcn.data.volumes.layout import channel_files, find_volumes
from fcn.data.volumes.resampling import resample, resample_label, size_at
from fcn.data.volumes.values import foreground_range, padding_of, scaled, thinned
from fcn.preprocessing import PerImage

_LOOKED_AT = 32
"""Volumes in which the range of values is looked for."""


class VolumeSource:
    """Volumes [D, H, W, C] or signals [L, C], with a class number for each voxel or sample.

    Values are float32 on the scale 0..255 (`fcn.data.volumes.values.scaled`). How many axes there are, labels say: what an
    image has more are channels. Layouts are those of `find_volumes`; splits, and classes.csv, those of `FolderSource`. Without
    a table the largest number in the labels decides.

    Args:
        root: the folder.
        split: "train", "val", ... or "all".
        value_range: the stored values that become 0 and 255; by default percentiles .5 and 99.5 of what has a class above 0.
        label_kind: "classes" or "binary".
        unlabelled: takes images without a label, too, of which only `image` may be asked for.
        per_image: brings each to its own percentiles, or mean and deviation, in place of a range.
        slices: the pages of TIFF files are slices.
        spacing: millimetres to which volumes are resampled along each axis; None leaves them as they are.

    Raises:
        FileNotFoundError: the folder, the split, an image or a label does not exist.
        ValueError: another kind of labels, no such layout, or something of the files.
    """

    ignore_index = IGNORE

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        *,
        value_range: ValueRange | None = None,
        label_kind: LabelKind = "classes",
        unlabelled: bool = False,
        per_image: PerImage | None = None,
        slices: bool = False,
        spacing: tuple[float, ...] | None = None,
    ):
        self.root = existing_folder(root)
        self.name = self.root.resolve().name
        if label_kind not in ("classes", "binary"):
            raise ValueError(f"{self.root} holds volumes or signals, labelled by class numbers; this task needs {label_kind}")
        layout = find_volumes(self.root, slices, label_kind)
        if layout is None:
            raise ValueError(f"{self.root} holds neither volumes nor signals with labels in images/ and labels/")
        self.layout: Layout = layout
        self.split = split
        self.names, self._keys = split_names(layout, split)
        self.images = [layout.images[key] for key in self._keys]
        if not unlabelled:
            layout.refuse_bare(self._keys)
        self.labels = [layout.labels.get(key) for key in self._keys]
        self.label_kind: LabelKind = label_kind
        self.axes = self._known_axes()
        """The number of spatial dimensions."""
        if self.axes not in (1, 3):
            known = "those of signals have 1, those of volumes 3, and those of images are pictures (.png)"
            raise ValueError(f"{self.labels[0] or self.images[0]}: a label of {self.axes} axes; {known}, or values (.npy)")
        rows = layout.rows or _counted(layout)
        self._table = read_classes(self.root / "classes.csv", (), rows=rows)
        self.classes, self.palette = self._table.names, self._table.palette
        self.channel_names = layout.channels
        self.per_image: PerImage | None = per_image
        self.spacing, self.padding = spacing, padding_of(per_image)
        self._range = value_range

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values that become 0 and 255, found once; None where each volume has its own."""
        if self.per_image is not None:
            return None
        if self._range is None:
            self._range = foreground_range(self._looked_at())
        return self._range

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the folder is read, a sentence each."""
        found = ": ".join(text for text in (self.layout.name, self.layout.remark) if text)
        scale = "" if self.value_range is None else "stored values {:g}..{:g} are 0..255".format(*self.value_range)
        return tuple(f"{self.root}: {text}" for text in (found, split_remark(self.layout, self.split), scale) if text)

    def file_sizes(self) -> dict[str, int]:
        """The bytes of each image and label, by name below the root."""
        images = [file for path in self.images for file in self._files_of(path)]
        files = dict.fromkeys([*images, *(path for path in self.labels if path is not None), *self.layout.files])
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in files}

    def label_values(self) -> dict[str, int]:
        """The class number of each id that labels may store."""
        return self._table.meanings(in_colours=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        volume = self.read(index)
        image, label = self._scaled(index, volume), self._label(index, volume)
        spacing = self.spacing or volume.spacing or (1.0,) * self.axes
        return {
            "image": image,
            "label": resample_label(label, image.shape[:-1]),
            "name": self.names[index],
            "spacing": spacing,
        }

    def image(self, index: int) -> Float32[np.ndarray, "*spatial c"]:
        """A volume or signal alone, as samples have it."""
        index = position(index, len(self))
        return self._scaled(index, self.read(index))

    def label(self, index: int) -> Int[np.ndarray, "*spatial"]:
        """A label alone, as it lies in its file."""
        return self._label(index, self.read(index))

    def read(self, index: int) -> Volume:
        """What the files of an image hold, its channels last."""
        found = read_case(self._files_of(self.images[index]))
        values = found.values if found.values.ndim > self.axes else found.values[..., None]
        if values.ndim != self.axes + 1:
            raise ValueError(
                f"{self.images[index]}: an array of shape {found.values.shape}; others have {self.axes} axes, and channels"
            )
        return found._replace(values=values)

    def image_size(self, index: int) -> tuple[int, ...]:
        """The sides of a volume as it is sampled, or the length of a signal."""
        return self._size(index, self.read(index))

    def verify(self, index: int) -> dict:
        """What `check_source` needs."""
        volume = self.read(index)
        name = f"{self.images[index]} (label {self.labels[index]})"
        label = self._label(index, volume)
        self._size(index, volume)  # which training takes, too
        return {"image_size": label.shape, "channels": volume.values.shape[-1], "label": label, "name": name}

    def _files_of(self, path: Path) -> list[Path]:
        """Those of a case; only nnU-Net's has one for each channel."""
        return channel_files(path) if self.layout.name == nnunet.NAME else [path]

    def _size(self, index: int, volume: Volume) -> tuple[int, ...]:
        sides = volume.values.shape[:-1]
        if self.spacing is None:
            return sides
        if volume.spacing is None:
            raise ValueError(f"{self.images[index]}: its file says no spacing, which resampling takes; use NIfTI (.nii.gz)")
        if len(self.spacing) != self.axes:
            raise ValueError(f"the spacing {self.spacing} has {len(self.spacing)} numbers; the volumes have {self.axes} axes")
        return size_at(sides, volume.spacing, self.spacing)

    def _scaled(self, index: int, volume: Volume) -> Float32[np.ndarray, "*spatial c"]:
        return resample(scaled(volume.values, self.per_image, self.value_range), self._size(index, volume))

    def _label(self, index: int, image: Volume) -> Int[np.ndarray, "*spatial"]:
        path = self.labels[index]
        if path is None:
            raise FileNotFoundError(self.layout.no_label(self._keys[index]))
        found = read_volume(path)
        refuse_other_place(path, found, self.images[index], image._replace(values=image.values[..., 0]))
        return self._table.of_ids(whole_numbers(path, found.values), str(path))

    def _known_axes(self) -> int:
        """Those of the first label that can be read; without one those of an image, but for channels."""
        for path in (path for path in self.labels if path is not None):
            with contextlib.suppress(ValueError, OSError):  # the check tells them
                return read_volume(path).values.ndim
        for path in self.images:
            with contextlib.suppress(ValueError, OSError):
                found = read_volume(path)
                return min(3, found.values.ndim) if found.spacing is not None or found.values.ndim > 2 else 1
        raise ValueError(f"{self.root}: none of {len(self)} volumes or signals can be read, such as {self.images[0]}")

    def _looked_at(self) -> Shaped[np.ndarray, " n"]:
        """Stored values where a class above 0 is, of some volumes that can be read; all of theirs where there is none."""
        labelled, whole = [np.zeros(0)], [np.zeros(0)]
        for index in spread(len(self), _LOOKED_AT):
            with contextlib.suppress(ValueError, OSError):
                volume = self.read(index)
                whole.append(thinned(volume.values))
                if self.labels[index] is not None:
                    label = self._label(index, volume)
                    labelled.append(thinned(volume.values[(label > 0) & (label != IGNORE)]))
        return np.concatenate(labelled if any(values.size for values in labelled) else whole)


def whole_numbers(path: Path, values: Shaped[np.ndarray, "*spatial"]) -> Int[np.ndarray, "*spatial"]:
    """The values of a label as int32; a ValueError where they are no class numbers."""
    if values.dtype.kind == "f" and (wrong := ~np.isfinite(values) | (values != np.rint(values))).any():
        raise ValueError(f"{path}: a label with values such as {float(values[wrong][0]):g}; labels are whole class numbers")
    return values.astype(np.int32)


def _counted(layout: Layout) -> list[Row]:
    """A class for each number up to the largest in the labels."""
    largest = 1
    for path in layout.labels.values():
        with contextlib.suppress(ValueError, OSError):  # the check tells them
            values = whole_numbers(path, read_volume(path).values)
            largest = max(largest, int(values[values != IGNORE].max(initial=0)))
    return [(i, f"class_{i}", None) for i in range(min(largest, IGNORE - 1) + 1)]
