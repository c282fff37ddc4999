"""Images for a network: checked, and prepared as its training prepared its own."""

from typing import Any

import numpy as np
from jaxtyping import Num, UInt8

from fcn.data import resize_image
from fcn.data.reading.depth import to_bytes
from fcn.data.reading.stretch import stretched
from fcn.preprocessing import Preprocessing


def prepared(image: Num[Any, "*b h w c"], preprocessing: Preprocessing) -> Num[Any, "*b h w c"]:
    """An image or a batch that was checked; where training brought each image to its own range, uint8.

    Raises:
        ValueError: it has another number of channels or type, or values that are not 0 to 1; or it lies on a disk, and its own
            range would be needed.
    """
    _check(image, preprocessing)
    if (how := preprocessing.per_image) is None:
        return image
    if not isinstance(image, np.ndarray):
        raise ValueError(f"the network expects each image by its own {how}; give it as an array, which is read whole")
    return stretched(image, how) if image.ndim == 3 else np.stack([stretched(one, how) for one in image])


def one_of(image: Any) -> Any:
    """An image that is no batch."""
    if len(image.shape) == 4:
        raise ValueError(f"a batch of shape {list(image.shape)}; give one image, [H, W, C]")
    return image


def shown(image: Num[np.ndarray, "*b h w c"], size: tuple[int, int], preprocessing: Preprocessing) -> UInt8[np.ndarray, "..."]:
    """An image, or each of a batch, at another size, uint8."""
    check_range(image, preprocessing)  # also of a file, which is read whole here
    whole = (0, 1) if np.issubdtype(image.dtype, np.floating) else None
    pixels = to_bytes(image, preprocessing.value_range or whole)
    return resize_image(pixels, size) if pixels.ndim == 3 else np.stack([resize_image(one, size) for one in pixels])


def check_range(images: Num[np.ndarray, "..."], preprocessing: Preprocessing) -> None:
    """Refuses floating-point values that are not 0 to 1, where nobody told their range."""
    known = preprocessing.value_range or preprocessing.per_image or preprocessing.axes != 2
    if known or not np.issubdtype(images.dtype, np.floating):
        return
    low, high = np.fmin.reduce(images, axis=None), np.fmax.reduce(images, axis=None)  # NaN only if nothing else is there
    if low < 0 or high > 1:
        raise ValueError(f"a floating-point image has values {low:g} to {high:g}; 0 is black and 1 white")


def _check(image, preprocessing):
    if len(image.shape) not in (3, 4) or image.shape[-1] != preprocessing.channels or 0 in image.shape:
        shape, channels = list(image.shape), preprocessing.channels
        raise ValueError(f"an image of shape {shape}; the network takes [H, W, {channels}] or [B, H, W, {channels}]")
    if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"an image of type {image.dtype}; it is uint8, uint16 or floating point")
    if isinstance(image, np.ndarray) and not isinstance(image, np.memmap):  # of others each part is checked when it is read
        check_range(image, preprocessing)
