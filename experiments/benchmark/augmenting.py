"""How many images a second are augmented: the preset `standard` here and by torchvision's v2, and beside a training step."""

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

BATCH, SIZE = 16, 256
STEP = "unet/resnet18"


def measure(rounds: int = 7) -> dict[str, float]:
    """Images a second, of one process; torchvision's are left out where it is not installed."""
    from experiments.benchmark.case import Case
    from experiments.benchmark.jax_work import jax_work

    step = jax_work(Case(STEP, "train", SIZE, BATCH), "fcn")
    works = {"ours": augmenter(BATCH, SIZE), "step": lambda: step.run(1)}
    with contextlib.suppress(ImportError):
        works["torchvision"] = torchvision_augmenter(BATCH, SIZE)
    times = medians(works, rounds)
    facts = {"augmented by the preset standard, images/s": BATCH / times["ours"]}
    if "torchvision" in times:
        facts["the same list by torchvision v2, images/s"] = BATCH / times["torchvision"]
    return facts | {f"share of a training step of {STEP}, %": 100 * times["ours"] / times["step"]}


def describe(facts: dict[str, float]) -> str:
    """A line for each figure."""
    return "\n".join(f"{value:8.1f}  {name}" for name, value in facts.items())


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of a call of each; they take turns, and the first does not count."""
    times = [{name: _seconds(work) for name, work in works.items()} for _ in range(rounds + 1)]
    return {name: statistics.median(turn[name] for turn in times[1:]) for name in works}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def samples(batch: int, size: int) -> dict[str, np.ndarray]:
    """Images of noise on a slope, with labels."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, size)[:, None, None]
    return {
        "image": (slope + rng.uniform(0, 55, (batch, size, size, 3))).astype(np.uint8),
        "label": rng.integers(0, 21, (batch, size, size)).astype(np.int32),
        "index": np.arange(batch, dtype=np.int32),
        "epoch": np.zeros(batch, np.int32),
    }


def augmenter(batch: int, size: int) -> Callable[[], object]:
    """Augments a batch that lies on the device."""
    import jax

    from fcn.data.augment import augment_batch, standard
    from fcn.preprocessing import Preprocessing

    arrays, pipeline, preprocessing = jax.device_put(samples(batch, size)), standard(), Preprocessing()
    run = jax.jit(lambda key, arrays: augment_batch(key, arrays, pipeline, preprocessing))
    keys = iter(jax.random.split(jax.random.key(0), 1000))
    return lambda: jax.block_until_ready(run(next(keys), arrays))


def torchvision_augmenter(batch: int, size: int) -> Callable[[], object]:
    """Augments the same samples one after the other, each by its own numbers.

    Raises:
      ImportError: torchvision is not installed.
    """
    from experiments.benchmark.references import torchvision

    torchvision()
    import torch
    from torchvision import tv_tensors

    arrays = samples(batch, size)
    images = [tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)) for image in arrays["image"]]
    labels = [tv_tensors.Mask(torch.from_numpy(label.astype(np.uint8))) for label in arrays["label"]]
    change = torchvision_standard()
    torch.manual_seed(0)
    return lambda: [change(image, label) for image, label in zip(images, labels)]


def torchvision_standard() -> Callable:
    """The list of `fcn.data.augment.standard`, with its ranges and probabilities, and the normalisation."""
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms import InterpolationMode, v2
    from torchvision.transforms.v2 import functional

    class Gamma(v2.Transform):
        def transform(self, inpt, params):
            return functional.adjust_gamma(inpt, random.uniform(0.7, 1.5)) if isinstance(inpt, tv_tensors.Image) else inpt

    class Jpeg(v2.Transform):  # by Pillow, as torchvision's own needs its compiled operators
        def transform(self, inpt, params):
            if not isinstance(inpt, tv_tensors.Image):
                return inpt
            image = functional.jpeg(functional.to_pil_image(inpt), random.randint(40, 95))
            return tv_tensors.Image(functional.pil_to_tensor(image))

    linear = {"interpolation": InterpolationMode.BILINEAR, "fill": 127}
    changes = [
        (1.0, v2.RandomHorizontalFlip()),
        (1.0, v2.RandomAffine((0, 0), scale=(0.5, 2.0), **linear)),
        (0.5, v2.RandomAffine((-15, 15), **linear)),
        (0.2, v2.RandomAffine((0, 0), shear=8, **linear)),
        (0.5, v2.ColorJitter(brightness=0.3)),
        (0.5, v2.ColorJitter(contrast=0.3)),
        (0.5, v2.ColorJitter(saturation=0.4)),
        (0.3, v2.ColorJitter(hue=15 / 360)),
        (0.2, Gamma()),
        (0.2, v2.GaussianBlur(13, (0.3, 1.5))),
        (0.1, Jpeg()),
    ]
    last = [
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.RandomApply([v2.GaussianNoise(sigma=0.025)], 0.2),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return v2.Compose([*(v2.RandomApply([change], share) for share, change in changes), *last])
