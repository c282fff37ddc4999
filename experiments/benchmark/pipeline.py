"""How many images a second the input gives, and whether a training step waits for it."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

BATCH, COUNT, SIZE = 8, 160, (360, 480)
"""Images as large as CamVid's are commonly used."""


def measure(root: Path | None = None) -> dict[str, float]:
    """Images a second of reading, decoding, batching and transfer; `root` is a folder of images (default: photos made here)."""
    with tempfile.TemporaryDirectory() as folder:
        root = _make_photos(Path(folder)) if root is None else root
        return {
            "decoded from JPEG, images/s": _rate(root, cache=False),
            "decoded from JPEG and halved, images/s": _rate(root, cache=False, size=(SIZE[0] // 2, SIZE[1] // 2)),
            "kept in memory, images/s": _rate(root, cache=True),
            "kept in memory, halved, images/s": _rate(root, cache=True, size=(SIZE[0] // 2, SIZE[1] // 2)),
        }


def describe(facts: dict[str, float]) -> str:
    """A line for each figure."""
    return "\n".join(f"{value:8.0f}  {name}" for name, value in facts.items())


def _rate(root: Path, *, cache: bool, size: tuple[int, int] | None = None, rounds: int = 5) -> float:
    import jax

    from fcn.data import TrainLoader, open_source
    from fcn.parallel import Sharded

    source = open_source("folder", "train", root=str(root))
    batches, parallel = TrainLoader(source, batch_size=BATCH, seed=0, size=size, cache=cache), Sharded()
    count = -(-len(source) // BATCH)
    rates = []
    for _ in range(rounds + 1):  # the first epoch fills the cache
        start = time.perf_counter()
        for _ in range(count):
            jax.block_until_ready(parallel.put_batch(next(batches)))
        rates.append(count * BATCH / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def _make_photos(root: Path) -> Path:
    """A folder of smooth random photos with labels."""
    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    (root / "classes.csv").write_text("id,name,r,g,b\n0,dark,0,0,0\n1,light,255,255,255\n")
    for i in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        photo = coarse.resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)
        photo.save(root / "images" / "train" / f"{i:03}.jpg", quality=90)
        Image.fromarray((np.asarray(photo).mean(-1) > 128).astype(np.uint8)).save(root / "labels" / "train" / f"{i:03}.png")
    return root
