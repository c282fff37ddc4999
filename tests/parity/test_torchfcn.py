"""FCN-32s/16s/8s against torchfcn, with all tensors random (torchfcn starts at zero)."""

import gc

import jax
import numpy as np
import pytest

import fcn
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch, torchfcn

CLASSES = 21
SHARED_UPSAMPLING = {"upscore": 64, "upscore2": 4, "upscore16": 32, "upscore_pool4": 4, "upscore8": 16}


@pytest.fixture(scope="module")
def tensors():
    """Random tensors for all layers of the three networks (they share names), upsampling too."""
    with torch.device("meta"):
        net = torchfcn().FCN8s(CLASSES)
    state = net.state_dict()
    for name, size in SHARED_UPSAMPLING.items():
        state[f"{name}.weight"] = torch.empty(CLASSES, CLASSES, size, size, device="meta")
    yield random_like(state)
    gc.collect()


def bilinear(state):
    """The same with torchfcn's own upsampling kernels."""
    kernel = torchfcn().fcn32s.get_upsampling_weight
    return {
        name: kernel(CLASSES, CLASSES, tensor.shape[-1]) if name.startswith("upscore") else tensor
        for name, tensor in state.items()
    }


def reference(name, state, images):
    """torchfcn's logits, and the tensors of its state dict."""
    with torch.device("meta"):
        net = getattr(torchfcn(), name)(CLASSES)
    state = {key: state[key] for key in net.state_dict()}
    net.load_state_dict(state, assign=True)
    with torch.inference_mode():
        return nhwc(net.eval()(nchw(images))), state


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "size"),
    [
        ("fcn32s", "FCN32s", {}, (1, 65)),
        ("fcn16s", "FCN16s", {}, (33, 47)),
        ("fcn8s", "FCN8s", {}, (32, 40)),
        ("fcn8s", "FCN8sAtOnce", {"at_once": True}, (33, 47)),
        ("fcn8s", "FCN8s", {"learned_upsampling": True}, (21, 30)),
    ],
)
def test_logits(tensors, ours, theirs, options, size):
    images = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    state = tensors if options.get("learned_upsampling") else bilinear(tensors)
    expected, state = reference(theirs, state, images)
    model = fcn.create_model(ours, num_classes=CLASSES, **options)
    variables = fcn.from_torch(model, state, source="torchfcn")
    assert_close(jax.jit(model.apply)(variables, images), expected)


def test_fixed_upsampling_must_be_bilinear(tensors):
    names = [name for name in tensors if name not in ("upscore.weight", "upscore16.weight")]
    state = bilinear({name: tensors[name] for name in names})
    state["upscore8.weight"] = tensors["upscore8.weight"]
    with pytest.raises(ValueError, match=r"upscore8.weight is not bilinear .*learned_upsampling=True"):
        fcn.from_torch(fcn.create_model("fcn8s", num_classes=CLASSES), state, source="torchfcn")


def test_parameter_count():
    """134.5 M with the transposed convolutions, of which 127,008 are fixed by default and no parameters."""
    with torch.device("meta"):
        expected = sum(p.numel() for p in torchfcn().FCN8s(CLASSES).parameters())
    assert expected == 134_489_759

    def count(**options):
        model = fcn.create_model("fcn8s", num_classes=CLASSES, **options)
        shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(learned_upsampling=True) == expected
    assert count() == expected - 21 * 21 * (4 * 4 + 4 * 4 + 16 * 16)


def test_our_package_is_left_alone():
    import sys

    torchfcn()
    assert sys.modules["fcn"] is fcn
