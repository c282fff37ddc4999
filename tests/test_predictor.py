"""The predictor: sizes in buckets, types of images, tiles and views that agree with the whole image."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn import tasks
from fcn.data import resize_image
from fcn.data.reading.stretch import stretched
from fcn.inference import Ensemble, Predictor
from fcn.inference.probabilities import entropy
from fcn.inference.tiles import put_together
from fcn.inference.views import View, views_of
from fcn.layers import Conv, PointwiseConv, max_pool, resize_bilinear, resize_nearest
from fcn.parallel import Sharded
from fcn.preprocessing import Preprocessing
from fcn.registry import MODELS
from tests.variables import random_variables, shapes_of

PLAIN = Preprocessing((0.5,), (0.5,))
UNET = fcn.create_model("unet", num_classes=5)


class Net(nn.Module):
    """One level of a U-Net, pixels alone, or pixels beside the mean of the image."""

    channels: int = 3
    sees: str = "neighbours"

    @nn.compact
    def __call__(self, x, *, train=False):
        if self.sees == "neighbours":
            small = Conv(2, 3, name="coarse")(max_pool(Conv(2, 3, name="fine")(x), 2, ceil_mode=True))
            x = x + resize_nearest(small, 2)[:, : x.shape[1], : x.shape[2], :1]
        elif self.sees == "all":
            x = x - x.mean((1, 2), keepdims=True)
        return PointwiseConv(self.channels, name="head")(x)


def predictor(sees="neighbours", task=None, channels=3, scale=1.0, **options):
    model = Net(channels, sees)
    variables = jax.tree.map(lambda leaf: scale * leaf, random_variables(model, 1, 16, 16, 1))
    return Predictor(model, variables, PLAIN, task, **options)


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 1)).astype(np.uint8)


class Lazy(NamedTuple):
    """An image that lies elsewhere."""

    dtype: np.dtype
    shape: tuple[int, int, int] = (8, 8, 1)


@pytest.fixture(scope="module")
def whole():
    """Sides are multiples of 16."""
    return predictor(bucket=16)


def test_the_record_of_the_registry_is_the_default():
    model = fcn.create_model("espnet_c", num_classes=3, p=1, q=0)
    assert Predictor(model, shapes_of(model, 1, 32, 32, 3)).preprocessing == MODELS["espnet_c"].preprocessing


def test_what_it_was_made_of():
    """Of an ensemble, the variables of the first; sides that are not extended are multiples of 1."""
    variables = [random_variables(Net(), 1, 16, 16, 1, seed=seed) for seed in (0, 1)]
    found = Predictor(Net(), variables, PLAIN, bucket=None, border="mirror")
    assert found.variables is variables[0] and found.members[1] is variables[1]
    assert (found.bucket, found.border, found.mode) == (1, "mirror", "multiclass")
    assert predictor(task=tasks.make("regression", ["a", "b", "c"])).mode is None


def test_sizes_fall_into_buckets(whole):
    """As if the last row and column had been repeated."""
    for size in ((33, 47), (40, 36), (48, 48)):
        small = image(*size)
        repeated = np.pad(small, ((0, 48 - size[0]), (0, 48 - size[1]), (0, 0)), mode="edge")
        np.testing.assert_array_equal(whole.logits(small), whole.logits(repeated)[: size[0], : size[1]])
    assert whole.programs == 1


def test_images_of_a_bucket_are_predicted_together():
    """Two and two; the third has no neighbour in its bucket."""
    found = predictor(bucket=16)
    images = [image(*size) for size in ((33, 47), (40, 36), (20, 20), (48, 48), (33, 33))]
    together = list(found.map(iter(images), batch=2))
    assert found.programs == 2  # two of 48, one of 32
    assert [one.shape for one in together] == [one.shape[:2] for one in images]
    for one, expected in zip(together, map(found, images)):
        np.testing.assert_array_equal(one, expected)


def test_types_of_images(whole):
    expected = whole.logits(image(30, 30))
    assert expected.shape == (30, 30, 3) and expected.dtype == np.float32
    for same in (image(30, 30).astype(np.uint16) * 257, image(30, 30) / np.float32(255)):
        np.testing.assert_allclose(whole.logits(same), expected, atol=1e-5)
    batch = whole.logits(np.stack([image(30, 30)[::-1], image(30, 30)]))
    np.testing.assert_allclose(batch[1], expected, atol=1e-5)


def test_images_are_brought_to_their_own_range_before_they_are_extended(whole):
    """As training did, one by one; other values of the same image are the same to the network."""
    own = Predictor(whole.model, whole.members[0], Preprocessing((0.5,), (0.5,), per_image="percentiles"), bucket=16)
    dark = [image(30, 30), image(20, 31)]
    expected = [whole(stretched(one, "percentiles")) for one in dark]
    for one, found in zip(expected, own.map([one * np.float32(7) - 3 for one in dark], batch=2), strict=True):
        np.testing.assert_array_equal(found, one)
    np.testing.assert_array_equal(own(dark[0][None])[0], expected[0])


def test_what_is_no_number_is_black(whole):
    holes = image(30, 30) / np.float32(255)
    holes[3:5] = np.nan
    np.testing.assert_allclose(whole.logits(holes), whole.logits(np.nan_to_num(holes)), atol=1e-6)


def test_the_range_of_values_is_seen_beside_what_is_no_number(whole, tmp_path):
    """Of a file in each part that is read."""
    values = np.full((48, 32, 1), 0.5, np.float32)
    values[0, 0], values[40, 8] = np.nan, 200
    stored = np.memmap(tmp_path / "values", np.float32, "w+", shape=values.shape)
    stored[:] = values
    for image, options in ((values, {}), (stored, {}), (stored, {"tile": 16})):
        with pytest.raises(ValueError, match=r"has values 0\.5 to 200; 0 is black and 1 white"):
            whole(image, **options)
    stored[40, 8] = 1
    np.testing.assert_allclose(whole.logits(stored, tile=16), whole.logits(np.asarray(stored)), atol=1e-5)
    nothing = np.full((16, 16, 1), np.nan, np.float32)
    np.testing.assert_array_equal(whole.logits(nothing), whole.logits(np.zeros_like(nothing)))


@pytest.mark.parametrize("size", [(83, 70), (96, 64)])
def test_tiles_give_what_the_whole_image_gives(size, whole):
    """Also where a bucket extends the image, and where it is seen from several sides."""
    logits = whole.logits(image(*size))
    np.testing.assert_allclose(whole.logits(image(*size), tile=16), logits, atol=1e-5 * np.abs(logits).max())


def test_integers_of_any_type_are_a_tile(whole):
    found = whole._found(image(83, 70), "logits", np.int64(16), ())
    np.testing.assert_array_equal(found, whole.logits(image(83, 70), tile=16))


def test_tiles_are_averaged_over_views(whole):
    expected = whole.probabilities(image(44, 40), tta=("flips",))
    np.testing.assert_allclose(whole.probabilities(image(44, 40), tile=16, tta=("flips",)), expected, atol=1e-5)
    np.testing.assert_array_equal(whole(image(44, 40), tile=16, tta=("flips",)), expected.argmax(-1))


def test_tiles_that_are_turned():
    """Rows are columns in some views; sides that no stride divides, so that borders differ, too."""
    found, photo = predictor(bucket=1), image(43, 38)
    expected = found.probabilities(photo, tta=("rotations",))
    np.testing.assert_allclose(found.probabilities(photo, tile=16, tta=("rotations",)), expected, atol=1e-5)


@pytest.fixture(scope="module")
def ensemble(whole):
    """Two networks, the other of which likes what the first does not."""
    other = jax.tree.map(np.negative, whole.members[0])
    return Predictor(whole.model, [whole.members[0], other], PLAIN, bucket=16)


@pytest.fixture(scope="module")
def found_by_each(ensemble):
    """Their probabilities, [2, 44, 40, 3]."""
    return np.stack([Predictor(ensemble.model, one, PLAIN, bucket=16).probabilities(image(44, 40)) for one in ensemble.members])


def test_ensembles_are_averaged_as_probabilities(ensemble, found_by_each):
    mean = found_by_each.mean(0)
    np.testing.assert_allclose(ensemble.probabilities(image(44, 40)), mean, atol=1e-6)
    np.testing.assert_array_equal(ensemble(image(44, 40)), mean.argmax(-1))
    np.testing.assert_allclose(jax.nn.softmax(ensemble.logits(image(44, 40))), mean, atol=1e-6)


def test_an_ensemble_that_was_trained_together_is_its_networks(ensemble):
    trained = Ensemble(ensemble.model, tasks.make("semantic", [*"abc"]), 2)
    together = jax.tree.map(lambda *leaves: np.stack(leaves), *ensemble.members)
    found = Predictor(trained, [together, together], PLAIN)
    assert found.model == ensemble.model
    jax.tree.map(np.testing.assert_array_equal, found.members, ensemble.members * 2)


def test_uncertainty_is_entropy_and_what_networks_disagree_about(ensemble, found_by_each, whole):
    """Mutual information: the entropy of the mean, less the mean of entropies. One network agrees with itself."""
    found, each = ensemble.uncertainty(image(44, 40)), -(found_by_each * np.log(found_by_each)).sum(-1)
    together = found_by_each.mean(0)
    mean = -(together * np.log(together)).sum(-1)
    np.testing.assert_allclose(found.entropy, mean, atol=1e-5)
    np.testing.assert_allclose(found.mutual_information, mean - each.mean(0), atol=1e-5)
    assert found.mutual_information.max() > 0.1
    alone = whole.uncertainty(image(44, 40))
    np.testing.assert_allclose(alone.entropy, each[0], atol=1e-5)
    np.testing.assert_array_equal(alone.mutual_information, 0)


def test_uncertainty_of_labels_is_summed():
    probabilities = jnp.array([[[0.5, 0.0]], [[1.0, 0.25]]])
    expected = [[np.log(2)], [-0.25 * np.log(0.25) - 0.75 * np.log(0.75)]]
    np.testing.assert_allclose(entropy(jax.numpy.asarray(probabilities), "multilabel"), expected, rtol=1e-6)


@pytest.mark.skipif(jax.device_count() < 8, reason="takes eight devices: --xla_force_host_platform_device_count=8")
@pytest.mark.parametrize(("height", "tile", "shared"), [(1, 16, (4, 7)), (4, None, (1, 1))])
def test_devices_share_tiles_or_rows(height, tile, shared, whole, monkeypatch):
    """The last tiles are fewer than the devices; of one image each device has its rows."""
    parallel = Sharded(jax.devices()[:4], height=height)
    found, put, shapes = Predictor(whole.model, whole.members[0], PLAIN, bucket=16, parallel=parallel), parallel.put_batch, []
    monkeypatch.setattr(parallel, "put_batch", lambda batch: shapes.append(len(batch["images"])) or put(batch))
    logits = whole.logits(image(83, 70))
    np.testing.assert_allclose(found.logits(image(83, 70), tile=tile), logits, atol=1e-5 * np.abs(logits).max())
    assert shapes == [shared[0]] * shared[1]


def test_parts_go_on_anywhere(whole):
    parts = whole.parts(image(83, 70), tile=16)
    found = list(parts.after(0))
    assert len(found) == parts.count > 4
    np.testing.assert_array_equal(put_together(found, (83, 70)), whole(image(83, 70), tile=16))
    for again, part in zip(parts.after(3), found[3:], strict=True):
        assert again.place == part.place
        np.testing.assert_array_equal(again.values, part.values)
    (one,) = whole.parts(image(30, 30), tile=32).after(0)
    np.testing.assert_array_equal(one.values, whole(image(30, 30)))


def test_images_seen_at_another_size():
    """Logits are resized to the image's size, before scores are made of them."""
    found, photo = predictor("pixels", bucket=1), image(20, 30)
    logits = found.logits(resize_image(photo, (10, 12)))
    expected = np.asarray(resize_bilinear(logits[None], (20, 30)))[0].argmax(-1)
    np.testing.assert_array_equal(found.scores(photo, size=(10, 12)), expected)
    np.testing.assert_array_equal(found.scores(photo.astype(np.uint16) * 257, size=(10, 12)), expected)
    np.testing.assert_array_equal(found.scores(photo, size=(20, 30)), found(photo))
    np.testing.assert_array_equal(found.scores(np.stack([photo[::-1], photo]), size=(10, 12))[1], expected)
    small = found.uncertainty(resize_image(photo, (10, 12))).entropy
    entropies = np.asarray(resize_bilinear(small[None, ..., None], (20, 30)))[0, ..., 0]
    np.testing.assert_allclose(found.uncertainty(photo, size=(10, 12)).entropy, entropies, atol=1e-6)


