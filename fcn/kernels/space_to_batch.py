"""The pixels that a dilated kernel sees together, as images of their own, which the kernel without dilation sees."""

from jaxtyping import Array, Float

from fcn.kernels.padding import Pads, place


def space_to_batch(
    x: Float[Array, "n h2 w2 c"],
    pads: Pads,
    size: tuple[int, int],
    dilation: tuple[int, int],
    beyond: tuple[int, int] = (0, 0),
) -> Float[Array, "m h w c"]:
    """[N, H, W, C] to [N d d, H / d, W / d, C], for dilation d.

    Args:
      x: images.
      pads: zeros around them.
      size: rows and columns of the convolution's output; the images have as many of them as that takes,
      dilation: (rows, columns).
      beyond: and so many more, (rows, columns), for the other taps.
    """
    down, across = (-(-side // d) + more for side, d, more in zip(size, dilation, beyond))
    x = place(x, pads, down * dilation[0], across * dilation[1])
    n, c = x.shape[0], x.shape[-1]
    x = x.reshape(n, down, dilation[0], across, dilation[1], c).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(n * dilation[0] * dilation[1], down, across, c)


def batch_to_space(x: Float[Array, "m h w c"], dilation: tuple[int, int]) -> Float[Array, "n h2 w2 c"]:
    """The opposite of `space_to_batch`."""
    m, h, w, c = x.shape
    n = m // (dilation[0] * dilation[1])
    x = x.reshape(n, *dilation, h, w, c).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(n, h * dilation[0], w * dilation[1], c)
