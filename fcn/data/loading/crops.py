"""Images, signals and volumes of mixed sizes in batches: crops for training, buckets of like sizes for evaluation."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from fcn.data.loading.sampling import generator
from fcn.data.source import different_values

Size = tuple[int, ...]
"""Height and width, or as many sides as there are dimensions."""
MOST_BUCKETS = 8
"""Each is a compilation."""
_COARSER = (1, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def crop_place(size: Size, crop: Size, index: int, epoch: int) -> Size:
    """Where the crop of a sample begins in an epoch, along each axis; of nothing else it depends.

    Where the image is smaller than the crop the place is negative: the image lies somewhere in the crop.
    """
    draw = generator(index, epoch)
    rooms = [length - wanted for length, wanted in zip(size, crop)]
    return tuple(int(draw.randint(min(0, room), max(0, room) + 1)) for room in rooms)


def foreground_place(
    label: Shaped[np.ndarray, "*spatial"], crop: Size, index: int, epoch: int, share: float, ignore_index: int
) -> Size | None:
    """Where a crop around a random pixel of a random class but the first begins; None where another place is to be taken.

    That is for all but a `share` of the epochs of a sample, and for labels without such a class.
    """
    draw = generator(index, epoch, 1)
    if draw.random_sample() >= share:
        return None
    classes = [value for value in different_values(label).tolist() if value not in (0, ignore_index)]
    if not classes:
        return None
    pixels = np.flatnonzero(label == classes[draw.randint(len(classes))])
    middles = np.unravel_index(pixels[draw.randint(len(pixels))], label.shape)
    return tuple(
        int(np.clip(middle - wanted // 2, min(0, length - wanted), max(0, length - wanted)))
        for middle, wanted, length in zip(middles, crop, label.shape)
    )


def put_crop(target: Shaped[np.ndarray, "..."], values: Shaped[np.ndarray, "..."], place: Size) -> None:
    """Copies into `target` what of `values` lies from `place` on; where there is nothing, `target` stays as it is."""
    inside, outside = [], []
    for begin, length, there in zip(place, target.shape, values.shape):
        first, end = max(0, begin), min(there, begin + length)
        inside.append(slice(first, max(first, end)))
        outside.append(slice(first - begin, max(first, end) - begin))
    target[tuple(outside)] = values[tuple(inside)]


def bucket_shapes(sizes: Sequence[Size], most: int = MOST_BUCKETS) -> list[Size]:
    """The size to which each image is padded: at most `most` different ones, each as small as its images allow.

    Up to `most` sizes stay as they are. Of more, those are put together that are alike when rounded up to a multiple of 32, of
    64, and so on.
    """
    for step in _COARSER:
        rounded = [tuple(-(-side // step) for side in size) for size in sizes]
        if len(set(rounded)) <= most:
            break
    largest: dict[Size, Size] = {}
    for key, size in zip(rounded, sizes):
        largest[key] = tuple(map(max, size, largest.get(key, size)))
    return [largest[key] for key in rounded]
