"""What is computed of images in one compiled call: by all networks of an ensemble, in all views, and what is made of it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from fcn.inference.probabilities import entropy, mode_of, to_logits, to_probabilities
from fcn.inference.views import View
from fcn.inference.whole import covering_logits
from fcn.layers import resize_bilinear
from fcn.parallel import Sharded, compiler_options
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

Kind = Literal["logits", "probabilities", "scores", "uncertainty"]
AS_IT_IS = (View(),)


class Program:
    """Images -> what is asked for of them; compiled for each kind of result and each size of images.

    Args:
        model: images -> logits.
        members: the variables of each network of an ensemble; of one network, its own.
        preprocessing: what they expect of images.
        task: what the logits mean; None: a softmax.
        bucket: sides are extended to multiples of it.
        parallel: the devices among which images are divided, where their number and height can be; None: one device.

    Attributes:
        mode: what makes probabilities of logits, as `mode_of` says.
    """

    def __init__(
        self,
        model: nn.Module,
        members: Sequence[Mapping[str, Any]],
        preprocessing: Preprocessing,
        task: Task | None,
        bucket: int,
        parallel: Sharded | None = None,
    ):
        self.model, self.members, self.preprocessing, self.task = model, tuple(members), preprocessing, task
        self.bucket, self.mode, self.parallel = bucket, mode_of(task), parallel
        self._compiled_for: set[tuple] = set()

    @property
    def count(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled_for)

    def whole(
        self, images: Num[np.ndarray, "b h w c"], kind: Kind, views: Sequence[View] = AS_IT_IS
    ) -> Shaped[np.ndarray, "b h w ..."]:
        """Of images that are seen whole, extended to their bucket."""
        height, width = images.shape[1:3]
        return self(self.extended(images), kind, views)[:, :height, :width]

    def __call__(
        self, images: Num[np.ndarray, "b h w c"], kind: Kind, views: Sequence[View] = AS_IT_IS, bare: bool = False
    ) -> Shaped[np.ndarray, "b h2 w2 ..."]:
        """Of images as they are; `bare`: of the network's own size, without the margins that valid convolutions need."""
        self.check_range(images)
        self._compiled_for.add((images.shape, images.dtype.name, kind, tuple(views), bare))
        return np.asarray(self._compiled(self._placed_members, self._divided(images), kind, tuple(views), bare))

    @property
    def at_once(self) -> int:
        """The number of images that are best given together: one for each device that has images of its own."""
        return 1 if self.parallel is None else self.parallel.size

    @functools.cached_property
    def _placed_members(self):
        return self.members if self.parallel is None else self.parallel.put_state(self.members)

    def _divided(self, images):
        parallel = self.parallel
        if parallel is None or len(images) % parallel.size or images.shape[1] % parallel.mesh.shape["height"]:
            return images
        return parallel.put_batch({"images": images})["images"]

    def check_range(self, images: Num[np.ndarray, "..."]):
        """Refuses floating-point values that are not 0 to 1, where nobody told their range."""
        if not np.issubdtype(images.dtype, np.floating) or self.preprocessing.value_range or self.preprocessing.per_image:
            return
        low, high = np.fmin.reduce(images, axis=None), np.fmax.reduce(images, axis=None)  # NaN only if nothing else is there
        if low < 0 or high > 1:
            raise ValueError(f"a floating-point image has values {low:g} to {high:g}; 0 is black and 1 white")

    def extended(self, images: Num[np.ndarray, "b h w c"]) -> Num[np.ndarray, "b h2 w2 c"]:
        """Images whose last row and column are repeated."""
        below, right = self.beyond(images.shape[1:3])
        return np.pad(images, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge") if below or right else images

    def beyond(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns by which images of a size are extended."""
        height, width = size
        return -height % self.bucket, -width % self.bucket

    def made(self, kind: Kind, logits: Float[Array, "*pixels k"]) -> Array:
        """Logits, or what is made of them."""
        if kind == "logits":
            return logits
        if kind == "probabilities":
            return to_probabilities(logits, self.mode)
        return self.task.scores(logits) if self.task else jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def resized(
        self, found: Float[np.ndarray, "*b h w k"], size: tuple[int, int], kind: Kind = "scores"
    ) -> Shaped[np.ndarray, "..."]:
        """What is made of logits, or uncertainty, that was found in an image, or a batch, at another size."""
        if found.ndim == 3:
            return self.resized(found[None], size, kind)[0]
        return np.asarray(self._compiled_resized(found, size, kind))

    @functools.cached_property
    def _compiled_resized(self):
        def compute(found, size, kind):
            factors = size[0] / found.shape[1], size[1] / found.shape[2]
            found = resize_bilinear(found, size)
            if kind == "uncertainty":
                return found
            return self.made(kind, jnp.asarray(self.task.resized(found, factors)) if self.task else found)

        return jax.jit(compute, static_argnums=(1, 2), compiler_options=compiler_options(jax.devices()))

    @functools.cached_property
    def _compiled(self):
        """At the first call: JAX may not have been set up before."""
        options = compiler_options(jax.devices())
        return jax.jit(self._compute, static_argnames=("kind", "views", "bare"), compiler_options=options)

    def _compute(self, members, images, kind: Kind, views: tuple[View, ...], bare: bool) -> Array:
        x = self.preprocessing.apply(self._scaled(images))
        if kind != "uncertainty" and len(members) == len(views) == 1:
            return self.made(kind, self._logits(members[0], x, bare))
        found = [self._seen(variables, x, view, bare) for variables in members for view in views]
        mean = sum(found[1:], found[0]) / len(found)
        if kind == "uncertainty":
            expected = sum(entropy(each, self.mode) for each in found) / len(found)
            return jnp.stack([entropy(mean, self.mode), jnp.maximum(entropy(mean, self.mode) - expected, 0)], -1)
        return mean if kind == "probabilities" else self.made(kind, to_logits(mean, self.mode))

    def _seen(self, variables, x, view: View, bare: bool) -> Float[Array, "b h w k"]:
        """The probabilities that a network finds in a view of the images."""
        return view.back(to_probabilities(self._logits(variables, view.seen(x), bare), self.mode), x.shape[1:3])

    def _logits(self, variables, x, bare: bool) -> Float[Array, "b h w k"]:
        logits: Any = self.model.apply(variables, x) if bare else covering_logits(self.model, variables, x)
        return logits

    def _scaled(self, images) -> Array:
        """Values 0..255, from black to white."""
        if images.dtype == jnp.uint8:
            return images
        whole = (0, 65535) if images.dtype == jnp.uint16 else (0, 1)
        low, high = self.preprocessing.value_range or whole
        return jnp.clip(jnp.nan_to_num((images.astype(jnp.float32) - low) * (255 / (high - low))), 0, 255)
