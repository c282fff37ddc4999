"""What the table of encoders says of each, and the options that all have."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from fcn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

OPTIONS = ("depth", "output_stride", "dtype", "param_dtype", "axis_name")
"""What every encoder of the table takes."""


class Encoder(NamedTuple):
    """One row of the table; `fcn.register_encoder` makes one of an encoder of your own."""

    constructor: Callable[..., nn.Module]
    """Takes `OPTIONS` and Flax's `name` and `parent`, and gives a module images -> tuple of maps, called with `train=`."""
    paper: str = ""
    reference: str = ""
    """The implementation against which it is tested, with its name there."""
    parameters: int | None = None
    """Number of parameters of the encoder alone, for images of three channels."""
    channels: tuple[int, ...] = ()
    """Channels of the maps, finest first, at full depth."""
    strides: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Strides of the maps, finest first, at full depth."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """What published weights expect: images of values 0..1 in RGB, minus this mean, ..."""
    std: tuple[float, ...] = IMAGENET_STD
    """... divided by this."""
    ends_in_pool: bool = False
    """The last map is the one before it after max pooling. smp's U-Nets convolve it twice before their first step."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What published weights expect of images, as a record."""
        return Preprocessing(self.mean, self.std)

    def map_strides(self, depth: int = 5, output_stride: int = 32) -> tuple[int, ...]:
        """Strides of the maps that an encoder with these options gives, finest first."""
        return tuple(min(stride, output_stride) for stride in self.strides if stride <= 2**depth)


def check_depth(depth: int, output_stride: int, *, dilates: bool = True) -> None:
    """Refuses options that an encoder cannot take.

    Raises:
        ValueError: `depth` is not 3, 4 or 5, `output_stride` is not 8, 16 or 32, or not 32 where the encoder `dilates` not.
    """
    if depth not in (3, 4, 5):
        raise ValueError(f"depth is {depth}; an encoder has a depth of 3, 4 or 5 (strides up to 8, 16 or 32)")
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride is {output_stride}; choose 8, 16 or 32")
    if output_stride != 32 and not dilates:
        raise ValueError(f"output_stride is {output_stride}, but this encoder cannot be dilated; choose 32, or another encoder")


def check_row(row: Encoder) -> None:
    """Refuses an encoder that networks cannot make use of.

    Raises:
        ValueError: what makes it lacks some of `OPTIONS`, or its strides are no powers of two, finest first.
    """
    known = inspect.signature(row.constructor).parameters
    if lacking := [option for option in OPTIONS if option not in known]:
        raise ValueError(
            f"an encoder has the fields {', '.join(OPTIONS)}; {name_of(row.constructor)} lacks {', '.join(lacking)}"
        )
    powers = [stride for stride in row.strides if stride > 0 and stride & (stride - 1) == 0]
    if not powers or list(row.strides) != sorted(powers):
        raise ValueError(f"the strides of an encoder are {row.strides}; give powers of two, finest first, as (2, 4, 8, 16, 32)")


def name_of(constructor: Callable) -> str:
    """What messages call a class, a function or a partial of one."""
    return getattr(getattr(constructor, "func", constructor), "__name__", repr(constructor))
