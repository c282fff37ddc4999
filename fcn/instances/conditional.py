"""Objects each of which is a little network of its own: three 1x1 convolutions whose numbers another 1x1 convolution predicts.

Tian, Shen, Chen, "Conditional Convolutions for Instance Segmentation", ECCV 2020.
"""

import warnings

import numpy as np
import scipy  # which loads its parts when they are first used
from jaxtyping import Array, Float, Float32, Int, Int32, Integer

FEATURES = 8
"""Channels that all masks are made of, and those between the convolutions of one."""
_SHAPES = ((FEATURES + 2, FEATURES), (FEATURES,), (FEATURES, FEATURES), (FEATURES,), (FEATURES, 1), (1,))
"""Kernels and biases; two more inputs say how far a pixel lies from the object's place."""
PARAMETERS = sum(int(np.prod(shape)) for shape in _SHAPES)
"""Of one object: 169."""
REACH = 16
"""So many places of the grid away coordinates are 1."""


def mask_logits(parameters: Float[Array | np.ndarray, "n 169"], inputs: Float[Array | np.ndarray, "n p 10"]):
    """The logits [n, p] that pixels belong to objects: of each object three 1x1 convolutions with ReLUs between (section 3.1).

    Args:
        parameters: of each object.
        inputs: of each object and pixel eight features, and the row and column from the object's place (`offsets`).
    """
    ends = np.cumsum([np.prod(shape) for shape in _SHAPES])
    pieces = [parameters[:, end - np.prod(shape) : end] for end, shape in zip(ends, _SHAPES)]
    pieces = [piece.reshape(-1, *shape) for piece, shape in zip(pieces, _SHAPES)]
    x = inputs
    for kernel, bias in zip(pieces[::2], pieces[1::2]):
        x = (x if x is inputs else x * (x > 0)) @ kernel + bias[:, None]
    return x[..., 0]


def box_distances(instances: Integer[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w 4"]:
    """From each pixel's middle up, down, left and right to the edges of its object's box; 0 in background.

    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, equation 1.
    """
    known, numbers = np.unique(np.maximum(instances, 0), return_inverse=True)
    numbers = numbers.reshape(instances.shape) + (known[:1] > 0)
    edges = np.zeros((numbers.max(initial=0) + 1, 4))
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(numbers), 1):
        edges[number] = rows.start, rows.stop, columns.start, columns.stop
    top, bottom, left, right = np.moveaxis(edges[numbers], -1, 0)
    y, x = np.mgrid[: instances.shape[0], : instances.shape[1]] + 0.5
    return np.where((instances > 0)[..., None], np.stack([y - top, bottom - y, x - left, right - x], -1), 0).astype(np.float32)


def decode_conditional(
    scores: Float32[np.ndarray, "h w k"], *, grid: int, threshold: int | float, most: int
) -> Int32[np.ndarray, "h w"]:
    """The objects that are sure enough, the surest on top: of each the pixels in and around its box that its network takes.

    A place in an object that is found already tells of it again, and is passed over; so is an object of which others hide half.

    Args:
        scores: of each pixel the probability of an object and of its middle, four distances to its box, 169 parameters, and
            eight features.
        grid: places are every so many rows and columns.
        threshold: the least square root of the product of both probabilities.
        most: so many objects are decoded; a warning says where there are more.
    """
    coarse = scores[::grid, ::grid]
    sure = np.sqrt(coarse[..., 0] * coarse[..., 1])
    places = np.argwhere(sure > threshold)
    image, count = np.zeros(scores.shape[:2], np.int32), 0
    for place in places[np.argsort(-sure[tuple(places.T)], kind="stable")]:
        if image[tuple(place * grid)]:
            continue
        if count == most:
            warnings.warn(f"more than {most} objects in an image; the surest of them are decoded", stacklevel=2)
            break
        window, mask = _mask(scores, coarse[tuple(place)], place * grid, grid)
        seen = mask & (image[window] == 0)
        if 2 * seen.sum() > mask.sum():
            count += 1
            image[window][seen] = count
    return image


def offsets(rows, columns, places: Int[Array | np.ndarray, "n 2"], grid: int):
    """How far pixels lie from the places of objects, in what their networks see: rows and columns [n, p]."""
    return (rows - places[:, :1]) / (grid * REACH), (columns - places[:, 1:]) / (grid * REACH)


def _mask(scores, own, place, grid: int):
    """A window of the image, a quarter wider than the box of an object, and where in it the object is."""
    up, down, left, right = own[2:6].astype(np.float64)
    margins = (up + down) / 4 + 2, (left + right) / 4 + 2
    low = np.floor(place + 0.5 - (up, left) - margins).clip(0, scores.shape[:2]).astype(int)
    high = np.ceil(place + 0.5 + (down, right) + margins).clip(low, scores.shape[:2]).astype(int)
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    features = scores[window][..., -FEATURES:]
    rows, columns = (part.reshape(1, -1) for part in np.mgrid[window])
    away = offsets(rows, columns, place[None], grid)
    inputs = np.concatenate([features.reshape(-1, FEATURES), *(each.T for each in away)], -1)
    return window, mask_logits(own[None, 6 : 6 + PARAMETERS], inputs[None]).reshape(features.shape[:2]) > 0