def test_tiles_of_images_that_no_bucket_extends():
    found, photo = predictor(bucket=1), image(83, 70)
    logits = found.logits(photo)
    np.testing.assert_allclose(found.logits(photo, tile=16), logits, atol=1e-5 * np.abs(logits).max())
    np.testing.assert_array_equal(found(photo, tile=16), logits.argmax(-1))


def test_mirrored_borders():
    """What tiles see beyond the image is the image itself: as the middle of a mirrored one."""
    found, photo = predictor(border="mirror", bucket=1), image(40, 42)
    around = np.pad(photo, ((20, 20), (20, 20), (0, 0)), mode="symmetric")
    expected = found.logits(around)[20:60, 20:62]
    np.testing.assert_allclose(found.logits(photo, tile=10), expected, atol=1e-5 * np.abs(expected).max())


def test_views_are_averaged_as_probabilities(whole):
    photo = image(32, 48)
    views = [(photo, np.asarray), (photo[:, ::-1], lambda x: x[:, ::-1])]
    views += [(view[::-1], lambda x, back=back: back(x[::-1])) for view, back in views]
    expected = np.mean([back(whole.probabilities(view)) for view, back in views], 0)
    np.testing.assert_allclose(whole.probabilities(photo, tta=("flips",)), expected, atol=1e-5)
    np.testing.assert_array_equal(whole(photo, tta=("flips",)), expected.argmax(-1))


