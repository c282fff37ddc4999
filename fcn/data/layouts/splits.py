"""Which images of a data folder make a split: lists of names, folders, or the hashes of their names."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fcn.data.layouts.layout import Layout
from fcn.data.reading.decode import IMAGE_SUFFIXES, is_given

_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation")}
"""What a split is called where it is not called by its own name."""
_LIST_FOLDERS = ("", "splits", "lists")
VAL_SHARE = 0.2
"""Of the images without any split, those that are for validation."""


def split_names(layout: Layout, split: str) -> tuple[list[str], list[str]]:
    """Names of the samples of a split and their keys in `layout.images`.

    A split is the names in SPLIT.txt, else the images in a folder of that name, else, for "all", every image. Where there are
    neither lists nor folders, "train" and "val" are drawn by the hashes of the names: whatever is added, an image stays
    where it is, but for sets so small that one of the two would be empty.

    Raises:
        FileNotFoundError: there is no such split, or a name in its list has no image.
        ValueError: its list is no file, or no text.
    """
    listing = _list_of(layout, split)
    if listing is not None:
        return _read_list(layout, split, listing)
    if split == "all":
        names = keys = list(layout.images)
    elif folder := _folder_of(layout, split):
        keys = [key for key in layout.images if key.startswith(f"{folder}/")]
        names = [key.removeprefix(f"{folder}/") for key in keys]
    else:
        names = keys = hashed(list(layout.images), split) if is_unsplit(layout) else []
    if not names:
        raise FileNotFoundError(_no_split(layout, split))
    return names, keys


def known_splits(layout: Layout) -> list[str]:
    """The splits that a folder has, those of training and validation first; "all" where there are none."""
    if is_unsplit(layout):
        found = {"train", "val"} if len(layout.images) > 1 else {"all"}
    else:
        found = {path.stem for path in _lists(layout)} or {key.split("/")[0] for key in layout.images if "/" in key}
        found = {next((name for name, others in _FOLDERS.items() if folder in others), folder) for folder in found}
    return sorted(found, key=lambda name: (("train", "val").index(name) if name in ("train", "val") else 2, name))


def split_remark(layout: Layout, split: str) -> str:
    """What a user of a split should know of how it came about."""
    if not is_unsplit(layout) or not hashed(list(layout.images), split):
        return ""
    counts = {split: len(hashed(list(layout.images), split)) for split in ("train", "val")}
    return f"there is no split; by the hashes of their names {counts['train']} images are for training, {counts['val']} for val"


def is_unsplit(layout: Layout) -> bool:
    """Whether neither lists nor folders of splits are there."""
    return not _lists(layout) and not any(_folder_of(layout, split) for split in ("train", "val", "test"))


def hashed(keys: Sequence[str], split: str) -> list[str]:
    """The keys that their hashes put into "train" or "val", in order of name; none for another split."""
    if split not in ("train", "val") or len(keys) < 2:
        return []
    places = {key: int(hashlib.sha256(key.encode()).hexdigest()[:12], 16) / 16**12 for key in keys}
    val = {key for key, place in places.items() if place < VAL_SHARE} or {min(keys, key=places.__getitem__)}
    val = val - {max(keys, key=places.__getitem__)}  # train is never empty
    return [key for key in keys if (key in val) == (split == "val")]


def _lists(layout: Layout) -> list[Path]:
    """The lists of names: text files whose first line names an image."""
    return [path for place in _places(layout) for path in sorted(place.glob("*.txt")) if _names_images(layout, path)]


def _names_images(layout: Layout, path: Path) -> bool:
    if path.stem in {name for names in _FOLDERS.values() for name in names} | {"test"}:
        return True  # whatever it holds: what is wrong with it is told
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = next((line.strip() for line in file if line.strip()), "")
    except (OSError, UnicodeDecodeError):
        return False
    return _key_of(layout, path.stem, first) in layout.images


def _places(layout: Layout) -> list[Path]:
    return [layout.lists] if layout.lists is not None else [layout.root / name for name in _LIST_FOLDERS]


def _list_of(layout: Layout, split: str) -> Path | None:
    candidates = [place / f"{name}.txt" for name in _FOLDERS.get(split, (split,)) for place in _places(layout)]
    return next((path for path in candidates if is_given(path)), None)


def _folder_of(layout: Layout, split: str) -> str | None:
    tops = {key.split("/")[0] for key in layout.images if "/" in key}
    return next((name for name in _FOLDERS.get(split, (split,)) if name in tops), None)


def _read_list(layout: Layout, split: str, listing: Path) -> tuple[list[str], list[str]]:
    try:
        names = [line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{listing}: not a list of names in UTF-8 ({error})") from None
    keys = [_key_of(layout, split, name) for name in names]
    missing = [name for name, key in zip(names, keys) if key not in layout.images]
    if missing:
        raise FileNotFoundError(f"{listing} names {missing[0]!r}, but there is no image {layout.folder / missing[0]}.*")
    if not names:
        raise FileNotFoundError(f"{listing} names no image; write the names of those of the split {split!r}, one a line")
    return [name if key == name else key.removeprefix(f"{split}/") for name, key in zip(names, keys)], keys


def _key_of(layout: Layout, split: str, name: str) -> str:
    """The key that a line of a list means: a name, or a path with suffix, from the root on, with the label's path behind it."""
    for text in (name, *name.split()[:1]):
        below = text.lstrip("./").removeprefix(f"{layout.folder.name}/")
        for candidate in (text, *_without_suffix(text), below, *_without_suffix(below)):
            for key in (f"{split}/{candidate}", candidate):
                if key in layout.images:
                    return key
    return name


def _without_suffix(name: str) -> list[str]:
    return [name[: -len(suffix)] for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)]


def _no_split(layout: Layout, split: str) -> str:
    root, images = layout.root, layout.images
    if not images:
        return f"no images in {layout.folder} ({', '.join(IMAGE_SUFFIXES)})"
    known = sorted({*known_splits(layout), "all"})
    return (
        f"{root} has no split {split!r} (neither {split}.txt nor {layout.folder.name}/{split}/); "
        f"it has {', '.join(known)}, and a part of one is written as all[:20]"
    )
