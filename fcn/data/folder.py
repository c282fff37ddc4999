"""A folder of images and labels as a `Source`."""

from pathlib import Path

from fcn.data.depth import SetRange, ValueRange
from fcn.data.images import read_image, verify_image
from fcn.data.labels import label_files, open_labels
from fcn.data.layout import existing_folder, find_layout, split_names
from fcn.data.source import IGNORE, LabelKind, Sample, position


class FolderSource:
    """Images and labels in folders:

        images/[SPLIT/]NAME.{png,jpg,tif,...}    labels/[SPLIT/]NAME.png    SPLIT.txt    classes.csv

    The labels may also lie in masks/, or as NAME_mask.png beside the images, which then need no folder images/.

    A split is the names in SPLIT.txt, one a line, else the folder images/SPLIT, else, for the name "all", every image in order
    of name. NAME may contain folders. Labels are gray or palette PNGs whose pixels are class ids,
    or RGB ones in the colours of classes.csv.

    classes.csv has a header and one class a row: `id,name` or `id,name,r,g,b`. Classes are numbered 0..K-1 in the order of
    the rows, whatever their ids. Rows named void, ignore or unlabelled, and the value 255 if no row has it, are ignored pixels.
    Without the file the largest id in the labels decides: class_0, class_1, ....

    That is the kind "classes" of labels, and "binary", of which masks of 0 and 255 need no classes.csv. Of the kind "masks" a
    label is a folder, labels/[SPLIT/]NAME/CLASS.png, with a mask for each class that occurs, not 0 where it is; pixels of
    void.png in it are ignored. Of the kind "values" it is labels/[SPLIT/]NAME.npy, [H, W] or [H, W, K], or a gray TIFF or PNG
    file of one channel; NaN marks what is not known. The names of classes.csv are then those of classes and of channels.

    Args:
        root: the folder.
        split: "train", "val", ... or "all".
        channels: 1 or 3 converts images to gray or RGB; by default the first image decides.
        value_range: the stored values of 16-bit images that become 0 and 255; by default found in the images of the split.
        label_kind: what labels are.

    Raises:
        FileNotFoundError: the folder, the split, an image or a label does not exist.
        ValueError: classes.csv cannot be read, or two files have the same name.
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
    ):
        self.root = existing_folder(root)
        self.name = self.root.resolve().name
        self.label_kind = label_kind
        layout = find_layout(self.root, label_kind)
        self._layout_remark = layout.remark
        self.names, keys = split_names(layout, split)
        self.images = [layout.images[key] for key in keys]
        self.labels = [layout.label_of(key) for key in keys]
        self._reader = open_labels(label_kind, self.root / "classes.csv", layout.labels.values())
        self.classes, self.palette = self._reader.names, self._reader.palette
        self.channels, self._converted = channels or verify_image(self.images[0])[2], channels is not None
        self._range = SetRange(value_range, lambda: self.images)  # whatever they are called

    @property
    def value_range(self) -> ValueRange | None:
        """The stored values of 16-bit images that become 0 and 255, found once; None: 0 and 65535, or none has 16 bits."""
        return self._range.get()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the folder is read, a sentence each."""
        return tuple(f"{self.root}: {text}" for text in (self._layout_remark, self._range.remark()) if text)

    def file_sizes(self) -> dict[str, int]:
        """The bytes of each image and label, by name below the root."""
        files = [*self.images, *(file for path in self.labels for file in label_files(path))]
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in files}

    def label_values(self) -> dict[str, int]:
        """The class number of each id that labels may store, or of each colour where they store colours."""
        return self._reader.meanings(self.labels[0])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        index = position(index, len(self))
        image = read_image(self.images[index], channels=self.channels, value_range=self.value_range)
        return {"image": image, "label": self._reader.read(self.labels[index]), "name": self.names[index]}

    def verify(self, index: int) -> dict:
        """What `check_source` needs, with the image read at reduced resolution."""
        height, width, channels = verify_image(self.images[index])
        name = f"{self.images[index]} (label {self.labels[index]})"
        if self._converted or self.channels == 3 or channels == 1:
            channels = self.channels
        return {
            "image_size": (height, width),
            "channels": channels,
            "label": self._reader.read(self.labels[index]),
            "name": name,
        }
