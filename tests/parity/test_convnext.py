"""ConvNeXt against timm, and against smp's names."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.convnext import CONVNEXTS
from tests.parity.classifiers import assert_classifier_equal, timm
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_round_trip,
    assert_tensors_equal,
    smp_encoder,
    smp_maps,
)
from tests.parity.reference import assert_close, nchw, nhwc, random_like, torch

TINY, BLOCKS = "convnext_tiny", (1, 1, 1, 2)
"""The smallest, and the blocks of each stage where the compilation of all would take the time."""


def reference(name, device=None, **options):
    """timm's network without its classifier."""
    net = timm(name, device, **options)
    net.head = torch.nn.Identity()
    return net


def maps(net, x):
    """After each stage."""
    return net.forward_intermediates(x, intermediates_only=True)


def test_encoder():
    assert_encoder_equal(TINY, reference(TINY), source="timm", sizes=[(96, 160)], maps=maps)


@pytest.mark.parametrize(("name", "options"), [("convnext_base", {}), (TINY, {"output_stride": 8})])
def test_blocks(name, options):
    """Wider ones, and dilated ones; others differ in the number of blocks alone."""
    net, short = reference(name, depths=BLOCKS, **options), {"fields": {"blocks": BLOCKS}}
    assert_encoder_equal(name, net, source="timm", sizes=[(96, 160)], maps=maps, **short, **options)


def test_smp_names_and_odd_size():
    """Rows and columns that fill no patch are left out, as there."""
    net = smp_encoder(f"tu-{TINY}", depths=BLOCKS).eval()
    net.load_state_dict(random_like(net.state_dict()))
    encoder = fcn.create_encoder(TINY).copy(blocks=BLOCKS)
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = smp_maps(net, nchw(x))
    given = jax.jit(encoder.apply)(fcn.from_torch(encoder, net.state_dict(), source="smp"), x)
    assert len(given) == len(expected)
    for ours, theirs in zip(given, expected):
        assert_close(ours, nhwc(theirs))


@pytest.mark.slow
def test_training():
    """Up to stride 8."""
    net = reference(TINY)
    net.stages = net.stages[:2]
    assert_gradients_equal(TINY, net, source="timm", maps=maps, depth=3)


def test_classifier():
    """Of one block in each stage; and its weights back to timm's names."""
    model, blocks = fcn.create_classifier(TINY), (1, 1, 1, 1)
    model = model.copy(encoder=model.encoder.copy(blocks=blocks))
    assert_classifier_equal(model, timm(TINY, depths=blocks), size=(64, 96))


def test_round_trip():
    assert_round_trip(TINY, reference(TINY), source="timm")


@pytest.mark.parametrize("name", CONVNEXTS)
def test_tensors(name):
    assert_tensors_equal(name, reference(name, device="meta"), source="timm")
