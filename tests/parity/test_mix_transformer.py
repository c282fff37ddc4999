"""Mix Transformers against smp."""

from functools import partial

import pytest

from fcn.encoders.mix_transformer import MIX_TRANSFORMERS
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_round_trip,
    assert_tensors_equal,
    smp_encoder,
)
from tests.parity.reference import torch


def reference(name):
    """smp's, whose own `load_state_dict` takes no `strict`, without stochastic depth."""
    net = smp_encoder(name)
    net.load_state_dict = partial(torch.nn.Module.load_state_dict, net)
    net.reset_drop_path(0.0)
    return net


def short_reference(name):
    """Of one block in each stage: the compilation of all takes the time."""
    net = reference(name)
    for stage in range(1, 5):
        setattr(net, f"block{stage}", getattr(net, f"block{stage}")[:1])
    return net


def test_encoder():
    assert_encoder_equal("mit_b0", reference("mit_b0"), source="smp", sizes=[(65, 97)])


def test_wider_encoder():
    """The others differ in their number of blocks alone."""
    assert_encoder_equal("mit_b1", short_reference("mit_b1"), source="smp", sizes=[(64, 96)], fields={"blocks": (1, 1, 1, 1)})


def test_training():
    assert_gradients_equal("mit_b0", short_reference("mit_b0"), source="smp", fields={"blocks": (1, 1, 1, 1)})


def test_round_trip():
    assert_round_trip("mit_b0", reference("mit_b0"), source="smp")


@pytest.mark.parametrize("name", MIX_TRANSFORMERS)
def test_tensors(name, monkeypatch):
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))  # of which smp takes the values
    assert_tensors_equal(name, smp_encoder(name, device="meta"), source="smp")
