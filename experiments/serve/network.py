"""The network that is served: files of images in, the scores of its task out."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from experiments.building.networks import Network
from experiments.serve.served import Asked, Key, TooLarge
from fcn.data import read_image
from fcn.inference import Predictor

BUCKET = 32
"""Sides are extended to multiples of it, as most networks do themselves, so that images of many sizes share some programs."""
_TOGETHER = 2**22
"""Pixels that are predicted together, of several images."""
_FORMATS = ("PNG", "JPEG", "TIFF")


class ServedNetwork:
    """A network for the files of images that a service is sent.

    Args:
      name: what it is called.
      network: the network.
      most_pixels: of an image.

    Raises:
      ValueError: its images are no pictures, or its classes do not fit into a mask of 8 bits.
    """

    def __init__(self, name: str, network: Network, most_pixels: int):
        self.name, self.task, self.label_ids = name, network.task, network.label_ids
        self._expected, self._most_pixels = network.preprocessing, most_pixels
        count, channels = len(self.task.classes), self._expected.channels
        if channels > 4 or network.data.pages == "channels":
            raise ValueError(f"the network takes {channels} channels, a service pictures of up to 4; use experiments.predict")
        if self.task.label_kind == "classes" and not 2 <= count <= 256:
            raise ValueError(f"the network has {count} class(es); a mask, which is a PNG of 8 bits, tells 2 to 256 apart")
        self._predictor = Predictor(network.model, network.variables, self._expected.as_read(), self.task, bucket=None)

    def read(self, data: bytes) -> Asked:
        """The image in a PNG, JPEG or TIFF file.

        Raises:
          ValueError: it cannot be read, or is `TooLarge`, which its header tells.
        """
        self._refuse_large(data)
        known = {"value_range": self._expected.value_range, "per_image": self._expected.per_image}
        image = read_image(data, channels=self._expected.channels, name="the image", **known)
        return Asked(image, self._key(*image.shape[:2]))

    def scores(self, group: Sequence[Asked]) -> list[np.ndarray]:
        """For images of one key, which are put together by powers of two: few programs are compiled."""
        found: list[np.ndarray] = []
        for batch in _powers(group):
            images = np.stack([_extended(asked.image, asked.key.size) for asked in batch])
            scores = self._predictor.scores(images, size=batch[0].key.seen, tile="auto")
            found += [one[: asked.image.shape[0], : asked.image.shape[1]] for one, asked in zip(scores, batch)]
        return found

    def most(self, key: Key, batch: int) -> int:
        """Large images are predicted alone."""
        pixels = max(height * width for height, width in (key.size, key.seen or key.size))
        return max(1, min(batch, _TOGETHER // pixels))

    def compile(self, height: int, width: int, batch: int) -> None:
        """Compiles what predicts up to `batch` images of a size."""
        asked = Asked(np.zeros((height, width, self._expected.channels), np.uint8), self._key(height, width))
        for power in range(self.most(asked.key, batch).bit_length()):
            self.scores([asked] * 2**power)

    def _key(self, height: int, width: int) -> Key:
        """Images that are resized are not extended."""
        seen = self._expected.seen_size(height, width)
        if seen != (height, width):
            return Key((height, width), seen)
        return Key((height + -height % BUCKET, width + -width % BUCKET))

    def _refuse_large(self, data: bytes) -> None:
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                pixels = image.width * image.height
        except Image.DecompressionBombError:
            pixels = self._most_pixels + 1
        except Exception:  # a decoder may raise anything for a damaged file
            raise ValueError("what was sent is no image that can be read; send a PNG, JPEG or TIFF file") from None
        if pixels > self._most_pixels:
            raise TooLarge(f"the image has more than {self._most_pixels} pixels, the most that is taken; send it smaller")


def _powers(group: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
    """Seven as four, two and one."""
    while group:
        count = 1 << (len(group).bit_length() - 1)
        yield group[:count]
        group = group[count:]


def _extended(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image whose last row and column are repeated up to a size."""
    below, right = size[0] - image.shape[0], size[1] - image.shape[1]
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
