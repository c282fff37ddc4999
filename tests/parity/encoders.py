"""Comparisons that every encoder passes: all feature maps, gradients in training, names of tensors, weights back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.encoders.table import find_encoder
from tests.parity.reference import Undrawn, assert_close, nchw, nhwc, random_like, settle, torch, torchvision

SIZES = [(96, 160), (65, 97)]


@functools.cache
def smp():
    """segmentation_models_pytorch."""
    torchvision()
    return pytest.importorskip("segmentation_models_pytorch", reason="parity tests compare with smp: install '.[parity]'")


def smp_encoder(name, device=None, **options):
    """smp's encoder, whose weights are yet to be drawn."""
    with torch.device(device or "cpu"), Undrawn():
        return smp().encoders.get_encoder(name, weights=None, **options)


def smp_maps(net, x):
    """The maps of an smp encoder that are neither the image nor empty."""
    return [m for m in net(x) if m is not x and m.shape[1]]


def assert_encoder_equal(name, net, *, source, sizes=SIZES, maps=smp_maps, settled=False, fields=None, **options):
    """All feature maps at several sizes, with random weights and BatchNorm statistics; the table's channels and strides too.

    Args:
      name: of the encoder.
      net: the reference.
      source: whose names its state dict has.
      sizes: heights and widths of the images.
      maps: (net, images) -> the reference's maps, finest first.
      settled: see `settle`; in float64, but for BatchNorm's statistics, as such networks multiply rounding a thousandfold.
      fields: of the encoder here, in place of the table's: fewer blocks, as the compilation of all takes the time.
      **options: of the encoder here.
    """
    net.load_state_dict(random_like(net.state_dict()))
    net, dtype = (net.double(), jnp.float64) if settled else (net, jnp.float32)
    net.eval()
    with jax.enable_x64(settled):
        encoder = fcn.create_encoder(name, dtype=dtype, param_dtype=dtype, **options).copy(**(fields or {}))
        variables = fcn.from_torch(encoder, net.state_dict(), source=source)
        row, apply = find_encoder(name), jax.jit(encoder.apply)
        for size in sizes:
            x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(dtype)
            if settled:
                settle(net, x)
                variables = fcn.from_torch(encoder, net.state_dict(), source=source)
            with torch.inference_mode():
                expected = [nhwc(m) for m in maps(net, nchw(x))]
            given = apply(variables, x)
            assert len(given) == len(expected)
            for ours, theirs in zip(given, expected):
                assert_close(ours, theirs)
            assert tuple(m.shape[-1] for m in given) == row.channels[: len(given)]
            strides = row.map_strides(options.get("depth", 5), options.get("output_stride", 32))
            assert tuple(-(-size[0] // stride) for stride in strides) == tuple(m.shape[1] for m in given)


def assert_gradients_equal(name, net, *, source, size=(64, 64), maps=smp_maps, fields=None, **options):
    """In training: gradients with respect to the input and all parameters, and the running means.

    In float64, since rounding in float32 flips some of many ReLUs. Stochastic parts of the reference must be off.
    The arguments are those of `assert_encoder_equal`.
    """
    net.load_state_dict(random_like(net.state_dict()))
    net = net.double().train()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    x = np.random.default_rng(1).normal(size=(2, *size, 3))
    images = nchw(x).requires_grad_(True)
    last = maps(net, images)[-1]
    weights = np.random.default_rng(2).normal(size=nhwc(last).shape)
    (last * nchw(weights)).sum().backward()
    # A gradient converts as a weight does.
    gradients = {key: torch.zeros_like(p) if p.grad is None else p.grad for key, p in net.named_parameters()}

    def loss(params, x):
        given, new = encoder.apply(dict(variables, params=params), x, train=True, mutable=["batch_stats"])
        return (given[-1] * weights).sum(), new

    with jax.enable_x64(True):
        encoder = fcn.create_encoder(name, dtype=jnp.float64, param_dtype=jnp.float64, **options).copy(**(fields or {}))
        variables = fcn.from_torch(encoder, state, source=source)
        expected = fcn.from_torch(encoder, net.state_dict() | gradients, source=source)
        (params, dx), new = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)
    assert_close(dx, nhwc(images.grad), relative=1e-3)
    _assert_trees_close(params, expected["params"])
    means = {path: leaf for path, leaf in _leaves(new).items() if path[-1] == "mean"}
    for path, mean in means.items():
        assert_close(mean, _leaves(expected)[path])


def _leaves(tree):
    """By path, as NumPy arrays, whose differences need no compilation."""
    return {tuple(key.key for key in path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _assert_trees_close(given, expected):
    """Each leaf within 1e-3 of its own scale; those that are zero but for rounding, of the largest scale times 1e-9."""
    expected = _leaves(expected)
    floor = 1e-9 * max(np.abs(leaf).max() for leaf in expected.values())
    for path, leaf in _leaves(given).items():
        scale = max(np.abs(expected[path]).max(), floor)
        assert np.abs(leaf - expected[path]).max() <= 1e-3 * scale, path


def assert_tensors_equal(name, net, *, source):
    """The reference's tensors are the encoder's, by name and shape, and its parameters are as many as the table says."""
    assert count_same_tensors(fcn.create_encoder(name), net, source=source) == find_encoder(name).parameters


def count_same_tensors(model, net, *, source) -> int:
    """The number of parameters of a model whose tensors are the reference's, by name and shape.

    Nothing is computed: the reference may be on the "meta" device.
    """
    state = {key: np.broadcast_to(np.float32(0), tensor.shape) for key, tensor in net.state_dict().items()}
    count = sum(leaf.size for leaf in jax.tree.leaves(fcn.from_torch(model, state, source=source)["params"]))
    assert count == sum(p.numel() for p in net.parameters())
    return count


def assert_round_trip(name, net, *, source):
    """The reference loads what `to_torch` gives, strictly, and has its own tensors again."""
    state = random_like(net.state_dict())
    encoder = fcn.create_encoder(name)
    back = fcn.to_torch(encoder, fcn.from_torch(encoder, state, source=source), source=source)
    net.load_state_dict(back, strict=True)
    for key, tensor in state.items():
        assert torch.equal(net.state_dict()[key], tensor), key
