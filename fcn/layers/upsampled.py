"""A convolution of images enlarged by repeating their pixels, and of maps beside them."""

from collections.abc import Sequence

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from fcn.kernels.upsampled import convolve_upsampled, native_upsampled
from fcn.layers.convolution import Conv


class UpsampledConv(Conv):
    """A convolution of images that are first enlarged by repeating their pixels: `Conv` after `resize_nearest`.

    Attributes (more in `Conv`; strides, dilation and groups must be 1):
        factor: how often a pixel is repeated, in rows and columns.
    """

    factor: int = 2

    @nn.compact
    def __call__(
        self, x: Float[Array | np.ndarray, "b h w c"], beside: Sequence[Float[Array | np.ndarray, "b h2 w2 _"]] = ()
    ) -> Float[Array, "b h3 w3 o"]:
        """Images [B, H, W, C] to [B, H', W', features].

        Args:
            x: the images to enlarge.
            beside: maps [B, H factor, W factor, _] to concatenate with the enlarged images, which come first.

        Raises:
            ValueError: for strides, dilation or groups, maps of another size, and what `Conv` refuses.
        """
        return self.convolve_maps(x, *beside)

    @nn.nowrap
    def convolve(self, maps, kernel, strides, pads, dilation, groups):
        if (strides, dilation, groups) != ((1, 1), (1, 1), 1):
            raise ValueError(f"strides={strides}, dilation={dilation}, groups={groups}; an UpsampledConv has 1 for all of them")
        (n, h, w, _), *others = (x.shape for x in maps)
        enlarged = (n, h * self.factor, w * self.factor)
        for shape in others:
            if shape[:3] != enlarged:
                raise ValueError(f"maps of shape {shape} beside enlarged images [B, H, W] = {enlarged}")
        return (native_upsampled if self.is_initializing() else convolve_upsampled)(maps, kernel, self.factor, pads)
