"""Class ids of images of any size, part by part to a file; what was interrupted goes on."""

import contextlib
import errno
import hashlib
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Num

from fcn.draft import replacing
from fcn.file_lock import locked
from fcn.inference.predictor import Predictor, TileSize

_SECONDS = 5.0
"""After so many, what has been found is on the disk; a kill costs no more."""
_DIGESTS: weakref.WeakKeyDictionary[Predictor, str] = weakref.WeakKeyDictionary()
"""Of predictors: large networks take a second to read."""


def write_labels(
    predictor: Predictor,
    image: Num[Any, "h w c"],
    path: Path,
    *,
    tile: TileSize = "auto",
    tta: Sequence[str | float] = (),
    overwrite: bool = False,
    source: str = "",
    ids: Sequence[int] | None = None,
    tags: Sequence[tuple] = (),
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> None:
    """Writes the class of each pixel: uint8, or uint16 for more than 256 classes, [H, W].

    Neither the image nor the result need fit into memory. The file gets its name once it is whole; before that it lies beside
    it, hidden, and the same call goes on with it.

    Args:
        predictor: of a task whose predictions are class maps.
        image: as for `Predictor.parts`.
        path: .npy, or .tif, which takes tifffile and shows the classes in the task's colours.
        tile, tta: as for `Predictor.parts`.
        overwrite: replaces a file, in the end.
        source: what else tells this image from another of its size, such as its path and the time at which it was changed.
        ids: the number that stands for each class; by default 0, 1 ...
        tags: further tags of a TIFF file, as `fcn.data.large.geo_tags` gives them.
        tell: called after each part with the number of those that are done, and of all.

    Raises:
        FileExistsError: there is a file already, and it is not to be replaced.
        BlockingIOError: another call is writing it.
        ValueError: the task has no class maps, `path` another ending, or what `Predictor.parts` refuses.
        ImportError: a .tif takes tifffile, which is not installed.
        OSError: the disk has no room for the map.
    """
    _refuse(predictor, path, overwrite)
    parts = predictor.parts(image, tile=tile, tta=tta)
    asked = {"shape": list(image.shape), "dtype": str(image.dtype), "parts": parts.count, "tile": tile, "tta": list(tta)}
    asked |= {"source": source, "network": _digest(predictor), "ids": list(ids or ())}
    asked |= {"bucket": predictor.bucket, "border": predictor.border, "dropout": list(predictor.dropout)}
    with locked(path):
        _refuse(predictor, path, overwrite)  # which another call may have written meanwhile
        _write(predictor, parts, path, image.shape[:2], asked, ids, tags, tell)


def _write(predictor, parts, path, size, asked, ids, tags, tell):
    draft, record = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.json")
    done = _done_before(draft, record, asked)
    with _map(draft, path, size, predictor, ids, tags, new=not done) as labels:
        saved = time.monotonic()
        for now, (place, scores) in enumerate(parts.after(done), done + 1):
            found = scores if predictor.task is None else predictor.task.prediction(scores)
            labels[place] = found if ids is None else np.asarray(ids)[found]
            if time.monotonic() - saved > _SECONDS:
                labels.flush()
                _remember(record, {**asked, "done": now})
                saved = time.monotonic()
            tell(now, parts.count)
    os.replace(draft, path)
    record.unlink(missing_ok=True)


def _refuse(predictor, path, overwrite):
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; give another name")
    if path.suffix not in (".npy", ".tif"):
        raise ValueError(f"{path}: label maps are .npy or .tif files")
    task = predictor.task
    if task is not None and (task.on_host or getattr(task, "mode", None) not in ("multiclass", "binary")):
        raise ValueError(f"the task {task.name!r} has no class for each pixel, so that nothing can be written part by part")


def _done_before(draft, record, asked) -> int:
    """The number of parts that an interrupted call wrote, of the same image by the same network."""
    with contextlib.suppress(OSError, ValueError):
        before = json.loads(record.read_text(encoding="utf-8"))
        done = before.pop("done")
        if before == json.loads(json.dumps(asked)) and draft.is_file():
            return done
    for file in (record, draft):  # a new file, as the old one may still be mapped into memory
        file.unlink(missing_ok=True)
    return 0


def _remember(record, what):
    with replacing(record) as draft:
        draft.write_text(json.dumps(what), encoding="utf-8")


def _digest(predictor: Predictor) -> str:
    """Of the networks: their fields and all values of their variables; of a predictor's first map only."""
    if predictor in _DIGESTS:
        return _DIGESTS[predictor]
    digest = hashlib.sha256(repr((predictor.model, predictor.preprocessing, predictor.task)).encode())
    for leaf in jax.tree.leaves(predictor.members):
        digest.update(np.asarray(leaf).tobytes())
    return _DIGESTS.setdefault(predictor, digest.hexdigest())


@contextlib.contextmanager
def _map(draft, path, size, predictor, ids, tags, new) -> Iterator[np.memmap]:
    """The file as an array, on the disk in the end."""
    count = predictor.model.num_classes if predictor.task is None else len(predictor.task.classes)
    count = count if ids is None else max(ids) + 1
    kind = np.uint8 if count <= 256 else np.uint16
    if path.suffix == ".npy":
        how: dict[str, Any] = {"mode": "w+", "dtype": kind, "shape": size} if new else {"mode": "r+"}
        labels = np.lib.format.open_memmap(draft, **how)
    else:
        labels = _tiff(draft, size, kind, predictor.task, ids, tags, new)
    if new:
        _reserve(draft, path)
    yield labels
    labels.flush()


def _reserve(draft, path):
    """Takes the room on the disk: what is written by memory ends the process where there is none."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with draft.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, draft.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
            return
        draft.unlink()
        told = OSError(f"{path} cannot be written: {error.strerror}")
        told.errno = error.errno
        raise told from None


def _tiff(draft, size, kind, task, ids, tags, new) -> np.memmap:
    try:
        import tifffile
    except ImportError:
        raise ImportError("a label map as TIFF needs tifffile: pip install 'fcn-zoo[tiff]'") from None
    if not new:
        return tifffile.memmap(draft, mode="r+")
    look: dict[str, Any] = {"photometric": "minisblack"}
    if task is not None and kind == np.uint8:
        colours = np.zeros((3, 256), np.uint16)
        colours[:, list(ids or range(len(task.palette)))] = task.colours.T.astype(np.uint16) * 257
        look = {"photometric": "palette", "colormap": colours}
    look |= {"metadata": None, "extratags": tags, "bigtiff": size[0] * size[1] > 2**31}
    return tifffile.memmap(draft, shape=size, dtype=kind, **look)
