"""Heads on coarser maps: where they are, how large their logits, and what their losses weigh."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import fcn
from fcn.models.parts.supervision import sow_coarse_logits
from fcn.training.heads import loss_of_heads
from tests.variables import shapes_of

SMALL = {
    "unet": {"base_features": 2, "depth": 4, "stem_stride": 2},
    "attention_unet": {"base_features": 2, "depth": 4},
    "unet resnet18": {"encoder": "resnet18", "encoder_depth": 4, "decoder_channels": (8, 8, 8, 4)},
    "unetplusplus": {"encoder": "resnet18", "encoder_depth": 4, "decoder_channels": (8, 8, 8, 4)},
}


@pytest.mark.parametrize("name", SMALL)
def test_all_but_the_finest_and_the_coarsest_map_have_heads_with_logits_of_the_image_s_size(name):
    model = fcn.create_model(name.split()[0], num_classes=3, deep_supervision=True, **SMALL[name])
    plain = fcn.create_model(name.split()[0], num_classes=3, **SMALL[name])
    images = jax.ShapeDtypeStruct((1, 33, 50, 3), jnp.float32)
    variables = shapes_of(model, 1, 33, 50, 3)
    added = set(flatten_dict(variables["params"])) - set(flatten_dict(shapes_of(plain, 1, 33, 50, 3)["params"]))
    assert {path[-2] for path in added} == {"coarse_head_1", "coarse_head_2"}
    logits, new = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["aux_logits", "batch_stats"]), variables, images
    )
    assert {name: x[0].shape for name, x in new["aux_logits"].items()} == dict.fromkeys(("coarse_1", "coarse_2"), logits.shape)


def test_the_logits_of_a_coarse_head_are_those_of_its_map_enlarged():
    model = fcn.create_model("unet", num_classes=2, base_features=2, depth=3, deep_supervision=True)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), jnp.float32)
    variables = model.init(jax.random.key(0), images)
    keep = lambda module, method: module.name == "decoder1"  # noqa: E731
    _, new = model.apply(variables, images, mutable=["aux_logits", "intermediates"], capture_intermediates=keep)
    (x,) = new["intermediates"]["decoder1"]["__call__"]
    head = variables["params"]["coarse_head_1"]
    expected = jax.image.resize(x @ head["kernel"][0, 0] + head["bias"], (1, 16, 16, 2), "bilinear")
    np.testing.assert_allclose(new["aux_logits"]["coarse_1"][0], expected, rtol=1e-5, atol=1e-6)


class _Middle(nn.Module):
    """A head on coarse maps of valid convolutions, of which the finest is 4 x 6."""

    @nn.compact
    def __call__(self, maps):
        sow_coarse_logits(self, maps, 1, None, (4, 6))


def test_valid_convolutions_want_the_middle_of_coarser_maps():
    """Each map is twice the one below less 4: a ramp over the rows of the finest is continued beyond it on coarser ones."""
    maps = [jnp.zeros((1, 4, 4, 1))]
    for level, (rows, columns) in ((1, (4, 5)), (0, (4, 6))):
        place = 2**level * (jnp.arange(rows) + 0.5) - 2 * (2**level - 1)
        maps.append(jnp.broadcast_to(place[None, :, None, None], (1, rows, columns, 1)))
    head = {"coarse_head_1": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}}
    _, new = _Middle().apply({"params": head}, maps, mutable=["aux_logits"])
    assert list(new["aux_logits"]) == ["coarse_1"]
    np.testing.assert_allclose(new["aux_logits"]["coarse_1"][0], maps[-1], rtol=1e-6)


def test_unet2015_has_them_when_asked():
    model = fcn.create_model("unet2015", num_classes=2, base_features=2, depth=3, deep_supervision=True)
    variables, images = shapes_of(model, 1, 92, 108, 1), jax.ShapeDtypeStruct((1, 92, 108, 1), jnp.float32)
    rngs = {"dropout": jax.random.key(0)}
    logits, new = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, mutable=["aux_logits"], rngs=rngs), variables, images
    )
    assert {name: x[0].shape for name, x in new["aux_logits"].items()} == {"coarse_1": logits.shape}
    plain = shapes_of(model.clone(deep_supervision=False), 1, 92, 108, 1)
    assert set(variables["params"]) - set(plain["params"]) == {"coarse_head_1"}


def test_coarse_heads_weigh_half_as_much_each_and_others_as_asked():
    one = jnp.ones(())
    auxiliary = {"decoder": {"coarse_1": (2 * one,), "coarse_2": (3 * one,)}, "stage": (5 * one,)}
    assert loss_of_heads(lambda x: x, one, auxiliary, 0.4) == pytest.approx((1 + 2 / 2 + 3 / 4) / 1.75 + 0.4 * 5)
    assert loss_of_heads(lambda x: x, one, {}, 0.4) == 1.0


def test_shallow_decoders_have_none():
    with pytest.raises(ValueError, match="deep_supervision takes a decoder of 3 steps or more; this one has 2: leave it out"):
        shapes_of(fcn.create_model("unet", num_classes=2, base_features=2, depth=2, deep_supervision=True), 1, 16, 16, 3)
