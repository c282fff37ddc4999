"""A trained network for images of any size: whole, in tiles, averaged over views and over networks."""

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import numpy as np
from jaxtyping import Float, Num, Shaped

from fcn.inference.dropout import Dropout, refuse_without_dropout
from fcn.inference.ensemble import Ensemble
from fcn.inference.images import one_of, prepared, shown
from fcn.inference.probabilities import refuse_mean
from fcn.inference.program import Kind, Program
from fcn.inference.stream import ahead, runs
from fcn.inference.tiles import put_together
from fcn.inference.tiling import Parts, Tiling, whole_in_one
from fcn.inference.views import View, views_of
from fcn.parallel import Sharded
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task

LARGEST_WHOLE, USUAL_TILE = 1024 * 1024, 512
"""What tile="auto" takes: the most pixels of an image that is seen whole, and the tile of others."""
TileSize = int | Literal["auto"] | None


class Uncertainty(NamedTuple):
    """How uncertain networks are of each pixel, in nats.

    Attributes:
        entropy: of the averaged probabilities.
        mutual_information: by how much it is larger than the average entropy: what the networks, the views or the samples of
            dropout disagree about; 0 of one network in one view.
    """

    entropy: Float[np.ndarray, "*b h w"]
    mutual_information: Float[np.ndarray, "*b h w"]


