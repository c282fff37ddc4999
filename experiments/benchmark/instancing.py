"""How long targets and decoding of instance maps take, here and by `stardist` and `cellpose` where these are installed."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.benchmark.augmenting import medians

SIZES = (256, 1024)
SPACING = 32
"""Pixels from one object to the next: a thousand of them in 1024 x 1024."""
Work = Callable[[], object]


def measure(rounds: int = 7, sizes: Sequence[int] = SIZES) -> dict[str, float]:
    """Milliseconds of each piece of work for one image, and beside them those of the released packages."""
    facts = {}
    for size in sizes:
        label = discs(size)
        works = {f"{name}, here": work for name, work in ours(label).items()}
        for others, package in ((stardist, "stardist"), (cellpose, "cellpose")):
            with contextlib.suppress(ImportError):
                works |= {f"{name}, {package}": work for name, work in others(label).items()}
        times = medians(works, rounds)
        facts |= {f"{name} ({size}x{size}, {label.max()} objects), ms": 1000 * times[name] for name in sorted(times)}
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
