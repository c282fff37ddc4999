"""A folder of images and labels as a `Source`."""

import contextlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from fcn.data.layouts import find_layout
from fcn.data.layouts.layout import existing_folder
from fcn.data.layouts.splits import split_names, split_remark
from fcn.data.panoptic import classified
from fcn.data.reading.depth import SetRange, ValueRange
from fcn.data.reading.images import picture_channels, read_image, read_size, verify_image
from fcn.data.reading.labels import ObjectMaps, label_files, open_labels
from fcn.data.source import IGNORE, LabelKind, Sample, position
from fcn.preprocessing import PerImage
from fcn.visualize import default_palette


class FolderSource:
    """Images and labels in folders:

        images/[SPLIT/]NAME.{png,jpg,tif,npy,...}    labels/[SPLIT/]NAME.png    SPLIT.txt    classes.csv

    The labels may also lie in masks/, or as NAME_mask.png (NAME_label.png, NAME_L.png) beside the images, which then need no
    folder images/. Other forms are found by themselves (`fcn.data.layouts`): PASCAL VOC, Cityscapes, ADE20K, CamVid, COCO's
    JSON and nnU-Net's raw format. Of instances/ alone, with maps of objects, any object is the foreground.

    A split is the names in SPLIT.txt, one a line, else the folder images/SPLIT, else, for the name "all", every image in order
    of name. Where there are neither lists nor folders, train and val are drawn by the hashes of the names. NAME may contain
    folders. Labels are gray or palette PNGs whose pixels are class ids,
    or RGB ones in the colours of classes.csv.

    classes.csv has a header and one class a row: `id,name` or `id,name,r,g,b`. Classes are numbered 0..K-1 in the order of
    the rows, whatever their ids. Rows named void, ignore or unlabelled, and the value 255 if no row has it, are ignored pixels.
    Without the file (and label_colors.txt, class_dict.csv: colours and names) the largest id in the labels decides: class_0,
    class_1, ...; labels of 0 and 255 alone are background and foreground. Pixels in a colour that no class has are ignored,
    with a warning, if they are fewer than half.

    Images are pictures of 8 or 16 bits, NumPy's files NAME.npy, [H, W] or [H, W, C], and TIFF files of integers or floats, of
    up to 64 channels.

    That is the kind "classes" of labels, and "binary", of which masks of 0 and 255 need no classes.csv. Of the kind "masks" a
    label is a folder, labels/[SPLIT/]NAME/CLASS.png, with a mask for each class that occurs, not 0 where it is; pixels of
    void.png in it are ignored. Of the kind "values" it is labels/[SPLIT/]NAME.npy, [H, W] or [H, W, K], or a gray TIFF or PNG
    file of one channel; NaN marks what is not known. The names of classes.csv are then those of classes and of channels.
    Of the kind "instances" it is a gray picture of 8, 16 or 32 bits in instances/, else in labels/ or masks/, with a number
    above 0 for each object, or a folder NAME/ of masks, one for each; those of PASCAL VOC, Cityscapes and COCO are taken, too.
    Of the kind "panoptic" labels/ has the class of each pixel beside such a map in instances/, as those three have; the class
    of an object is that of most of its pixels.

    Args:
        root: the folder.
        split: "train", "val", ... or "all".
        channels: 1 or 3 converts images to gray or RGB, another number takes as many as are stored; by default the first image
            of the split that can be read decides, and where that is gray, whether the folder has one in colour.
        value_range: the stored values of other images than of 8 bits that become 0 and 255; by default found in the images of
            the split.
        label_kind: what labels are.
        unlabelled: takes images that have no label, too, of which only `image` may be asked for.
        pages: what the pages of TIFF files are; without it a file of several pages is refused.
        per_image: brings each image to its own percentiles, or mean and deviation, in place of a range of the set.

    Raises:
        FileNotFoundError: the folder, the split, an image or a label does not exist.
        ValueError: classes.csv cannot be read, two files have the same name, or the folder looks like two data sets.
    """

    ignore_index = IGNORE

    def __init__(
        self,
        root: str | Path | None,
        split: str,
        *,
        channels: int | None = None,
        value_range: ValueRange | None = None,
        label_kind: LabelKind = "classes",
        unlabelled: bool = False,
        pages: Literal["channels"] | None = None,
        per_image: PerImage | None = None,
    ):
        self.root = existing_folder(root)
        self.name = self.root.resolve().name
        self.label_kind, self._split = label_kind, split
        self.layout = layout = find_layout(self.root, label_kind)
        self.names, self._keys = split_names(layout, split)
        self.images = [layout.images[key] for key in self._keys]
        if not (unlabelled and layout.labels):
            layout.refuse_bare(self._keys)
        self.labels = [layout.labels.get(key) for key in self._keys]
        self.instances = [layout.instances.get(key) for key in self._keys]
        table = self.root / "classes.csv"
        self._reader = layout.reader or open_labels(label_kind, table, layout.labels.values(), layout.rows)
        self.classes, self.palette = self._reader.names, self._reader.palette
        if label_kind == "instances":
            self.classes, self.palette = ("object",), default_palette(2)[1:]  # without that of a background
        self._first = int(label_kind == "panoptic" and self.classes[0].casefold() == "background")
        self.classes, self.palette = self.classes[self._first :], self.palette[self._first :]
        self.pages, self._pages, self.per_image = pages, pages == "channels", per_image
        self.channels, self._converted = channels or self._channels_unasked(), channels is not None
        self._range = SetRange(value_range, lambda: self.images, self._pages)  # whatever they are called

    def _channels_unasked(self) -> int:
        """Those of the first image; gray becomes colour where any image of the folder, of whatever split, is in colour."""
        first = self._channels_of_first()
        return 3 if first == 1 and 3 in map(self._picture_channels, self.layout.images.values()) else first

    def _picture_channels(self, path: Path) -> int | None:
        return picture_channels(path, self._pages)

    def _channels_of_first(self) -> int:
        """Those of the first image that can be read; what is wrong with others who reads them is told."""
        for path in self.images:
            with contextlib.suppress(ValueError, OSError):
                return verify_image(path, pages=self._pages, ranged=True)[2]
        return verify_image(self.images[0], pages=self._pages, ranged=True)[2]

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values of 16-bit images that become 0 and 255, found once; None: 0 and 65535, or none has 16 bits."""
        return None if self.per_image else self._range.get()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the folder is read, a sentence each."""
        texts = (
            ": ".join(text for text in (self.layout.name, self.layout.remark) if text),
            split_remark(self.layout, self._split),
            self._gray_and_colour(),
            getattr(self._reader, "remark", ""),
            "" if self.per_image else self._range.remark(),
        )
        return tuple(f"{self.root}: {text}" for text in texts if text)

    def _gray_and_colour(self) -> str:
        """What is said where gray images become RGB without being asked to."""
        if self._converted or self.channels != 3 or 1 not in map(self._picture_channels, self.images):
            return ""
        return "gray images are read as RGB, as others are in colour; set channels to 1 to read all as gray"

    @property
    def strange_colours(self) -> dict[tuple[int, int, int], int]:
        """Colours that no class has, and their pixels in the labels that were read, which are ignored."""
        found = getattr(self._reader, "strange", {})
        return {(code >> 16, code >> 8 & 255, code & 255): count for code, count in found.items()}

    @property
    def void_ids(self) -> frozenset[int]:
        """What labels of class ids store where pixels are ignored."""
        return getattr(self._reader, "void_ids", frozenset({IGNORE}))

    def objects(self, index: int) -> Int[np.ndarray, "h w"] | None:
        """The number of the object of each pixel, 0: none, -1: not known; None where objects are not told apart."""
        index = position(index, len(self))
        path, label = self.instances[index], self.labels[index]
        if path is None:
            read = getattr(self._reader, "objects", None)
            return None if label is None or read is None else read(label)
        stored = ObjectMaps().objects(path)
        found = np.where(stored >= self.layout.first_object, stored, 0)
        return np.where(stored == self.layout.void_object, -1, found)

    def file_sizes(self) -> dict[str, int]:
        """The bytes of each image and label, by name below the root."""
        labels = (file for path in self.labels if path is not None for file in label_files(path))
        files = dict.fromkeys([*self.images, *labels, *self.layout.files])
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in files if path.is_file()}

    def label_values(self) -> dict[str, int]:
        """The class number of each id that labels may store, or of each colour where they store colours."""
        first = next((path for path in self.labels if path is not None), None)
        return {} if first is None else self._reader.meanings(first)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        return {"image": self.image(index, self.channels), "label": self.label(index), "name": self.names[index]}

    def image(self, index: int, channels: int | None = None) -> UInt8[np.ndarray, "h w c"]:
        """An image alone; 1 or 3 `channels` convert it to gray or RGB, None gives it as `read_image` does."""
        path, read = self.images[position(index, len(self))], {"value_range": self.value_range, "per_image": self.per_image}
        return read_image(path, channels=channels, pages=self._pages, **read)

    def label(self, index: int) -> Shaped[np.ndarray, "h w ..."]:
        """A label alone, of an image that has one."""
        path = self.labels[position(index, len(self))]
        if path is None:
            raise FileNotFoundError(self.layout.no_label(self._keys[index]))
        found = self.objects(index) if self.label_kind in ("instances", "panoptic") else None
        if self.label_kind == "panoptic":
            if found is None:
                raise FileNotFoundError(f"image {self.images[index]} has no map of its objects in instances/")
            return classified(found, self._reader.read(path), self._first + len(self.classes), self._first)
        return self._reader.read(path) if found is None else found

    def image_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image, from the header of its file."""
        return read_size(self.images[position(index, len(self))], self._pages)

    def verify(self, index: int) -> dict:
        """What `check_source` needs, with the image read at reduced resolution."""
        asked, ranged = self.channels if self._converted else None, bool(self.value_range or self.per_image)
        height, width, channels = verify_image(self.images[index], asked, pages=self._pages, ranged=ranged)
        name = f"{self.images[index]} (label {self.labels[index]})"
        return {
            "image_size": (height, width),
            "channels": as_first(channels, self.channels, self._converted),
            "label": self.label(index),
            "name": name,
        }


def as_first(channels: int, first: int, converted: bool = False) -> int:
    """The channels that an image is read with where the first has `first`: gray becomes colour, the reverse only on demand."""
    pictures = {channels, first} <= {1, 3}
    return first if pictures and (converted or first >= channels) else channels
