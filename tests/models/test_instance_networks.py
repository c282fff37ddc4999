"""The networks of StarDist and Cellpose: as many parameters as theirs, in layers of the same names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.pretrained.names import parts, reference_names


def parameters(model, channels):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))
    return shapes, sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(("grid", "count"), [(1, 1_406_689), (2, 1_425_185)])
def test_stardist_has_as_many_parameters(grid, count):
    shapes, found = parameters(fcn.create_model("stardist_unet", num_classes=33, grid=grid), 1)
    assert found == count
    kernels = {name: layer["kernel"].shape for name, layer in shapes["params"].items()}
    assert kernels["middle_0"] == (3, 3, 128, 256) and kernels["middle_2"] == (3, 3, 256, 128)
    assert kernels["up_level_2_no_0"] == (3, 3, 256, 128) and kernels["up_level_2_no_2"] == (3, 3, 128, 64)
    assert kernels["prob"] == (1, 1, 128, 1) and kernels["dist"] == (1, 1, 128, 32)


def test_cellpose_has_as_many_parameters():
    shapes, found = parameters(fcn.create_model("cpnet", num_classes=3), 2)
    assert found + sum(leaf.size for leaf in jax.tree.leaves(shapes["diameters"])) == 6_600_845


def test_layers_of_cellpose_have_its_names():
    model = fcn.create_model("cpnet", num_classes=3, features=(2, 4))
    found = set(reference_names(model, *parts(model, 2), "cellpose").values())
    blocks = [*(f"downsample.down.res_down_{i}" for i in (0, 1)), *(f"upsample.up.res_up_{i}" for i in (0, 1))]
    norm = [f"0.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
    expected = {"diam_mean", "diam_labels", *(f"output.{leaf}" for leaf in (*norm, "2.weight", "2.bias"))}
    for block in blocks:
        expected |= {f"{block}.proj.{leaf}" for leaf in (*norm, "1.weight", "1.bias")}
        for i in range(4):
            styled = block.startswith("upsample") and i > 0
            inner = f"{block}.conv.conv_{i}" + (".conv" if styled else "")
            expected |= {f"{inner}.{leaf}" for leaf in (*norm, "2.weight", "2.bias")}
            expected |= {f"{block}.conv.conv_{i}.full.{leaf}" for leaf in ("weight", "bias")} if styled else set()
    assert found == expected


def test_a_coarse_grid_is_repeated():
    model = fcn.create_model("stardist_unet", num_classes=3, base_features=2, depth=1, head_features=2, grid=2)
    with pytest.raises(ValueError, match="grid is 3; it must be a power of two"):
        model.clone(grid=3).init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    logits = jax.eval_shape(lambda x: model.apply(model.init(jax.random.key(0), x), x), jnp.zeros((1, 7, 9, 1)))
    assert logits.shape == (1, 7, 9, 3)
