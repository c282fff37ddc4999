"""The dense layer against Flax's own."""

import flax.linen as nn
import pytest

from fcn.layers import Dense
from tests.layers.references import assert_same, normal


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 4, 5), (2, 0, 5)])
def test_equals_flax(shape):
    x, kernel, bias = normal(*shape), normal(5, 3), normal(3)

    def run(layer):
        return lambda x, kernel, bias: layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)

    assert_same(run(Dense(3)), run(nn.Dense(3)), x, kernel, bias)