class Predictor:
    """A network with all that predicts: `predictor(image)` gives class ids, `.probabilities` and `.logits` what they are of.

    Images are arrays [H, W, C] or batches [B, H, W, C]: uint8, uint16 (the record's `value_range` is black to white, or 0 to
    65535), or floating point (that range, or 0 to 1; NaN is black); red, green, blue. Where training brought each image to its
    own range (the record's `per_image`), so it is here. Results are NumPy arrays of their sizes. Images are seen as they are:
    where training resized its images, bring them to `preprocessing.seen_size(height, width)` before.

    Each size of images compiles a program. So that a folder of mixed sizes takes a handful, sides are extended to multiples of
    `bucket` by repeating the last row and column, as networks do themselves where sides do not divide by their strides; logits
    that see these borders then depend on it. `programs` counts what was compiled.

    With `tile=512` an image is seen in parts of about so many pixels, and memory does not grow with it but for the result, and
    for the image where it is read whole (`per_image`). Where the network's receptive field is finite
    (`fcn.inference.receptive_field`) and its halo is no larger than the tile, tiles are exact: logits are those of the whole
    image. Else tiles overlap by half and are blended as nnU-Net does, which is another result; a warning says so once.
    `tile="auto"` takes tiles of 512 for images of more than 1024 x 1024 pixels.

    With `tta=("flips", "rotations", 0.75)` probabilities are averaged over views: mirrored, turned by 90 degrees, in other
    sizes; not in other sizes with tiles. So they are over the networks of an ensemble, and over times with dropout, all in one
    compiled call.

    Args:
        model: images [B, H, W, C] -> logits [B, H, W, K].
        variables: the model's, or a list of such, of the networks of an ensemble.
        preprocessing: what it expects of images; by default what published weights of the model expect.
        task: what the logits mean; by default a softmax.
        bucket: sides are extended to multiples of it; 1 or None: not at all, the result is that of `model.apply`.
        border: what tiles see beyond the image: "network", what the network puts there, or "mirror", the image mirrored, as
            U-Net's overlap-tile strategy does (section 2 of its paper), always so for valid convolutions.
        parallel: the devices that share the work: `fcn.parallel.Sharded()` shares out tiles and the images of a batch,
            `Sharded(height=n)` the rows of each image. What does not divide is computed by each of them. By default one device.
        dropout: the network predicts so many times, each time with dropout as in training (BatchNorm as in evaluation), and
            probabilities are averaged; 0: once, without. The same call drops the same.
        seed: of what is dropped.

    Raises:
        ValueError: a bucket under 1, another border, an ensemble of none, a task of another number of channels than the network
            has, dropout under 0, or of a network that has none.
    """

    def __init__(
        self,
        model: nn.Module | Ensemble,
        variables: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        preprocessing: Preprocessing | None = None,
        task: Task | None = None,
        *,
        bucket: int | None = 64,
        border: str = "network",
        parallel: Sharded | None = None,
        dropout: int = 0,
        seed: int = 0,
    ):
        if dropout < 0:
            raise ValueError(
                f"dropout={dropout}; give the number of times that the network predicts, or 0 for once without dropout"
            )
        if bucket is not None and bucket < 1:
            raise ValueError(f"bucket={bucket}; sides are extended to multiples of at least 1")
        if border not in ("network", "mirror"):
            raise ValueError(f"border={border!r}; tiles see beyond the image what the 'network' puts there, or a 'mirror'")
        members = [variables] if isinstance(variables, Mapping) else list(variables)
        if isinstance(model, Ensemble):
            members, model = [one for each in members for one in model.members(each)], model.model
        if not members:
            raise ValueError("an ensemble of no networks; give the variables of one, or a list of them")
        if len(members) > 1 or dropout:
            refuse_mean(task, "leave dropout out" if dropout else "leave the ensemble out")
        count = getattr(model, "num_classes", None)
        if task is not None and count not in (None, task.channels):
            raise ValueError(f"the task {task.name!r} has {task.channels} channels, but the model has {count} classes")
        self.model, self.members, self.task, self.bucket, self.border = model, members, task, bucket or 1, border
        self.preprocessing = preprocessing or _default_preprocessing(model, members[0])
        if self.preprocessing.axes != 2:
            raise ValueError(f"the network is for arrays of {self.preprocessing.axes} spatial dimensions; take VolumePredictor")
        self.dropout = Dropout(dropout, seed)
        if dropout:
            refuse_without_dropout(model, members[0], self.preprocessing.channels)
        self._program = Program(model, members, self.preprocessing, task, bucket or 1, parallel, self.dropout)
        self._tiling = Tiling(self._program, border)

    def __call__(self, image: Num[np.ndarray, "*b h w c"], *, tile: TileSize = None, tta: Sequence[str | float] = ()) -> Any:
        """What the task predicts: class ids, int32 [H, W] of one image, [B, H, W] of a batch (of some tasks a list).

        Raises:
            ValueError: an image of another number of channels or type, a tile or augmentation that does not exist, or a task
                of directions (StarDist, flows) with augmentation.
        """
        return self._predicted(prepared(image, self.preprocessing), tile, tta)

    def probabilities(
        self,
        image: Num[np.ndarray, "*b h w c"],
        *,
        size: tuple[int, int] | None = None,
        tile: TileSize = None,
        tta: Sequence[str | float] = (),
    ) -> Float[np.ndarray, "*b h w k"]:
        """The probability of each channel's class, float32. Arguments as for scores.

        Raises:
            ValueError: as for class ids, or the task has values and no probabilities.
        """
        self._refuse_values(".logits")
        if size is None:
            return self._found(prepared(image, self.preprocessing), "probabilities", tile, tta)
        return self.results(image, ("probabilities",), size=size, tile=tile, tta=tta)["probabilities"]

    def uncertainty(
        self,
        image: Num[np.ndarray, "*b h w c"],
        *,
        size: tuple[int, int] | None = None,
        tile: TileSize = None,
        tta: Sequence[str | float] = (),
    ) -> Uncertainty:
        """How uncertain the networks are. Arguments as for scores, errors as for probabilities."""
        self._refuse_values("an ensemble's .logits one by one")
        if size is None:
            return Uncertainty(*np.moveaxis(self._found(prepared(image, self.preprocessing), "uncertainty", tile, tta), -1, 0))
        return self.results(image, ("uncertainty",), size=size, tile=tile, tta=tta)["uncertainty"]

    def results(
        self,
        image: Num[np.ndarray, "h w c"],
        kinds: Sequence[Kind],
        *,
        size: tuple[int, int] | None = None,
        tile: TileSize = None,
        tta: Sequence[str | float] = (),
    ) -> dict[Kind, Any]:
        """Several of "scores", "logits", "probabilities" and "uncertainty", for which the networks run once.

        Arguments as for scores, errors as for probabilities.
        """
        self._refuse_values(".logits")
        image = prepared(one_of(image), self.preprocessing)
        own = image.shape[:2]
        found = self._found(
            image if size is None or tuple(size) == own else shown(image, size, self.preprocessing), "all", tile, tta
        )
        made: dict[Kind, Any] = self._program.results(found, own, kinds)
        if "uncertainty" in made:
            made["uncertainty"] = Uncertainty(*np.moveaxis(made["uncertainty"], -1, 0))
        return made

    def logits(self, image: Num[np.ndarray, "*b h w c"], *, tile: TileSize = None) -> Float[np.ndarray, "*b h w k"]:
        """The logits, float32; of an ensemble those of its averaged probabilities. Errors as for class ids."""
        return self._found(prepared(image, self.preprocessing), "logits", tile, ())

    def scores(
        self,
        image: Num[np.ndarray, "*b h w c"],
        *,
        size: tuple[int, int] | None = None,
        tile: TileSize = None,
        tta: Sequence[str | float] = (),
    ) -> Shaped[np.ndarray, "..."]:
        """What the task makes predictions and pictures of (`Task.scores`). Errors as for class ids.

        Args:
            image: [H, W, C], or a batch [B, H, W, C].
            size: height and width at which the networks see it, such as `Preprocessing.seen_size` gives; logits are then
                resized to the image's own.
            tile, tta: as for class ids.
        """
        image = prepared(image, self.preprocessing)
        own = image.shape[-3:-1]
        if size is None or tuple(size) == own:
            return self._found(image, "scores", tile, tta)
        return self._program.resized(self._found(shown(image, size, self.preprocessing), "logits", tile, tta), own)

    def parts(self, image: Num[Any, "*b h w c"], *, tile: TileSize = "auto", tta: Sequence[str | float] = ()) -> Parts:
        """The scores of an image part by part, for images and results that do not fit into memory.

        Args:
            image: [H, W, C]: an array, `numpy.memmap`, or what else has a shape and a dtype, and gives some of its rows and
                columns as NumPy's arrays do: `image[numpy.ix_(rows, columns)]`.
            tile, tta: as for class ids.

        Raises:
            ValueError: as for class ids, or the range of the image's values is only known once all of them are.
        """
        return self._parts(prepared(one_of(image), self.preprocessing), "scores", self._tile(image, tile), self._views(tta))

    def map(
        self,
        images: Iterable[Any],
        read: Callable[[Any], np.ndarray] = np.asarray,
        *,
        batch: int = 1,
        tile: TileSize = None,
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
        for group in runs(ahead(lambda given: prepared(read(given), self.preprocessing), images), batch, self._bucket_of):
            if len(group) == batch > 1 and tile is None:
                yield from self._together(group, tta)
            else:
                yield from (self._predicted(image, tile, tta) for image in group)

    @property
    def variables(self) -> Mapping[str, Any]:
        """Those of the network, of an ensemble those of the first."""
        return self.members[0]

    @property
    def mode(self) -> str | None:
        """What makes probabilities of logits, "multiclass", "binary" or "multilabel"; None where they are values."""
        return self._program.mode

    @property
    def programs(self) -> int:
        """How many were compiled."""
        return self._program.count

    def _bucket_of(self, image) -> tuple:
        size = image.shape[:2]
        return image.dtype, *(side + beyond for side, beyond in zip(size, self._program.beyond(size)))

    def _together(self, images, tta) -> Iterator[Any]:
        """Of images that one bucket holds."""
        batch = np.concatenate([self._program.extended(image[None]) for image in images])
        for image, extended in zip(images, self._found(batch, "scores", None, tta)):
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
        side, views = self._tile(image, tile), self._views(tta)
        if image.ndim == 3:
            return put_together(self._parts(image, kind, side, views).after(0), image.shape[:2])
        if side is None:
            return self._program.whole(image, kind, views)
        return np.stack([put_together(self._parts(one, kind, side, views).after(0), one.shape[:2]) for one in image])

    def _parts(self, image, kind: Kind, tile: int | None, views: tuple[View, ...]) -> Parts:
        if tile is None:
            return whole_in_one(image, lambda image: self._program.whole(image[None], kind, views)[0])
        if any(view.scale != 1 for view in views):
            raise ValueError("tiles are not seen in other sizes; leave the scales out of tta, or the tile")
        return self._tiling.parts(image, kind, tile, views)

    def _tile(self, image, tile) -> int | None:
        """None: the image is seen whole."""
        height, width = image.shape[-3:-1]
        if tile == "auto":
            return USUAL_TILE if height * width > LARGEST_WHOLE else None
        if tile is not None and (not isinstance(tile, numbers.Integral) or isinstance(tile, bool) or int(tile) < 1):
            raise ValueError(f"tile={tile!r}; give a number of pixels above 0, 'auto' or None")
        return None if tile is None or max(height, width) <= int(tile) else int(tile)

    def _views(self, tta) -> tuple[View, ...]:
        views = tuple(views_of(tta))
        if len(views) > 1 and self.task is not None and self.task.directed:
            raise ValueError(f"the task {self.task.name!r} predicts directions, which differ between views; leave out tta")
        return views

    def _refuse_values(self, instead: str):
        if self._program.mode is None:
            raise ValueError(f"the task {self.task and self.task.name!r} has values, not probabilities; take {instead}")


def _default_preprocessing(model, variables) -> Preprocessing:
    from fcn.pretrained.networks import expected_by

    return expected_by(model, variables)
