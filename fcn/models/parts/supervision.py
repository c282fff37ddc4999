"""Deep supervision: heads on the coarser maps of a decoder, whose losses reach it directly.

Lee, Xie, Gallagher, Zhang, Tu, "Deeply-Supervised Nets", AISTATS 2015; for U-Nets: Isensee, Jaeger, Kohl, Petersen, Maier-Hein,
"nnU-Net", Nature Methods 2021.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from fcn.layers import PointwiseConv, resize_bilinear

COARSE_HEAD = "coarse_head_"
"""How the names of the heads begin among the variables."""


def sow_coarse_logits(
    module: nn.Module,
    maps: Sequence[Float[Array, "b *_"]],
    num_classes: int,
    size: tuple[int, ...] | None,
    crop: tuple[int, ...],
    **types,
) -> None:
    """Sows the logits of a decoder's maps into "aux_logits", as coarse_1, coarse_2 ..., each as large as the image.

    `fcn.training` weighs the loss of coarse_i by 1 / 2^i, the network's own by 1, and divides by the sum.

    Args:
        module: in whose compact method it is called.
        maps: the decoder's, coarsest first, down to the one that gives the network's logits, which has no further head. The
            coarsest one has none either: its weight is 0 in nnU-Net.
        num_classes: channels of the logits.
        size: (height, width) of the image that the maps are of (signals and volumes: their sides); None where convolutions are
            valid, so that each map reaches farther than the finer one, on all sides alike.
        crop: (height, width) of the part that is wanted: the upper left one of `size`, else the middle.
        **types: dtype and param_dtype of the heads.

    Raises:
        ValueError: there are fewer than three maps, so that none would get a head.
    """
    if len(maps) < 3:
        raise ValueError(f"deep_supervision takes a decoder of 3 steps or more; this one has {len(maps)}: leave it out")
    if not (module.is_initializing() or module.is_mutable_collection("aux_logits")):
        return
    for i, x in enumerate(maps[-2:0:-1], 1):
        logits = PointwiseConv(num_classes, **types, name=f"{COARSE_HEAD}{i}")(x).astype(jnp.float32)
        whole = size or tuple(side * 2**i for side in logits.shape[1:-1])
        sow_enlarged(module, i, logits, whole, crop, centred=size is None)


def sow_enlarged(
    module: nn.Module,
    number: int,
    logits: Float[Array, "b *coarse k"],
    size: Sequence[int],
    crop: Sequence[int],
    *,
    centred: bool = False,
) -> None:
    """Sows the logits of a head by its number (coarse_1, coarse_2 ...), except when initialising.

    Args:
        module: in whose compact method it is called.
        number: how many steps the map is coarser than the one of the network's logits.
        logits: of the head.
        size: (height, width) that they are enlarged to.
        crop: (height, width) of the part that is wanted.
        centred: whether that is the middle, not the upper left part.
    """
    if not module.is_initializing():
        starts = ((side - part) // 2 if centred else 0 for side, part in zip(size, crop))
        enlarged = resize_bilinear(logits, size)
        wanted = enlarged[:, *(slice(start, start + part) for start, part in zip(starts, crop))]
        module.sow("aux_logits", f"coarse_{number}", wanted)
