"""MeshNet.

Fedorov, Johnson, Damaraju, Ozerin, Calhoun, Plis, "End-to-end learning of brain tissue segmentation from imperfect labeling",
IJCNN 2017 (arXiv:1612.00940), table 1; Masoud et al., "Brainchop", Journal of Open Source Software 8(83), 2023.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fcn.errors import unknown
from fcn.layers import BatchNorm, Conv, Network, PointwiseConv, gelu
from fcn.layers.network import INPUTS
from fcn.layers.normalisation import instance_norm

ACTIVATIONS = {"relu": nn.relu, "elu": nn.elu, "gelu": gelu}
NORMS = ("batch", "instance", None)


class MeshNet(Network):
    """Dilated convolutions one after the other, at the size of the input: no pooling, no skips, few parameters.

    Every layer is a 3x3x3 convolution (in two dimensions 3x3), a norm and an activation; the head is a pointwise convolution.
    Departs from the paper: the dilations are those of Brainchop's networks, whose field of view is symmetric; no dropout.

    Brainchop's weights are for volumes of one channel. Two networks have three logits (background, white and grey matter), with
    BatchNorm folded into the kernels: `norm=None`, with `features=5` (5,598 parameters) or `features=20, activation="elu"`
    (87,183). "mindgrab" has two (background and brain): `features=15, dilations=(16, 8, 4, 2, 1) * 5, norm="instance",
    activation="gelu"` (146,237). What it says depends on the extent of the input.

    Attributes (more in `Network`):
        num_classes: channels of the logits.
        features: channels of every layer.
        dilations: distance of the kernel's taps in each layer.
        norm: "batch" (BatchNorm), "instance" (each channel minus its mean over the input, divided by its deviation, without
            scale and shift), or None; convolutions have a bias where it is None.
        activation: "relu", "elu" or "gelu" (with erf).
    """

    num_classes: int
    features: int = 5
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 8, 4, 2, 1)
    norm: str | None = "batch"
    activation: str = "relu"

    dimensions: ClassVar = tuple(INPUTS)
    heads: ClassVar = ("output",)
    references: ClassVar = {"brainchop": ()}
    old_names: ClassVar = (
        *((rf"^{21 + 2 * i}/", f"conv_{i}/") for i in range(9)),
        *((rf"^conv3d_{2 * i}/", f"conv_{i}/") for i in range(9)),
        (r"^conv3d_(\d+)_gn/", r"conv_\1/"),
    )
    """What the layers are called in its three files."""

    @nn.compact
    def __call__(self, x: Float[Array | np.ndarray, "b *spatial c"], *, train: bool = False) -> Float[Array, "b *spatial k"]:
        """Logits [B, D, H, W, num_classes], float32, of volumes [B, D, H, W, C] of any size; of images and signals likewise.

        Raises:
            ValueError: for an unknown norm or activation.
        """
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, [norm for norm in NORMS if norm])
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        for i, dilation in enumerate(self.dilations):
            options = {"padding": dilation, "dilation": dilation, "use_bias": self.norm is None}
            x = Conv(self.features, 3, **options, **self.types, name=f"conv_{i}")(x)
            if self.norm == "batch":
                x = BatchNorm(**self.norm_types, name=f"bn_{i}")(x, train=train)
            elif self.norm == "instance":
                x = instance_norm(use_scale=False, use_bias=False, **self.types, name=f"norm_{i}")(x)
            x = ACTIVATIONS[self.activation](x)
        return PointwiseConv(self.num_classes, **self.types, name="output")(x).astype(jnp.float32)
