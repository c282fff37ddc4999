"""How the reference implementations name and lay out their tensors: one function per source."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np

from fcn.encoders.vgg import VGG
from fcn.layers import bilinear_kernel
from fcn.models.classifier import FlattenClassifier
from fcn.models.fcn import FCN8s, FCN16s, FCN32s

Layout = Callable[[str, np.ndarray], np.ndarray]


class Names(NamedTuple):
    """A source's names for a model."""

    modules: Mapping[str, tuple[str, ...]]
    """PyTorch module -> path of the Flax module."""
    layout: Layout
    """(PyTorch module, weight) -> kernel in Flax's order of axes."""
    checks: Mapping[str, Callable[[str, np.ndarray], None]] = {}
    """Tensors that have no place, with what must hold for them."""
    ignored: tuple[str, ...] = ()
    """Beginnings of the names of tensors that the model has no use for."""


def torchfcn(model: nn.Module, wanted: Mapping[tuple[str, ...], object]) -> Names:
    """torchfcn's FCNs: one flat list of layers, named as in the authors' Caffe nets."""
    if not isinstance(model, FCN32s | FCN16s | FCN8s):
        raise ValueError(f"source 'torchfcn' has weights for fcn32s, fcn16s and fcn8s, not for {type(model).__name__}")
    modules = {path[-2]: path[1:-1] for path in wanted}
    upsampling = {FCN32s: ("upscore",), FCN16s: ("upscore2", "upscore16"), FCN8s: ("upscore2", "upscore_pool4", "upscore8")}
    fixed = () if model.learned_upsampling else upsampling[type(model)]
    checks = {f"{name}.weight": _must_be_bilinear for name in fixed}
    return Names(modules, lambda module, weight: _kernel(weight, transposed=module.startswith("upscore")), checks)


def torchvision(model: nn.Module, wanted: Mapping[tuple[str, ...], object]) -> Names:
    """torchvision's VGGs: `features.N` in a sequence with ReLU and pools, `classifier.0`, `.3`, `.6`."""
    if isinstance(model, VGG):
        return Names(_vgg_features(model, ()), lambda _, weight: _kernel(weight), ignored=("classifier.",))
    if not (isinstance(model, FlattenClassifier) and isinstance(model.encoder, VGG)):
        raise ValueError(f"source 'torchvision' has weights for VGG encoders and classifiers, not for {type(model).__name__}")
    dense = {"classifier.0": ("fc6",), "classifier.3": ("fc7",), "classifier.6": ("fc8",)}

    def layout(module: str, weight: np.ndarray) -> np.ndarray:
        return _kernel_after_flatten(weight, model.window) if module == "classifier.0" else _kernel(weight)

    return Names(_vgg_features(model.encoder, ("encoder",)) | dense, layout)


SOURCES = {"torchfcn": torchfcn, "torchvision": torchvision}


def _vgg_features(vgg: VGG, prefix: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    modules, index = {}, 0
    for stage, count in enumerate(vgg.convolutions, start=1):
        for i in range(1, count + 1):
            modules[f"features.{index}"] = (*prefix, f"conv{stage}_{i}")
            if vgg.batch_norm:
                index += 1
                modules[f"features.{index}"] = (*prefix, f"bn{stage}_{i}")
            index += 2  # this layer and the ReLU
        index += 1  # the pool
    return modules


def _kernel(weight: np.ndarray, transposed: bool = False) -> np.ndarray:
    """[out, in, h, w] -> [h, w, in, out]; a transposed convolution's [in, out, h, w] likewise, and turned by 180 degrees."""
    if weight.ndim == 4:
        return weight.transpose(2, 3, 0, 1)[::-1, ::-1] if transposed else weight.transpose(2, 3, 1, 0)
    return weight.T


def _kernel_after_flatten(weight: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """[out, in * h * w] -> [h * w * in, out]: PyTorch flattens channels first, this library channels last."""
    out, length = weight.shape
    if length % (window[0] * window[1]):
        return weight.T
    return weight.reshape(out, -1, *window).transpose(2, 3, 1, 0).reshape(length, out)


def _must_be_bilinear(name: str, weight: np.ndarray) -> None:
    channels, size = weight.shape[0], weight.shape[-1]
    expected = np.eye(channels)[:, :, None, None] * bilinear_kernel(size)
    if weight.shape != expected.shape or not np.allclose(weight, expected, rtol=0, atol=1e-6):
        raise ValueError(
            f"{name} is not bilinear interpolation, but the model's upsampling is fixed to that; "
            "create the model with learned_upsampling=True"
        )
