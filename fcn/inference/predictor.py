"""A trained network for images of any size: whole, in tiles, or averaged over views."""

import functools
import numbers
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from fcn.data.stretch import stretched
from fcn.inference.blended import blended_logits
from fcn.inference.field import ReceptiveField, receptive_field
from fcn.inference.probabilities import mode_of, to_logits, to_probabilities
from fcn.inference.stream import ahead, runs
from fcn.inference.tiles import exact_tiles, put_together, suits
from fcn.inference.views import View, averaged, views_of
from fcn.inference.whole import covering_logits
from fcn.parallel import compiler_options
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

Kind = Literal["logits", "probabilities", "scores"]
LARGEST_WHOLE, USUAL_TILE = 1024 * 1024, 512
"""What tile="auto" takes: the most pixels of an image that is seen whole, and the tile of others."""


class Predictor:
    """A network with all that predicts: `predictor(image)` gives class ids, `.probabilities` and `.logits` what they are of.

    Images are arrays [H, W, C] or batches [B, H, W, C]: uint8, uint16 (the record's `value_range` is black to white, or 0 to
    65535), or floating point (that range, or 0 to 1; NaN is black); red, green, blue. Where training brought each image to its
    own range (the record's `per_image`), so it is here. Results are NumPy arrays of their sizes. Images are seen as they are:
    where training resized its images, bring them to `preprocessing.seen_size(height, width)` before.

    Each size of images compiles a program. So that a folder of mixed sizes takes a handful, sides are extended to multiples of
    `bucket` by repeating the last row and column, as networks do themselves where sides do not divide by their strides; logits
    that see these borders then depend on it. `programs` counts what was compiled.

    With `tile=512` an image is seen in parts of about so many pixels, and the device's memory does not grow with it. The host's
    grows by the result alone where tiles are exact; blended tiles keep all logits there, `tta` all probabilities, and
    `per_image` reads the image whole. Where the network's receptive field is finite (`fcn.inference.receptive_field`) and its
    halo is no larger than the tile, tiles are exact: logits are those of the whole image. Else tiles overlap by half and are
    blended as nnU-Net does, which is another result; a warning says so once. `tile="auto"` takes tiles of 512 for images of
    more than 1024 x 1024 pixels.

    With `tta=("flips", "rotations", 0.75)` probabilities are averaged over views: mirrored, turned by 90 degrees, in other
    sizes; not in other sizes with tiles.

    Args:
        model: images [B, H, W, C] -> logits [B, H, W, K].
        variables: the model's.
        preprocessing: what it expects of images; by default what published weights of the model expect.
        task: what the logits mean; by default a softmax.
        bucket: sides are extended to multiples of it; 1 or None: not at all, the result is that of `model.apply`.
        border: what tiles see beyond the image: "network", what the network puts there, or "mirror", the image mirrored, as
            U-Net's overlap-tile strategy does (section 2 of its paper), always so for valid convolutions.

    Raises:
        ValueError: a bucket under 1, another border, or a task of another number of channels than the network has.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: Mapping[str, Any],
        preprocessing: Preprocessing | None = None,
        task: Task | None = None,
        *,
        bucket: int | None = 64,
        border: str = "network",
    ):
        if bucket is not None and bucket < 1:
            raise ValueError(f"bucket={bucket}; sides are extended to multiples of at least 1")
        if border not in ("network", "mirror"):
            raise ValueError(f"border={border!r}; tiles see beyond the image what the 'network' puts there, or a 'mirror'")
        count = getattr(model, "num_classes", None)
        if task is not None and count not in (None, task.channels):
            raise ValueError(f"the task {task.name!r} has {task.channels} channels, but the model has {count} classes")
        self.model, self.variables, self.task = model, variables, task
        self.preprocessing = preprocessing or _default_preprocessing(model, variables)
        self.bucket, self.border, self.mode = bucket or 1, border, mode_of(task)
        self._programs: set[tuple] = set()
        self._fields: dict[Hashable, ReceptiveField | str] = {}
        self._warned = False

    def __call__(
        self, image: Num[np.ndarray, "*b h w c"], *, tile: int | Literal["auto"] | None = None, tta: Sequence[str | float] = ()
    ) -> Any:
        """What the task predicts: class ids, int32 [H, W] of one image, [B, H, W] of a batch (of some tasks a list).

        Raises:
            ValueError: an image of another number of channels or type, a tile or augmentation that does not exist.
        """
        return self._predicted(self._prepared(image), tile, tta)

    def probabilities(
        self, image: Num[np.ndarray, "*b h w c"], *, tile: int | Literal["auto"] | None = None, tta: Sequence[str | float] = ()
    ) -> Float[np.ndarray, "*b h w k"]:
        """The probability of each channel's class, float32.

        Raises:
            ValueError: as for class ids, or the task has values and no probabilities.
        """
        if self.mode is None:
            raise ValueError(f"the task {self.task and self.task.name!r} has values, not probabilities; take .logits")
        return self._found(self._prepared(image), "probabilities", tile, tta)

    def logits(
        self, image: Num[np.ndarray, "*b h w c"], *, tile: int | Literal["auto"] | None = None
    ) -> Float[np.ndarray, "*b h w k"]:
        """The logits, float32. Errors as for class ids."""
        return self._found(self._prepared(image), "logits", tile, ())

    def map(
        self,
        images: Iterable[Any],
        read: Callable[[Any], np.ndarray] = np.asarray,
        *,
        batch: int = 1,
        tile: int | Literal["auto"] | None = None,
        tta: Sequence[str | float] = (),
    ) -> Iterator[Any]:
        """The predictions for images [H, W, C] one after the other, of any sizes.

        Args:
            images: arrays, or what `read` makes arrays of, such as paths.
            read: called in a thread, for the next image while one is predicted.
            batch: so many images that follow each other are predicted at once, where one bucket holds them and no tile is asked
                for.
            tile, tta: as for one image.

        Raises:
            ValueError: as for class ids, or a batch under 1.
        """
        if batch < 1:
            raise ValueError(f"batch={batch}; give the number of images that are predicted at once, at least 1")
        for group in runs(ahead(lambda given: self._prepared(read(given)), images), batch, self._bucket_of):
            if len(group) == batch > 1 and tile is None:
                yield from self._together(group, tta)
            else:
                yield from (self._predicted(image, tile, tta) for image in group)

    @property
    def programs(self) -> int:
        """How many were compiled."""
        return len(self._programs)

    def _bucket_of(self, image) -> tuple:
        return image.dtype, *(side + beyond for side, beyond in zip(image.shape, self._beyond(image.shape[:2]), strict=False))

    def _together(self, images, tta) -> Iterator[Any]:
        """Of images that one bucket holds."""
        scores = self._found(np.concatenate([self._extended(image[None]) for image in images]), "scores", None, tta)
        for image, extended in zip(images, scores):
            found = extended[: image.shape[0], : image.shape[1]]
            yield self.task.prediction(found) if self.task else found

    def _predicted(self, image, tile, tta) -> Any:
        scores = self._found(image, "scores", tile, tta)
        if self.task is None:
            return scores
        return self.task.prediction(scores) if image.ndim == 3 else self._predictions(scores)

    def _predictions(self, scores):
        found = [cast("Task", self.task).prediction(one) for one in scores]
        return found if cast("Task", self.task).on_host else np.stack(found)

    def _found(self, image, kind: Kind, tile, tta) -> np.ndarray:
        if tile == "auto":
            tile = USUAL_TILE if image.shape[-3] * image.shape[-2] > LARGEST_WHOLE else None
        elif tile is not None:
            if not isinstance(tile, numbers.Integral) or isinstance(tile, bool) or int(tile) < 1:
                raise ValueError(f"tile={tile!r}; give a number of pixels above 0, 'auto' or None")
            tile = int(tile)
        images, views = (image if image.ndim == 4 else image[None]), tuple(views_of(tta))
        if len(views) > 1 and self.task is not None and self.task.directed:
            raise ValueError(f"the task {self.task.name!r} predicts directions, which differ between views; leave out tta")
        if tile is None or max(images.shape[1:3]) <= tile:
            found = self._whole(images, kind, views)
        else:
            found = np.stack([self._viewed(one, kind, tile, views) for one in images])
        return found if image.ndim == 4 else found[0]

    def _prepared(self, image) -> np.ndarray:
        """An image or a batch that was checked; where training brought each image to its own range, uint8."""
        self._check(image)
        if (how := self.preprocessing.per_image) is None:
            return image
        return stretched(image, how) if image.ndim == 3 else np.stack([stretched(one, how) for one in image])

    def _check(self, image):
        if image.ndim not in (3, 4) or image.shape[-1] != self.preprocessing.channels or 0 in image.shape:
            shape, channels = list(image.shape), self.preprocessing.channels
            raise ValueError(f"an image of shape {shape}; the network takes [H, W, {channels}] or [B, H, W, {channels}]")
        if image.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"an image of type {image.dtype}; it is uint8, uint16 or floating point")
        if not isinstance(image, np.memmap):  # of which each part is checked when it is read
            self._check_range(image)

    def _check_range(self, image):
        if not np.issubdtype(image.dtype, np.floating) or self.preprocessing.value_range or self.preprocessing.per_image:
            return
        low, high = np.fmin.reduce(image, axis=None), np.fmax.reduce(image, axis=None)  # NaN only if nothing else is there
        if low < 0 or high > 1:
            raise ValueError(f"a floating-point image has values {low:g} to {high:g}; 0 is black and 1 white")

    def _whole(self, images, kind: Kind, views: tuple[View, ...]) -> np.ndarray:
        """Of images that are seen whole."""
        _, height, width, _ = images.shape
        return self._run(self._extended(images), kind, views)[:, :height, :width]

    def _extended(self, images) -> np.ndarray:
        below, right = self._beyond(images.shape[1:3])
        return np.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge") if below or right else images

    def _beyond(self, size) -> list[int]:
        """Rows and columns by which an image is extended."""
        return [-side % self.bucket for side in size]

    def _run(self, images, kind: Kind, views: tuple[View, ...] = (View(),), bare: bool = False) -> np.ndarray:
        self._check_range(images)
        self._programs.add((images.shape, images.dtype, kind, views, bare))
        return np.asarray(self._compiled(self.variables, images, kind, views, bare))

    @functools.cached_property
    def _compiled(self) -> Callable[..., Array]:
        """At the first call: JAX may not have been set up before."""
        options = compiler_options(jax.devices())
        return jax.jit(self._compute, static_argnames=("kind", "views", "bare"), compiler_options=options)

    def _compute(self, variables, images, kind: Kind, views: tuple[View, ...], bare: bool) -> Shaped[Array, "b h w ..."]:
        """`bare`: without the margins that valid convolutions need."""

        def logits(x) -> Any:
            return self.model.apply(variables, x) if bare else covering_logits(self.model, variables, x)

        x = self.preprocessing.apply(self._scaled(images))
        if len(views) == 1:
            return self._as(kind, logits(x))
        mean = averaged(lambda x: to_probabilities(logits(x), self.mode), x, views)
        return mean if kind == "probabilities" else self._as(kind, to_logits(mean, self.mode))

    def _as(self, kind: Kind, logits) -> Array:
        if kind == "logits":
            return logits
        if kind == "probabilities":
            return to_probabilities(logits, self.mode)
        return self.task.scores(logits) if self.task else jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def _scaled(self, images) -> Array:
        """Values 0..255, from black to white."""
        if images.dtype == jnp.uint8:
            return images
        whole = (0, 65535) if images.dtype == jnp.uint16 else (0, 1)
        low, high = self.preprocessing.value_range or whole
        return jnp.clip(jnp.nan_to_num((images.astype(jnp.float32) - low) * (255 / (high - low))), 0, 255)

    def _viewed(self, image, kind: Kind, tile: int, views: tuple[View, ...]) -> np.ndarray:
        """Of an image in tiles."""
        if any(view.scale != 1 for view in views):
            raise ValueError("tiles are not seen in other sizes; leave the scales out of tta, or the tile")
        if len(views) == 1:
            return self._tiled(image, kind, tile)
        (height, width, _), extended, mean = image.shape, self._extended(image[None]), np.zeros((), np.float32)
        for view in views:
            found = self._tiled(view.seen(extended, np)[0], "logits" if self.mode is None else "probabilities", tile)
            mean = mean + view.back(found[None], extended.shape[1:3], np)[0, :height, :width] / len(views)
        if kind == "probabilities":
            return mean
        return _in_bands(lambda band: self._as(kind, to_logits(band, self.mode)), mean, tile)

    def _tiled(self, image, kind: Kind, tile: int) -> np.ndarray:
        more = self._beyond(image.shape[:2])
        try:
            field, around = self._field_around(*(side + beyond for side, beyond in zip(image.shape, more, strict=False)))
        except ValueError as error:
            return self._blended(image, kind, tile, str(error))
        if not all(suits(side, tile) for side in field):
            wide = max(map(max, field.halo))
            return self._blended(image, kind, tile, f"the network's halo of {wide} pixels is larger than the tile of {tile}")
        tiles = exact_tiles(image, field, tile, around, more)
        return put_together(functools.partial(self._run, kind=kind, bare=True), tiles, image.shape[:2])

    def _field_around(self, height: int, width: int) -> tuple[ReceptiveField, Sequence[tuple[int, int]]]:
        """The receptive field for images of this size, and what is mirrored around them."""
        around: Sequence[tuple[int, int]] = ((0, 0), (0, 0))
        if hasattr(self.model, "input_margins"):
            around = self.model.input_margins(height, width)
        elif self.border == "mirror":
            around = self._looked_at("any", None).halo
        rows, columns = around
        return self._field((height + sum(rows), width + sum(columns))), around

    def _field(self, size: tuple[int, int]) -> ReceptiveField:
        """Each rest that sides leave by the alignment is looked at once."""
        height, width = (side % step for side, step in zip(size, self._looked_at("any", None).alignment))
        return self._looked_at((height, width), size)

    def _looked_at(self, rest: Hashable, size: tuple[int, int] | None) -> ReceptiveField:
        if rest not in self._fields:
            try:
                self._fields[rest] = receptive_field(self.model, self.preprocessing.channels, size)
            except ValueError as error:
                self._fields[rest] = str(error)
        found = self._fields[rest]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _blended(self, image, kind: Kind, tile: int, reason: str) -> np.ndarray:
        if not self._warned:
            self._warned = True
            warnings.warn(f"tiles are blended, so that logits are not those of the whole image: {reason}", stacklevel=2)
        logits = blended_logits(functools.partial(self._whole, kind="logits", views=(View(),)), image, tile)
        return logits if kind == "logits" else _in_bands(functools.partial(self._as, kind), logits, tile)


def _in_bands(compute, values: Float[np.ndarray, "h w k"], rows: int) -> np.ndarray:
    """What is computed of each pixel, on the device by so many rows at a time: all of them need not fit there."""
    bands = (jnp.asarray(values[top : top + rows]) for top in range(0, len(values), rows))
    return np.concatenate([np.asarray(compute(band)) for band in bands])


def _default_preprocessing(model, variables) -> Preprocessing:
    from fcn.pretrained.networks import expected_by

    return expected_by(model, variables)
