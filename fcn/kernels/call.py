"""What is to be computed, as the rules of `fcn.kernels.table` see it."""

import dataclasses
import math
from functools import cached_property
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from fcn.environment import version
from fcn.kernels.onednn import may_convolve, usable
from fcn.kernels.padding import Pads
from fcn.kernels.windows import is_static, output_size

# fmt: off
Operation = Literal[
    "convolution", "input_gradient", "kernel_gradient",
    "product", "sum", "pointwise", "attention", "resize", "max", "average", "materialize", "slice",
]
Layer = Literal[
    "dense", "depthwise", "grouped", "upsampled", "volume", "transposed",
    "matrices", "attention", "resizing", "pooling", "fusion",
]
# fmt: on
Platform = Literal["cpu", "cpu+onednn", "cuda", "other"]


class Problem(NamedTuple):
    """A convolution, whose equation it stands in. Of volumes all settings have three entries.

    Attributes:
      shapes: of the maps, [N, H, W, _] each; the first is enlarged.
      kernel_shape: [kh, kw, C / groups, O].
      dtype: of all arrays.
      strides: (rows, columns).
      pads: zeros around the enlarged images, ((top, bottom), (left, right)).
      dilation: distance of the kernel's taps, (rows, columns).
      groups: of channels.
      factor: how often a pixel of the first map is repeated, in rows and columns.
      precision: `jax.default_matmul_precision` where the convolution was called.
      alone: whether one device has all processors.
    """

    shapes: tuple[tuple[Any, ...], ...]
    kernel_shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    groups: int = 1
    factor: int = 1
    precision: str | None = None
    alone: bool = False

    @property
    def layer(self) -> Layer:
        """Whose rules these are."""
        if len(self.images_shape) == 5:
            return "volume"
        if self.factor > 1:
            return "upsampled"
        if self.groups == 1:
            return "dense"
        return "depthwise" if self.groups == self.images_shape[3] else "grouped"

    @property
    def images_shape(self) -> tuple[Any, ...]:
        """Of the first map."""
        return self.shapes[0]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Its rows and columns (and layers)."""
        return self.kernel_shape[:-2]

    @property
    def output_shape(self) -> tuple[Any, ...]:
        """[N, H', W', O]."""
        n, *sides, _ = self.images_shape
        sides = [side * self.factor for side in sides]
        size = output_size(sides, self.kernel_size, self.strides, self.pads, self.dilation)
        return (n, *size, self.kernel_shape[-1])

    @property
    def mirrored_pads(self) -> Pads | None:
        """The zeros around the gradient with respect to the output, whose convolution with the mirrored kernel is that with
        respect to the images; None where it is no such convolution."""
        spans = ((k - 1) * d for k, d in zip(self.kernel_shape, self.dilation))
        rows, columns = ((span - before, span - after) for span, (before, after) in zip(spans, self.pads))
        static = is_static(self.output_shape) and 0 not in self.output_shape
        return (rows, columns) if self.strides == (1, 1) and static and min(*rows, *columns) >= 0 else None


@dataclasses.dataclass(frozen=True)
class Call:
    """An operation on a platform. All that a rule may look at.

    Attributes:
      layer: whose rules are asked.
      operation: a convolution, its gradient with respect to the images or to the kernel, or what else the layer computes.
      platform: "cpu", or "cpu+onednn" where oneDNN may compute it, "cuda" or "other".
      images: shape of what is convolved, [N, H, W, C], or multiplied, [..., P, C].
      kernel: [kh, kw, C / groups, O], or [..., C, O]; of an axis that is resized, neighbours and phases.
      output: [N, H', W', O] or [..., P, O].
      dtype: of all arrays; None where they differ.
      strides: (rows, columns); these and the shapes have one side of signals, and three of volumes, where the layer takes any.
      dilation: distance of the kernel's taps, (rows, columns).
      groups: of channels.
      mirrored: whether it is the gradient with respect to the images of a convolution.
      same: whether the output has as many rows and columns as the images, enlarged if they are.
      alone: whether one device has all processors.
      version: of JAX.
    """

    layer: Layer
    operation: Operation
    platform: Platform
    images: tuple[Any, ...]
    kernel: tuple[Any, ...]
    output: tuple[Any, ...]
    dtype: Any
    strides: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1
    mirrored: bool = False
    same: bool = False
    alone: bool = False
    version: tuple[int, ...] = dataclasses.field(default_factory=version)

    @cached_property
    def is_static(self) -> bool:
        """Whether all sizes are numbers."""
        return is_static((*self.images, *self.kernel, *self.output))

    @property
    def taps(self) -> int:
        """Of the kernel."""
        return math.prod(self.kernel[:2])

    @property
    def channels(self) -> int:
        """Of the images, in a group."""
        return self.kernel[-2]

    @property
    def features(self) -> int:
        """Channels of the output."""
        return self.kernel[-1]

    @property
    def fewest(self) -> int:
        """The smaller of the numbers of channels and features."""
        return min(self.channels, self.features)

    @property
    def most(self) -> int:
        """The larger of the numbers of channels and features."""
        return max(self.channels, self.features)

    @property
    def positions(self) -> int:
        """Of the output, in all images."""
        return math.prod(self.output[:-1])


def describe(operation: Operation, platform: str | None, problem: Problem) -> Call:
    """A convolution or one of its gradients.

    On a CPU that with respect to the images is, with stride 1, described as the convolution that it is.
    """
    images, kernel, output, pads = problem.images_shape, problem.kernel_shape, problem.output_shape, problem.pads
    mirrored = (
        problem.mirrored_pads if operation == "input_gradient" and platform == "cpu" and problem.layer == "dense" else None
    )
    if mirrored:
        operation, pads = "convolution", mirrored
        images, output, kernel = output, images, (*kernel[:2], *kernel[:1:-1])
    same = all(sum(pad) == k - 1 and min(pad) >= 0 for pad, k in zip(pads, kernel))
    settings = problem.strides, problem.dilation, problem.groups, mirrored is not None, same, problem.alone
    where = _platform(platform, images, pads, problem.dtype)
    return Call(problem.layer, operation, where, images, kernel, output, problem.dtype, *settings)


def _platform(platform, images, pads, dtype):
    """Images of which a part is cut off are XLA's to convolve on a CPU."""
    if platform != "cpu" or min(map(min, pads)) < 0:
        return "cuda" if platform == "cuda" else "other"
    narrow = dtype in (jnp.float32, jnp.bfloat16, jnp.float16)
    return "cpu+onednn" if narrow and may_convolve(images, pads) else "cpu"


def describe_product(operation: Operation, x: Any, y: Any) -> Call:
    """A product of matrices, [..., P, C] and [..., C, O], or a sum over positions, [..., P, C] and [..., P, O], on a CPU."""
    channels, features = x.shape[-1], y.shape[-1]
    stacks = is_static((*x.shape, *y.shape)) and x.shape[:-2] == y.shape[:-2]
    where = "cpu+onednn" if stacks and usable() else "cpu"
    dtype = x.dtype if x.dtype == y.dtype else None
    return Call("matrices", operation, where, x.shape, (channels, features), (*x.shape[:-1], features), dtype)