def test_an_equivariant_network_is_the_same_from_all_sides():
    found, photo = predictor("pixels"), image(20, 30)
    probabilities = found.probabilities(photo)
    np.testing.assert_allclose(found.probabilities(photo, tta=("rotations", "flips")), probabilities, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    flat = np.full((20, 30, 1), 77, np.uint8)  # the same in all sizes
    np.testing.assert_allclose(found.probabilities(flat, tta=(0.5, 1.5)), found.probabilities(flat), atol=1e-6)


@pytest.mark.parametrize(
    ("names", "size", "count"),
    [
        ((), (3, 2), 1),
        (("flips",), (3, 2), 4),
        (("rotations",), (3, 2), 4),
        (("flips", "rotations"), (3, 2), 8),
        ("flips", (5,), 2),
        ("flips", (2, 3, 2), 8),
        ("rotations", (2, 3, 2), 4),
        (("flips", "rotations"), (2, 3, 2), 16),
    ],
)
def test_views(names, size, count):
    """All are different; what is found is turned back. A signal is reversed, the slices of a volume come in either order."""
    pixels = np.arange(np.prod(size)).reshape(1, *size, 1)
    views = views_of(names, len(size))
    seen = [view.seen(pixels) for view in views]
    assert views[0] == View() and len({(each.shape, np.asarray(each).tobytes()) for each in seen}) == len(views) == count
    for view, each in zip(views, seen, strict=True):
        np.testing.assert_array_equal(view.back(each, size), pixels)


def test_views_in_other_sizes():
    assert len(views_of(("flips", 0.5))) == 8 and views_of(("flips", 2.0))[4] == View(scale=2.0)
    volumes = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4, 1)
    halved = np.asarray(View(scale=0.5).seen(volumes))
    np.testing.assert_array_equal(halved, volumes.reshape(1, 2, 2, 2, 2, 2, 2, 1).mean((2, 4, 6)))
    with pytest.raises(ValueError, match="a signal has no rotations; take flips"):
        views_of("rotations", 1)


