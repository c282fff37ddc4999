"""The table of ONNX models in docs/onnx.md: `python -m experiments.onnx_table`. It takes a minute for each network.

Each network of the registry, with its default encoder and random variables, is converted, and run by onnxruntime. Its logits
are compared with ours.
"""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from experiments import command, model_table

SIZE, OTHER = (64, 64), (40, 50)
"""Of images; the second is extended to the first, so that one program of ours computes both."""


@dataclasses.dataclass(frozen=True)
class OnnxTableConfig:
    """Checks ONNX models of all networks."""

    models: tuple[str, ...] = ()
    """Only check these and write nothing (default: all, and the table)."""


def main(args: Sequence[str]) -> None:
    options = command.parse(OnnxTableConfig, args, "onnx_table", __doc__)
    import fcn

    header = ["name", "images", "operations", "MB", "largest difference / largest logit"]
    rows = []
    for name in options.models or fcn.list_models():
        rows.append(_row(name))
        print(" | ".join(rows[-1]), flush=True)
    if not options.models:
        file = model_table.ROOT / "docs" / "onnx.md"
        file.write_text(model_table.replace(file.read_text(), "onnx", model_table.table(header, *rows)))


def _row(name):
    import jax

    import fcn
    from fcn.inference.standalone import Sizes, logits_of
    from fcn.onnx import to_onnx
    from fcn.preprocessing import Preprocessing

    model, expects = fcn.create_model(name, num_classes=3), Preprocessing()
    size = (188, 188) if name == "unet2015" else SIZE  # the smallest that it takes
    variables = random_variables(model, size)
    logits = partial(logits_of, model, expects)
    try:
        sizes, written = Sizes(), to_onnx(logits, variables, {"images": Sizes().images(3)}, ["logits"])
    except Exception:  # what a network does with a symbol may fail in many ways
        sizes, written = Sizes(size), to_onnx(logits, variables, {"images": Sizes(size).images(3)}, ["logits"])
    data = written.SerializeToString()
    compute = jax.jit(logits)
    error = max(_error(data, partial(compute, variables), images) for images in _images(sizes, size))
    shown = "any" if sizes.sides is None else "one size"
    return [f"`{name}`", shown, str(len(written.graph.node)), f"{len(data) / 1e6:.0f}", f"{error:.0e}"]


def _images(sizes, size):
    """Two images; where any size will do, another one, too."""
    random = np.random.default_rng(0)
    yield random.integers(0, 256, (2, *size, 3)).astype(np.uint8)
    if sizes.sides is None:
        yield random.integers(0, 256, (1, *OTHER, 3)).astype(np.uint8)


def _error(data, compute, images):
    """The largest difference, as a share of the largest logit."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images})
    whole = np.pad(images, ((0, 2 - len(images)), *((0, -side % 32) for side in images.shape[1:3]), (0, 0)), mode="edge")
    expected = np.asarray(compute(whole))[: len(images), : images.shape[1], : images.shape[2]]
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def random_variables(model, size):
    """Kernels that keep the scale of activations, statistics of nothing."""
    import jax
    import jax.numpy as jnp
    from flax.traverse_util import flatten_dict, unflatten_dict

    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size, 3)))
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1] in ("scale", "var"):
            return np.ones(leaf.shape, leaf.dtype)
        deviation = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 0.1
        return (deviation * random.normal(size=leaf.shape)).astype(leaf.dtype)

    return unflatten_dict({path: draw(path, leaf) for path, leaf in flatten_dict(shapes).items()})


if __name__ == "__main__":
    command.run(lambda: main(sys.argv[1:]))
