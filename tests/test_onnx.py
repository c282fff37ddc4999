"""Operations of JAX by ONNX: values that onnxruntime computes are JAX's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fcn
from tests.onnx_models import assert_converted, converted


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


UNARY = (
    "abs ceil cos erf erfc exp exp2 expm1 floor is_finite log1p logistic neg round rsqrt sign sin sqrt square tan tanh"
).split()
BINARY = "add sub mul div max min pow eq ne lt le gt ge".split()


def test_numbers():
    """Rows and columns of one number each are not made longer."""

    def compute(scale, x, y):
        one = [getattr(lax, name)(jnp.abs(x) if name in ("log1p", "rsqrt", "sqrt") else x) for name in UNARY]
        two = [getattr(lax, name)(jnp.abs(x), jnp.broadcast_to(y, x.shape)) for name in BINARY]
        more = [lax.integer_pow(x, 3), x**2, jnp.clip(x, -0.5, scale["a"][0]), jnp.where(x > 0, x, y), jnp.round(x * 4)]
        return *one, *two, *more, jax.nn.gelu(x), jax.nn.softmax(x), (x - scale["a"]) * lax.rsqrt(scale["b"])

    run = assert_converted(
        compute, {"a": numbers(5), "b": np.abs(numbers(5))}, [numbers(4, 5), numbers(4, 1)], ["b, 5", "b, 1"]
    )
    assert {"a"} <= {each.name for each in run.model.graph.initializer}
    assert not {each.op_type for each in run.model.graph.node} & {"Expand"}


def test_integers_and_truth():
    def compute(_, i, j):
        true, other = i > 0, j > i
        logic = true & other, true | other, ~true, true ^ other, jnp.any(true, 0), jnp.all(other), jnp.sum(true)
        return *logic, lax.div(i, j), lax.rem(i, j), i // j, i % j, jnp.abs(i), i.astype(jnp.float32), other.astype(jnp.uint8)

    i = np.arange(-6, 6, dtype=np.int32)
    assert_converted(compute, {}, [i, np.where(i % 2, 4, -5).astype(np.int32)])


def test_sizes_and_parts():
    """All of sizes that are known when the model runs."""

    def compute(v, x):
        b, h, w, c = x.shape
        rows = (h + 3) // 4 * 4 - h
        longer = jnp.concatenate([x, jnp.broadcast_to(x[:, -1:], (b, rows, w, c))], 1)
        size = jnp.float32(h - 1) / jnp.maximum(w % 3, 1)
        turned = x.transpose(2, 0, 3, 1).reshape(w, b, c * h)
        parts = x[:, 1 : h - 1], lax.slice(x, (0, 1, 0, 0), (b, h, w, 3), (1, 2, 1, 2)), x[:, :, 0], x[..., None, 1:]
        padded = (
            jnp.pad(x, ((0, 0), (1, 2), (0, w), (0, 0)), constant_values=7),
            lax.pad(x, 0.0, [(0, 0, 0)] * 2 + [(-1, 2, 0)] * 2),
        )
        taken = jnp.take(x, v["i"], 3), x[:, :, v["i"]], jnp.take(x, jnp.minimum(lax.iota(jnp.int32, w), 1), 2, mode="clip")
        made = jnp.arange(h) + jnp.arange(w)[:, None], jnp.full((b, h), h * w), lax.rev(x, (1, 2)), longer[:, :h] * 2
        return longer, size, turned, *parts, *padded, *taken, *made, *jnp.split(x, [1], -1), jnp.ones(3)

    others = [[numbers(1, 8, 6, 3)], [numbers(3, 2, 7, 3)]]
    assert_converted(compute, {"i": np.array([2, 0, 0])}, [numbers(2, 5, 4, 3)], ["b, h, w, 3"], others)


def test_along_axes():
    def compute(_, x):
        sums = x.sum((0, 2)), x.max(1), x.min(), x.prod(2), x.mean(), jnp.cumsum(x, 1), lax.cumsum(x, 2, reverse=True)
        return *sums, x.argmax(1), x.argmin(-1), jax.nn.logsumexp(x, 1), x.var(1)

    assert_converted(compute, {}, [numbers(2, 3, 4)], ["b, h, 4"], [[numbers(1, 5, 4)]])


def test_products():
    formulas = "bhc,ck->bhk bqd,bkd->bqk bqk,bkd->bqd qh,bhc->bqc bhc,bhc->b h,bh->b ab,cd->abcd".split()
    sides = dict(zip("abcdhkq", (2, 2, 3, 4, 5, 6, 7)))
    operands = [formula.split("->")[0].split(",") for formula in formulas]
    given = [numbers(*map(sides.get, letters), seed=i) for i, pair in enumerate(operands) for letters in pair]

    def compute(_, *given):
        return tuple(jnp.einsum(formula, *pair) for formula, *pair in zip(formulas, given[::2], given[1::2]))

    assert_converted(compute, {}, given)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 7, 8, 4), (3, 3, 4, 6), {"padding": "SAME"}),
        ((2, 7, 8, 4), (3, 2, 4, 6), {"padding": "VALID", "window_strides": (2, 1)}),
        ((2, 7, 8, 4), (3, 3, 2, 6), {"padding": [(2, 1), (0, 3)], "feature_group_count": 2}),
        ((2, 7, 8, 4), (3, 3, 1, 8), {"padding": [(2, 2), (2, 2)], "feature_group_count": 4, "rhs_dilation": (2, 2)}),
        ((2, 7, 8, 4), (4, 2, 4, 6), {"padding": [(2, 2), (1, 1)], "lhs_dilation": (2, 2)}),
        ((2, 7, 8, 4), (3, 3, 2, 6), {"padding": [(4, 1), (0, 2)], "lhs_dilation": (2, 3), "feature_group_count": 2}),
        ((2, 7, 4), (3, 4, 6), {"padding": "SAME"}),
        ((2, 4, 3, 5, 2), (3, 1, 2, 2, 3), {"padding": "SAME"}),
        ((2, 4, 3, 5, 2), (2, 2, 2, 2, 3), {"padding": [(1, 1)] * 3, "lhs_dilation": (2, 2, 2)}),
    ],
)
def test_convolutions(shape, kernel, options):
    """Of parameters, and of kernels that are computed."""
    letters = "DHW"[5 - len(shape) :]
    numbers_of = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    strides = options.get("window_strides", (1,) * len(letters))

    def compute(kernel, x, other):
        both = (lax.conv_general_dilated(x, k, strides, dimension_numbers=numbers_of, **rest) for k in (kernel, other))
        return tuple(both)

    rest = {name: value for name, value in options.items() if name != "window_strides"}
    assert_converted(compute, numbers(*kernel, seed=1), [numbers(*shape), numbers(*kernel, seed=2)])


def test_windows():
    """Pooling, also of sizes that are not known, which pad."""

    def compute(_, x):
        pooled = [
            lax.reduce_window(x, start, operation, window, strides, padding)
            for start, operation in ((-jnp.inf, lax.max), (0.0, lax.add))
            for window, strides, padding in (
                ((1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
                ((1, 3, 3, 1), (1, 2, 1, 1), ((0, 0), (1, 1), (2, 0), (0, 0))),
                ((1, 1, 5, 1), (1, 1, 1, 1), ((0, 0), (0, x.shape[1]), (4, 4), (0, 0))),
            )
        ]
        return *pooled, lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 1, 1)
        )

    assert_converted(compute, {}, [numbers(2, 6, 7, 3)], ["b, h, w, 3"], [[numbers(1, 9, 8, 3)]])


def test_names_are_those_of_the_layers():
    """Kernels are turned, no more."""
    network = nn.Sequential([fcn.layers.Conv(4), nn.relu, fcn.layers.ConvTranspose(3)])
    x = numbers(1, 4, 4, 3)
    variables = jax.tree.map(lambda leaf: numbers(*leaf.shape), network.init(jax.random.key(0), x))
    graph = converted(network.apply, variables, [x]).model.graph
    stored = {each.name: sorted(each.dims) for each in graph.initializer}
    for layer in ("layers_0", "layers_2"):
        assert stored[f"params/{layer}/kernel"] == sorted(variables["params"][layer]["kernel"].shape)
        assert stored[f"params/{layer}/bias"][-1] == variables["params"][layer]["bias"].size
    convolutions = [node.name for node in graph.node if node.op_type.startswith("Conv")]
    assert convolutions == ["Sequential/layers_0/Conv", "Sequential/layers_2/ConvTranspose"]


def test_what_is_not_known_is_one_sentence():
    class Sorted(fcn.layers.Conv):
        def __call__(self, x):
            return jnp.sort(super().__call__(x), 1)

    layer, x = Sorted(2, name="head"), numbers(1, 4, 4, 3)
    variables = layer.init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"^head has the operation 'sort', which is not converted to ONNX$"):
        converted(layer.apply, variables, [x])
    with pytest.raises(ValueError, match=r"^the function has indices that may lie outside the array, which is not"):
        converted(lambda _, x, i: x.at[i].get(mode="fill"), {}, [x, np.array([0, 1])])
    with pytest.raises(ValueError, match=r"^the function has the operation 'or' on the bits of integers, which is not"):
        converted(lambda _, i: i | 3, {}, [np.array([0, 1], np.int32)])
