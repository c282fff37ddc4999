"""Whole-image prediction: one forward pass over the image, at its own size or at the size of training."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from fcn.data import resize_image
from fcn.inference.ensemble import Ensemble
from fcn.inference.probabilities import AT_OTHER_SIZES, refuse_mean
from fcn.layers import resize_bilinear
from fcn.parallel import compiler_options
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task


def covering_logits(
    model: nn.Module | Ensemble, variables: Mapping[str, Any], images: Float[Array, "b *spatial c"], **options: Any
) -> Float[Array, "b *spatial k"]:
    """A logit for every pixel: to a network of valid convolutions the images are shown with mirrored borders.

    `options` are those of `model.apply`.
    """
    size = images.shape[1:-1]
    if hasattr(model, "input_margins"):  # its logits are smaller than what it sees
        images = jnp.pad(images, ((0, 0), *model.input_margins(*size), (0, 0)), mode="symmetric")
    return cast("Array", model.apply(variables, images, **options))[:, *map(slice, size)]


def make_predictor(
    model: nn.Module | Ensemble, preprocessing: Preprocessing, task: Task | None = None
) -> Callable[..., Shaped[np.ndarray, "b h w ..."]]:
    """Builds `predict(variables, images, size=None)`: uint8 images [B, H, W, C] -> `task.scores`, [B, *size, ...].

    Logits are resized bilinearly to `size` (default: the size of the images) before scores are made of them. Every new image
    size compiles once. To a network of valid convolutions the images are shown with mirrored borders, so that its logits cover
    them.

    Args:
      model: images -> logits.
      preprocessing: what the network expects of images; these are given as red, green, blue.
      task: what the logits mean; by default their largest is the class of a pixel, int32 [B, *size].

    Raises:
      ValueError: images would have to be brought to their own range (`per_image`), which is not done here.
    """
    if (how := preprocessing.per_image) is not None:
        raise ValueError(
            f"the network expects each image by its own {how}; take fcn.inference.Predictor, or prepare images by "
            "fcn.data.reading.stretch.stretched and give preprocessing.as_read()"
        )
    scores = task.scores if task else lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def images_to_scores(variables, images, size):
        logits = covering_logits(model, variables, preprocessing.apply(images))
        if size is not None and size != logits.shape[1:3]:
            refuse_mean(task, AT_OTHER_SIZES)
            factors = size[0] / logits.shape[1], size[1] / logits.shape[2]
            logits = resize_bilinear(logits, size)
            logits = task.resized(logits, factors) if task else logits
        return scores(jnp.asarray(logits))

    @functools.cache
    def compiled():  # at the first call: JAX may not have been set up yet
        return jax.jit(images_to_scores, static_argnums=2, compiler_options=compiler_options(jax.devices()))

    def predict(variables, images, size=None):
        return np.asarray(compiled()(variables, images, size))

    return predict


def predict_image(
    predict: Callable, variables: dict, image: UInt8[np.ndarray, "h w c"], *, size: tuple[int, int] | None = None
) -> Shaped[np.ndarray, "h w ..."]:
    """The scores of one image (its classes, by default), at the image's own size.

    Args:
      predict: what `make_predictor` gave.
      variables: the model's variables.
      image: uint8 [H, W, C], any size.
      size: height and width at which the network sees the image, such as `Preprocessing.seen_size` gives; None shows it as it
        is.
    """
    shown = image if size is None else resize_image(image, size)
    return predict(variables, shown[None], image.shape[:2])[0]
