"""DPT against smp."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from tests.parity.encoders import smp
from tests.parity.models import (
    CLASSES,
    assert_model_equal,
    assert_model_gradients_equal,
    assert_model_round_trip,
    images,
    smp_model,
)
from tests.parity.reference import assert_close, nchw, random_like, torch
from tests.variables import count_parameters

SMALL = {"encoder_depth": 2, "encoder_output_indices": (0, 1), "decoder_intermediate_channels": (8, 12)}
SMALL |= {"decoder_fusion_channels": 16}
BEYOND = ("encoder.model.norm.", "encoder.model.head.", *(f"encoder.model.blocks.{i}." for i in range(2, 12)))


def create(encoder="vit_small_patch16", **options):
    return fcn.create_model("dpt", num_classes=CLASSES, encoder=encoder, **options)


def reference(encoder="vit_small_patch16", device=None, tag="", **options):
    """smp's, for images of any size."""
    return smp_model("DPT", device, encoder_name=f"tu-{encoder}_224{tag}", dynamic_img_size=True, **options)


@pytest.mark.parametrize("encoder", ["vit_small_patch16", pytest.param("vit_base_patch16", marks=pytest.mark.slow)])
def test_logits(encoder):
    assert_model_equal(create(encoder), reference(encoder), sizes=[(128, 128), (64, 96)])


@pytest.mark.parametrize("readout", ["cat", "add", "ignore"])
def test_readout(readout):
    options = {"decoder_readout": readout, **SMALL}
    assert_model_equal(create(**options), reference(**options), sizes=[(48, 80)])


@pytest.mark.parametrize("depth", [1, pytest.param(3, marks=pytest.mark.slow), 5])
def test_depth(depth):
    """The last maps of five have strides of 32 and 64, to which other images are extended."""
    options = {"encoder_depth": depth, "encoder_output_indices": tuple(range(depth)), "decoder_fusion_channels": 8}
    options["decoder_intermediate_channels"] = (8, 7, 6, 5, 4)[:depth]
    extended = [((33, 70), (64, 128) if depth == 5 else (48, 80))]
    assert_model_equal(create(**options), reference(**options), sizes=[], extended=extended)


@pytest.mark.slow
def test_positions_of_another_image_size():
    assert_model_equal(create(img_size=64, **SMALL), reference(img_size=64, **SMALL), sizes=[(64, 64)])


def test_training():
    """Without the reference's dropout."""
    net = reference(**SMALL)
    net.encoder.model.blocks = net.encoder.model.blocks[:2]
    net.encoder.model.norm = net.encoder.model.head = torch.nn.Identity()
    net.segmentation_head.head[3].p = 0.0
    assert_model_gradients_equal(partial(create, dropout_rate=0.0, **SMALL), net, size=(32, 64))


def test_classes_of_the_image():
    """The head on the encoder's last map; its weights come along."""
    options = {"aux_params": {"classes": 7, "pooling": "max"}, **SMALL}
    model, net = create(**options), reference(**options).eval()
    net.load_state_dict(random_like(net.state_dict()))
    variables = fcn.from_torch(model, net.state_dict(), source="smp")
    x = images((32, 64))
    logits, new = jax.jit(partial(model.apply, mutable=["class_logits"]))(variables, x)
    with torch.inference_mode():
        masks, expected = net(nchw(x))
    assert_close(new["class_logits"]["logits"][0], expected.numpy())
    assert_close(np.moveaxis(logits, -1, 1), masks.numpy())


def test_round_trip():
    """With the tag that smp's default has: the classifier that it keeps has the classes of ImageNet-21k."""
    assert_model_round_trip(create(**SMALL), reference(**SMALL, tag=".augreg_in21k"), beyond=BEYOND)


@pytest.mark.parametrize("encoder", ["vit_small_patch16", "vit_base_patch16"])
def test_parameters(encoder):
    """The reference has two layers of the encoder more, which it does not use."""
    net = reference(encoder, "meta")
    expected = sum(p.numel() for name, p in net.named_parameters() if not name.startswith(BEYOND[:2]))
    assert count_parameters(create(encoder), 1, 64, 64, 3) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet18"}, "encoder 'resnet18' has no class token; DPT takes vit_small_patch16, vit_base_patch16"),
        ({"decoder_readout": "ad"}, "unknown decoder_readout 'ad'; did you mean 'add'"),
        ({"encoder_depth": 3}, "has 4 entries, but encoder_depth is 3"),
        ({"encoder_output_indices": (1, 2)}, r"encoder_output_indices=\(1, 2\) has 2 entries, but encoder_depth is 4"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(create(**options).init, jax.random.key(0), images((32, 32)))


def test_the_reference_refuses_other_sizes():
    """What is extended here is an error there."""
    with pytest.raises(RuntimeError, match="Wrong input shape"):
        smp().DPT("tu-vit_small_patch16_224", encoder_weights=None, dynamic_img_size=True, **SMALL)(torch.zeros(1, 3, 33, 90))
