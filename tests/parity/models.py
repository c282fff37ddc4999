"""Comparisons that every segmentation model passes: logits, gradients in training, numbers of parameters, weights back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import fcn
from fcn.encoders.mix_transformer import MixTransformer
from fcn.encoders.resnet import ResNet
from fcn.encoders.table import ENCODERS
from tests.parity.encoders import _assert_trees_close, _leaves, smp
from tests.parity.reference import Undrawn, assert_close, nchw, nhwc, random_like, settle, torch
from tests.variables import count_parameters

CLASSES = 5
ONE = (1, 1, 1, 1)
SHORT = {
    "resnet18": ("layers", partial(ResNet, ONE)),
    "resnext50_32x4d": ("layers", partial(ResNet, ONE, bottleneck=True, groups=32, group_width=4)),
    "mit_b0": ("depths", partial(MixTransformer, blocks=ONE)),
}
"""What smp calls the number of blocks of an encoder, and ours with one in each stage."""


def shorten(monkeypatch):
    """These encoders have one block in each stage, on both sides: the compilation of all takes the time."""
    for name, (option, constructor) in SHORT.items():
        monkeypatch.setitem(ENCODERS, name, ENCODERS[name]._replace(constructor=constructor))
        monkeypatch.setitem(smp().encoders.encoders[name]["params"], option, [*ONE])


def smp_model(architecture, device=None, **options):
    """A model of smp, such as "Unet", without downloading weights."""
    with torch.device(device or "cpu"), Undrawn():
        return getattr(smp(), architecture)(encoder_weights=None, classes=CLASSES, **options)


def images(size, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *size, channels)).astype(np.float32)


def assert_model_equal(
    model,
    net,
    *,
    sizes,
    channels=3,
    extended=(),
    tame=None,
    settled=False,
    exact=False,
    classes=False,
):
    """Logits at several sizes, with random weights and BatchNorm statistics.

    Args:
      model: ours.
      net: the reference.
      sizes: heights and widths that the reference takes.
      channels: of the images.
      extended: pairs of a size that the reference does not take and a larger one that it takes: the logits equal the upper left
        corner of the reference's logits of the image whose last row and column are repeated up to the larger size.
      settled: whether BatchNorm gets the statistics of images, see `settle`.
      exact: whether both compute in float64, and agree within 1e-6: for networks that multiply rounding.
      classes: whether both have a head for classes of the image, whose logits are the reference's second result.
      tame: tensors with this in their names are divided by 100: a gate or softmax of large values multiplies rounding by them.

    Returns:
      Our variables, converted from the reference's.
    """
    state = random_like(net.state_dict())
    net.load_state_dict({key: tensor / 100 if tame and tame in key else tensor for key, tensor in state.items()})
    if settled:
        settle(net)
    net.eval()
    variables = fcn.from_torch(model, net.state_dict(), source="smp", in_channels=channels)
    sizes = [*((size, size) for size in sizes), *extended]
    if exact:
        with jax.enable_x64(True):
            model = model.copy(dtype=jnp.float64, param_dtype=jnp.float64)
            wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
            _compare(model, wide, net.double(), sizes, channels, classes, dtype=np.float64, relative=1e-6)
        net.float()
    else:
        _compare(model, variables, net, sizes, channels, classes)
    return variables


def _compare(model, variables, net, sizes, channels, classes, dtype=np.float32, relative=1e-4):
    apply = jax.jit(partial(model.apply, mutable=["class_logits"]) if classes else model.apply)
    for (height, width), size in sizes:
        x = images((height, width), channels).astype(dtype)
        padded = np.pad(x, ((0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)), mode="edge")
        with torch.inference_mode():
            expected = net(nchw(padded))
        given = apply(variables, x)
        if classes:
            (given, new), (expected, of_the_image) = given, expected
            assert_close(new["class_logits"]["logits"][0], of_the_image.numpy(), relative=relative)
        assert_close(given, nhwc(expected)[:, :height, :width], relative=relative)


def assert_model_gradients_equal(create, net, *, source="smp", size=(64, 64), logits=lambda result: result):
    """In training: gradients with respect to the input and all parameters, and the running means.

    In float64, since rounding in float32 flips some of many ReLUs. Stochastic parts of both must be off.

    Args:
      create: (dtype=, param_dtype=) -> our model.
      net: the reference.
      source: whose names its state dict has.
      size: height and width of the images.
      logits: the reference's result -> its logits.
    """
    net.load_state_dict(random_like(net.state_dict()))
    net = net.double().train()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    x = np.random.default_rng(1).normal(size=(2, *size, 3))
    given = nchw(x).requires_grad_(True)
    result = logits(net(given))
    weights = np.random.default_rng(2).normal(size=nhwc(result).shape)
    (result * nchw(weights)).sum().backward()
    # A gradient converts as a weight does.
    gradients = {key: torch.zeros_like(p) if p.grad is None else p.grad for key, p in net.named_parameters()}

    def loss(params, x):
        result, new = model.apply(dict(variables, params=params), x, train=True, mutable=["batch_stats"])
        return (result * weights).sum(), new

    with jax.enable_x64(True):
        model = create(dtype=jnp.float64, param_dtype=jnp.float64)
        variables = fcn.from_torch(model, state, source=source)
        expected = fcn.from_torch(model, net.state_dict() | gradients, source=source)
        (params, dx), new = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)
    assert_close(dx, nhwc(given.grad), relative=1e-3)
    _assert_trees_close(params, expected["params"])
    for path, mean in _leaves(new).items():
        if path[-1] == "mean":
            assert_close(mean, _leaves(expected)[path])


def assert_model_parameters_equal(model, net, channels=3):
    """The reference (on the "meta" device, if you like) has as many parameters."""
    assert count_parameters(model, 1, 64, 64, channels) == sum(p.numel() for p in net.parameters())


def assert_model_round_trip(model, net, *, source="smp", beyond=(), variables=None):
    """The reference loads what `to_torch` gives, strictly, and has its own tensors again.

    Args:
      model: ours.
      net: the reference.
      source: whose names its state dict has.
      beyond: beginnings of the names of tensors that the reference has and does not use; they become zeros and ones.
      variables: ours, converted from the reference's; the default draws and converts new ones.
    """
    if variables is None:
        net.load_state_dict(random_like(net.state_dict()))
        variables = fcn.from_torch(model, net.state_dict(), source=source)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    net.load_state_dict(fcn.to_torch(model, variables, source=source), strict=True)
    for key, tensor in state.items():
        assert torch.equal(net.state_dict()[key], tensor) or key.startswith(tuple(beyond)), key
