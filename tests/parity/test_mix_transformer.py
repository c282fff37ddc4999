"""Mix Transformers against smp."""

from functools import partial

import pytest

from fcn.encoders.mix_transformer import MIX_TRANSFORMERS
from tests.parity.encoders import (
    assert_encoder_equal,
    assert_gradients_equal,
    assert_parameters_equal,
    assert_round_trip,
    smp_encoder,
)
from tests.parity.reference import torch

LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in MIX_TRANSFORMERS if name != "mit_b0"]


def reference(name, device=None, **options):
    """smp's, whose own `load_state_dict` takes no `strict`, without stochastic depth."""
    net = smp_encoder(name, device, **options)
    net.load_state_dict = partial(torch.nn.Module.load_state_dict, net)
    net.reset_drop_path(0.0)
    return net


@pytest.mark.parametrize("name", ["mit_b0", *LARGE])
def test_encoder(name):
    assert_encoder_equal(name, reference(name), source="smp")


def test_training():
    assert_gradients_equal("mit_b0", reference("mit_b0"), source="smp")


def test_round_trip():
    assert_round_trip("mit_b0", reference("mit_b0"), source="smp")


@pytest.mark.parametrize("name", MIX_TRANSFORMERS)
def test_parameters(name, monkeypatch):
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))  # of which smp takes the values
    assert_parameters_equal(name, smp_encoder(name, device="meta"))
