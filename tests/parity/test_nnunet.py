"""nnU-Net's networks against `dynamic_network_architectures`, and their numbers of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch
from tests.variables import count_parameters

SMALL = {"features_per_stage": (4, 6, 8), "strides": (1, 2, 2)}
RESIDUAL = {**SMALL, "n_blocks_per_stage": (1, 2, 1)}


def reference(name, channels, dimensions, features_per_stage, strides, kernel_sizes=3, **options):
    reason = "compares with nnU-Net's networks: pip install --no-deps dynamic-network-architectures"
    architectures = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason=reason)
    counts = {"n_conv_per_stage_decoder": 2} if name == "PlainConvUNet" else {"n_conv_per_stage_decoder": 1}
    options = {"n_conv_per_stage": 2} | options if name == "PlainConvUNet" else options
    nn = torch.nn
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dimensions == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    kinds = {"norm_op": norm, "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "nonlin": nn.LeakyReLU}
    network = getattr(architectures, name)(
        channels,
        len(strides),
        features_per_stage,
        conv,
        kernel_sizes,
        strides,
        num_classes=3,
        conv_bias=True,
        **kinds,
        **counts,
        **options,
    )
    return network.eval()


@pytest.mark.parametrize(
    ("name", "theirs", "size", "options"),
    [
        (
            "plain_conv_unet",
            "PlainConvUNet",
            (4, 8, 8),
            {**SMALL, "strides": (1, (1, 2, 2), 2), "kernel_sizes": ((1, 3, 3), 3, 3)},
        ),
        ("residual_encoder_unet", "ResidualEncoderUNet", (8, 12), RESIDUAL),
    ],
)
def test_logits(name, theirs, size, options):
    """Those of random weights, of all heads; and the state dict given back has all tensors, those under several names, too."""
    network = reference(theirs, 2, len(size), **options)
    state = random_like(network.state_dict())
    network.load_state_dict(state)
    state = network.state_dict()  # tensors under several names are one
    model = fcn.create_model(name, num_classes=3, **options)
    variables = fcn.from_torch(model, state, source="nnunet")
    x = np.random.default_rng(0).normal(size=(2, *size, 2)).astype(np.float32)
    network.decoder.deep_supervision = True
    with torch.no_grad():
        expected, _ = network(nchw(x))
    logits, heads = jax.jit(lambda v, x: model.apply(v, x, mutable=["aux_logits"]))(variables, x)
    assert_close(logits, nhwc(expected))
    assert heads == {}  # of three stages, the coarser one of two weighs nothing
    again = fcn.to_torch(model, variables, source="nnunet")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    plain = model.clone(deep_supervision=False)
    again = fcn.to_torch(plain, fcn.from_torch(plain, state, source="nnunet"), source="nnunet")
    network.load_state_dict(again)
    coarser = {f"decoder.seg_layers.0.{leaf}" for leaf in ("weight", "bias")}
    assert all(torch.equal(again[key], torch.zeros_like(state[key]) if key in coarser else state[key]) for key in state)


@pytest.mark.parametrize(
    ("name", "dimensions", "options", "count"),
    [
        ("plain_conv_unet", 3, {}, 31_195_594),
        ("plain_conv_unet", 2, {"features_per_stage": (32, 64, 128, 256, 512, 512, 512)}, 33_471_820),
        ("residual_encoder_unet", 3, {}, 102_349_770),
    ],
)
def test_parameters(name, dimensions, options, count):
    model = fcn.create_model(name, num_classes=2, **options)
    assert count_parameters(model, 1, *(64,) * dimensions, 1) == count


def test_coarser_heads():
    """Each as large as the input; without them a checkpoint's are left out."""
    options = {"features_per_stage": (2, 2, 2, 2), "n_conv_per_stage": 1, "n_conv_per_stage_decoder": 1}
    model = fcn.create_model("plain_conv_unet", num_classes=2, **options)
    x = jnp.zeros((1, 5, 9, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    _, heads = jax.eval_shape(lambda v: model.apply(v, x, mutable=["aux_logits"]), variables)
    assert {name: head[0].shape for name, head in heads["aux_logits"].items()} == {"coarse_1": (1, 5, 9, 2)}
    plain = fcn.create_model("plain_conv_unet", num_classes=2, deep_supervision=False, **options)
    given = fcn.from_torch(plain, fcn.to_torch(model, model.init(jax.random.key(0), x), source="nnunet"), source="nnunet")
    assert set(given["params"]["decoder"]) & {"seg_layers_0", "seg_layers_1", "seg_layers_2"} == {"seg_layers_2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": (1, 2, 2)}, r"strides=\(1, 2, 2\) has 3 entries for 2 stages; give one for each"),
        ({"strides": (1, (1, 2, 2))}, r"strides has \(1, 2, 2\) for images \[B, H, W, C\]; give one number, or 2"),
        ({"strides": ((1, 2), 2)}, r"strides begins with \(1, 2\), which would leave logits smaller .*; begin with 1"),
        ({"features_per_stage": (32,)}, r"features_per_stage=\(32,\) has 1 stages; give two numbers or more"),
        ({"kernel_sizes": (3, (3, 2))}, r"kernel_sizes has \(3, 2\); give odd sizes, such as 3"),
    ],
)
def test_options_that_are_refused(options, message):
    model = fcn.create_model("plain_conv_unet", num_classes=2, **{"features_per_stage": (2, 2)} | options)
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))


def test_tensors_that_differ():
    model = fcn.create_model("plain_conv_unet", num_classes=2, features_per_stage=(2, 2), n_conv_per_stage=1)
    tensors = fcn.to_torch(model, model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1))), source="nnunet")
    tensors["encoder.stages.0.0.convs.0.all_modules.1.bias"] = tensors["encoder.stages.0.0.convs.0.norm.bias"] + 1
    with pytest.raises(ValueError, match="are one tensor of the network, but differ"):
        fcn.from_torch(model, tensors, source="nnunet")
