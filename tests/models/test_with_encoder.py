"""Encoders of networks: by name, as a row or as a module; and what `encoder` is on networks bound to variables."""

import contextlib
import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.entry import Encoder
from fcn.encoders.table import ENCODERS
from fcn.models.lraspp import LRASPP
from fcn.models.parts.with_encoder import measured_strides
from tests.variables import random_variables, shapes_of

SIZE = (1, 32, 32, 3)


class Tiny(nn.Module):
    """Maps of strides 2, 4 and 8; the last may be dilated."""

    output_stride: int = 8
    depth: int = 3
    dtype: type = None
    param_dtype: type = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        maps = []
        for i, features in enumerate((4, 5, 6)):
            strides = 2 if 2 ** (i + 1) <= self.output_stride else 1
            x = nn.relu(nn.Conv(features, (3, 3), (strides, strides), param_dtype=self.param_dtype, name=f"conv{i}")(x))
            maps.append(x)
        return tuple(maps)


ROW = Encoder(Tiny, channels=(4, 5, 6), strides=(2, 4, 8))


def images():
    return jax.random.normal(jax.random.key(1), SIZE)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (fcn.create_model("upernet", num_classes=2, encoder=Tiny(), encoder_depth=3), "encoder"),
        (fcn.create_model("fcn", num_classes=2, encoder=Tiny(), aux=False), "backbone"),
        (fcn.create_model("lraspp", num_classes=2, encoder=ROW), "backbone"),
    ],
)
def test_encoder_of_a_bound_network(model, name):
    variables = random_variables(model, *SIZE)
    bound = model.bind(variables)
    maps = bound.encoder(images())
    expected = bound.encoder.clone().apply({"params": variables["params"][name]}, images())
    assert len(maps) == 3
    jax.tree.map(np.testing.assert_array_equal, maps, expected)
    assert isinstance(bound.encoder, Tiny) and bound.unbind()[0] == model and bound.clone().encoder == model.encoder


@pytest.mark.parametrize("name", ["fcn8s", "segnet", "unet", "fcn_resnet50", "dpt", "upernet"])
def test_unbound_networks_say_what_they_are_made_with(name):
    """Neither fields, nor their text, nor equality know of the encoder that a bound one has."""
    encoder = {"unet": "resnet18"}.get(name)
    model = fcn.create_model(name, num_classes=2, encoder=encoder)
    given = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}["encoder"]
    assert isinstance(given, str) and f"encoder = '{given}'" in repr(model)
    bound = model.bind({})
    assert isinstance(bound.encoder, type(fcn.create_encoder(given))) and bound.encoder.name == model.encoder_name
    assert bound.clone() == model and hash(bound.clone()) == hash(model)


@pytest.mark.parametrize("inside", ["setup", "compact", "remat"])
def test_networks_inside_of_modules(inside):
    """The same variables below the network's name, and the same logits."""

    class Outer(nn.Module):
        def setup(self):
            self.net = LRASPP(2, ROW)

        def __call__(self, x):
            return self.net(x)

    class Compact(nn.Module):
        @nn.compact
        def __call__(self, x):
            return (nn.remat(LRASPP) if inside == "remat" else LRASPP)(2, ROW, name="net")(x)

    outer, model = Outer() if inside == "setup" else Compact(), LRASPP(2, ROW)
    variables = random_variables(model, *SIZE)
    assert shapes_of(outer, *SIZE) == {kind: {"net": leaves} for kind, leaves in shapes_of(model, *SIZE).items()}
    logits, inside = jax.jit(lambda v, x: (model.apply(v, x), outer.apply({k: {"net": u} for k, u in v.items()}, x)))(
        variables, images()
    )
    np.testing.assert_allclose(inside, logits, rtol=0, atol=1e-6)


def test_module_row_and_name_are_the_same_network():
    """Of an encoder of the table: the same variables from the same key, and the same logits."""
    options = {"num_classes": 2, "encoder_depth": 3, "decoder_pyramid_channels": 8, "decoder_segmentation_channels": 32}
    given = ("vgg11", ENCODERS["vgg11"], fcn.create_encoder("vgg11", depth=3))
    shapes = [shapes_of(fcn.create_model("fpn", encoder=encoder, **options), *SIZE) for encoder in given]
    assert shapes[0] == shapes[1] == shapes[2]


def test_strides_are_measured():
    assert measured_strides(Tiny(), 3) == (2, 4, 8)
    assert measured_strides(Tiny(output_stride=4), 1) == (2, 4, 4)
    assert LRASPP(2, Tiny(output_stride=4)).encoder_strides(3) == (2, 4, 8)
    assert measured_strides(fcn.create_encoder("vgg11", width_multiplier=1 / 32), 3) == (1, 2, 4, 8, 16, 32)


class _Strange(nn.Module):
    strides: tuple = ()

    def __call__(self, x, *, train=False):
        return tuple(x[:, ::s, ::s] for s in self.strides) or x


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        (_Strange(), {}, "encoder _Strange gives no tuple of feature maps"),
        (_Strange((2, 3)), {}, r"encoder _Strange gives maps of the strides \(2, 3\); give powers of two, finest first"),
        (_Strange((4, 2)), {}, r"encoder _Strange gives maps of the strides \(4, 2\); give powers of two, finest first"),
        (Tiny(), {"encoder_depth": 4}, "encoder Tiny halves the image 3 times; use encoder_depth=3"),
        (Tiny(output_stride=4), {}, "the last map of encoder Tiny has stride 4, LinkNet takes 8; build the encoder so"),
    ],
)
def test_modules_that_do_not_fit(encoder, options, message):
    model = fcn.create_model("linknet", num_classes=2, encoder=encoder, **{"encoder_depth": 3, **options})
    with pytest.raises(ValueError, match=message):
        shapes_of(model, *SIZE)


class _Deep(nn.Module):
    def __call__(self, x, *, train=False):
        return tuple(x[:, ::s, ::s, :1].repeat(4, -1) for s in (4, 8, 16, 32))


@pytest.mark.parametrize(
    ("name", "encoder", "stride", "message"),
    [
        ("fcn", _Deep(), 8, "the last map of encoder _Deep has stride 32, FCN takes 8; build the encoder so, or set"),
        ("lraspp", _Deep(), 16, "the last map of encoder _Deep has stride 32, LRASPP takes 16; build the encoder so, or set"),
        ("lraspp", Tiny(output_stride=4), 16, "the last map of encoder Tiny has stride 4, LRASPP takes 8"),
        ("fcn", _Deep(), 32, None),
        ("lraspp", Tiny(), 16, None),
    ],
)
def test_a_module_is_dilated_as_the_network_says(name, encoder, stride, message):
    model = fcn.create_model(name, num_classes=2, encoder=encoder, encoder_output_stride=stride)
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        assert shapes_of(model, *SIZE)["params"]


@pytest.mark.parametrize("name", ["fcn8s", "segnet", "dpt"])
def test_networks_of_one_family_refuse_others(name):
    with pytest.raises(ValueError, match=r"unknown encoder of .* 'Tiny'; choose one of vgg11|encoder Tiny has no class token"):
        fcn.create_model(name, num_classes=2, encoder=Tiny())
