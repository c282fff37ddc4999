"""This project's own form: images/ with labels/ or masks/, or NAME_mask.png beside NAME.jpg."""

import re
from collections.abc import Collection
from pathlib import Path

from fcn.data.layouts.layout import COMPANIONS, Layout, companion_of, index, matched
from fcn.data.reading.decode import IMAGE_SUFFIXES, LABEL_SUFFIXES, is_given
from fcn.data.reading.labels import ExclusiveMasks, ObjectMaps, label_files
from fcn.data.source import LabelKind

NAME = "images/ and labels/"
_LABEL_FOLDERS = ("labels", "masks", "train_labels", "train_masks")
_INSTANCES = "instances"
_NUMBER = re.compile(r"\d+|[0-9a-f]{8,}")
"""What masks of objects are called: numbers, or hashes."""
_ENDINGS: dict[LabelKind, str] = {"masks": "/CLASS.png", "values": ".npy"}
"""Where labels are other files than NAME.png."""
_BESIDE: tuple[LabelKind, ...] = ("classes", "binary", "instances")
"""Kinds of labels that may lie among the images."""
_TREE = "images/train/NAME.jpg with labels/train/NAME.png, masks/train/NAME.png, or NAME_mask.png beside it"


def is_there(root: Path) -> bool:
    """Whether a folder has images/ and a folder of labels."""
    return (root / "images").is_dir() and any((root / name).is_dir() for name in (*_LABEL_FOLDERS, _INSTANCES))


def find(root: Path, kind: LabelKind) -> Layout:
    """Images in images/, or in `root` itself, with labels in labels/, masks/ or instances/, or beside the images.

    Labels of the kind "masks" are folders NAME/ of masks, those of "values" may be NAME.npy; both lie in labels/ or masks/.
    Those of the kind "instances" lie in instances/ first, and may be folders NAME/ of a mask for each object. For other kinds,
    any object of instances/ alone is the foreground.

    Raises:
        FileNotFoundError: there is no such thing; the message says what was found.
        ValueError: two files have the same name, or labels beside the images are of a format that changes their values.
    """
    folder = root / "images" if (root / "images").is_dir() else root
    known = (_INSTANCES, *_LABEL_FOLDERS) if kind == "instances" else _LABEL_FOLDERS
    stores = [root / name for name in known if (root / name).is_dir()]
    images = {key: path for key, path in index(folder).items() if not _is_label(path.relative_to(root))}
    instances = matched(images, index(root / _INSTANCES, LABEL_SUFFIXES))
    if stores:
        remark = f"labels are those in {stores[0].name}/" if stores[0].name != known[0] else ""
        labels = _labels(stores[0], kind, images)
        if kind == "classes" and not labels and (masks := _folders_of_masks(stores[0], images)):
            return _of_masks(root, folder, stores[0], images, masks)
        if folder == root and not labels:
            raise FileNotFoundError(f"no folder {root / 'images'}, but {stores[0].name}/; a data folder holds {_TREE}")
        instances = labels if kind == "instances" else instances
        return Layout(root, folder, stores[0], images, labels, NAME, remark, _ENDINGS.get(kind, ".png"), instances=instances)
    if instances and kind in ("classes", "binary"):
        return _of_instances(root, folder, images, instances)
    return _beside(root, folder, images, kind)


def _is_label(path: Path) -> bool:
    """Whether a path below the root lies in a folder of labels."""
    return path.parts[0] in (*_LABEL_FOLDERS, _INSTANCES)


def _labels(folder: Path, kind: LabelKind, images: dict[str, Path]) -> dict[str, Path]:
    if kind == "masks":
        return _folders_of_masks(folder)
    files = index(folder, (*LABEL_SUFFIXES, ".npy") if kind == "values" else LABEL_SUFFIXES)
    labels = matched(images, files) | (_folders_of_masks(folder, images) if kind == "instances" else {})
    if kind != "values" and len(labels) < len(images):
        _refuse_lossy(images, labels, index(folder, tuple(set(IMAGE_SUFFIXES) - {*LABEL_SUFFIXES, ".npy"})))
    return labels


def _folders_of_masks(folder: Path, images: Collection[str] | None = None) -> dict[str, Path]:
    """The folders that hold masks, by path below `folder`; those of some images alone."""
    folders = {key.rpartition("/")[0]: path.parent for key, path in index(folder, LABEL_SUFFIXES).items()}
    return {key: path for key, path in folders.items() if images is None or key in images}


def _of_masks(root: Path, folder: Path, store: Path, images: dict[str, Path], masks: dict[str, Path]) -> Layout:
    """Several masks of an image as one label: each is of a class, or, where their names are numbers, of an object."""
    table, place = root / "classes.csv", f"{store.name}/NAME/"
    if not is_given(table) and all(_NUMBER.fullmatch(path.stem) for one in masks.values() for path in label_files(one)):
        remark, reader = f"labels are the objects in {place}, all of one class", ObjectMaps()
    else:
        remark, reader = f"labels are the masks in {place}, one for each class", ExclusiveMasks(table, masks.values())
    return Layout(root, folder, store, images, masks, NAME, remark, "/CLASS.png", reader=reader)


def _of_instances(root: Path, folder: Path, images: dict[str, Path], instances: dict[str, Path]) -> Layout:
    remark = f"labels are the objects in {_INSTANCES}/, all of one class"
    place = root / _INSTANCES
    return Layout(root, folder, place, images, instances, NAME, remark, instances=instances, reader=ObjectMaps())


def _beside(root: Path, folder: Path, files: dict[str, Path], kind: LabelKind) -> Layout:
    """Labels among the images."""
    labels = _companions(files) if kind in _BESIDE else {}
    if not labels:
        found = f"{len(files)} images lie in {folder}, without labels" if files else f"no images lie in {folder}"
        raise FileNotFoundError(
            f"no folder {root / _LABEL_FOLDERS[0]}: {found}; a data folder holds {_TREE}; "
            "PASCAL VOC, Cityscapes, ADE20K, CamVid, COCO, DSB 2018 and nnU-Net are read as they are"
        )
    images = {key: path for key, path in files.items() if path not in set(labels.values())}
    endings = [ending for ending in COMPANIONS if any(path.stem.endswith(ending) for path in labels.values())]
    remark = f"labels are the {len(labels)} files NAME{', NAME'.join(f'{ending}.*' for ending in endings)} beside the images"
    instances = labels if kind == "instances" else {}
    return Layout(root, folder, folder, images, labels, NAME, remark, f"{endings[0]}.png", instances=instances)


def _companions(files: dict[str, Path]) -> dict[str, Path]:
    """The label beside each image that has one; refuses those whose format does not keep ids as they are."""
    kept = {key: path for key, path in files.items() if path.suffix.lower() in LABEL_SUFFIXES}
    labels = {key: kept[name] for key in files if (name := companion_of(key, kept))}
    _refuse_lossy(files, labels, {key: path for key, path in files.items() if key not in kept})
    return labels


def _refuse_lossy(images: dict[str, Path], labels: dict[str, Path], lossy: dict[str, Path]) -> None:
    """Refuses files of other formats that are called like the label of an image that has none."""
    for key, path in images.items():
        if key not in labels and (name := key if lossy.get(key, path) != path else companion_of(key, lossy)):
            what = f"{lossy[name]} looks like the label of {path.name}"
            raise ValueError(f"{what}, but JPEG and the like change the ids of classes; save labels as PNG")
