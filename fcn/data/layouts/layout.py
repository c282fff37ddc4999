"""Where the images and labels of a data folder lie: `Layout`, and how files are listed."""

import dataclasses
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fcn.data.reading.classes import Row
from fcn.data.reading.decode import IMAGE_SUFFIXES
from fcn.data.reading.labels import Labels

COMPANIONS = ("_mask", "_label", "_L")
"""What follows an image's name in that of its label, where both lie side by side, or the label in a folder of labels."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The images of a data folder and their labels, by path below `folder` without suffix.

    What begins with "train/" and the like is that split, where no list of names says it.
    """

    root: Path
    folder: Path
    """Where the images lie."""
    label_folder: Path
    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    """Of those images that have one."""
    name: str = "images/ and labels/"
    """What users call the layout."""
    remark: str = ""
    """What was found, where that is not images/ and labels/."""
    ending: str = ".png"
    """What follows an image's name in that of its label."""
    rows: tuple[Row, ...] = ()
    """The classes that the layout itself names, which a table in the folder replaces."""
    lists: Path | None = None
    """The folder of the lists SPLIT.txt, where that is not `root`."""
    instances: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Maps of objects, 0 where there is none."""
    first_object: int = 1
    """The smallest number of an object in them; what is below are numbers of classes."""
    void_object: int | None = None
    """The number of pixels that may or may not be of an object."""
    reader: Labels | None = None
    """Reads the labels, where they are not pictures of class numbers or colours."""
    files: tuple[Path, ...] = ()
    """What else the labels are made of."""
    channels: tuple[str, ...] = ()
    """What the layout calls the channels of images."""

    def refuse_bare(self, keys: Iterable[str]) -> None:
        """Raises a FileNotFoundError if there are images without a label among `keys`."""
        if bare := [key for key in keys if key not in self.labels]:
            raise FileNotFoundError(self.no_label(bare[0]) + (f" (nor have {len(bare) - 1} others)" if bare[1:] else ""))

    def no_label(self, key: str) -> str:
        """What is missing of an image without a label: the file, or masks in its folder."""
        expected = self.label_folder / f"{key}{self.ending}"
        if self.ending.startswith("/") and (folder := self.label_folder / key).is_dir():
            return f"{folder} holds no mask; of an image without any object put in one that is 0 everywhere"
        return f"image {self.images[key]} has no label {expected}"


def find_images(root: Path) -> tuple[Path, list[Path]]:
    """The images below a folder (below its images/, if it has one), without the label NAME_mask.* of an image NAME.*.

    Returns:
        the folder below which they lie, and their paths, in order of name.

    Raises:
        ValueError: two files have the same name.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    images = index(folder)
    labels = {companion_of(key, images, COMPANIONS[:1]) for key in images}
    return folder, [path for key, path in images.items() if key not in labels]


def companion_of(key: str, files: Mapping[str, Path], endings: tuple[str, ...] = COMPANIONS) -> str | None:
    """The key of NAME_mask among files for the key of NAME, if it is there."""
    return next((key + ending for ending in endings if key + ending in files), None)


def matched(images: Mapping[str, Path], files: Mapping[str, Path]) -> dict[str, Path]:
    """The label of each image: the file of its name, or NAME_mask and the like."""
    names = {key: key if key in files else companion_of(key, files) for key in images}
    return {key: files[name] for key, name in names.items() if name is not None}


def existing_folder(root: str | Path | None) -> Path:
    if root is None:
        raise ValueError("the data set 'folder' needs a root: the folder that holds images/ and labels/")
    root = Path(root).expanduser()
    if root.is_dir():
        return root
    parent = next((p for p in root.absolute().parents if p.is_dir()), Path("/"))
    near = difflib.get_close_matches(root.name, [p.name for p in parent.iterdir() if p.is_dir()], n=1)
    hint = f"did you mean {parent / near[0]}?" if near else f"{parent} exists, but holds no folder of that name"
    raise FileNotFoundError(f"no folder {root}; {hint}")


def index(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, ending: str = "") -> dict[str, Path]:
    """Files below `folder` by their relative path without suffix, in order of name.

    Args:
        folder: need not exist.
        suffixes: of the files that count, in lower case; of images, arrays count as `_without_copies` says.
        ending: what their names end in, which is left out of the keys as well.

    Raises:
        ValueError: two files have the same name.
    """
    files: dict[str, Path] = {}
    found = [path for path in sorted(_walk(folder)) if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    for path in _without_copies(found) if suffixes == IMAGE_SUFFIXES else found:
        key = path.relative_to(folder).with_suffix("").as_posix()
        if not key.endswith(ending):
            continue
        key = key.removesuffix(ending)
        if key in files:
            raise ValueError(f"{path} and {files[key].name} have the same name; remove one")
        files[key] = path
    return files


def _without_copies(paths: list[Path]) -> list[Path]:
    """Without the arrays NAME.npy and Cellpose's NAME_seg.npy, which holds what was found, of a picture NAME."""
    pictures = {str(path.with_suffix("")) for path in paths if path.suffix.lower() != ".npy"}
    names = ((path, str(path.with_suffix(""))) for path in paths)
    return [path for path, name in names if path.suffix.lower() != ".npy" or not {name, name.removesuffix("_seg")} & pictures]


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder below `folder`, through links to folders as well, but not round in circles."""
    above: dict[str, frozenset] = {str(folder): frozenset()}
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        seen = above.pop(place) | {(status.st_dev, status.st_ino)}
        inside = {name: os.stat(os.path.join(place, name)) for name in folders}
        folders[:] = [name for name, found in inside.items() if (found.st_dev, found.st_ino) not in seen]
        above |= {os.path.join(place, name): seen for name in folders}
        yield from (Path(place, name) for name in files)
