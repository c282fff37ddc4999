"""The table of rules: every rule is taken by a network or a layer that is named here, and what holds for all of them."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import pytest

import fcn
import fcn.layers
from fcn.kernels import bilinear, conditions
from fcn.kernels.call import Call, Problem, describe
from fcn.kernels.explaining import calls
from fcn.kernels.table import ALL, RULES, find

pytestmark = pytest.mark.usefixtures("usual_table")

OLD, NEW = (0, 10, 2), (0, 12, 0)
CONVOLUTIONS = "dense", "depthwise", "grouped", "upsampled", "volume"


def problem(images, kernel, strides=1, dilation=1, groups=1, factor=1, dtype="float32"):
    """A convolution whose output has, without strides, as many rows and columns as the images."""
    pads = tuple(((k - 1) * dilation // 2, (k - 1) * dilation - (k - 1) * dilation // 2) for k in kernel[:2])
    return Problem((images,), kernel, jnp.dtype(dtype), (strides, strides), pads, (dilation, dilation), groups, factor)


def call(platform, *arguments, operation="convolution", version=OLD, alone=True, **settings):
    """A convolution on a platform, with JAX of before 0.12 on one device."""
    described = describe(operation, platform.partition("+")[0], problem(*arguments, **settings))
    return dataclasses.replace(described, platform=platform, version=version, alone=alone)


def volume(platform, depth):
    shapes = (1, depth, 8, 8, 3), (3, 3, 3, 3, 4), (1, depth, 8, 8, 4)
    return Call("volume", "convolution", platform, *shapes, jnp.dtype("float32"), (1, 1, 1), (1, 1, 1))


def matrices(operation, positions, channels, features):
    shapes = (positions, channels), (channels, features), (positions, features)
    return Call("matrices", operation, "cpu+onednn", *shapes, jnp.dtype("float32"))


def transposed(kernel, strides, groups=1):
    shapes = (1, 8, 8, kernel[2] * groups), kernel, (1, 16, 16, kernel[3])
    return Call("transposed", "convolution", "other", *shapes, jnp.dtype("float32"), strides, groups=groups)


def attention(platform, dtype):
    return Call("attention", "attention", platform, *((2, 256, 8, 32),) * 3, jnp.dtype(dtype))


def resize(neighbours, phases):
    """Of rows."""
    return Call("resizing", "resize", "other", (1, 8, 8, 3), (neighbours, phases), (1, 8 * phases, 8, 3), jnp.dtype("float32"))


def pool(operation, *size):
    return Call("pooling", operation, "other", (1, *size, 3), (2, 2, 1, 3), (1, 4, 4, 3), jnp.dtype("float32"), (2, 2))


def keep(operation, platform):
    return Call("fusion", operation, platform, (1, 8, 8, 3), (), (1, 8, 8, 3), jnp.dtype("float32"))


EXAMPLES = [
    ("pairs and a row", call("cpu", (2, 224, 224, 16), (3, 3, 16, 16))),
    ("pairs", call("cpu", (2, 224, 224, 16), (3, 3, 16, 16), version=NEW)),
    ("pairs", call("cpu", (2, 224, 224, 16), (3, 3, 16, 16), alone=False)),
    ("strips", call("cpu", (2, 224, 224, 3), (7, 7, 3, 64), strides=2)),
    ("native", call("cpu", (2, 224, 224, 3), (7, 7, 3, 64), strides=2, version=NEW)),
    ("kn2row", call("cpu", (2, 112, 112, 192), (3, 3, 192, 12))),
    ("kn2row", call("cpu", (2, 112, 112, 12), (3, 3, 12, 192), operation="input_gradient")),
    ("rows", call("cpu", (4, 128, 128, 16), (3, 3, 16, 64))),
    ("native", call("cpu", (4, 128, 128, 16), (3, 3, 16, 64), version=NEW)),
    ("native", call("cpu", (4, 128, 128, 64), (3, 3, 64, 16))),
    ("padded channels", call("cpu", (2, 28, 28, 25), (3, 3, 25, 25), dilation=4)),
    ("im2col", call("cpu", (2, 28, 28, 25), (3, 3, 25, 25), dilation=4, version=NEW)),
    ("taps", call("cpu", (1, 32, 32, 2048), (3, 3, 2048, 256), dilation=24)),
    ("onednn", call("cpu+onednn", (1, 32, 32, 2048), (3, 3, 2048, 256), dilation=24)),
    ("tiles", call("cpu", (2, 96, 96, 64), (3, 3, 64, 64), dilation=2)),
    ("im2col", call("cpu", (1, 2, 2, 512), (3, 3, 512, 512))),
    ("im2col", call("cpu+onednn", (1, 2, 2, 512), (3, 3, 512, 512))),
    ("onednn", call("cpu+onednn", (1, 8, 8, 512), (5, 5, 512, 512))),
    ("padded channels", call("cpu", (2, 224, 224, 3), (3, 3, 3, 32), strides=2)),
    ("im2col", call("cpu", (1, 16, 16, 256), (3, 3, 256, 512), strides=2, operation="input_gradient")),
    ("kn2row", call("cpu", (2, 224, 224, 272), (3, 3, 272, 16), operation="kernel_gradient")),
    ("kn2row", call("cpu", (2, 224, 224, 16), (3, 3, 16, 32), operation="kernel_gradient")),
    ("tiles", call("cpu", (2, 224, 224, 16), (3, 3, 16, 32), operation="kernel_gradient", alone=False)),
    ("rows", call("cpu", (2, 14, 14, 256), (3, 3, 256, 256), operation="kernel_gradient")),
    ("taps", call("cpu", (1, 32, 32, 2048), (3, 3, 2048, 256), dilation=24, operation="kernel_gradient")),
    ("im2col", call("cpu", (8, 256, 256, 3), (7, 7, 3, 64), strides=2, operation="kernel_gradient")),
    ("space to depth", call("cuda", (16, 512, 512, 3), (7, 7, 3, 64), strides=2, dtype="bfloat16")),
    ("native", call("cuda", (16, 512, 512, 3), (7, 7, 3, 64), strides=2)),
    ("native", call("cuda", (16, 512, 512, 5), (7, 7, 5, 64), strides=2, dtype="bfloat16")),
    ("wide", call("cuda", (1, 9, 9, 512), (7, 7, 512, 4096))),
    ("native", call("other", (1, 9, 9, 512), (7, 7, 512, 4096))),
    ("onednn", call("cpu+onednn", (2, 56, 56, 96), (7, 7, 1, 96), groups=96)),
    ("shift and add", call("cpu+onednn", (2, 56, 56, 96), (3, 3, 1, 96), groups=96)),
    ("shift and add, apart", call("cuda", (16, 32, 32, 320), (3, 3, 1, 320), dilation=12, groups=320)),
    ("native", call("cuda", (16, 32, 32, 320), (3, 3, 1, 320), groups=320)),
    ("onednn", call("cpu+onednn", (2, 56, 56, 128), (3, 3, 4, 128), groups=32)),
    ("blocks", call("cpu", (2, 56, 56, 128), (3, 3, 4, 128), groups=32)),
    ("block products", call("cpu", (2, 7, 7, 1024), (3, 3, 32, 1024), groups=32)),
    ("block products", call("cpu+onednn", (2, 56, 56, 128), (3, 3, 4, 128), groups=32, operation="kernel_gradient")),
    ("native", call("cuda", (2, 56, 56, 128), (3, 3, 4, 128), groups=32)),
    ("phases", call("cpu", (2, 112, 112, 32), (3, 3, 32, 16), factor=2)),
    ("enlarged", call("cpu", (2, 4, 4, 32), (3, 3, 32, 16), factor=2)),
    ("slices", volume("cpu", 8)),
    ("slices", volume("cpu+onednn", 8)),
    ("native", volume("cuda", 8)),
    ("native", volume("cpu", 0)),
    ("convolution", transposed((3, 3, 16, 16), (1, 1))),
    ("product", transposed((2, 2, 128, 64), (2, 2))),
    ("phases", transposed((2, 2, 2, 16), (2, 2), groups=8)),
    ("onednn", matrices("sum", 25088, 64, 64)),
    ("exchanged", matrices("sum", 25088, 256, 21)),
    ("native", matrices("sum", 25088, 21, 256)),
    ("native", matrices("product", 25088, 256, 21)),
    ("exchanged", matrices("pointwise", 25088, 256, 21)),
    ("heads apart", attention("cpu", "float32")),
    ("cudnn", attention("cuda", "bfloat16")),
    ("native", attention("cpu", "bfloat16")),
    ("phases", resize(3, 2)),
    ("phases", resize(2, 8)),
    ("product", resize(2, 9)),
    ("product", resize(3, 0)),
    ("slices", pool("max", 8, 8)),
    ("slices", pool("average", 8, 8)),
    ("native", pool("max", *jax.export.symbolic_shape("h, w"))),
    ("conditional", keep("materialize", "cpu")),
    ("native", keep("materialize", "cuda")),
    ("barrier", keep("slice", "cuda")),
    ("native", keep("slice", "cpu")),
]
"""What a layer takes that a figure of the table is of, and some beside them."""
NETWORKS = {"squeezenet1_0": 224, "unet": 224}


@pytest.mark.parametrize(("algorithm", "example"), EXAMPLES)
def test_examples(monkeypatch, algorithm, example):
    monkeypatch.setattr(conditions, "compute_capability", lambda: 9.0)
    assert find(example).algorithm == algorithm


def test_every_rule_is_taken(monkeypatch):
    """By a layer above or by one of a network, on CPUs of all kinds and with all versions of JAX; nothing is compiled."""
    monkeypatch.setattr(conditions, "compute_capability", lambda: 9.0)
    taken = {find(example) for _, example in EXAMPLES}
    for name, size in NETWORKS.items():
        model = fcn.create_encoder(name) if name in fcn.list_encoders() else fcn.create_model(name, num_classes=21)
        for _, found in calls(model, (2, size, size, 3)):
            for platform, version in itertools.product(("cpu", "cpu+onednn"), (OLD, NEW)):
                taken.add(find(dataclasses.replace(found, platform=platform, version=version, alone=True)))
    assert [(rule.layer, rule.algorithm, rule.reason) for rule in RULES if rule not in taken] == []


@pytest.mark.parametrize("layer", sorted({rule.layer for rule in RULES}))
def test_there_is_an_algorithm_for_everything(layer):
    """The last rule takes what is left, on all platforms and for sizes that are symbols."""
    *others, last = (rule for rule in RULES if rule.layer == layer)
    assert (last.when, last.platforms, last.until) == (conditions.always, ALL, None)
    assert set(last.operations) == {operation for rule in others for operation in rule.operations}


def test_rules_say_what_they_gain():
    """A rule for all JAX that are supported is none for those before; words are for users."""
    for rule in RULES:
        assert rule.reason and not rule.reason.endswith(".")
        native = rule.algorithm in ("native", "enlarged", "convolution")
        assert native or (rule.gain and (rule.cost or rule.layer == "transposed"))
        assert rule.until is None or rule.until > (0, 10)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.layer in CONVOLUTIONS])
def test_every_name_is_an_algorithm(rule):
    """Of the shape that the operation has."""
    groups = {"depthwise": 4, "grouped": 2}.get(rule.layer, 1)
    small = problem((1, 8, 8, 4), (3, 3, 4 // groups, 4), groups=groups, factor=2 if rule.layer == "upsampled" else 1)
    if rule.layer == "volume":
        ones = (1, 1, 1)
        small = Problem(((1, 8, 8, 8, 4),), (3, 3, 3, 4, 4), small.dtype, ones, (ones[:2],) * 3, ones)
    images, kernel, output = map(jnp.zeros, (*small.shapes, small.kernel_shape, small.output_shape))
    mirrored = ("input_gradient",) if rule.layer == "dense" and "convolution" in rule.operations else ()
    expected = {
        "convolution": (images, kernel, output),
        "input_gradient": (output, kernel, images),
        "kernel_gradient": (images, output, kernel),
    }
    for operation in {*rule.operations, *mirrored}:
        *operands, result = expected[operation]
        function = bilinear.ALGORITHMS[rule.layer](operation, rule.algorithm, small)
        (given,) = jax.tree.leaves(jax.eval_shape(function, *operands))
        assert given.shape == result.shape


@pytest.mark.parametrize("platform", ["cpu", "cpu+onednn"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 12, 96), (3, 3, 96, 12), (3, 3, 64, 64), (5, 5, 16, 16)])
def test_gradients_with_respect_to_images_are_convolutions(platform, kernel, strides):
    """With stride 1 they take what the convolution from the features to the channels takes."""
    mirrored = (*kernel[:2], *kernel[:1:-1])
    given = find(call(platform, (2, 56, 56, kernel[2]), kernel, strides=strides, operation="input_gradient"))
    expected = find(call(platform, (2, 56, 56, kernel[3]), mirrored))
    assert given.algorithm == (expected.algorithm if strides == 1 else "native")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "other"])
def test_what_is_not_static_is_xlas(symbols, platform, groups):
    """And so, on a CPU, are images of which a part is cut off."""
    (h,) = jax.export.symbolic_shape("h")
    for operation in ("convolution", "input_gradient", "kernel_gradient"):
        found = find(describe(operation, platform, problem((2, h, 8, 4), (3, 3, 4 // groups, 4), groups=groups)))
        assert found.algorithm in ("native", "blocks", "block products")
        cut = problem((2, 8, 8, 4), (3, 3, 4 // groups, 4), groups=groups)._replace(pads=((-1, 1), (1, 1)))
        assert find(describe(operation, platform, cut)).algorithm == "native"
