"""The reference implementations, importable also where parts that the tests do not need are missing."""

import functools
import importlib
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="parity tests compare with PyTorch: install '.[parity]'")

from experiments.benchmark import references  # noqa: E402  (takes PyTorch)


def torchvision() -> ModuleType:
    """torchvision, which is not installed with everything that it takes."""
    pytest.importorskip("PIL")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("parity tests compare with torchvision: install '.[parity]'")
    return references.torchvision()


@functools.cache
def torchfcn() -> ModuleType:
    """`torchfcn.models` alone. It imports PyPI's `fcn` (for downloads), which is not this library: it gets an empty module."""
    spec = importlib.util.find_spec("torchfcn")
    if spec is None:
        pytest.skip("parity tests compare with torchfcn: pip install --no-deps torchfcn")
    torchvision()
    package = ModuleType("torchfcn")  # without running its __init__, which imports data sets and a trainer
    package.__path__ = list(spec.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchfcn", package)
        patch.setitem(sys.modules, "fcn", ModuleType("fcn"))
        return importlib.import_module("torchfcn.models")


class Undrawn(torch.overrides.TorchFunctionMode):
    """Inside, networks are made without drawing their weights, which takes seconds and which the tests replace."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_):
            return args[0]
        return function(*args, **(kwargs or {}))


def random_like(state: dict, seed: int = 0) -> dict:
    """Random tensors of the same names and shapes; activations keep their scale from layer to layer, variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, tensor, generator) for name, tensor in state.items()}


def _random(name: str, tensor, generator):
    if not tensor.dtype.is_floating_point:
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    values = torch.empty(tensor.shape).normal_(generator=generator)
    if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
        return 0.5 + values.abs()
    return values * (0.1 if tensor.ndim == 1 else np.sqrt(2 / np.prod(tensor.shape[1:])))


def settle(net, images=None) -> None:
    """Gives every BatchNorm the statistics of images [B, H, W, C] (default: random ones), so that activations keep their scale.

    Where they saturate (ReLU6, gates), large values multiply rounding.
    """
    images = np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype(np.float32) if images is None else images
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(nchw(images))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    net.eval()


def nchw(images):
    """A PyTorch tensor of images [B, H, W, C]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(images), -1, 1)))


def nhwc(tensor) -> np.ndarray:
    """A NumPy array [B, H, W, C] of a tensor [B, C, H, W]."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def assert_close(given, expected, *, relative: float = 1e-4) -> None:
    """Largest difference at most `relative` times the largest expected value: float32 sums in another order."""
    given, expected = np.asarray(given), np.asarray(expected)
    assert given.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(given - expected).max() <= relative * scale
