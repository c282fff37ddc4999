"""What prediction of images takes: a folder of photos beside a loop of PyTorch's, tiles beside the whole image, and memory."""

import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.augmenting import medians

COUNT, BATCH, CLASSES = 32, 4, 11
"""Photos of the folder, those that are predicted together, and the classes of CamVid."""
SIDE, TILE = 1024, 512
"""Of the image that is seen whole and in tiles."""
SIDES = (1024, 2048, 4096)
"""Of the images whose label maps are written, of which the memory is told."""


def measure(rounds: int = 7, root: Path | None = None) -> dict[str, float]:
    """Images a second of a folder (default: photos made here), the speed of tiles, and memory by size of the image."""
    with tempfile.TemporaryDirectory() as folder:
        return {**of_folder(root or _photos(Path(folder)), rounds), **of_tiles(rounds), **of_memory(SIDES)}


def of_folder(root: Path, rounds: int, count: int = COUNT, encoder: str = "resnet18") -> dict[str, float]:
    """U-Net on ResNet-18 here and by segmentation-models-pytorch, where that is installed; both read by one reader."""
    from fcn.data.layouts.layout import find_images

    paths = find_images(root)[1][:count]
    works = {"here": ours(paths, encoder)}
    with contextlib.suppress(ImportError):
        works["smp"] = theirs(paths, encoder)
    times = medians(works, rounds)
    return {f"unet/{encoder} on {len(paths)} photos, {side}, images/s": len(paths) / times[side] for side in times}


def ours(paths: Sequence[Path], encoder: str) -> Callable[[], object]:
    """Predicts the photos once."""
    from fcn.inference import Predictor

    model = _network("unet", encoder=encoder)
    predictor = Predictor(model, _variables(model), bucket=32)
    return lambda: [found.shape for found in predictor.map(paths, _read, batch=BATCH)]


def theirs(paths: Sequence[Path], encoder: str) -> Callable[[], object]:
    """Predicts the same photos, the next of which is read meanwhile, too.

    Raises:
      ImportError: segmentation-models-pytorch is not installed.
    """
    import torch

    from experiments.benchmark.references import smp

    net: Any = smp().Unet(encoder, encoder_weights=None, classes=CLASSES).eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def predict(images: list[np.ndarray]) -> np.ndarray:
        height, width, _ = images[0].shape
        batch = np.pad(np.stack(images), ((0, 0), (0, -height % 32), (0, -width % 32), (0, 0)), mode="edge")
        x = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - mean) / std
        return net(x).argmax(1)[:, :height, :width].numpy()

    def run():
        from fcn.inference.stream import ahead, runs

        with torch.inference_mode():
            return [predict(group).shape for group in runs(ahead(_read, paths), BATCH, np.shape)]

    return run


def of_tiles(rounds: int, side: int = SIDE, tile: int = TILE, **options: Any) -> dict[str, float]:
    """How fast tiles are beside the whole image, each pixel that is read counted."""
    from fcn.inference import Predictor, receptive_field
    from fcn.inference.tiles import exact_tiles

    model = _network("unet", **(options or {"base_features": 16}))
    predictor = Predictor(model, _variables(model), bucket=None)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    times = medians({"whole": lambda: predictor(image), "tiles": lambda: predictor(image, tile=tile)}, rounds)
    tiles = exact_tiles((side, side), receptive_field(model, size=(side, side)), tile)
    useful = side * side / sum(len(each.rows) * len(each.columns) for each in tiles)
    name = f"of {tile} beside the whole image of {side}"
    return {
        f"speed of tiles {name}, %": 100 * times["whole"] / times["tiles"],
        "of the pixels that tiles read are useful, %": 100 * useful,
        "speed of tiles for each pixel that they read, %": 100 * times["whole"] / times["tiles"] / useful,
    }


def of_memory(sides: Sequence[int]) -> dict[str, float]:
    """The most anonymous memory that a process holds which writes the label map of an image, for several sizes."""
    facts = {}
    for side in sides:
        done = subprocess.run([sys.executable, "-m", __name__, str(side)], stdout=subprocess.PIPE, text=True, check=True)
        facts[f"anonymous memory, label map of {side}x{side} pixels, MB"] = float(done.stdout.split()[-1]) / 1e6
    return facts


def write_map(side: int, tile: int = TILE) -> int:
    """Writes the label map of an image on the disk; the most anonymous bytes that this process held meanwhile."""
    from fcn.inference import Predictor, write_labels

    model = _network("unet", base_features=8, depth=3)
    predictor = Predictor(model, _variables(model))
    with tempfile.TemporaryDirectory() as folder, _most_memory() as most:
        image = np.lib.format.open_memmap(Path(folder) / "image.npy", mode="w+", dtype=np.uint8, shape=(side, side, 3))
        for top in range(0, side, tile):
            image[top : top + tile] = np.random.default_rng(top).integers(0, 256, image[top : top + tile].shape)
        write_labels(predictor, image, Path(folder) / "map.npy", tile=tile)
    return most[0]


@contextlib.contextmanager
def _most_memory(seconds: float = 0.01) -> Iterator[list[int]]:
    """A list of one number: the most bytes of anonymous memory that were seen inside (Linux)."""
    most, ended = [_anonymous()], threading.Event()

    def watch():
        while not ended.wait(seconds):
            most[0] = max(most[0], _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _network(name: str, **options: Any) -> Any:
    import fcn

    return fcn.create_model(name, num_classes=CLASSES, **options)


def _variables(model: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def _read(path: Path) -> np.ndarray:
    from fcn.data import read_image

    return read_image(path, channels=3)


def _photos(folder: Path) -> Path:
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize((480, 360), Image.Resampling.BICUBIC).save(folder / f"{i:03}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    print(write_map(int(sys.argv[1])))
