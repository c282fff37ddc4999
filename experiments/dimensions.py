"""The same U-Net on a signal: `python -m experiments.dimensions [--out FILE]`.

Trains it on signals in which slow and fast waves come and go, and draws what it says of one that it has not seen
(docs/dimensions.md).
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float32, Int32

from experiments import command
from fcn.ranges import Range, check_fields
from fcn.text import printable

CLASSES = ("noise", "slow waves", "fast waves")
LENGTH, COUNT = 512, 16
PERIODS = {1: 24, 2: 8}
"""Samples of a wave, by class."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Writes a picture."""

    out: Path = Path("dimensions.png")
    """The PNG to write."""
    steps: Annotated[int, Range(1, 10_000)] = 100
    """Of training."""
    overwrite: bool = False
    """Replace the PNG if it is there."""

    def __post_init__(self):
        check_fields(self)
        if self.out.suffix.lower() != ".png":
            raise ValueError(f"--out {self.out} is no name of a PNG; try --out {self.out.with_suffix('.png')}")
        command.refuse_to_write("out", self.out, self.overwrite)


def main(args: Sequence[str]) -> None:
    options = command.parse(Options, args, "dimensions", __doc__)
    from fcn.visualize.files import save_pictures

    signals, labels = (np.stack(each) for each in zip(*(scene(seed) for seed in range(COUNT + 1))))
    found = learnt(signals[1:], labels[1:], signals[:1], options.steps)[0]
    save_pictures({options.out: drawn(signals[0], labels[0], found)})
    print(printable(f"{options.out}: {np.mean(found == labels[0]):.1%} of the samples are told right"))


def scene(seed: int) -> tuple[Float32[np.ndarray, "l 1"], Int32[np.ndarray, " l"]]:
    """Noise with slow waves and fast waves at random places, and the class of each sample."""
    random, label = np.random.default_rng(seed), np.zeros(LENGTH, np.int32)
    signal = random.normal(0, 0.3, LENGTH)
    for kind, half in zip(random.permutation([1, 2]), (0, LENGTH // 2)):
        start, length = half + random.integers(8, 64), random.integers(96, 160)
        label[start : start + length] = kind
        signal[start : start + length] += np.sin(2 * np.pi * np.arange(length) / PERIODS[int(kind)])
    return signal[:, None].astype(np.float32), label


def learnt(signals: np.ndarray, labels: np.ndarray, others: np.ndarray, steps: int) -> Int32[np.ndarray, "b *spatial"]:
    """The classes of other signals by a U-Net that was trained on some; images and volumes are taken likewise."""
    import jax
    import jax.numpy as jnp
    import optax

    import fcn

    model = fcn.create_model("unet", num_classes=len(CLASSES), base_features=8, depth=2)
    variables, tx = model.init(jax.random.key(0), jnp.asarray(signals)), optax.adam(optax.cosine_decay_schedule(0.01, steps))

    def loss(params, stats):
        logits, new = model.apply({"params": params, **stats}, signals, train=True, mutable=["batch_stats"])
        return fcn.losses.cross_entropy(logits, labels), new

    def step(carry, _):
        params, stats, state = carry
        gradient, stats = jax.grad(loss, has_aux=True)(params, stats)
        updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), stats, state), None

    params = variables["params"]
    start = params, {"batch_stats": variables["batch_stats"]}, tx.init(params)
    (params, stats, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps))(start)
    return np.asarray(jnp.argmax(jax.jit(model.apply)({"params": params, **stats}, others), -1), np.int32)


def drawn(signal: np.ndarray, label: Int32[np.ndarray, " l"], found: Int32[np.ndarray, " l"]) -> np.ndarray:
    """The signal above its classes, as they are and as they were found."""
    from fcn.visualize import default_palette, draw_signal, gallery

    colours = default_palette(len(CLASSES))
    row = [draw_signal(signal, [], each, colours) for each in (label, found)]
    return gallery([row], ("signal and classes", "classes that the U-Net finds"), CLASSES, colours)


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
