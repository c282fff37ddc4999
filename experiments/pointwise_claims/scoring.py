"""Claim 8: it gives every pixel its class scores in FCN and U-Net; objects of one class it cannot tell apart."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

import fcn
from experiments.pointwise_claims import conditional, instances
from experiments.pointwise_claims.claim import Claim, Setting, shapes
from fcn.instances.conditional import PARAMETERS

NETWORKS = {"fcn8s": 21, "unet": 2}
"""Model -> number of classes, as in the papers: VOC, and cells against ground."""


def convolution_kernels(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every convolution kernel of a network of RGB images by the name of its layer: (height, width, input, output)."""
    variables = shapes(model, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    paths: dict[Any, Any] = flatten_dict(variables["params"])
    return {"/".join(path[:-1]): leaf.shape for path, leaf in paths.items() if path[-1] == "kernel" and len(leaf.shape) == 4}


def pointwise_kernels(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Those of `convolution_kernels` that are 1x1."""
    return {name: shape for name, shape in convolution_kernels(model).items() if shape[:2] == (1, 1)}


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    layers, lines = {}, []
    for name, num_classes in NETWORKS.items():
        model = fcn.create_model(name, num_classes=num_classes)
        layers[name] = pointwise_kernels(model)
        listed = ", ".join(f"{layer} {shape[2]} -> {shape[3]}" for layer, shape in layers[name].items())
        lines.append(f"{name}: {len(layers[name])} of {len(convolution_kernels(model))} convolutions are 1x1: {listed}")
    result = instances.measure(setting.rng(), 100 if setting.fast else 300)
    accuracy, networks = result.accuracy, conditional.measure()
    found, everywhere = networks.overlap["features and place"], networks.overlap["features"]
    lines += [
        f"two equal objects at two places: features differ by {result.twin_difference:.0e}, so a class map cannot count them",
        f"one embedding per pixel finds its own disc (of 5): {accuracy['features']:.1%} of the pixels from features alone,"
        f" {accuracy['features and place']:.1%} with their place",
        f"three 1x1 convolutions of 169 numbers for each of 5 discs: {len(networks.masks) * PARAMETERS} numbers; they find"
        f" their disc by an overlap of {found:.0%}, without its place {everywhere:.0%}",
    ]
    scored = all(any(shape[3] == NETWORKS[name] for shape in layers[name].values()) for name in NETWORKS)
    return Claim(
        title="It scores the classes at every pixel of FCN and U-Net",
        lines=tuple(lines),
        verdict="Features -> 1x1 -> one score per class. Objects of one class need channels or networks of their own, or"
        " embeddings.",
        holds=scored
        and result.twin_difference < 1e-5
        and accuracy["features and place"] > 0.95 > accuracy["features"]
        and found > 0.95 > everywhere,
        numbers={
            "pointwise_layers": {name: {k: list(v) for k, v in found.items()} for name, found in layers.items()},
            "twin_difference": result.twin_difference,
            "instance_accuracy": accuracy,
            "conditional_overlap": networks.overlap,
        },
        figures={
            "pointwise_instances.png": instances.draw(result),
            "pointwise_conditional.png": conditional.draw(networks),
        },
    )
