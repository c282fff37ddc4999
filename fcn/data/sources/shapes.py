"""The built-in data set `shapes`: a TensorFlow Datasets builder that needs neither TensorFlow nor a network."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fcn.data.sources import scenes
from fcn.data.sources.prepared import DamagedSetError
from fcn.data.sources.tfds import TfdsSource
from fcn.environment import cache_folder

SPLITS = {"train": 600, "val": 150}
_FORMAT = tfds.core.FileFormat.ARRAY_RECORD


class Shapes(tfds.core.GeneratorBasedBuilder):
    """128x128 scenes of textured, overlapping objects of five classes, and the class of every pixel."""

    VERSION = tfds.core.Version("3.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(scenes.SIZE, scenes.SIZE, 3), encoding_format="png"),
                "segmentation_mask": tfds.features.LabeledImage(
                    labels=list(scenes.CLASSES), shape=(scenes.SIZE, scenes.SIZE, 1), encoding_format="png"
                ),
                "name": tfds.features.Text(),
            }
        )
        return tfds.core.DatasetInfo(builder=self, description=type(self).__doc__, features=features)

    def _split_generators(self, dl_manager: object) -> dict:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for index in range(SPLITS[split]):
            image, label, _ = scenes.draw_scene(scenes.SEEDS[split], index)
            name = f"{split}_{index:04d}"
            yield index, {"image": _png(image), "segmentation_mask": _png(label), "name": name}


def open_shapes(split: str, *, root: str | Path | None = None, channels: int | None = None) -> TfdsSource:
    """Open `shapes`, having prepared it if it is not there yet (a few seconds)."""
    root = default_root() if root is None else Path(root).expanduser()
    version = str(Shapes.VERSION)
    if not (root / "shapes" / version / "dataset_info.json").is_file():
        prepare(root)
    source = TfdsSource(root / "shapes" / version, split, channels=channels)
    if source.classes != scenes.CLASSES:
        raise DamagedSetError(root / "shapes" / version / "segmentation_mask.labels.txt", f"other classes: {source.classes}")
    source.checked = True
    return source


def default_root() -> Path:
    """Where built-in data is kept: FCN_DATA_DIR, else `fcn/data` in the user's cache folder."""
    if "FCN_DATA_DIR" in os.environ:
        return Path(os.environ["FCN_DATA_DIR"]).expanduser()
    return cache_folder() / "data"


def prepare(root: Path) -> None:
    """Write `shapes` below `root`. A killed run leaves nothing half-made; of several at once the first to finish stays."""
    print(f"preparing the data set shapes in {root} (once, about 4 seconds)", file=sys.stderr)
    root.mkdir(parents=True, exist_ok=True)
    _remove_stale(root)
    draft = Path(tempfile.mkdtemp(prefix=".shapes-", dir=root))
    try:
        _write(draft)
        (root / "shapes").mkdir(exist_ok=True)
        target = root / "shapes" / str(Shapes.VERSION)
        try:
            os.rename(draft / "shapes" / target.name, target)
        except OSError:
            if not (target / "dataset_info.json").is_file():  # no other process was first
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(folder: Path) -> None:
    """Run the builder without its progress bars and messages."""
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            Shapes(data_dir=str(folder), file_format=_FORMAT).download_and_prepare(file_format=_FORMAT)
    finally:
        tfds.enable_progress_bar()


def _remove_stale(root: Path, seconds: float = 3600) -> None:
    """Remove what killed preparations left more than an hour ago."""
    for draft in root.glob(".shapes-*"):
        if time.time() - draft.stat().st_mtime > seconds:
            shutil.rmtree(draft, ignore_errors=True)


def _png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png", compress_level=0)  # ArrayRecord compresses
    return buffer.getvalue()
