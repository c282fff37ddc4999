"""Signals and volumes of any size: whole, or in overlapping blocks of one size, whose logits are averaged.

As nnU-Net does (Isensee et al., Nature Methods 2021; version 2 of its code): blocks begin at `positions` along each axis, their
logits weigh as a Gaussian of an eighth of their sides. What is smaller than a block lies in its middle.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Num, Shaped

from fcn.data.volumes.resampling import resample
from fcn.data.volumes.values import padding_of, scaled
from fcn.inference.blended import positions
from fcn.inference.ensemble import Ensemble
from fcn.inference.program import Kind, Program
from fcn.inference.views import views_of
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

LARGEST_WHOLE = {1: 1 << 20, 3: 128**3}
"""What tile="auto" takes, by the number of dimensions: the most samples or voxels that are seen at once, and"""
USUAL_SIDE = {1: 1 << 16, 3: 96}
"""the side of the blocks of others."""
Tile = int | Sequence[int] | str | None
Tta = Sequence[str | float]


def sides_of(tile: Tile, size: Sequence[int]) -> tuple[int, ...] | None:
    """The sides of the blocks for a signal or volume; None: it is seen whole.

    Args:
        tile: a side, or one for each axis, "auto" or None.
        size: of the signal or volume.

    Raises:
        ValueError: another number of sides, or one that is none.
    """
    axes = len(size)
    if tile == "auto":
        tile = USUAL_SIDE[axes] if np.prod(size) > LARGEST_WHOLE[axes] else None
    if tile is None:
        return None
    sides: Any = (tile,) * axes if isinstance(tile, int) else tuple(tile)
    if len(sides) != axes or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"tile={tile!r}; give a side above 0, one for each of {axes} axes, 'auto' or None")
    return sides


def importance(sides: Sequence[int]) -> Float32[np.ndarray, "*sides"]:
    """The weight of each logit of a block: 1 in the middle, a Gaussian with an eighth of the sides as deviations, above 0."""
    weights = np.ones(())
    for side in sides:
        along = np.exp(-(((np.arange(side) - side // 2) / (side / 8)) ** 2) / 2)
        weights = weights[..., None] * along
    return np.maximum(weights, 1e-4).astype(np.float32)


def blended(
    compute: Callable[[np.ndarray], np.ndarray],
    image: Float32[np.ndarray, "*spatial c"],
    sides: Sequence[int],
    padding: float,
) -> Float[np.ndarray, "*spatial k"]:
    """The logits of a signal or volume, or what else can be averaged, from those of its blocks.

    Args:
        compute: [B, *sides, C] -> [B, *sides, K].
        image: any size.
        sides: of the blocks.
        padding: the value around what is smaller than a block.
    """
    size = image.shape[:-1]
    beyond = [max(0, side - length) for side, length in zip(sides, size)]
    image = np.pad(image, [*((more // 2, more - more // 2) for more in beyond), (0, 0)], constant_values=padding)
    weights, total, found = importance(sides)[..., None], np.zeros((*image.shape[:-1], 1), np.float32), None
    for starts in itertools.product(*(positions(length, side) for length, side in zip(image.shape, sides))):
        place = tuple(slice(start, start + side) for start, side in zip(starts, sides))
        values = compute(image[place][None])[0]
        found = np.zeros((*image.shape[:-1], values.shape[-1]), np.float32) if found is None else found
        found[place] += weights * values
        total[place] += weights
    assert found is not None
    inner = tuple(slice(more // 2, more // 2 + length) for more, length in zip(beyond, size))
    return found[inner] / total[inner]


class VolumePredictor:
    """A network for signals or volumes with all that predicts; `Predictor` does so for images.

    It takes single arrays [L, C] or [D, H, W, C] of stored values, of any type, and brings them to the scale that training had
    (the record's `per_image`, else its `value_range`, else 0 to 1). Results are NumPy arrays of their sizes. With a tile they
    are seen in blocks, which overlap by half and are blended; else whole, for which each size compiles a program.

    Args:
        model: [B, *spatial, C] -> logits [B, *spatial, K].
        variables: the model's, or a list of such, of the networks of an ensemble.
        preprocessing: what it expects; `axes` says of how many dimensions.
        task: what the logits mean; by default a softmax.
        as_read: whether values are on that scale already, as those of sources are.

    Raises:
        ValueError: the record is of images.
    """

    def __init__(
        self,
        model: nn.Module | Ensemble,
        variables: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        preprocessing: Preprocessing,
        task: Task | None = None,
        *,
        as_read: bool = False,
    ):
        if preprocessing.axes == 2:
            raise ValueError("the network is for images (preprocessing.axes is 2); take Predictor")
        members = [variables] if isinstance(variables, Mapping) else list(variables)
        if isinstance(model, Ensemble):
            members, model = [one for each in members for one in model.members(each)], model.model
        self.preprocessing, self.task, self._as_read = preprocessing, task, as_read
        self._program = Program(model, members, preprocessing, task, bucket=1)

    def __call__(self, values: Num[np.ndarray, "*spatial c"], *, tile: Tile = None, tta: Tta = ()) -> Any:
        """What the task predicts: class ids, int32 [*spatial].

        Args:
            values: [L, C] or [D, H, W, C], as they are stored.
            tile: the side of blocks, or one for each axis; "auto": blocks of 96 where there are more than 128³ voxels.
            tta: "flips" (of volumes 8 views, of signals 2), "rotations" of the last two axes, and scales, whose probabilities
                are averaged.

        Raises:
            ValueError: values of another number of axes or channels, a tile that does not fit, or no such view.
        """
        scores = self.scores(values, tile=tile, tta=tta)
        return scores if self.task is None else self.task.prediction(scores)

    def scores(
        self, values: Num[np.ndarray, "*spatial c"], *, size: Sequence[int] | None = None, tile: Tile = None, tta: Tta = ()
    ) -> Shaped[np.ndarray, "..."]:
        """What the task makes predictions of (`Task.scores`); seen at another `size`, logits are brought back linearly."""
        return self._made("scores", self._logits(values, size, tile, tta))

    def probabilities(
        self, values: Num[np.ndarray, "*spatial c"], *, size: Sequence[int] | None = None, tile: Tile = None, tta: Tta = ()
    ) -> Float[np.ndarray, "*spatial k"]:
        """The probability of each channel's class, float32."""
        return self._made("probabilities", self._logits(values, size, tile, tta))

    def logits(
        self, values: Num[np.ndarray, "*spatial c"], *, tile: Tile = None, tta: Tta = ()
    ) -> Float[np.ndarray, "*spatial k"]:
        """The logits, float32; of an ensemble, and of several views, those of the averaged probabilities."""
        return self._logits(values, None, tile, tta)

    def _logits(self, values, size, tile, tta) -> np.ndarray:
        self._check(values)
        how = self.preprocessing
        image = values if self._as_read else scaled(values, how.per_image, how.value_range)
        seen = image if size is None else resample(image, size)
        compute = functools.partial(self._program.whole, kind="logits", views=views_of(tta, self.preprocessing.axes))
        sides = sides_of(tile, seen.shape[:-1])
        if sides is None:
            found = compute(seen[None])[0]
        else:
            found = blended(compute, seen, sides, padding_of(self.preprocessing.per_image))
        return resample(found, image.shape[:-1])

    def _made(self, kind: Kind, logits: np.ndarray) -> np.ndarray:
        return np.asarray(self._program.made(kind, jnp.asarray(logits)))

    def _check(self, values):
        axes, channels = self.preprocessing.axes, self.preprocessing.channels
        if values.ndim != axes + 1 or values.shape[-1] != channels or 0 in values.shape or values.dtype.kind not in "buif":
            form = f"[L, {channels}]" if axes == 1 else f"[D, H, W, {channels}]"
            raise ValueError(f"an array of type {values.dtype} and shape {list(values.shape)}; the network takes {form}")
