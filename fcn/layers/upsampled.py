"""A convolution of images enlarged by repeating their pixels, and of maps beside them."""

from collections.abc import Sequence

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.kernels.upsampled import convolve_upsampled, native_upsampled
from fcn.layers.convolution import Conv


class UpsampledConv(Conv):
    """A convolution of images that are first enlarged by repeating their pixels: `Conv` after `resize_nearest`.

    Of signals and volumes likewise.

    Attributes (more in `Conv`; strides, dilation and groups must be 1):
        factor: how often a pixel is repeated, in each dimension.
    """

    factor: int = 2

    @nn.compact
    def __call__(
        self, x: Float[Array | np.ndarray, "b *spatial c"], beside: Sequence[Float[Array | np.ndarray, "b *larger _"]] = ()
    ) -> Float[Array, "b *convolved o"]:
        """Images [B, H, W, C] to [B, H', W', features], signals [B, L, C] and volumes [B, D, H, W, C] likewise.

        Args:
            x: the images to enlarge.
            beside: maps [B, H factor, W factor, _] to concatenate with the enlarged images, which come first.

        Raises:
            ValueError: for strides, dilation or groups, maps of another size, and what `Conv` refuses.
        """
        return self.convolve_maps(x, *beside)

    @nn.nowrap
    def convolve(self, maps, kernel, strides, pads, dilation, groups):
        if {*strides, *dilation, groups} != {1}:
            raise ValueError(f"strides={strides}, dilation={dilation}, groups={groups}; an UpsampledConv has 1 for all of them")
        (n, *sides, _), *others = (x.shape for x in maps)
        enlarged = (n, *(side * self.factor for side in sides))
        for shape in others:
            if shape[:-1] != enlarged:
                raise ValueError(f"maps of shape {shape} beside enlarged images [B, H, W] = {enlarged}")
        return (native_upsampled if self.is_initializing() else convolve_upsampled)(maps, kernel, self.factor, pads)
