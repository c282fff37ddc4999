"""Tiles: exact ones equal the whole image; blended ones lie and weigh as nnU-Net's."""

import itertools

import jax
import numpy as np
import pytest

import fcn
from fcn.inference import Predictor, receptive_field
from fcn.inference.blended import blended_strips, importance, positions
from fcn.inference.field import ReceptiveField, Side
from fcn.inference.tiles import Part, cuts, exact_tiles, in_all_views, put_together, tile_side
from fcn.preprocessing import Preprocessing
from tests.test_contract import SIZES, SMALL, Subject
from tests.variables import random_variables

SIDE = Side(size=9, stride=2, alignment=4, halo=(5, 3), margins=(0, 0), smallest=1)
VALID = Side(size=9, stride=2, alignment=4, halo=(5, 5), margins=(5, 5), smallest=14)


@pytest.mark.parametrize("side", [SIDE, VALID])
@pytest.mark.parametrize("tile", [1, 8, 13])
def test_cuts_keep_every_row_once_with_its_halo(side, tile):
    for length in range(40, 61):
        read, lost = tile_side(length, tile, side), sum(side.margins)
        assert (length - read) % side.alignment == 0
        found = cuts(length, read, side)
        assert [row for cut in found for row in range(cut.first, cut.stop)] == list(range(length - lost))
        for cut in found:
            assert cut.start % side.alignment == 0 and 0 <= cut.start <= length - read
            first, stop = cut.first + side.margins[0], cut.stop + side.margins[0]  # as rows of the image
            assert cut.start == 0 or first - cut.start >= side.halo[0]
            assert cut.start + read == length or cut.start + read - stop >= side.halo[1]


@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((5, 3), (6, 4))])
def test_what_is_kept_is_the_image(pads):
    """Of a network that gives its images back; mirrored rows and columns around are read and left out."""
    image = np.random.default_rng(0).integers(0, 9, (37, 50, 2))
    tiles = exact_tiles(image.shape[:2], ReceptiveField(SIDE, SIDE), 8, pads)
    assert len({tile.read(image).shape for tile in tiles}) == 1 and len(tiles) > 4
    parts = [Part(tile.place, tile.read(image)[0][tile.inner]) for tile in tiles]
    np.testing.assert_array_equal(put_together(parts, image.shape[:2]), image)


def test_the_field_of_all_views_is_the_widest():
    """Mirrored, what lies before lies behind; turned, rows are columns."""
    other = SIDE._replace(halo=(2, 6), alignment=6)
    mirrored = in_all_views([ReceptiveField(SIDE, other)], turned=False)
    assert mirrored.halo == ((5, 5), (6, 6)) and mirrored.alignment == (4, 6)
    turned = in_all_views([ReceptiveField(SIDE, other)], turned=True)
    assert turned.halo == ((6, 6), (6, 6)) and turned.alignment == (12, 12)


@pytest.mark.parametrize(
    ("name", "options", "size", "tile"),
    [
        ("unet", {"base_features": 2, "depth": 1}, (81, 64), 16),
        ("unet2015", {"base_features": 2, "depth": 1}, (100, 90), 20),
    ],
)
def test_exact_tiles_equal_the_whole_image(name, options, size, tile):
    """The first repeats its last row, so that its sides divide by 2, the second has valid convolutions."""
    model = fcn.create_model(name, num_classes=3, **options)
    image = np.random.default_rng(0).normal(size=(*size, 3)).astype(np.float32)
    around = model.input_margins(*size) if hasattr(model, "input_margins") else ((0, 0), (0, 0))
    seen = np.pad(image, (*around, (0, 0)), mode="symmetric")[None]
    variables = random_variables(model, *seen.shape)
    apply = jax.jit(model.apply)
    whole = np.asarray(apply(variables, seen))[0, : size[0], : size[1]]
    tiles = exact_tiles(size, receptive_field(model, size=seen.shape[1:3]), tile, around)
    assert len(tiles) > 4
    parts = [Part(tile.place, np.asarray(apply(variables, tile.read(image)))[0][tile.inner]) for tile in tiles]
    found = put_together(parts, size)
    assert np.abs(found - whole).max() <= 1e-5 * np.abs(whole).max()


def test_positions_are_those_of_nnunet():
    assert [positions(length, 256) for length in (256, 360, 480)] == [[0], [0, 104], [0, 112, 224]]
    assert positions(100, 256) == [0]