def test_tasks_decide():
    """Sigmoids of one channel; averaged probabilities are thresholded."""
    task = tasks.make("binary", classes=["background", "cell"])
    found, photo = predictor("pixels", task, channels=1), image(20, 30)
    probabilities = found.probabilities(photo)[..., 0]
    np.testing.assert_array_equal(found(photo), probabilities >= 0.5)
    np.testing.assert_array_equal(found(photo, tta=("flips",)), probabilities >= 0.5)
    np.testing.assert_array_equal(list(found.map([photo, photo[:10]]))[1], found(photo)[:10])


@pytest.mark.parametrize(("name", "channels"), [("flows", 3), ("stardist", 33)])
def test_directions_are_not_averaged_over_views(name, channels):
    found = predictor("pixels", tasks.make(name, classes=["cell"]), channels)
    with pytest.raises(ValueError, match=f"the task '{name}' predicts directions, which differ between views"):
        found(image(8, 8), tta=("flips",))


def test_networks_that_see_all_are_blended_and_say_so():
    heights = []

    class Watched(tasks.Semantic):
        def scores(self, logits):
            heights.append(logits.shape[0])
            return super().scores(logits)

    found, flat = predictor("all", Watched(classes=[*"abc"]), bucket=1), np.full((40, 24, 1), 77, np.uint8)
    with pytest.warns(UserWarning, match="tiles are blended, .* Net has no finite receptive field"):
        logits = found.logits(flat, tile=16)
    np.testing.assert_allclose(logits, found.logits(flat), atol=1e-5)
    for tta in ((), ("flips",)):
        np.testing.assert_array_equal(found(flat, tile=16, tta=tta), logits.argmax(-1))
    assert heights == [8, 8, 8, 16] * 2  # never are all logits held


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda found: found(image(8, 8).repeat(3, 2)), r"the network takes \[H, W, 1\]"),
        (lambda found: found(image(8, 8).astype(np.int32)), "type int32; it is uint8, uint16"),
        (lambda found: found(image(8, 8).astype(np.float32)), "has values .*; 0 is black and 1 white"),
        (lambda found: found(image(8, 8), tile=0), "tile=0; give a number of pixels above 0"),
        (lambda found: found(image(8, 8), tile=True), "tile=True; give a number of pixels above 0"),
        (lambda found: found(image(8, 8), tta=("flip",)), "did you mean 'flips'"),
        (lambda found: found(image(8, 8), tta=(-1.0,)), "-1 times as large"),
        (lambda found: found(image(40, 40), tile=16, tta=(0.5,)), "tiles are not seen in other sizes"),
        (lambda found: next(found.map([image(8, 8)], batch=0)), "batch=0; give the number of images"),
        (lambda _: Predictor(UNET, {}, PLAIN, tasks.make("semantic", [*"abc"])), "'semantic' has 3 channels, but .* 5 classes"),
        (lambda found: found.parts(image(1, 8, 8)), r"a batch of shape \[1, 8, 8, 1\]; give one image"),
        (lambda found: found.parts(Lazy(np.dtype("int64"))), "type int64; it is uint8"),
        (lambda found: Predictor(found.model, [], PLAIN), "an ensemble of no networks"),
        (lambda _: predictor(bucket=0), "bucket=0; sides are extended"),
        (lambda _: predictor(border="zeros"), "border='zeros'"),
    ],
)
def test_what_is_refused(whole, call, said):
    with pytest.raises(ValueError, match=said):
        call(whole)
