"""Claim 6: a fully convolutional network has the same parameters for every image size; dense layers have not."""

import dataclasses

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import fcn
from experiments.pointwise_claims import drawing
from experiments.pointwise_claims.claim import Claim, Setting, count, shapes

SIZES = (64, 128, 224, 384, 512, 768, 1024)


def parameters(side: int) -> dict[str, int]:
    """Parameters of VGG16 with dense layers for images of this side (a multiple of 32), and of FCN-8s with 21 classes."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    dense = dataclasses.replace(fcn.create_classifier("vgg16"), window=(side // 32, side // 32))
    return {"dense": count(shapes(dense, images)), "fcn8s": count(shapes(fcn.create_model("fcn8s", num_classes=21), images))}


def run(setting: Setting) -> Claim:
    """Computes, draws and tells the claim."""
    sizes = SIZES[:3] if setting.fast else SIZES
    table = {side: parameters(side) for side in sizes}
    lines = (
        "image side              " + "".join(f"{side:>10}" for side in sizes),
        "VGG16 with dense layers " + "".join(f"{row['dense'] / 1e6:>8.1f} M" for row in table.values()),
        "FCN-8s on VGG16         " + "".join(f"{row['fcn8s'] / 1e6:>8.1f} M" for row in table.values()),
    )
    dense, convolutional = ([row[kind] for row in table.values()] for kind in ("dense", "fcn8s"))
    return Claim(
        title="Its parameters do not depend on the image size",
        lines=lines,
        verdict="A kernel does not know how large the image is; a dense layer has weights for every cell of its map.",
        holds=len(set(convolutional)) == 1 and dense == sorted(set(dense)),
        numbers={"sides": list(sizes), "dense": dense, "fcn8s": convolutional},
        figures={"pointwise_sizes.png": draw(table)},
    )


def draw(table: dict[int, dict[str, int]]) -> Figure:
    """Parameters over the image's side."""
    figure = drawing.new_figure(8, 3.8)
    ax = figure.subplots()
    sides = list(table)
    for name, label, colour in (("dense", "VGG16 with dense layers", drawing.GRAY), ("fcn8s", "FCN-8s", drawing.BLUE)):
        values = [row[name] / 1e6 for row in table.values()]
        ax.plot(sides, values, "o-", color=colour, linewidth=2.2)
        ax.annotate(f" {label}\n {values[-1]:,.1f} M", (sides[-1], values[-1]), color=colour, weight="bold", va="center")
    ax.set(xlabel="side of the image, pixels", ylabel="parameters, millions", ylim=(0, None))
    ax.set_xticks(sides, [str(side) for side in sides])
    ax.set_xlim(0, sides[-1] * 1.4)
    ax.grid(axis="y", color=drawing.GRID)
    ax.set_title("Parameters and image size", fontsize=14, weight="bold")
    return figure
