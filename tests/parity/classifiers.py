"""Comparisons that every classifier of timm's passes: logits, numbers of parameters, weights back."""

import jax
import numpy as np
import pytest

import fcn
from tests.parity.reference import Undrawn, assert_close, nchw, random_like, settle, torch, torchvision
from tests.variables import count_parameters


def timm(name, device=None, **options):
    """timm's network, whose weights are yet to be drawn."""
    torchvision()
    package = pytest.importorskip("timm", reason="parity tests compare with timm: install '.[parity]'")
    with torch.device(device or "cpu"), Undrawn():
        return package.create_model(name, **options)


def assert_classifier_equal(model, net, *, size, settled=False):
    """Logits of images of one size, the number of parameters, and the round trip.

    Args:
      model: ours, of as many classes as the reference has.
      net: timm's.
      size: height and width of the images.
      settled: whether BatchNorm gets the statistics of images, see `settle`.
    """
    net.load_state_dict(random_like(net.state_dict()))
    net.eval()
    if settled:
        settle(net)
    assert count_parameters(model, 1, 64, 64, 3) == sum(p.numel() for p in net.parameters())
    variables = fcn.from_torch(model, net.state_dict(), source="timm")
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = net(nchw(x)).numpy()
    assert_close(jax.jit(model.apply)(variables, x), expected)
    net.load_state_dict(fcn.to_torch(model, variables, source="timm"), strict=True)
