"""Augmentation of a sample and of a batch: pure functions of arrays and a key, one sample at a time under `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Num

from fcn.data.augment.config import AugmentConfig
from fcn.data.augment.pipeline import Pipeline, transform
from fcn.data.augment.simple import simple_changes
from fcn.data.codec import Codec, Targets
from fcn.preprocessing import Preprocessing

_LABELS = Codec()


def augment(
    key: Key[Array, ""],
    image: Num[Array | np.ndarray, "h w c"],
    label: Int[Array | np.ndarray, "h w"],
    config: AugmentConfig | Pipeline,
    *,
    ignore_index: int = 255,
    fill: Float[Array | np.ndarray, "..."] | float = 127.5,
) -> tuple[Float[Array, "h2 w2 c"], Int[Array, "h2 w2"]]:
    """Change one sample at random.

    Args:
        key: decides everything that is random.
        image: values 0..255, of any dtype.
        label: class numbers.
        config: which changes.
        ignore_index: label of the pixels that are taken from outside the image.
        fill: value of these pixels in the image, 0..255; one, or one a channel.

    Returns:
        The image (float32, 0..255) and the label, of size `config.crop` where that is set.
    """
    image, targets = _changed(key, image, {"label": label}, config, Codec(ignore_index=ignore_index), fill)
    return image, jnp.asarray(targets["label"])


def _changed(
    key, image, targets: Targets, config: AugmentConfig | Pipeline, codec: Codec, fill, partner=None
) -> tuple[Array, Targets]:
    if isinstance(config, Pipeline):
        pipeline = config
    elif (pipeline := config.pipeline_for(image.ndim - 1)) is None:
        return simple_changes(key, image, targets, config, codec, fill)
    return transform(key, image, targets, pipeline, codec=codec, fill=fill, partner=partner)


def augment_batch(
    key: Key[Array, ""],
    batch: dict[str, Array | np.ndarray],
    config: AugmentConfig | Pipeline,
    preprocessing: Preprocessing,
    *,
    codec: Codec = _LABELS,
) -> dict[str, Array | np.ndarray]:
    """Augment and normalise a batch of the loader.

    The changes to a sample depend on `key`, its epoch and its index only, not on its place in the batch or on the devices.

    Args:
        key: the key of the run.
        batch: "image" [B, H, W, C], signals or volumes, with values 0..255, the targets of the codec ("label" [B, H, W]),
            "index" and "epoch" [B]; for operations that mix also "partner_image" and "partner_label", which
            `TrainLoader(..., partners=True)` gives.
        config: which changes.
        preprocessing: what the network expects; pixels from outside the image take the mean, hence the value 0.
        codec: that of the loader's source.

    Returns:
        The batch with "image" float32 [B, H2, W2, C], normalised, and the targets for it ("label" int [B, H2, W2]).
    """

    def change(image, targets, index, epoch, partner):
        own = jax.random.fold_in(jax.random.fold_in(key, epoch), index)
        fill = jnp.asarray(preprocessing.fill, jnp.float32)
        return _changed(own, image, targets, config, codec, fill, partner)

    targets = {name: jnp.asarray(batch[name]) for name in codec.fill}
    image, index, epoch = (jnp.asarray(batch[name]) for name in ("image", "index", "epoch"))
    partner = None
    if "partner_image" in batch:
        partner = jnp.asarray(batch["partner_image"]), {name: jnp.asarray(batch[f"partner_{name}"]) for name in codec.fill}
    images, targets = jax.vmap(change)(image, targets, index, epoch, partner)
    return {**batch, "image": preprocessing.apply(images), **targets}
