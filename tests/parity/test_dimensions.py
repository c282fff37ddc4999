"""Layers on signals and volumes against PyTorch's functions for one and three dimensions: values and gradients at odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn.layers import (
    Conv,
    ConvTranspose,
    UpsampledConv,
    average_pool,
    max_pool,
    max_pool_with_indices,
    max_unpool,
    resize,
    resize_bilinear,
    resize_nearest,
)
from tests.parity.reference import assert_close, nchw, nhwc, torch

F = torch.nn.functional
SIZES = {1: (9,), 3: (5, 6, 3)}
LARGER = {1: (13,), 3: (7, 6, 8)}


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def of_torch(kernel, groups=1, transposed=False):
    """PyTorch's kernel: [O, C, ...], or that of a transposed convolution, [C, O, ...], turned."""
    if not transposed:
        return kernel.movedim((-1, -2), (0, 1))
    parts = kernel.flip(tuple(range(kernel.ndim - 2))).chunk(groups, -1)
    return torch.cat([part.movedim((-2, -1), (0, 1)) for part in parts])


def convolutions(rank):
    """name -> (a function of maps and a kernel here, the same with PyTorch's tensors, the kernel)."""
    conv, transposed = getattr(F, f"conv{rank}d"), getattr(F, f"conv_transpose{rank}d")
    anisotropic = (1, 3, 2)[-rank:]
    settings = {
        "3": (3, 1, 1, 1, 1),
        "stride and groups": (3, 2, 1, 1, 2),
        "dilation": (3, 1, 2, 2, 1),
        "pointwise": (1, 2, 0, 1, 1),
        "one for each": (anisotropic, anisotropic, 0, 1, 1),
    }
    cases = {}
    for name, (size, strides, padding, dilation, groups) in settings.items():
        kernel = normal(*((size,) * rank if isinstance(size, int) else size), 4 // groups, 6)
        layer = Conv(6, size, strides, padding, dilation, groups, use_bias=False)
        cases[name] = applied(layer), with_kernel(conv, {}, strides, padding, dilation, groups), kernel
    for size, strides, padding, groups in [(2, 2, 0, 1), (3, 2, 1, 2), (7, 4, 1, 1), (3, 1, 1, 1)]:
        kernel = normal(*(size,) * rank, 4 // groups, 6)
        layer = ConvTranspose(6, size, strides, padding, groups, use_bias=False)
        theirs = with_kernel(transposed, {"groups": groups, "transposed": True}, strides, padding, 0, groups)
        cases[f"transposed {size}"] = applied(layer), theirs, kernel
    enlarged = with_kernel(conv, {}, 1, 1)

    def of_repeated(x, kernel):
        return enlarged(F.interpolate(x, scale_factor=2, mode="nearest"), kernel)

    return {**cases, "enlarged": (applied(UpsampledConv(2, use_bias=False)), of_repeated, normal(*(3,) * rank, 4, 2))}


def applied(layer):
    return lambda x, kernel: layer.apply({"params": {"kernel": kernel}}, x)


def with_kernel(function, order, *settings):
    return lambda x, kernel: function(x, of_torch(kernel, **order), None, *settings)


def others(rank):
    """name -> (a function of maps here, the same with PyTorch's tensors)."""
    size, linear = LARGER[rank], {1: "linear", 3: "trilinear"}[rank]
    largest, mean, unpool = (getattr(F, f"{name}{rank}d") for name in ("max_pool", "avg_pool", "max_unpool"))

    def unpooled(x):
        values, indices = largest(x, 2, ceil_mode=True, return_indices=True)
        return unpool(values * values, indices, 2, output_size=SIZES[rank])

    def unpooled_here(x):
        values, indices = max_pool_with_indices(x, ceil_mode=True)
        return max_unpool(values * values, indices, SIZES[rank])

    return {
        "max": (lambda x: max_pool(x, 3, 2, padding=1), lambda x: largest(x, 3, 2, 1)),
        "max with the last window": (lambda x: max_pool(x, ceil_mode=True), lambda x: largest(x, 2, ceil_mode=True)),
        "mean": (average_pool, lambda x: mean(x, 2)),
        "unpooling": (unpooled_here, unpooled),
        "repeated": (lambda x: resize_nearest(x, 2), lambda x: F.interpolate(x, scale_factor=2)),
        "nearest": (lambda x: resize(x, size, "nearest"), lambda x: F.interpolate(x, size)),
        "area": (lambda x: resize(x, size, "area"), lambda x: F.interpolate(x, size, mode="area")),
        "linear": (lambda x: resize_bilinear(x, size), lambda x: F.interpolate(x, size, mode=linear)),
        "linear by corners": (
            lambda x: resize_bilinear(x, size, align_corners=True),
            lambda x: F.interpolate(x, size, mode=linear, align_corners=True),
        ),
    }


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("layers", [convolutions, others])
def test_layers(rank, layers):
    cases, x = layers(rank), normal(2, *SIZES[rank], 4)

    def values_and_gradients(x):
        results = {name: jax.vjp(ours, x, *kernel) for name, (ours, _, *kernel) in cases.items()}
        return {name: (y, gradient(jnp.cos(y))) for name, (y, gradient) in results.items()}

    for name, (y, gradients) in jax.jit(values_and_gradients)(x).items():
        _, theirs, *kernel = cases[name]
        tensors = [tensor.requires_grad_(True) for tensor in (nchw(x), *map(torch.tensor, kernel))]
        expected = theirs(*tensors)
        expected.backward(expected.detach().cos())
        assert_close(y, nhwc(expected), relative=2e-6)
        wanted = [nhwc(tensors[0].grad), *(tensor.grad.numpy() for tensor in tensors[1:])]
        for gradient, of_theirs in zip(gradients, wanted, strict=True):
            assert_close(gradient, of_theirs, relative=2e-5)  # cos of values that differ by rounding


def test_errors():
    volume = jnp.zeros((1, 4, 4, 4, 1))
    kernel = {"params": {"kernel": jnp.zeros((3, 3, 1, 2)), "bias": jnp.zeros(2)}}
    with pytest.raises(ValueError, match=r"takes images \[B, H, W, C\], not an input of shape \(1, 4, 4, 4, 1\)"):
        Conv(2).apply(kernel, volume)
    with pytest.raises(ValueError, match=r"\(3, 3\) has 2 numbers for 3 spatial dimensions; give one, or 3"):
        max_pool(volume, (3, 3))
    with pytest.raises(ValueError, match=r"padding=\(\(1, 1\),\) has 1 pairs for 3 spatial dimensions"):
        jax.eval_shape(Conv(2, padding=((1, 1),)).init, jax.random.key(0), volume)
    with pytest.raises(ValueError, match=r"size=\(2, 2\) is not \(depth, height, width\)"):
        resize_bilinear(volume, (2, 2))
    with pytest.raises(ValueError, match=r"a convolution takes signals .* or volumes .*, not an array of shape"):
        jax.eval_shape(Conv(2).init, jax.random.key(0), jnp.zeros((4, 4)))
