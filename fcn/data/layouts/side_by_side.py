"""CamVid as it was published (701_StillsRaw_full/, LabeledApproved_full/), and SPLIT/ or SPLIT_images/ with SPLIT_labels/."""

from pathlib import Path

from fcn.data.layouts.layout import Layout, index, matched
from fcn.data.reading.decode import LABEL_SUFFIXES

_ORIGINAL = ("701_StillsRaw_full", "LabeledApproved_full")
_IMAGES, _LABELS = "_images", ("_labels", "_masks")


def find(root: Path) -> Layout | None:
    """Labels NAME_L.png in the colours of label_colors.txt or class_dict.csv, or any others that a folder may have."""
    folder, store = (root / name for name in _ORIGINAL)
    if folder.is_dir() and store.is_dir():
        images = index(folder)
        name = f"CamVid's original ({folder.name}/, {store.name}/)"
        return Layout(root, folder, store, images, matched(images, index(store, LABEL_SUFFIXES)), name, ending="_L.png")
    pairs = [(path, _labels_of(path)) for path in sorted(root.iterdir()) if path.is_dir()]
    pairs = [(path, labels) for path, labels in pairs if labels is not None]
    if not pairs:
        return None
    images, labels = ({} for _ in range(2))
    for path, store in pairs:
        found, split = index(path), path.name.removesuffix(_IMAGES)
        images |= {f"{split}/{key}": file for key, file in found.items()}
        labels |= {f"{split}/{key}": file for key, file in matched(found, index(store, LABEL_SUFFIXES)).items()}
    names = " ".join(f"{path.name}/ {store.name}/" for path, store in pairs)
    return Layout(root, root, root, images, labels, f"images and labels side by side ({names})")


def _labels_of(folder: Path) -> Path | None:
    """The folder of the labels of the images in a folder: train_labels/ beside train/ or train_images/."""
    split = folder.name.removesuffix(_IMAGES)
    return next((path for ending in _LABELS if (path := folder.with_name(split + ending)).is_dir()), None)
