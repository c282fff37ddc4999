"""The networks of StarDist and Cellpose against the same ones written anew with PyTorch's functions."""

import sys

import jax
import numpy as np
import pytest

import fcn
from experiments import convert
from tests.parity.by_hand import F, assert_model_equals
from tests.parity.reference import torch
from tests.variables import random_variables


def stardist(x, net, depth, pools):
    def conv(x, name):
        return F.relu(net.conv(x, name))

    for pool in range(pools):
        x = F.max_pool2d(conv(conv(x, f"grid_level_{pool}_no_0"), f"grid_level_{pool}_no_1"), 2)
    skips = []
    for n in range(depth):
        x = conv(conv(x, f"down_level_{n}_no_0"), f"down_level_{n}_no_1")
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = conv(conv(x, "middle_0"), "middle_2")
    for n in reversed(range(depth)):
        x = torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skips[n]], 1)
        x = conv(conv(x, f"up_level_{n}_no_0"), f"up_level_{n}_no_2")
    x = conv(x, "features")
    x = torch.cat([net.conv(x, "prob"), net.conv(x, "dist")], 1)
    return F.interpolate(x, scale_factor=2**pools, mode="nearest")


def test_stardist():
    model = fcn.create_model("stardist_unet", num_classes=5, base_features=4, depth=2, head_features=8, grid=2)
    extended = [((13, 22), (16, 24))]
    assert_model_equals(model, lambda x, net: stardist(x, net, 2, 1), [], extended=extended, channels=1)


def cellpose(x, net, levels):
    """`CPnet` of cellpose 3, in its own order."""

    def conv(x, name):
        return net.conv(F.relu(net.norm(x, f"{name}/bn")), f"{name}/conv")

    def projected(x, name):
        return net.conv(net.norm(x, f"{name}/proj/bn"), f"{name}/proj/conv")

    def styled(x, style, name):
        shift = F.linear(style, net(f"{name}/full/kernel").T, net(f"{name}/full/bias"))
        return conv(x + shift[:, :, None, None], f"{name}/conv")

    maps = []
    for n in range(levels):
        x = x if n == 0 else F.max_pool2d(x, 2)
        x = projected(x, f"down_{n}") + conv(conv(x, f"down_{n}/conv_0"), f"down_{n}/conv_1")
        x = x + conv(conv(x, f"down_{n}/conv_2"), f"down_{n}/conv_3")
        maps.append(x)
    style = x.mean((2, 3))
    style = style / (style**2).sum(1, keepdim=True) ** 0.5
    for n in reversed(range(levels)):
        x = x if n == levels - 1 else F.interpolate(x, scale_factor=2, mode="nearest")
        x = projected(x, f"up_{n}") + styled(conv(x, f"up_{n}/conv_0") + maps[n], style, f"up_{n}/conv_1")
        x = x + styled(styled(x, style, f"up_{n}/conv_2"), style, f"up_{n}/conv_3")
    net("diam_mean"), net("diam_labels")
    return conv(x, "output")


def test_cellpose():
    model = fcn.create_model("cpnet", num_classes=3, features=(4, 6, 8))
    assert_model_equals(model, lambda x, net: cellpose(x, net, 3), [], extended=[((13, 22), (16, 24))], channels=2)


def test_weights_of_cellpose_come_and_go():
    model = fcn.create_model("cpnet", num_classes=3, features=(4, 6))
    variables = random_variables(model, 1, 8, 8, 2)
    tensors = fcn.to_torch(model, variables, source="cellpose")
    assert tensors["diam_mean"].shape == (1,)
    assert tensors["upsample.up.res_up_1.conv.conv_2.full.weight"].shape == (6, 6)
    again = fcn.from_torch(model, tensors, source="cellpose")
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def keras_file(path, variables, root=""):
    """As Keras 2 writes it: a group in a group of the same name for each layer; those of the grid have numbers for names."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for layer, leaves in variables["params"].items():
            level, _, i = layer.removeprefix("grid_level_").partition("_no_")
            name = f"conv2d_{9 + 2 * int(level) + int(i)}" if layer.startswith("grid") else layer  # 9, 10, 11, 12
            for leaf, values in leaves.items():
                file[f"{root}{name}/{name}/{leaf}:0"] = np.asarray(values)
        if root:
            file["optimizer_weights/Adam/m/kernel:0"] = np.zeros(3, "f")


@pytest.mark.parametrize("root", ["", "model_weights/"])
def test_weights_of_stardist(root, tmp_path):
    """Of a model alone, and with its optimizer."""
    model = fcn.create_model("stardist_unet", num_classes=5, base_features=2, depth=1, head_features=2, grid=4)
    variables = random_variables(model, 1, 8, 8, 1)
    keras_file(tmp_path / "weights.h5", variables, root)
    found = fcn.from_torch(model, tmp_path / "weights.h5", source="stardist")
    jax.tree.map(np.testing.assert_array_equal, found, variables)


def test_weights_of_stardist_become_a_network(tmp_path):
    model = fcn.create_model("stardist_unet", num_classes=5, base_features=2, depth=1, head_features=2)
    variables = random_variables(model, 1, 8, 8, 1)
    keras_file(tmp_path / "weights.h5", variables)
    options = ["base_features=2", "depth=1", "head_features=2"]
    of_task = ["--task", "stardist", "--task-options", "rays=4", "threshold=0.3"]
    args = [tmp_path / "weights.h5", "--out", tmp_path / "saved", "--model", "stardist_unet", "--source", "stardist"]
    convert.main([*map(str, args), "--options", *options, *of_task])
    saved = fcn.load(tmp_path / "saved")
    jax.tree.map(np.testing.assert_array_equal, saved.variables, variables)
    assert saved.task == fcn.tasks.make("stardist", ["object"], rays=4, threshold=0.3)
    assert saved.preprocessing == fcn.preprocessing.Preprocessing((0.0,), (1.0,), per_image="percentiles")


def test_files_of_keras_that_cannot_be_read(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    model = fcn.create_model("stardist_unet", num_classes=5)
    (tmp_path / "damaged.h5").write_bytes(b"no HDF5")
    with h5py.File(tmp_path / "nameless.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 1, 4))
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("conv/kernel:0", (10**9,), "f4", chunks=(1000,))
    whole = (tmp_path / "nameless.h5").read_bytes()
    (tmp_path / "broken.h5").write_bytes(whole.replace(b"SNOD", b"DONS"))  # what its groups hold
    for name, message in (
        ("damaged", "cannot be read as .h5; it is damaged or of another kind"),
        ("broken", "cannot be read as .h5; it is damaged or of another kind"),
        ("nameless", "has no names of layers, as Keras 3 writes weights; write the whole model there"),
        ("bomb", "would unpack to 4,000,000,000; weights do not, so it was not read"),
    ):
        with pytest.raises(ValueError, match=message):
            fcn.from_torch(model, tmp_path / f"{name}.h5", source="stardist")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match="takes h5py: pip install h5py, or have the tensors as"):
        fcn.from_torch(model, tmp_path / "damaged.h5", source="stardist")
