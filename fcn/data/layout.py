"""Where the images and labels of a data folder lie, and which of them make a split."""

import dataclasses
import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from fcn.data.decode import IMAGE_SUFFIXES, LABEL_SUFFIXES, is_given
from fcn.data.source import LabelKind

_LABEL_FOLDERS = ("labels", "masks")
_COMPANION = "_mask"
_TELLING: dict[LabelKind, str] = {"classes": ".png", "binary": ".png", "masks": "/CLASS.png", "values": ".npy"}
_TREE = "images/train/NAME.jpg with labels/train/NAME.png, masks/train/NAME.png, or NAME_mask.png beside it"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The images of a data folder and their labels, by path below `folder` without suffix."""

    root: Path
    folder: Path
    """Where the images lie."""
    label_folder: Path
    images: dict[str, Path]
    labels: dict[str, Path]
    remark: str = ""
    """What was found, where that is not images/ and labels/."""
    ending: str = ".png"
    """What follows an image's name in that of its label."""

    def label_of(self, key: str) -> Path:
        """The label of an image.

        Raises:
            FileNotFoundError: it has none, or an empty folder in place of masks.
        """
        for name in (key, key + _COMPANION):
            if name in self.labels:
                return self.labels[name]
        name = f"{key}{_COMPANION}.png" if self.label_folder == self.folder else f"{key}{self.ending}"
        if self.ending == _TELLING["masks"] and (folder := self.label_folder / key).is_dir():
            raise FileNotFoundError(f"{folder} holds no mask; of an image without any object put in one that is 0 everywhere")
        raise FileNotFoundError(f"image {self.images[key]} has no label {self.label_folder / name}")


def find_layout(root: Path, kind: LabelKind = "classes") -> Layout:
    """Images in images/ with labels in labels/ or masks/, or NAME_mask.png beside NAME.jpg there or in `root` itself.

    Labels of the kind "masks" are folders NAME/ of masks, those of "values" may be NAME.npy; both lie in labels/ or masks/.

    Raises:
        FileNotFoundError: there is no such thing; the message says what was found.
        ValueError: two files have the same name.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    stores = [root / name for name in _LABEL_FOLDERS if (root / name).is_dir()]
    if folder == root and stores:
        raise FileNotFoundError(f"no folder {root / 'images'}, but {stores[0].name}/; a data folder holds {_TREE}")
    images = _index(folder, IMAGE_SUFFIXES)
    if stores:
        remark = f"labels are those in {stores[0].name}/" if stores[0].name != _LABEL_FOLDERS[0] else ""
        return Layout(root, folder, stores[0], images, _labels(stores[0], kind), remark, _TELLING[kind])
    labels = _companions(images) if kind in ("classes", "binary") else {}
    if not labels:
        found = f"{len(images)} images lie in {folder}, without labels" if images else f"no images lie in {folder}"
        raise FileNotFoundError(f"no folder {root / _LABEL_FOLDERS[0]}: {found}; a data folder holds {_TREE}")
    images = {key: path for key, path in images.items() if key not in labels}
    return Layout(
        root, folder, folder, images, labels, f"labels are the {len(labels)} files NAME{_COMPANION}.* beside the images"
    )


def find_images(root: Path) -> tuple[Path, list[Path]]:
    """The images below a folder (below its images/, if it has one), without the label NAME_mask.* of an image NAME.*.

    Returns:
        the folder below which they lie, and their paths, in order of name.

    Raises:
        ValueError: two files have the same name.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    images = _index(folder, IMAGE_SUFFIXES)
    labels = _companions(images)
    return folder, [path for key, path in images.items() if key not in labels]


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


def _labels(folder: Path, kind: LabelKind) -> dict[str, Path]:
    """The labels below `folder` by the name of their image."""
    files = _index(folder, (*LABEL_SUFFIXES, ".npy") if kind == "values" else LABEL_SUFFIXES)
    return {key.rpartition("/")[0]: path.parent for key, path in files.items()} if kind == "masks" else files


def _companions(images: dict[str, Path]) -> dict[str, Path]:
    """The labels NAME_mask.* among files NAME.*."""
    return {key: path for key, path in images.items() if key.removesuffix(_COMPANION) in images.keys() - {key}}


def _index(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files below `folder` by their relative path without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(_walk(folder)):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise ValueError(f"{path} and {files[key].name} have the same name; remove one")
        files[key] = path
    return files


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


def split_names(layout: Layout, split: str) -> tuple[list[str], list[str]]:
    """Names of the samples of a split and their keys in `layout.images`.

    Raises:
        FileNotFoundError: there is no such split, or a name in its list has no image.
        ValueError: its list is no file, or no text.
    """
    root, images = layout.root, layout.images
    listing = root / f"{split}.txt"
    if is_given(listing):
        try:
            names = [line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{listing}: not a list of names in UTF-8 ({error})") from None
        keys = [f"{split}/{name}" if f"{split}/{name}" in images else name for name in names]
        missing = [name for name, key in zip(names, keys) if key not in images]
        if missing:
            raise FileNotFoundError(f"{listing} names {missing[0]!r}, but there is no image {layout.folder / missing[0]}.*")
    elif split == "all":
        names = keys = list(images)
    else:
        keys = [key for key in images if key.startswith(f"{split}/")]
        names = [key.removeprefix(f"{split}/") for key in keys]
    if not names:
        raise FileNotFoundError(_no_split(layout, split))
    return names, keys


def _no_split(layout: Layout, split: str) -> str:
    root, images = layout.root, layout.images
    if not images:
        return f"no images in {layout.folder} ({', '.join(IMAGE_SUFFIXES)})"
    known = sorted({p.stem for p in root.glob("*.txt")} | {key.split("/")[0] for key in images if "/" in key} | {"all"})
    return (
        f"{root} has no split {split!r} (neither {split}.txt nor images/{split}/); "
        f"it has {', '.join(known)}, and a part of one is written as all[:20]"
    )