def test_weights_are_a_gaussian_of_an_eighth():
    """The window ends after four deviations, and is highest behind the middle of an even side."""
    weights = importance(16, 32)
    assert weights.dtype == np.float32 and weights.min() > 0 and weights[8, 16] == 1
    np.testing.assert_allclose(weights[:, 16], np.exp(-0.5 * ((np.arange(16) - 8) / 2) ** 2), rtol=1e-5)
    np.testing.assert_allclose(weights, weights[:, 16:17] * weights[8:9], rtol=1e-5)


def test_blended_logits_are_weighted_averages():
    """Of tiles whose logits say where they begin; by hand for one row of tiles at 0, 4 and 8."""
    image = np.arange(16.0)[None, :, None] * np.ones((8, 1, 1))
    strips = blended_strips(lambda x: x[:, :, :1].repeat(8, 2), image, 8)  # the tile's first column everywhere
    logits = put_together(strips, image.shape[:2])
    weights = importance(8, 8)[4]
    expected = [(4 * weights[i]) / (weights[4 + i] + weights[i]) for i in range(4)]  # tiles at 0 and 4
    np.testing.assert_allclose(logits[3, 4:8, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(logits[:, :4], 0)
    np.testing.assert_allclose(logits[:, 12:], 8, rtol=1e-6)


@pytest.mark.parametrize("height", [5, 8, 9, 13, 16, 21, 40])
def test_strips_are_those_of_all_tiles_at_once_and_go_on_anywhere(height):
    """Also where tiles overlap by more than a half, so that three lie over a row."""
    image = np.random.default_rng(0).normal(size=(height, 11, 2)).astype(np.float32)
    rows, columns = min(height, 8), 8

    def compute(x):
        return x - x.mean((1, 2), keepdims=True)

    sums, total = np.zeros(image.shape), np.zeros((height, 11, 1))
    for top, left in itertools.product(positions(height, 8), positions(11, 8)):
        place, weights = (slice(top, top + rows), slice(left, left + columns)), importance(rows, columns)[..., None]
        sums[place] += weights * compute(image[place][None])[0]
        total[place] += weights
    strips = list(blended_strips(compute, image, 8))
    np.testing.assert_allclose(put_together(strips, image.shape[:2]), sums / total, atol=1e-5)
    for start in range(len(strips) + 1):
        for again, strip in zip(blended_strips(compute, image, 8, start), strips[start:], strict=True):
            assert again.place == strip.place
            np.testing.assert_allclose(again.values, strip.values, atol=1e-6)


@pytest.mark.parametrize("at_once", [2, 3, 5])
def test_blended_tiles_may_be_computed_together(at_once):
    """Always as many, of a row of four."""
    image, counts = np.random.default_rng(0).normal(size=(12, 20, 1)).astype(np.float32), []

    def compute(x):
        counts.append(len(x))
        return x - x.mean((1, 2), keepdims=True)

    together = put_together(blended_strips(compute, image, 8, at_once=at_once), image.shape[:2])
    assert counts == [at_once] * (2 * -(-4 // at_once))
    alone = put_together(blended_strips(compute, image, 8), image.shape[:2])
    np.testing.assert_allclose(together, alone, atol=1e-6)


SEES_ALL = {
    "manet": "center",
    "fpn": "norm_0",
    "pspnet": "decoder",
    "pan": "fpa",
    "deeplabv3": "aspp",
    "deeplabv3plus": "aspp",
    "upernet": "decoder",
    "segformer": "segmentation_head",
    "dpt": "encoder",
    "deeplabv3_resnet50": "classifier",
    "lraspp": "classifier",
    "deeplabv3_mobilenet_v2_tf": "TF sees all rows",
    "cpnet": "CPNet",
    "residual_encoder_unet": "norm",
}
"""The networks that have no finite receptive field, and what the layer that is named is called."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if len(SIZES.get(name, [(1, 1)])[0]) == 2])
def test_every_network_is_exact_in_tiles_or_names_a_layer(name):
    """With a bucket, so that no network resizes by another factor than its strides."""
    subject = Subject(name)
    if name in SEES_ALL:
        with pytest.raises(ValueError, match=f"no finite receptive field: .*{SEES_ALL[name]}"):
            receptive_field(subject.model)
        return
    predictor = Predictor(subject.model, subject.variables, Preprocessing(), bucket=64)
    field = receptive_field(subject.model)
    tile = max(max(map(max, field.halo)), 64)
    image = np.random.default_rng(0).integers(0, 256, (4 * tile, 5 * tile // 2, 3)).astype(np.uint8)
    whole = predictor.logits(image)
    assert np.abs(predictor.logits(image, tile=tile) - whole).max() <= 1e-4 * np.abs(whole).max()
