"""A list of operations, made of one sample at a time: what mixes, then one resampling, then what changes values."""

import dataclasses
import functools
import typing
from collections.abc import Sequence
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Num

from fcn.data.augment.cropping import crop_start
from fcn.data.augment.geometry import Elastic, Flip, Perspective, local_scale, product, slopes
from fcn.data.augment.mixing import Mixing, mixed, refuse_other_targets, unknown_label
from fcn.data.augment.operation import Geometric, Number, Operation, Photometric, streams
from fcn.data.augment.resampling import Boundary, at_pixels, brought_inside, grid, inside, linear, mapped, nearest
from fcn.data.codec import Codec, Targets
from fcn.ranges import Range, check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Random changes to a training sample, and the crop that is taken of it.

    What a sample becomes depends on its key and on these fields only. First parts of the partner are pasted. Then all
    operations that move pixels make one map, the first of the list applied first, `Elastic` last whatever its place; the image
    is resampled linearly, targets take the nearest pixel. They act about the centre of the crop and see what lies around it.
    Then values change, in the order of the list.

    Attributes:
        operations: any of this package.
        crop: size of the result; None: that of the image. Where it is larger the image lies somewhere inside.
        foreground: of the crops the share that is centred on a random pixel of a random class of the sample, whatever the
            number of its pixels; class 0 is left out where there are others. nnU-Net's oversampling is 0.33.
        boundary: what lies outside of an image: "ignore" gives it the fill, and labels that count nowhere; "mirror" the image
            itself, mirrored at the edges.
        clip: values to 0..255 in the end, as those of files are.
    """

    operations: tuple[Operation, ...] = ()
    crop: Annotated[tuple[int, ...] | None, Range(1, 2**15)] = None
    foreground: Annotated[Number, Range(0, 1)] = 0.0
    boundary: Boundary = "ignore"
    clip: bool = True

    def __post_init__(self):
        check_fields(self, "Pipeline.")
        if self.foreground and self.crop is None:
            raise ValueError(
                f"foreground is {self.foreground} of the crops, and none are taken; give their size: crop=(64, 64)"
            )
        for operation in self.operations:
            if not isinstance(operation, Geometric | Elastic | Photometric | Mixing):
                raise ValueError(f"{operation!r} is no operation; those of fcn.data.augment are, such as Flip()")

    def only(self, kind: type[Operation] | tuple[type[Operation], ...]) -> list[Operation]:
        """The operations of some kind, in order."""
        return [operation for operation in self.operations if isinstance(operation, kind)]


def transform(
    key: Key[Array, ""],
    image: Num[Array | np.ndarray, "..."],
    targets: Targets,
    pipeline: Pipeline,
    *,
    codec: Codec | None = None,
    fill: Float[Array | np.ndarray, "..."] | float = 127.5,
    partner: tuple[Num[Array | np.ndarray, "..."], Targets] | None = None,
) -> tuple[Float[Array, "..."], Targets]:
    """Change one sample at random.

    Args:
        key: decides everything that is random.
        image: [*size, C], one to three axes and the channels; values 0..255, of any dtype.
        targets: those of the codec, [*size] or [*size, K].
        pipeline: which changes.
        codec: what is learnt; labels by default.
        fill: the value 0..255 of what lies outside of the image; one, or one a channel.
        partner: image and targets of another sample of the same size, for operations that mix.

    Returns:
        The image (float32) and the targets, of size `pipeline.crop` where that is set.

    Raises:
        ValueError: the operations do not fit the image, the codec or each other.
    """
    codec = codec or Codec()
    refuse_misfits(pipeline, codec, image.ndim - 1)
    image = jnp.asarray(image, jnp.float32)
    targets = {name: jnp.asarray(values) for name, values in targets.items()}
    image, targets = mixed(key, (image, targets), _mixing(pipeline), codec, partner)
    image, targets, known = _moved(key, image, targets, pipeline, codec)
    operations = typing.cast("list[Photometric]", pipeline.only(Photometric))
    for operation, own, used in streams(key, operations):
        image = jnp.where(used, operation.change(own, image), image)
    if pipeline.clip:
        image = jnp.clip(image, 0, 255)
    if known is not None:
        image = jnp.where(known[..., None], image, jnp.asarray(fill, jnp.float32))
    return image.astype(jnp.float32), targets  # numbers are drawn as float64 where JAX is told so


def refuse_misfits(pipeline: Pipeline, codec: Codec, axes: int) -> None:
    """Tells what cannot be done to such targets, or to images of so many axes."""
    if pipeline.crop is not None and len(pipeline.crop) != axes:
        raise ValueError(f"the crop {pipeline.crop} has {len(pipeline.crop)} numbers; the images have {axes} axes")
    knows_turns = codec.turns or type(codec).moved is Codec.moved
    bent = [o for o in pipeline.only((Geometric, Elastic)) if not getattr(o, "plain", False)]
    if codec.linear:
        bent = [operation for operation in bent if isinstance(operation, Perspective | Elastic)]
    if bent and not knows_turns:
        does, follow = ("bends", "turns, ") if codec.linear else ("turns or bends", "")
        raise ValueError(
            f"{type(bent[0]).__name__} {does} images, and the targets of {type(codec).__name__} follow {follow}flips and "
            "scaling only; leave it out"
        )
    if pipeline.boundary == "mirror" and not knows_turns:
        raise ValueError(
            f"boundary is 'mirror', and the targets of {type(codec).__name__} do not follow what it mirrors; take 'ignore'"
        )
    refuse_other_targets(_mixing(pipeline), codec)


def _mixing(pipeline: Pipeline) -> "list[Mixing]":
    return typing.cast("list[Mixing]", pipeline.only(Mixing))


def _moved(key, image, targets: Targets, pipeline: Pipeline, codec: Codec) -> tuple[Array, Targets, Array | None]:
    """Image and targets after the one resampling, and which pixels lie inside of the image; None: all do."""
    size = image.shape[:-1]
    crop = pipeline.crop or size
    if crop == size and not pipeline.only((Geometric, Elastic)):
        return image, codec.moved(targets, 1.0, (False,) * len(size)), None
    matrix, flipped = _matrix(key, crop, pipeline)
    places = mapped(matrix, _bent(key, crop, pipeline))
    start = crop_start(key, targets, size, crop, pipeline.foreground, unknown_label(codec))
    places = [place + first + (length - 1) / 2 for place, first, length in zip(places, start, crop)]
    near = brought_inside(places, size, pipeline.boundary)
    image = linear(image, near)
    found: Targets = {name: nearest(jnp.asarray(values), near) for name, values in targets.items()}
    known = None if pipeline.boundary == "mirror" else inside(places, size)
    if known is not None:
        found = {name: at_pixels(~known, codec.fill[name], values) for name, values in found.items()}
    if codec.linear:
        return image, codec.turned(found, slopes(matrix)), known
    return image, codec.moved(found, local_scale(matrix), flipped), known


def _matrix(key, size: tuple[int, ...], pipeline: Pipeline) -> tuple[Array, tuple[Array, ...]]:
    """The map from the result to the source, and which axes are mirrored."""
    matrices, flipped = [jnp.eye(len(size) + 1)], [jnp.zeros((), bool) for _ in size]
    operations = typing.cast("Sequence[Geometric]", pipeline.only(Geometric))
    for operation, own, used in streams(key, operations):
        matrices.append(jnp.where(used, operation.matrix(own, size), matrices[0]))
        if isinstance(operation, Flip):
            flipped[operation.axis] ^= used
    return functools.reduce(product, matrices), tuple(flipped)


def _bent(key, size: tuple[int, ...], pipeline: Pipeline) -> list[Array]:
    """The places of the result's pixels, from its centre, shifted by what bends."""
    places = grid(size)
    operations = typing.cast("list[Elastic]", pipeline.only(Elastic))
    for operation, own, used in streams(key, operations):
        places = [place + jnp.where(used, by, 0) for place, by in zip(places, operation.shifts(own, size))]
    return places
