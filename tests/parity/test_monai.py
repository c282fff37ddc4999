"""MONAI's networks for volumes, and their numbers of parameters."""

import importlib

import jax
import numpy as np
import pytest

import fcn
from fcn.models.residual_unet import ResidualUNet
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch
from tests.variables import count_parameters

SEGRESNET = {"init_filters": 4, "blocks_down": (1, 2), "blocks_up": (1,)}
UNET = {"channels": (4, 6, 8), "strides": (2, 2), "num_res_units": 2}


@pytest.mark.parametrize(
    ("name", "theirs", "size", "options", "more"),
    [
        ("segresnet", "segresnet.SegResNet", (4, 6, 2), SEGRESNET | {"num_groups": 2}, {"norm": ("GROUP", {"num_groups": 2})}),
        ("residual_unet", "unet.UNet", (8, 4, 8), UNET, {}),
        ("residual_unet", "unet.UNet", (8, 12), {**UNET, "norm": "batch"}, {}),
        ("residual_unet", "unet.UNet", (12, 24), {**UNET, "strides": (3, 4)}, {}),
    ],
)
def test_logits(name, theirs, size, options, more):
    """Those of random weights; the state dict given back is the one that was read."""
    nets = pytest.importorskip("monai.networks.nets", reason="compares with MONAI: pip install --no-deps monai")
    module, kind = theirs.split(".")
    other = {key: value for key, value in options.items() if key != "num_groups"} | more
    channels = {"spatial_dims": len(size), "in_channels": 2, "out_channels": 3}
    network = getattr(importlib.import_module(f"{nets.__name__}.{module}"), kind)(**channels, **other).eval()
    state = random_like(network.state_dict())
    network.load_state_dict(state)
    model = fcn.create_model(name, num_classes=3, **options)
    variables = fcn.from_torch(model, state, source="monai")
    x = np.random.default_rng(0).normal(size=(2, *size, 2)).astype(np.float32)
    with torch.no_grad():
        expected = network(nchw(x))
    assert_close(jax.jit(model.apply)(variables, x), nhwc(expected))
    again = fcn.to_torch(model, variables, source="monai")
    assert again.keys() == state.keys() and all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("name", "dimensions", "count"), [("segresnet", 3, 1_176_186), ("segresnet", 2, 394_986), ("residual_unet", 3, 4_806_481)]
)
def test_parameters(name, dimensions, count):
    assert count_parameters(fcn.create_model(name, num_classes=2), 1, *(16,) * dimensions, 1) == count


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("segresnet", {"blocks_down": (1, 1), "blocks_up": (1, 1)}, r"blocks_up=\(1, 1\) has 2 numbers, .* 2; give one less"),
        ("residual_unet", {"channels": (4, 4, 4), "strides": (2,)}, r"strides=\(2,\) has 1 numbers, channels 3; give one less"),
        ("residual_unet", {"channels": (16,), "strides": ()}, r"channels=\(16,\) has no level above .* two numbers or more"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        fcn.create_model(name, num_classes=2, **options).init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))


def test_another_norm_is_refused(symbols):
    """Where annotations are not checked, as they are not in `symbols`."""
    with pytest.raises(ValueError, match="unknown norm 'group'"):
        ResidualUNet(2, norm="group").init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
