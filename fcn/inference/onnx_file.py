"""A trained network as an ONNX file: uint8 images -> class ids and probabilities."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcn.draft import replacing
from fcn.inference.standalone import Sizes, prediction, sizes_of
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

OUTPUTS = ("ids", "probabilities")


def export_onnx(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    preprocessing: Preprocessing,
    task: Task,
    *,
    size: tuple[int, ...] | None = None,
    label_ids: Sequence[int] | None = None,
) -> Sizes:
    """Writes a network as an ONNX file (opset 18), whole or not at all. It computes in float32.

    Its input `images` and its outputs `ids` and `probabilities` are those of `export_network`. Its metadata have `task`,
    as JSON `classes`, `palette` and (if any) `label_ids`, and `images`: what they must be. Parameters keep their names.

    Args:
        path: of the file.
        model, variables, preprocessing, task: the network.
        size: height and width of the images that it takes, or the sides of signals or volumes; by default any. Networks that
            pool into a fixed number of cells take one size only.
        label_ids: as for `fcn.save`; the output `ids` are numbers of classes in any case.

    Returns:
        The images that it takes.

    Raises:
        FileExistsError: there is something at `path` already.
        ImportError: the package `onnx` is not installed.
        ValueError: the task needs this library to make a prediction of scores, the network takes no images of any size and
            none was given, or it has an operation for which ONNX has none.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; give another name")
    try:
        import onnx

        from fcn.onnx import UnknownOperation, to_onnx
    except ModuleNotFoundError:
        raise ImportError("an ONNX file takes the package onnx: pip install 'fcn-zoo[onnx]'") from None
    sizes = sizes_of(model, variables, size)
    if getattr(model, "dtype", None) is not None:
        model = model.clone(dtype=jnp.float32)
    predict = prediction(model, preprocessing, task)
    with sizes.explained(model, UnknownOperation):
        images = {"images": sizes.images(preprocessing.channels)}
        written = to_onnx(predict, jax.tree.map(_float32, variables), images, OUTPUTS)
    lists = {name: json.dumps(list(getattr(task, name))) for name in ("classes", "palette")}
    lists |= {} if label_ids is None else {"label_ids": json.dumps(list(label_ids))}
    onnx.helper.set_model_props(written, {"task": task.name, "images": preprocessing.describe(), **lists})
    with replacing(path) as draft:
        onnx.save(written, draft)
    return sizes


def _float32(leaf):
    return np.asarray(leaf, np.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype)
