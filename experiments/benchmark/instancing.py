"""How long targets, training steps and decoding of objects take, beside `stardist` and `cellpose` where these are installed.

Training steps are those of their own networks, with their losses and optimizers: four images of 256 x 256, one of 1024 x 1024.
`stardist` needs TensorFlow for them; Cellpose's convolutional network is in `cellpose` 3.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.benchmark.augmenting import medians

SIZES = (256, 1024)
SPACING = 32
"""Pixels from one object to the next: a thousand of them in 1024 x 1024."""
NETWORKS = {"stardist": ("stardist_unet", 1), "flows": ("cpnet", 2)}
"""Of a task the network that its paper has, and the channels of its images."""
Work = Callable[[], object]


def measure(rounds: int = 7, sizes: Sequence[int] = SIZES) -> dict[str, float]:
    """Milliseconds of each piece of work for one image, and beside them those of the released packages."""
    facts = {}
    for size in sizes:
        label = discs(size)
        works = {f"{name}, here": work for name, work in {**ours(label), **steps(label)}.items()}
        for others, package in THEIRS:
            with contextlib.suppress(ImportError):
                works |= {f"{name}, {package}": work for name, work in others(label).items()}
        times, what = medians(works, rounds), f"({size}x{size}, {label.max()} objects)"
        for name in sorted(times):
            facts[f"{name} {what}, ms"] = 1000 * times[name]
            work, _, package = name.rpartition(", ")
            if package != "here":
                facts[f"{work}, here of {package}'s {what}, %"] = 100 * times[f"{work}, here"] / times[name]
    return facts


def discs(size: int) -> np.ndarray:
    """An instance map of discs in a grid, some of which touch."""
    places = np.mgrid[:size, :size]
    row, column = places // SPACING
    radii = np.random.default_rng(0).uniform(SPACING / 4, SPACING / 2 + 1, (size // SPACING + 1,) * 2)
    away = np.hypot(*(places % SPACING - SPACING / 2 + 0.5))
    count = -(-size // SPACING)
    return np.where(away < radii[row, column], row * count + column + 1, 0).astype(np.int32)


def ours(label: np.ndarray) -> Mapping[str, Work]:
    """Targets and decoding of each task."""
    from fcn import instances, tasks
    from fcn.data.source import Sample

    distances, probabilities = instances.star_distances(label), instances.edge_probabilities(label)
    outputs = np.concatenate([5 * instances.instance_flows(label), np.where(label > 0, 9.0, -9.0)[..., None]], -1)
    scores = {
        "boundary": np.eye(3, dtype=np.float32)[instances.boundary_classes(label)],
        "stardist": np.concatenate([probabilities[..., None], distances], -1),
        "flows": outputs.astype(np.float32),
    }
    sample: Sample = {"image": np.zeros((*label.shape, 1), np.uint8), "label": label, "name": "discs"}
    works: dict[str, Work] = {}
    for name, given in scores.items():
        task = tasks.make(name, ["object"])
        works[f"{name}: targets"] = lambda task=task: task.targets(sample)
        works[f"{name}: decoding"] = lambda task=task, given=given: task.prediction(given)
    return works


def steps(label: np.ndarray) -> Mapping[str, Work]:
    """A training step of each network."""
    import fcn
    from fcn import tasks

    works: dict[str, Work] = {}
    for name, (model, channels) in NETWORKS.items():
        task = tasks.make(name, ["object"])
        network = fcn.create_model(model, num_classes=task.channels)
        works[f"{name}: training step"] = step(network, task, noise(label, channels), label)
    return works


def noise(label: np.ndarray, channels: int) -> np.ndarray:
    """The images of a training step."""
    count = max(1, min(4, 4 * 256**2 // label.size))
    return np.random.default_rng(0).normal(size=(count, *label.shape, channels)).astype(np.float32)


def step(model: Any, task: Any, images: np.ndarray, label: np.ndarray) -> Work:
    """A training step by AdamW for images that all have the objects of one map; targets are given."""
    import jax
    import optax

    from fcn.parallel import compiler_options
    from fcn.training import create_state, make_train_step

    sample: Any = {"image": np.zeros((*label.shape, 1), np.uint8), "label": label, "name": "discs"}
    batch = {name: np.stack([values] * len(images)) for name, values in task.targets(sample).items()} | {"image": images}
    tx = optax.adamw(3e-4)
    compute = make_train_step(model, tx, task.loss, lambda batch: (batch["image"], batch), key=jax.random.key(0))
    compute = jax.jit(compute, donate_argnums=0, compiler_options=compiler_options(jax.devices()))
    state = create_state(model, tx, jax.random.key(0), images.shape[1:])

    def run():
        nonlocal state
        state, metrics = compute(state, batch)
        return jax.block_until_ready(metrics)

    return run


def stardist(label: np.ndarray) -> Mapping[str, Work]:
    """The same by `stardist`."""
    # Each of these libraries is installed where it is compared with.
    from stardist.geometry import polygons_to_label, star_dist  # pyright: ignore[reportMissingImports]
    from stardist.nms import non_maximum_suppression  # pyright: ignore[reportMissingImports]
    from stardist.utils import edt_prob  # pyright: ignore[reportMissingImports]

    distances, probabilities = star_dist(label, n_rays=32, mode="cpp"), edt_prob(label)

    def decode():
        kept = {"grid": (1, 1), "b": 0, "nms_thresh": 0.4, "prob_thresh": 0.5}
        points, found, lengths = non_maximum_suppression(distances, probabilities, **kept)
        return polygons_to_label(lengths, points, label.shape, prob=found)

    return {
        "stardist: targets": lambda: (star_dist(label, n_rays=32, mode="cpp"), edt_prob(label)),
        "stardist: decoding": decode,
    }


def cellpose(label: np.ndarray) -> Mapping[str, Work]:
    """The same by `cellpose`."""
    from cellpose import dynamics  # pyright: ignore[reportMissingImports]

    flows = 5 * dynamics.masks_to_flows_gpu(label)[0]
    logits = np.where(label > 0, 9.0, -9.0).astype(np.float32)
    return {
        "flows: targets": lambda: dynamics.masks_to_flows_gpu(label),
        "flows: decoding": lambda: dynamics.resize_and_compute_masks(flows, logits),
    }


def stardist_step(label: np.ndarray) -> Mapping[str, Work]:
    """A training step of its network, by Keras."""
    import tensorflow  # noqa: F401  # pyright: ignore[reportMissingImports]
    from stardist.geometry import star_dist  # pyright: ignore[reportMissingImports]
    from stardist.models import Config2D, StarDist2D  # pyright: ignore[reportMissingImports]
    from stardist.utils import edt_prob  # pyright: ignore[reportMissingImports]

    images = noise(label, 1)
    distances, probability = star_dist(label, n_rays=32, mode="cpp"), edt_prob(label)[..., None]
    targets = [np.stack([each] * len(images)) for each in (probability, np.concatenate([distances, probability], -1))]
    model = StarDist2D(Config2D(n_rays=32, train_batch_size=len(images)), basedir=None)
    model.prepare_for_training()
    return {"stardist: training step": lambda: model.keras_model.train_on_batch(images, targets)}


def cellpose_step(label: np.ndarray) -> Mapping[str, Work]:
    """A training step of its network, by PyTorch."""
    import torch
    from cellpose import dynamics  # pyright: ignore[reportMissingImports]
    from cellpose.resnet_torch import CPnet  # pyright: ignore[reportMissingImports]

    images = torch.from_numpy(noise(label, 2).transpose(0, 3, 1, 2).copy())
    flows = torch.from_numpy(5 * dynamics.masks_to_flows_gpu(label)[0].astype(np.float32)).expand(len(images), -1, -1, -1)
    cell = torch.from_numpy((label > 0).astype(np.float32)).expand(len(images), -1, -1)
    model = CPnet([2, 32, 64, 128, 256], 3, 3)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4)

    def run():
        found = model(images)[0]
        loss = torch.nn.functional.mse_loss(found[:, :2], flows) / 2
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(found[:, 2], cell)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return {"flows: training step": run}


THEIRS = ((stardist, "stardist"), (cellpose, "cellpose"), (stardist_step, "stardist"), (cellpose_step, "cellpose"))
