"""EfficientNet against smp: maps at even and odd sizes, dilation, depth, stochastic depth, classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.efficientnet import EFFICIENTNETS
from tests.parity.encoders import assert_gradients_equal, assert_tensors_equal, smp_encoder, smp_maps
from tests.parity.models import CLASSES, images, smp_model
from tests.parity.reference import assert_close, nchw, nhwc, random_like, settle, torch
from tests.variables import random_variables

B0 = "efficientnet-b0"
TOP = ("_conv_head", "_bn1")


def reference(name, device=None, **options):
    """smp's encoder without the last layers of the classifier, which it has and does not use."""
    net = smp_encoder(name, device, **options)
    net._drop_connect_rate = 0.0
    for layer in TOP:
        delattr(net, layer)
    return net


def assert_equal(name, net, sizes, **options):
    """All feature maps. With odd sizes they are smaller than the stride says.

    In float64, since the gates of many random layers multiply rounding.
    """
    net.load_state_dict(random_like(net.state_dict()))
    net = net.double()
    for size in sizes:
        x = np.random.default_rng(0).normal(size=(4, *size, 3))
        settle(net, x)  # four images: the last map of one has six pixels, too few for statistics that do not amplify
        x = x[:1]
        with torch.inference_mode():
            expected = smp_maps(net, nchw(x))
        with jax.enable_x64(True):
            encoder = fcn.create_encoder(name, dtype=jnp.float64, param_dtype=jnp.float64, **options)
            given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="smp"), x)
        assert len(given) == len(expected) == options.get("depth", 5)
        assert tuple(m.shape[-1] for m in given) == EFFICIENTNETS[name].channels[: len(given)]
        for ours, theirs in zip(given, expected):
            assert_close(ours, nhwc(theirs))


def test_classifier_and_its_maps():
    """In one, since compilation takes the time."""
    encoder = reference(B0)
    from segmentation_models_pytorch.encoders import _efficientnet

    net = _efficientnet.EfficientNet(*_efficientnet.get_model_params(B0, {"drop_connect_rate": 0.0}))
    net.load_state_dict(random_like(net.state_dict()))
    model = fcn.create_classifier(B0)
    x = np.random.default_rng(0).normal(size=(2, 65, 97, 3)).astype(np.float32)
    settle(net, x)
    kept = {key: tensor for key, tensor in net.state_dict().items() if not key.startswith(TOP)}
    encoder.load_state_dict(kept)
    with torch.inference_mode():
        expected, maps = net(nchw(x)).numpy(), smp_maps(encoder.eval(), nchw(x))
    apply = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=lambda module, _: module.name == "encoder"))
    logits, found = apply(fcn.from_torch(model, net.state_dict(), source="smp"), x)
    assert_close(logits, expected)
    for ours, theirs in zip(found["intermediates"]["encoder"]["__call__"][0], maps, strict=True):
        assert_close(ours, nhwc(theirs))


def test_model_without_the_layers_that_smp_keeps():
    """A checkpoint of an smp model has layers that its encoder does not use."""
    net = smp_model("Unet", device="meta", encoder_name=B0)
    state = {name: np.zeros(tensor.shape, np.float32) for name, tensor in net.state_dict().items()}
    assert "encoder._conv_head.weight" in state
    fcn.from_torch(fcn.create_model("unet", encoder=B0, num_classes=CLASSES), state, source="smp")


def test_unet():
    """Maps of odd sizes are smaller than the decoder may expect."""
    options = {"encoder_depth": 3, "decoder_channels": (8, 8, 8)}
    net = smp_model("Unet", encoder_name=B0, **options)
    net.encoder._drop_connect_rate = 0.0
    net.load_state_dict(random_like(net.state_dict()))
    model, x = fcn.create_model("unet", encoder=B0, num_classes=CLASSES, **options), images((65, 97))
    settle(net, x)
    variables = fcn.from_torch(model, net.state_dict(), source="smp")
    with torch.inference_mode():
        expected = nhwc(net(nchw(x)))
    assert_close(jax.jit(model.apply)(variables, x), expected)


