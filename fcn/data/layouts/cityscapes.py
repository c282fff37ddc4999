"""Cityscapes: leftImg8bit/SPLIT/CITY/ and gtFine/SPLIT/CITY/ (Cordts et al., 2016; the ids are those of cityscapesScripts)."""

from pathlib import Path

from fcn.data.layouts.layout import Layout, index
from fcn.data.reading.classes import Row

NAME = "Cityscapes (leftImg8bit/, gtFine/)"
# label id, name, colour; in the order of the train ids 0..18
_TRAINED: tuple[tuple[int, str, tuple[int, int, int]], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
_LARGEST_ID = 33


def find(root: Path) -> Layout | None:
    """Train ids where every label has them (labelTrainIds), else label ids (labelIds), which are mapped to them."""
    folder, store = root / "leftImg8bit", root / "gtFine"
    if not (folder.is_dir() and store.is_dir()):
        return None
    images = index(folder, ending="_leftImg8bit")
    trained, stored, instances = (
        index(store, (".png",), f"_gtFine_{kind}") for kind in ("labelTrainIds", "labelIds", "instanceIds")
    )
    mapped = not trained or bool(stored.keys() - trained.keys())
    ending = f"_gtFine_{'labelIds' if mapped else 'labelTrainIds'}.png"
    said = "labels are labelIds, mapped to the train ids 0..18" if mapped else "labels are labelTrainIds"
    labels, rows = (stored, label_ids()) if mapped else (trained, train_ids())
    return Layout(root, folder, store, images, labels, NAME, said, ending, rows, instances=instances, first_object=1000)


def label_ids() -> tuple[Row, ...]:
    """The 19 classes by label id; all others are void."""
    known = {identity for identity, _, _ in _TRAINED}
    return (*_TRAINED, *((i, "void", None) for i in range(_LARGEST_ID + 1) if i not in known))


def train_ids() -> tuple[Row, ...]:
    """The 19 classes by train id."""
    return tuple((number, name, colour) for number, (_, name, colour) in enumerate(_TRAINED))
