"""Which images a command line names, and the files that are written for each."""

import contextlib
import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from fcn.data.layouts.layout import IMAGE_SUFFIXES, find_images
from fcn.data.reading.pages import count_pages
from fcn.data.zarr_arrays import is_zarr
from fcn.inference.files import Files
from fcn.tasks import Semantic

LEGEND = "legend.png"
Done = Literal["refused", "left out", "replaced"]


def plan(
    inputs: Sequence[Path],
    out: Path,
    endings: Sequence[str] = Semantic.suffixes,
    *,
    done: Done = "refused",
    pages: bool = False,
) -> list[Files]:
    """The files to write for each image: NAME_mask.png, ... in `out`; of a folder, in its subfolders as there.

    Args:
      inputs: image files, arrays of Zarr, folders of images, and patterns such as "photos/*.jpg".
      out: the folder to write to.
      endings: of the files, such as "overlay.png" and "mask.png"; the last one tells that an image is done.
      done: what becomes of images whose files exist; "left out" are those that are done.
      pages: each page of a TIFF file is an image.

    Raises:
      FileExistsError: a file exists, two images would write the same, or an image would be replaced.
      FileNotFoundError: a file is missing, a folder has no images, or nothing matches a pattern.
      ValueError: `out` is a folder of images that are to be predicted.
    """
    plans = [
        Files.named(path, out / name.with_suffix(""), endings, page)
        for path, name in _named(inputs, out)
        for page in _pages(path, pages)
    ]
    return settled(plans, out, done)


def settled(plans: list[Files], out: Path, done: Done) -> list[Files]:
    """Those of the plans that are carried out; `out`, `done` and errors as for `plan`."""
    _refuse_collisions(plans, out)
    if done == "left out":
        plans = [each for each in plans if not each.done.exists()]
    taken = [file for each in plans for file in each.paths.values() if file.exists()]
    if taken and done != "replaced":
        raise FileExistsError(f"{taken[0]} exists already; give another --out, or --skip-existing, or --overwrite")
    return plans


def _pages(path: Path, pages: bool) -> Sequence[int | None]:
    """The pages that are images, if there are several; of a file that is damaged, who reads it tells."""
    with contextlib.suppress(ValueError):
        if pages and (count := count_pages(path)) > 1:
            return range(count)
    return (None,)


def _named(inputs: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Each image once, with its name below `out`."""
    seen = set()
    for given in inputs:
        for path, name in _expanded(given, out):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path, name


def _expanded(given: Path, out: Path) -> list[tuple[Path, Path]]:
    if is_zarr(given):
        return [(given, Path(given.name))]
    if given.is_dir():
        return _in_folder(given, out)
    if given.exists():
        return [(given, Path(given.name))]
    if not glob.has_magic(str(given)):
        raise FileNotFoundError(f"no image {given}")
    found = [Path(path) for path in sorted(glob.glob(str(given.expanduser()), recursive=True))]
    found = [path for path in found if _is_image(path)]
    found = _not_written(found, _fixed_part(given), out)
    if not found:
        raise FileNotFoundError(f"no image matches {given} ({', '.join(IMAGE_SUFFIXES)})")
    return [(path, Path(path.name)) for path in found]


def _is_image(path: Path) -> bool:
    return (path.suffix == ".zarr" and is_zarr(path)) or (path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir())


def _in_folder(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    place, images = find_images(folder)
    if out.resolve() in (folder.resolve(), place.resolve()):
        raise ValueError(f"--out {out} is the folder of the images; give another, such as {out / 'predicted'}")
    images = _not_written(images, place, out)
    if not images:
        raise FileNotFoundError(f"no images in {folder} ({', '.join(IMAGE_SUFFIXES)})")
    return [(path, path.relative_to(place)) for path in images]


def _fixed_part(pattern: Path) -> Path:
    """The folder below which all lies that a pattern can match."""
    parts = pattern.expanduser().parts
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), parts))


def _not_written(images: Sequence[Path], place: Path, out: Path) -> list[Path]:
    """The images without those of an earlier call, where `out` is a folder below the images' own."""
    place, out = place.resolve(), out.resolve()
    inside = out != place and out.is_relative_to(place)
    return [path for path in images if not (inside and path.resolve().is_relative_to(out))]


def _refuse_collisions(plans: Sequence[Files], out: Path) -> None:
    images = {each.image.resolve(): each.image for each in plans}
    writers: dict[Path, Path] = {}
    for each in plans:
        for file in (*each.paths.values(), out / LEGEND):
            if file.resolve() in images:
                raise FileExistsError(f"{file} is one of the images and would be replaced; give another --out")
        for file in each.paths.values():
            if file in writers:
                cure = "name the folder itself, which keeps its subfolders, or give each its own --out"
                raise FileExistsError(f"{writers[file]} and {each.image} would both write {file}; {cure}")
            writers[file] = each.image