@pytest.mark.parametrize(("name", "output_stride"), [*((name, 32) for name in EFFICIENTNETS), (B0, 16), (B0, 8)])
def test_blocks(name, output_stride):
    """Every depthwise convolution, and after which block a map is taken; where nothing is odd in b0, it is in others."""
    net, encoder = reference(name, "meta", output_stride=output_stride), fcn.create_encoder(name, output_stride=output_stride)
    layers = [block._depthwise_conv for block in net._blocks]
    given = [(block.kernel_size, block.strides, block.dilation, block.padding * 2) for block in encoder.scaled_blocks()]
    for layer, (kernel_size, strides, dilation, padding) in zip(layers, given, strict=True):
        assert (layer.kernel_size[0], layer.stride[0], layer.dilation[0]) == (kernel_size, strides, dilation)
        assert tuple(getattr(layer.static_padding, "padding", layer.padding * 2)) == padding
    assert tuple(net._out_indexes) == encoder.taps


@pytest.mark.slow
def test_dilation():
    assert_equal(B0, reference(B0, output_stride=8), [(96, 160)], output_stride=8)


def shallow(name):
    """Up to stride 8."""
    net = reference(name, depth=3)
    net._blocks = net._blocks[: fcn.create_encoder(name).taps[1] + 1]
    return net


@pytest.mark.parametrize("name", [B0, "efficientnet-b3"])
def test_depth(name):
    """Of b3, too, whose widths and numbers of blocks are scaled."""
    assert_equal(name, shallow(name), [(65, 97)], depth=3)


@pytest.mark.parametrize(("name", "least"), [(B0, 32), ("efficientnet-b1", 16)])
def test_smallest_image(name, least):
    """The smallest that the reference takes; smaller ones are extended to it."""
    net = reference(name, "meta").eval()
    assert [m.shape[-1] for m in smp_maps(net, torch.zeros(1, 3, least, least, device="meta"))][-1] == 1
    with pytest.raises(RuntimeError):
        net(torch.zeros(1, 3, least - 1, least - 1, device="meta"))
    encoder = fcn.create_encoder(name)
    maps, _ = jax.eval_shape(
        lambda x: encoder.init_with_output(jax.random.key(0), x), np.zeros((1, 1, least - 1, 3), np.float32)
    )
    assert maps[-1].shape[1:3] == (1, 1) and maps[0].shape[1:3] == (least // 2, least // 2)


@pytest.mark.slow
def test_training():
    """Of five blocks, one of each kind; their compilation takes the time."""
    assert_gradients_equal(B0, shallow(B0), source="smp", depth=3)


def test_stochastic_depth():
    encoder = fcn.create_encoder(B0, drop_path_rate=0.9, depth=3)
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    variables = random_variables(encoder, *x.shape)
    train = jax.jit(lambda key: encoder.apply(variables, x, train=True, mutable=True, rngs={"dropout": key})[0])
    first, again, other = (train(jax.random.key(key)) for key in (0, 0, 1))
    np.testing.assert_array_equal(first[-1], again[-1])
    assert not np.array_equal(first[-1], other[-1])
    np.testing.assert_array_equal(first[0], other[0])  # the first block has no shortcut


@pytest.mark.parametrize("depth", [3, 5])
def test_round_trip(depth):
    """Of the layers that smp keeps and does not use, the values are lost."""
    net, encoder = smp_encoder(B0, depth=depth), fcn.create_encoder(B0, depth=depth)
    state = random_like(net.state_dict())
    back = fcn.to_torch(encoder, fcn.from_torch(encoder, state, source="smp"), source="smp")
    net.load_state_dict(back, strict=True)
    unused = (*TOP, *(f"_blocks.{i}." for i in range(5, 16))) if depth == 3 else TOP
    for key, tensor in state.items():
        assert torch.equal(net.state_dict()[key], tensor) or key.startswith(unused), key


@pytest.mark.parametrize("name", EFFICIENTNETS)
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="smp")
