"""Images of mixed sizes in batches: crops for training, buckets of like sizes for evaluation."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from fcn.data.loading.sampling import generator
from fcn.data.source import different_values

Size = tuple[int, int]
MOST_BUCKETS = 8
"""Each is a compilation."""
_COARSER = (1, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def crop_place(size: Size, crop: Size, index: int, epoch: int) -> Size:
    """Row and column at which the crop of a sample begins in an epoch; of nothing else it depends.

    Where the image is smaller than the crop the place is negative: the image lies somewhere in the crop.
    """
    draw = generator(index, epoch)
    rooms = [length - wanted for length, wanted in zip(size, crop)]
    top, left = (int(draw.randint(min(0, room), max(0, room) + 1)) for room in rooms)
    return top, left


def foreground_place(
    label: Shaped[np.ndarray, "h w"], crop: Size, index: int, epoch: int, share: float, ignore_index: int
) -> Size | None:
    """Row and column of a crop around a random pixel of a random class but the first; None where another place is to be taken.

    That is for all but a `share` of the epochs of a sample, and for labels without such a class.
    """
    draw = generator(index, epoch, 1)
    if draw.random_sample() >= share:
        return None
    classes = [value for value in different_values(label).tolist() if value not in (0, ignore_index)]
    if not classes:
        return None
    rows, columns = np.nonzero(label == classes[draw.randint(len(classes))])
    chosen = draw.randint(len(rows))
    top, left = (
        int(np.clip(middle - wanted // 2, min(0, length - wanted), max(0, length - wanted)))
        for middle, wanted, length in zip((rows[chosen], columns[chosen]), crop, label.shape)
    )
    return top, left


def put_crop(target: Shaped[np.ndarray, "h w ..."], values: Shaped[np.ndarray, "h2 w2 ..."], place: Size) -> None:
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
        rounded = [(-(-height // step), -(-width // step)) for height, width in sizes]
        if len(set(rounded)) <= most:
            break
    tallest: dict[Size, Size] = {}
    for key, (height, width) in zip(rounded, sizes):
        known = tallest.get(key, (0, 0))
        tallest[key] = max(known[0], height), max(known[1], width)
    return [tallest[key] for key in rounded]
