"""Net surgery: dense layers as convolutions, and finer networks from coarser ones.

Long, Shelhamer, Darrell, CVPR 2015, section 3.1 (a classifier as a fully convolutional network) and section 4.2 (FCN-16s from
FCN-32s, FCN-8s from FCN-16s).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from fcn.classifiers.dense import ConvolutionalClassifier, FlattenClassifier
from fcn.pretrained.names import dimensions_of, image_channels, parts

Variables = Mapping[str, Any]


def convolutionalize(model: nn.Module, variables: Variables) -> tuple[ConvolutionalClassifier, dict[str, Any]]:
    """A classifier with dense layers as a fully convolutional network, with the same parameters in another shape.

    At the training size, where the feature map has just the classifier's window, the scores are the same. On a larger image the
    result is a map of scores. With an encoder of valid convolutions each of them is the score of the classifier slid over the
    image. An encoder that pads (VGG does) sees zeros around each crop of the image, but the neighbouring pixels here; there a
    score equals the classifier's dense layers slid over the feature map of the whole image.

    Args:
        model: a `FlattenClassifier`, such as `fcn.create_classifier("vgg16")`.
        variables: its variables.

    Returns:
        The network, images [B, H, W, C] -> [B, H2, W2, num_classes], and its variables.

    Raises:
        ValueError: where the model is not a `FlattenClassifier`.
    """
    if not isinstance(model, FlattenClassifier):
        raise ValueError(f"only a FlattenClassifier can be made convolutional, not a {type(model).__name__}")
    names = {field.name for field in dataclasses.fields(ConvolutionalClassifier)} - {"parent", "name"}
    fields = {name: getattr(model, name) for name in names}
    params = dict(variables["params"])
    for i in range(len(model.hidden) + 1):
        window = model.window if i == 0 else (1, 1)
        params[f"fc{6 + i}"] = dict(params[f"fc{6 + i}"], kernel=dense_to_convolution(params[f"fc{6 + i}"]["kernel"], window))
    return ConvolutionalClassifier(**fields), dict(variables, params=params)


def dense_to_convolution(
    kernel: Float[Array | np.ndarray, "n k"], window: tuple[int, int]
) -> Float[Array | np.ndarray, "h w c k"]:
    """The kernel of a dense layer on a flattened [h, w, c] map as that of a convolution that covers the map.

    Raises:
        ValueError: where the dense layer's inputs are not a multiple of the window's cells.
    """
    cells = window[0] * window[1]
    if kernel.shape[0] % cells:
        raise ValueError(f"a dense layer of {kernel.shape[0]} inputs does not fit a window of {window[0]} x {window[1]} cells")
    return kernel.reshape(*window, -1, kernel.shape[1])


def transfer(
    variables: Variables, model: nn.Module, *, rng: Array | None = None, in_channels: int | None = None
) -> dict[str, Any]:
    """Variables for `model` that start from those of another network: all that both have is copied, the rest is initialised.

    The stages of the paper, each trained before the next begins:

    * `convolutionalize`d VGG -> FCN-32s: all convolutions, fc6 and fc7; the 1000-way fc8 is dropped, score_fr starts at zero;
    * FCN-32s -> FCN-16s: all up to score_fr; score_pool4 starts at zero, learned upsampling at bilinear interpolation;
    * FCN-16s -> FCN-8s: all up to score_pool4 and upscore2; score_pool3 starts at zero.

    Args:
        variables: what the other network has learned.
        model: the network to be trained next.
        rng: key for what is initialised at random; `jax.random.key(0)` by default (in the stages above nothing is random).
        in_channels: channels of the model's images, signals or volumes; None: as many as the variables are for.

    Returns:
        Variables as `model.init` gives them.

    Raises:
        ValueError: where both have a parameter of the same name in different shapes (all are listed), or none of the same name.
    """
    rng = jax.random.key(0) if rng is None else rng
    given: dict[Any, Any] = flatten_dict(dict(variables))
    dimensions = dimensions_of(model, map(np.ndim, given.values()))
    if in_channels is None:
        usual = parts(model, 3, dimensions).variables
        in_channels = image_channels(model, usual, lambda path: np.shape(given[path]) if path in given else None, dimensions)
    images = jnp.zeros((1, *(64,) * dimensions, in_channels))
    wanted: dict[Any, Any] = flatten_dict(jax.eval_shape(model.init, rng, images))
    shared = [path for path in wanted if path in given]
    faults = [
        f"{'/'.join(path)}: {list(given[path].shape)} given, {list(wanted[path].shape)} wanted"
        for path in shared
        if given[path].shape != wanted[path].shape
    ]
    if faults or not shared:
        raise ValueError("these variables do not fit:\n  " + "\n  ".join(faults or ["no name of theirs is one of the model's"]))

    @jax.jit
    def new():  # compiled, so that initial values that are not used are not computed
        return {path: value for path, value in flatten_dict(model.init(rng, images)).items() if path not in given}

    copied = {path: jnp.asarray(given[path], wanted[path].dtype) for path in shared}
    return unflatten_dict(copied | new())
