"""What is computed of images in one compiled call: by all networks of an ensemble, in all views, and what is made of it."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from fcn.inference.dropout import WITHOUT, Dropout, dropping
from fcn.inference.images import check_range
from fcn.inference.probabilities import AT_OTHER_SIZES, entropy, mode_of, refuse_mean, to_logits, to_probabilities
from fcn.inference.views import View
from fcn.inference.whole import covering_logits
from fcn.layers import resize_bilinear
from fcn.parallel import Sharded, compiler_options
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

Kind = Literal["logits", "probabilities", "scores", "uncertainty", "all"]
"""What is asked for; "uncertainty": entropy and mutual information; "all": logits and these, of which the rest is made."""
AS_IT_IS = (View(),)


def _mean(arrays: Sequence[Array]) -> Array:
    return sum(arrays[1:], arrays[0]) / len(arrays)


class Program:
    """Images -> what is asked for of them; compiled for each kind of result and each size of images.

    Args:
        model: images -> logits.
        members: the variables of each network of an ensemble; of one network, its own.
        preprocessing: what they expect of images.
        task: what the logits mean; None: a softmax.
        bucket: sides are extended to multiples of it.
        parallel: the devices among which images are divided, where their number and height can be; None: one device.
        dropout: how often each network predicts with dropout.

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
        dropout: Dropout = WITHOUT,
    ):
        self.dropout = dropout
        self.model, self.members, self.preprocessing, self.task = model, tuple(members), preprocessing, task
        self.bucket, self.mode, self.parallel = bucket, mode_of(task), parallel
        self._compiled_for: set[tuple] = set()

    @property
    def count(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled_for)

    def whole(
        self, images: Num[np.ndarray, "b *spatial c"], kind: Kind, views: Sequence[View] = AS_IT_IS
    ) -> Shaped[np.ndarray, "b ..."]:
        """Of images, signals or volumes that are seen whole, extended to their bucket."""
        found = self(self.extended(images), kind, views)
        return found[(slice(None), *map(slice, images.shape[1:-1]))]

    def __call__(
        self, images: Num[np.ndarray, "b *spatial c"], kind: Kind, views: Sequence[View] = AS_IT_IS, bare: bool = False
    ) -> Shaped[np.ndarray, "b ..."]:
        """Of images as they are; `bare`: of the network's own size, without the margins that valid convolutions need."""
        check_range(images, self.preprocessing)
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

    def extended(self, images: Num[np.ndarray, "b *spatial c"]) -> Num[np.ndarray, "b *spatial2 c"]:
        """Images whose last row and column are repeated."""
        beyond = self.beyond(images.shape[1:-1])
        return np.pad(images, ((0, 0), *((0, more) for more in beyond), (0, 0)), mode="edge") if any(beyond) else images

    def beyond(self, size: Sequence[int]) -> tuple[int, ...]:
        """Rows and columns by which images of a size are extended."""
        return tuple(-side % self.bucket for side in size)

    def made(self, kind: Kind, logits: Float[Array, "*pixels k"]) -> Array:
        """Logits, or what is made of them."""
        if kind == "logits":
            return logits
        if kind == "probabilities":
            return to_probabilities(logits, self.mode)
        return self.task.scores(logits) if self.task else jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def resized(self, logits: Float[np.ndarray, "*b h w k"], size: tuple[int, int]) -> Shaped[np.ndarray, "..."]:
        """The scores of logits that were found in an image, or a batch, at another size."""
        if logits.ndim == 3:
            return self.resized(logits[None], size)[0]
        return np.asarray(self._compiled_results(logits, size, ("scores",))["scores"])

    def results(
        self, found: Float[np.ndarray, "h w k"], size: tuple[int, int], kinds: Sequence[Kind]
    ) -> dict[Kind, Shaped[np.ndarray, "..."]]:
        """What is made of "all" that was found in an image at this size or another."""
        made = self._compiled_results(found[None, ..., :-2], size, tuple(kinds), found[None, ..., -2:])
        return {kind: np.asarray(made[kind][0]) for kind in kinds}

    @functools.cached_property
    def _compiled_results(self):
        def compute(logits, size, kinds, uncertain=None):
            if size != logits.shape[1:3]:
                refuse_mean(self.task, AT_OTHER_SIZES)
                factors = size[0] / logits.shape[1], size[1] / logits.shape[2]
                logits = resize_bilinear(logits, size)
                logits = jnp.asarray(self.task.resized(logits, factors)) if self.task else logits
                uncertain = None if uncertain is None else resize_bilinear(uncertain, size)
            return {kind: uncertain if kind == "uncertainty" else self.made(kind, logits) for kind in kinds}

        return jax.jit(compute, static_argnums=(1, 2), compiler_options=compiler_options(jax.devices()))

    @functools.cached_property
    def _compiled(self):
        """At the first call: JAX may not have been set up before.

        Images are not donated: what is made of uint8 images has other types, so that nothing could lie in their place, and
        they are NumPy arrays, of which nobody else holds what lies on the device.
        """
        options = compiler_options(jax.devices())
        return jax.jit(self._compute, static_argnames=("kind", "views", "bare"), compiler_options=options)

    def _compute(self, members, images, kind: Kind, views: tuple[View, ...], bare: bool) -> Array:
        x, uncertain = self.preprocessing.apply(self._scaled(images)), kind in ("uncertainty", "all")
        if len(members) == len(views) == 1 and not self.dropout.samples:
            logits = self._logits(members[0], x, bare)
            if not uncertain:
                return self.made(kind, logits)
            mean = to_probabilities(logits, self.mode)
            expected = entropy(mean, self.mode)
        else:
            mean, expected = self._averaged(members, x, views, bare)
            logits = to_logits(mean, self.mode)
        if not uncertain:
            return mean if kind == "probabilities" else self.made(kind, logits)
        whole = entropy(mean, self.mode)
        found = jnp.stack([whole, jnp.maximum(whole - expected, 0)], -1)
        return found if kind == "uncertainty" else jnp.concatenate([logits, found], -1)

    def _averaged(self, members, x, views, bare: bool) -> tuple[Float[Array, "b *spatial k"], Float[Array, "b *spatial"]]:
        """The mean of the probabilities that all networks find in all views, and of their entropies."""

        def once(key=None):
            keys = itertools.repeat(None) if key is None else jax.random.split(key, len(members) * len(views))
            pairs = itertools.product(members, views)
            found = [self._seen(variables, x, view, bare, each) for (variables, view), each in zip(pairs, keys, strict=False)]
            return _mean(found), _mean([entropy(each, self.mode) for each in found])

        if not self.dropout.samples:
            return once()
        keys = self.dropout.keys
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(once, keys[0]))
        sums, _ = jax.lax.scan(lambda sums, key: (jax.tree.map(jnp.add, sums, once(key)), None), nothing, keys)
        return jax.tree.map(lambda total: total / self.dropout.samples, sums)

    def _seen(self, variables, x, view: View, bare: bool, key) -> Float[Array, "b *spatial k"]:
        """The probabilities that a network finds in a view of the images."""
        logits = self._logits(variables, view.seen(x), bare, key)
        return view.back(to_probabilities(logits, self.mode), x.shape[1:-1])

    def _logits(self, variables, x, bare: bool, key=None) -> Float[Array, "b *spatial k"]:
        with dropping(key) as options:
            compute: Any = self.model.apply if bare else functools.partial(covering_logits, self.model)
            return compute(variables, x, **options)

    def _scaled(self, images) -> Array:
        """Values 0..255, from black to white."""
        if images.dtype == jnp.uint8 or self.preprocessing.axes != 2:  # signals and volumes are on that scale already
            return images
        whole = (0, 65535) if images.dtype == jnp.uint16 else (0, 1)
        low, high = self.preprocessing.value_range or whole
        return jnp.clip(jnp.nan_to_num((images.astype(jnp.float32) - low) * (255 / (high - low))), 0, 255)
