"""Images of any size through a network: of each, part by part, a map of its class ids on the disk."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.building.networks import Network
from experiments.prediction.stages import Work, attempt, report, row_of
from fcn.data import read_image
from fcn.data.large import geo_tags, in_parts, open_large
from fcn.data.reading.pages import page_as_file
from fcn.data.zarr_arrays import is_zarr
from fcn.inference import Predictor, write_labels
from fcn.inference.files import Files
from fcn.text import printable

_ROWS = 1024
"""Of a map that are counted at once."""


class Maps:
    """Writes one file for an image.

    Args:
      network: which predicts.
      scale: how many times as large images are seen, if that was said.
      others: the variables of further networks of an ensemble.
      dropout, seed: as for `fcn.inference.Predictor`.
      table: whether `rows` are kept.
      how: tile, tta and overwrite, as `fcn.inference.write_labels` takes them.

    Raises:
      ValueError: training resized its images, and nobody said that they are to be seen as they are here; or there is to be
        dropout, and the network has none.
    """

    def __init__(
        self,
        network: Network,
        scale: float | None,
        others: Sequence[dict] = (),
        *,
        dropout: int = 0,
        seed: int = 0,
        table: bool = False,
        **how,
    ):
        expected = network.preprocessing
        if scale != 1 and (scale is not None or expected.size is not None):
            told = "" if expected.size is None else ", though training resized its images to {}x{}".format(*expected.size)
            raise ValueError(f"images are read in parts as they are{told}; say so: --scale 1")
        self._network, self._how, self._table = network, how, table
        self.rows: list[dict[str, Any]] = []
        """As those of `Stages`."""
        members, known = [network.variables, *others], (expected.as_read(), network.task)
        self._predictor = Predictor(network.model, members, *known, bucket=None, dropout=dropout, seed=seed)

    def write(self, files: Files, _) -> str:
        """Writes the map, going on with one that was interrupted; says where."""
        newest = max(path.stat().st_mtime_ns for path in (files.image, *files.image.rglob("*")))  # also of an array's chunks
        source = f"{files.image.resolve()}, page {files.page}, of {files.image.stat().st_size} bytes, {newest}"
        files.done.parent.mkdir(parents=True, exist_ok=True)
        tags = geo_tags(files.image) if files.done.suffix == ".tif" else []
        with self._opened(files) as image, _bar(files.image) as tell:
            ids, began = self._network.label_ids, time.perf_counter()
            write_labels(self._predictor, image, files.done, source=source, ids=ids, tags=tags, tell=tell, **self._how)
            seconds, shape = time.perf_counter() - began, image.shape
        if self._table:
            self.rows.append(row_of(files, shape, seconds, self._shares(files.done)))
        return printable(f"{files.image} -> {files.done}")

    def _shares(self, path: Path) -> dict[str, float]:
        """The share of each class in a map, of which not more than some rows are held."""
        if path.suffix == ".npy":
            labels = np.load(path, mmap_mode="r")
        else:
            import tifffile

            labels = tifffile.memmap(path, mode="r")
        classes = self._network.task.classes
        ids = self._network.label_ids or range(len(classes))
        parts = (labels[top : top + _ROWS] for top in range(0, len(labels), _ROWS))
        counts = np.sum([np.bincount(part.ravel(), minlength=max(ids) + 1) for part in parts], axis=0)
        return {name: counts[number] / labels.size for name, number in zip(classes, ids)}

    @contextlib.contextmanager
    def _opened(self, files: Files) -> Iterator[Any]:
        """The image: of files that can be read in parts, these; else, and where its range is its own, all of it."""
        if files.page is not None:
            with page_as_file(files.image, files.page) as page, self._opened(Files(page, {})) as image:
                yield image
            return
        path = files.image
        expected, pages = self._network.preprocessing, self._network.data.pages == "channels"
        if in_parts(path) and expected.per_image is None and not pages:
            with open_large(path) as image:
                yield image
        elif is_zarr(path):
            raise ValueError(
                f"{path} is read in parts only, and the network needs all of an image at once; save it as TIFF or .npy"
            )
        else:
            how = {"value_range": expected.value_range, "per_image": expected.per_image, "pages": pages}
            yield read_image(path, channels=expected.channels, **how)


def map_all(maps: Maps, plans: Sequence[Files]) -> list[Path]:
    """Writes the map of each image, one after the other; gives the images that were refused."""
    return [work.files.image for work in map(attempt(maps.write), map(Work, plans)) if not report(work)]


@contextlib.contextmanager
def _bar(path: Path):
    """A progress bar, on a terminal."""
    with tqdm(desc=printable(path.name), unit="part", disable=None, dynamic_ncols=True) as bar:

        def tell(done, count):
            bar.total = count
            bar.update(done - bar.n)

        yield tell
