"""DPT against smp: maps at strides beyond the patches', and training. The rest is in the table of smp's models."""

from functools import partial

import pytest

import fcn
from tests.parity.models import CLASSES, assert_model_equal, assert_model_gradients_equal, smp_model
from tests.parity.reference import torch
from tests.parity.smp_rows import SMALL


def create(**options):
    return fcn.create_model("dpt", num_classes=CLASSES, encoder="vit_small_patch16", **options)


def reference(**options):
    """smp's, for images of any size."""
    return smp_model("DPT", encoder_name="tu-vit_small_patch16_224", dynamic_img_size=True, **options)


@pytest.mark.parametrize("depth", [1, pytest.param(3, marks=pytest.mark.slow), 5])
def test_depth(depth):
    """The last maps of five have strides of 32 and 64, to which other images are extended."""
    options = {"encoder_depth": depth, "encoder_output_indices": tuple(range(depth)), "decoder_fusion_channels": 8}
    options["decoder_intermediate_channels"] = (8, 7, 6, 5, 4)[:depth]
    extended = [((33, 70), (64, 128) if depth == 5 else (48, 80))]
    assert_model_equal(create(**options), reference(**options), sizes=[], extended=extended)


def test_training():
    """Without the reference's dropout."""
    net = reference(**SMALL["dpt"])
    net.encoder.model.blocks = net.encoder.model.blocks[:2]
    net.encoder.model.norm = net.encoder.model.head = torch.nn.Identity()
    net.segmentation_head.head[3].p = 0.0
    assert_model_gradients_equal(partial(create, dropout_rate=0.0, **SMALL["dpt"]), net, size=(32, 64))


def test_the_reference_refuses_other_sizes():
    """What is extended here is an error there."""
    with pytest.raises(RuntimeError, match="Wrong input shape"):
        reference(**SMALL["dpt"])(torch.zeros(1, 3, 33, 90))
