"""`fcn.from_torch` on made-up checkpoints: strictness, files, types. PyTorch is needed for files only."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jaxtyping import TypeCheckError
from safetensors.numpy import save_file

import fcn
from fcn.pretrained import reading
from fcn.pretrained.names import image_channels, parts
from tests.variables import random_variables

ENCODER = {"width_multiplier": 1 / 32}


def checkpoint():
    """A torchvision-like state dict for a VGG of 2, 4, 8, 16, 16 channels."""
    random = np.random.default_rng(0)
    state, before = {}, 3
    for index, channels in zip((0, 3, 6, 8, 11, 13, 16, 18), (2, 4, 8, 8, 16, 16, 16, 16)):
        state[f"features.{index}.weight"] = random.normal(size=(channels, before, 3, 3)).astype(np.float32)
        state[f"features.{index}.bias"] = random.normal(size=channels).astype(np.float32)
        before = channels
    return state


def test_places_and_order_of_axes():
    state = checkpoint()
    params = fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")["params"]
    assert sorted(params) == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1", "conv5_2"]
    assert params["conv3_2"]["kernel"][0, 2, 3, 5] == state["features.8.weight"][5, 3, 0, 2]
    np.testing.assert_array_equal(params["conv5_2"]["bias"], state["features.18.bias"])


def test_one_error_lists_all_faults():
    state = checkpoint()
    del state["features.3.bias"], state["features.0.weight"]
    state["features.6.weight"] = state["features.6.weight"][:7]
    state["features.7.weight"] = np.zeros((4, 4, 3, 3))
    state["features.8.running_mean"] = np.zeros(8)
    with pytest.raises(ValueError) as error:
        fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")
    assert str(error.value).splitlines() == [
        "the torchvision checkpoint does not fit VGG: 13 of 16 tensors fit; 2 missing, 2 left over, 1 misshapen",
        "  missing: features.0.weight for params/conv1_1/kernel [3, 3, 3, 2]",
        "  missing: features.3.bias for params/conv2_1/bias [4]",
        "  misshapen: features.6.weight is [3, 3, 4, 7] in Flax's order, params/conv3_1/kernel [3, 3, 4, 8]",
        "  left over: features.7.weight [4, 4, 3, 3]",
        "  left over: features.8.running_mean [8]",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {"backbone": state["bias"]}, "the torchvision checkpoint does not fit VGG: 0 of 16 tensors fit"),
        (
            lambda state: {f"features.{i}.bias": np.zeros(1) for i in range(40, 52)},
            "left over: features.47.bias [1]\n  left over: … and 4 more",
        ),
        (
            lambda state: {f"layers.{i}.bias": np.zeros(1) for i in range(3)} | {"fc.weight": np.zeros((2, 2))},
            "this is a classifier's file",
        ),
    ],
)
def test_what_an_error_says(change, reason):
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    with pytest.raises(ValueError) as error:
        fcn.from_torch(encoder, change({"bias": np.zeros(1)}), source="torchvision")
    assert reason in str(error.value) and len(str(error.value).splitlines()) < 30


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "net._orig_mod.module."])
def test_prefixes_that_wrappers_add(prefix):
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    wrapped = {f"{prefix}{name}": tensor for name, tensor in checkpoint().items()}
    expected = fcn.from_torch(encoder, checkpoint(), source="torchvision")
    jax.tree.map(np.testing.assert_array_equal, fcn.from_torch(encoder, wrapped, source="torchvision"), expected)
    with pytest.raises(ValueError, match=r"left over: loss.weight"):
        fcn.from_torch(encoder, wrapped | {"loss.weight": np.zeros(3)}, source="torchvision")


def test_an_encoder_takes_its_part_of_a_model():
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    model = {f"encoder.{name}": tensor for name, tensor in checkpoint().items()}
    model |= {"decoder.blocks.0.weight": np.zeros((2, 2)), "segmentation_head.0.bias": np.zeros(2)}
    expected = fcn.from_torch(encoder, checkpoint(), source="smp")
    jax.tree.map(np.testing.assert_array_equal, fcn.from_torch(encoder, model, source="smp"), expected)


def test_reasons():
    """What is likely to be wrong is said first."""
    pytest.importorskip("torch", reason="to_torch gives PyTorch's tensors: install '.[parity]'")
    classifier = fcn.create_classifier("vgg11_bn", fc_features=3, **ENCODER)
    model = fcn.create_model("unet", num_classes=2, encoder="vgg11_bn")
    names = fcn.to_torch(classifier, random_variables(classifier, 1, 32, 32, 3), source="torchvision")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    parameters = {name: tensor for name, tensor in names.items() if not name.endswith(statistics)}
    with pytest.raises(ValueError, match=r"there are no running statistics: are these named_parameters\(\)"):
        fcn.from_torch(classifier, parameters, source="torchvision")
    with pytest.raises(ValueError, match=r"this is the file of an encoder or a classifier: from_torch\(fcn.create_encoder"):
        fcn.from_torch(model, names, source="smp")
    model = fcn.create_model("fcn", num_classes=2, encoder="resnet18", aux=True)
    names = fcn.to_torch(model, random_variables(model, 1, 32, 32, 3), source="torchvision")
    without = {name: tensor for name, tensor in names.items() if not name.startswith("aux_classifier")}
    with pytest.raises(ValueError, match="no auxiliary head: build the model with aux=False"):
        fcn.from_torch(model, without, source="torchvision")


def test_arguments_of_another_kind():
    torch = pytest.importorskip("torch", reason="modules of PyTorch: install '.[parity]'")
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    variables = random_variables(encoder, 1, 32, 32, 3)
    with pytest.raises((ValueError, TypeCheckError), match=r"Linear; pass net.state_dict\(\)|Linear"):
        fcn.from_torch(encoder, torch.nn.Linear(1, 1), source="torchvision")
    with pytest.raises((ValueError, TypeCheckError), match=r"first argument must be a Flax module.* not a str|str"):
        fcn.from_torch("vgg11", {}, source="torchvision")
    with pytest.raises(ValueError, match=r"pass the variables, \{'params': ...\}; params is not among conv1_1, conv2_1"):
        fcn.to_torch(encoder, variables["params"], source="torchvision")
    with pytest.raises(ValueError, match="these variables are not those of VGG: params/conv1_1/kernel"):
        fcn.to_torch(encoder, random_variables(encoder, 1, 32, 32, 1), source="torchvision", in_channels=3)


def test_unused_layers_of_the_reference_are_there():
    """Of the deeper stages, which smp's models keep, zeros; variances and scales are ones. And they are read over."""
    pytest.importorskip("torch", reason="to_torch gives PyTorch's tensors: install '.[parity]'")
    model = fcn.create_model("unet", num_classes=2, encoder="vgg11_bn", encoder_depth=3, decoder_channels=(4, 4, 4))
    variables = random_variables(model, 1, 32, 32, 3)
    state = fcn.to_torch(model, variables, source="smp")
    assert not state["encoder.features.22.weight"].any() and (state["encoder.features.23.running_var"] == 1).all()
    jax.tree.map(np.testing.assert_array_equal, fcn.from_torch(model, state, source="smp"), variables)


def test_flattened_map_is_turned_to_channels_last():
    """A dense layer that picks one cell of the map picks the same cell afterwards."""
    model = fcn.create_classifier("vgg11", num_classes=2, fc_features=3, **ENCODER)
    channel, row, column = 5, 2, 6
    pick = np.zeros((3, 16, 7, 7), np.float32)
    pick[1, channel, row, column] = 1
    dense = {
        "classifier.0.weight": pick.reshape(3, -1),
        "classifier.0.bias": np.zeros(3),
        "classifier.3.weight": np.eye(3),
        "classifier.3.bias": np.zeros(3),
        "classifier.6.weight": np.eye(3)[:2],
        "classifier.6.bias": np.zeros(2),
    }
    state = {f"features.{key[9:]}": np.abs(tensor) for key, tensor in checkpoint().items()}
    variables = fcn.from_torch(model, state | dense, source="torchvision")
    image = jax.random.uniform(jax.random.key(0), (1, 224, 224, 3))
    last = jax.jit(model.encoder.apply)({"params": variables["params"]["encoder"]}, image)[-1]
    np.testing.assert_allclose(jax.jit(model.apply)(variables, image), [[0, last[0, row, column, channel]]], rtol=1e-6)


def test_types():
    """The result has the model's parameter type, whatever the checkpoint's."""
    encoder = fcn.create_encoder("vgg11", param_dtype=jnp.bfloat16, **ENCODER)
    state = {name: tensor.astype(np.float16) for name, tensor in checkpoint().items()}
    leaves = jax.tree.leaves(fcn.from_torch(encoder, state, source="torchvision"))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}


def test_other_numbers_of_input_channels():
    """One channel takes the sum over RGB; others take R, G, B, R ... times 3 / channels; equal channels are left alone."""
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    state = checkpoint()
    rgb = state["features.0.weight"].transpose(2, 3, 1, 0)

    def first(state, channels):
        return fcn.from_torch(encoder, state, source="torchvision", in_channels=channels)["params"]["conv1_1"]["kernel"]

    with pytest.warns(UserWarning, match="adapted to images of 1 channels: params/conv1_1/kernel from 3"):
        np.testing.assert_array_equal(first(state, 1), rgb.sum(2, keepdims=True))
    with pytest.warns(UserWarning, match="adapted to images of 4 channels: params/conv1_1/kernel from 3"):
        np.testing.assert_allclose(first(state, 4), 0.75 * rgb[:, :, [0, 1, 2, 0]], rtol=1e-6)


def test_as_many_channels_as_the_checkpoint_has(recwarn):
    """Nothing is adapted unless it is asked for; the way back finds the channels, too."""
    encoder, state = fcn.create_encoder("vgg11", **ENCODER), checkpoint()
    for channels in (1, 3, 4):
        state["features.0.weight"] = np.random.default_rng(channels).normal(size=(2, channels, 3, 3)).astype(np.float32)
        variables = fcn.from_torch(encoder, state, source="torchvision")
        np.testing.assert_array_equal(
            variables["params"]["conv1_1"]["kernel"], state["features.0.weight"].transpose(2, 3, 1, 0)
        )
    assert not recwarn.list
    pytest.importorskip("torch", reason="to_torch gives PyTorch's tensors: install '.[parity]'")
    again = fcn.to_torch(encoder, variables, source="torchvision")
    assert again.keys() == state.keys()
    np.testing.assert_array_equal(again["features.0.weight"], state["features.0.weight"])


def test_channels_are_told_from_other_kernels_of_three():
    """Three classes give kernels of three channels, too, which stay as they are; with other classes they do not count."""
    options = {"encoder": "vgg11", "learned_upsampling": True, "width_multiplier": 1 / 32, "fc_features": 2}
    model, other = (fcn.create_model("fcn32s", num_classes=classes, **options) for classes in (3, 5))
    given = flatten_dict(random_variables(other, 1, 32, 32, 4))
    assert image_channels(model, parts(model, 3).variables, lambda path: np.shape(given.get(path))) == 4


@pytest.mark.parametrize("kind", [np.complex64, np.int32, bool])
def test_tensors_that_hold_no_floating_point_numbers(kind):
    state = checkpoint()
    state["features.3.bias"] = state["features.3.bias"].astype(kind)
    with pytest.raises(
        ValueError, match=rf"features.3.bias holds {np.dtype(kind).name}; the parameters of a network are float"
    ):
        fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 3), (2, 3, 3, 3, 3, 3)])
def test_tensors_of_another_rank(shape):
    state = checkpoint() | {"features.0.weight": np.zeros(shape, np.float32)}
    with pytest.raises(
        ValueError, match=r"1 misshapen\n.* features.0.weight is \[[\d, ]*\] in Flax's order, params/conv1_1/kernel"
    ):
        fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")


def test_names_that_are_none():
    with pytest.raises(ValueError, match=r"a state dict holds tensors only, this one also 0; pass the right entry"):
        reading.read_tensors({0: np.zeros(2, np.float32)})


def test_tensors_without_values():
    torch = pytest.importorskip("torch", reason="install '.[parity]'")
    state = checkpoint() | {"features.0.bias": torch.zeros(2, device="meta")}
    with pytest.raises(ValueError, match=r"features.0.bias is no plain array of numbers"):
        fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")


def test_tensors_that_are_not_finite():
    state = checkpoint()
    state["features.3.bias"][1] = np.nan
    with pytest.raises(ValueError, match=r"features.3.bias holds numbers that are not finite"):
        fcn.from_torch(fcn.create_encoder("vgg11", **ENCODER), state, source="torchvision")


def test_archives_that_unpack_to_more_than_weights_do(tmp_path, monkeypatch):
    """They are refused before they are unpacked, and pickled arrays are never read."""
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(300_000, np.float32))
    monkeypatch.setattr(reading, "_UNPACKED", 10**6)
    monkeypatch.setattr(reading.np, "load", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match=r"bomb.npz has [\d,]+ bytes and would unpack to 1,200,\d+; weights do not"):
        reading.read_tensors(tmp_path / "bomb.npz")
    monkeypatch.undo()
    np.savez(tmp_path / "objects.npz", objects=np.array([{}], object))
    with pytest.raises(ValueError, match=r"objects.npz holds pickled Python objects, which are not read; save plain arrays"):
        reading.read_tensors(tmp_path / "objects.npz")


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pth").touch()
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    message = r"reading .*net.pth takes PyTorch: pip install torch, or have the tensors as .safetensors or .npz$"
    with pytest.raises(ImportError, match=message):
        fcn.from_torch(encoder, tmp_path / "net.pth", source="torchvision")
    with pytest.raises(ImportError, match=r"to_torch takes PyTorch: pip install torch$"):
        fcn.to_torch(encoder, {}, source="torchvision")


def test_another_number_of_classes():
    """All but the head is loaded, and a warning says so."""
    options = {"fc_features": 3, **ENCODER}
    random = np.random.default_rng(0)
    sizes = {"0": (3, 16 * 49), "3": (3, 3), "6": (5, 3)}
    dense = {f"classifier.{i}.weight": random.normal(size=size) for i, size in sizes.items()}
    dense |= {f"classifier.{i}.bias": random.normal(size=size[0]) for i, size in sizes.items()}
    model = fcn.create_classifier("vgg11", num_classes=2, **options)
    with pytest.warns(UserWarning, match="another number of classes: params/fc8/bias, params/fc8/kernel keep initial values"):
        params = fcn.from_torch(model, checkpoint() | dense, source="torchvision")["params"]
    assert params["fc8"]["kernel"].shape == (3, 2) and np.all(params["fc8"]["bias"] == 0)
    np.testing.assert_allclose(params["fc7"]["kernel"], dense["classifier.3.weight"].T, rtol=1e-6)


def test_there_and_back():
    """`to_torch` gives the tensors back, also those of transposed and flattened layers, and BatchNorm's counter."""
    pytest.importorskip("torch", reason="to_torch gives PyTorch's tensors: install '.[parity]'")
    small = {"width_multiplier": 1 / 32, "fc_features": 5}
    for model, source in (
        (fcn.create_model("fcn8s", num_classes=3, learned_upsampling=True, encoder="vgg11_bn", **small), "torchfcn"),
        (fcn.create_classifier("vgg11_bn", num_classes=3, **small), "torchvision"),
    ):
        variables = random_variables(model, 1, 64, 64, 3)
        state = fcn.to_torch(model, variables, source=source)
        again = fcn.from_torch(model, state, source=source)
        jax.tree.map(np.testing.assert_array_equal, again, variables)
        counters = [name for name in state if name.endswith("num_batches_tracked")]
        assert len(counters) == 8 and all(state[name] == 0 for name in counters)


def test_heads_of_deep_supervision_are_in_no_checkpoint():
    pytest.importorskip("torch", reason="to_torch gives PyTorch's tensors: install '.[parity]'")
    small = {"encoder": fcn.create_encoder("vgg11", depth=3, **ENCODER), "encoder_depth": 3, "decoder_channels": (4, 4, 4)}
    model = fcn.create_model("unet", num_classes=2, deep_supervision=True, **small)
    variables = random_variables(model, 1, 32, 32, 3)
    heads = "params/coarse_head_1/bias, params/coarse_head_1/kernel"
    with pytest.warns(UserWarning, match=f"smp has no deep supervision: {heads} are left out"):
        state = fcn.to_torch(model, variables, source="smp")
    with pytest.warns(UserWarning, match=f"smp has no deep supervision: {heads} keep initial values"):
        again = fcn.from_torch(model, state, source="smp")
    plain = fcn.from_torch(fcn.create_model("unet", num_classes=2, **small), state, source="smp")
    head = variables["params"].pop("coarse_head_1")
    initial = again["params"].pop("coarse_head_1")
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    jax.tree.map(np.testing.assert_array_equal, plain, variables)
    assert initial["kernel"].shape == head["kernel"].shape and np.any(initial["kernel"]) and not np.any(initial["bias"])


def test_files(tmp_path):
    torch = pytest.importorskip("torch", reason="files are read by PyTorch: install '.[parity]'")
    encoder = fcn.create_encoder("vgg11", **ENCODER)
    state = {name: torch.from_numpy(tensor) for name, tensor in checkpoint().items()}
    torch.save(state, tmp_path / "vgg.pth")
    expected = fcn.from_torch(encoder, checkpoint(), source="torchvision")
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "run.th")
    save_file(checkpoint(), tmp_path / "vgg.safetensors")
    np.savez(tmp_path / "vgg.npz", **checkpoint())
    torch.save({"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}}, tmp_path / "run.ckpt")
    for name in ("vgg.pth", "run.th", "run.ckpt", "vgg.safetensors", "vgg.npz"):
        taken = fcn.from_torch(encoder, str(tmp_path / name), source="torchvision")
        jax.tree.map(np.testing.assert_array_equal, taken, expected)
    torch.save({"epoch": 3, "weights": state}, tmp_path / "run.pth")
    with pytest.raises(ValueError, match="holds tensors only, this one also epoch, weights"):
        fcn.from_torch(encoder, str(tmp_path / "run.pth"), source="torchvision")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"module.pth holds a pickled Python object, not a state dict: save net.state_dict"):
        fcn.from_torch(encoder, str(tmp_path / "module.pth"), source="torchvision")
    for name in ("run.pth", "vgg.safetensors", "vgg.npz"):
        content = (tmp_path / name).read_bytes()
        for damaged in (content[: len(content) // 2], b"", b"<html>not found</html>"):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(ValueError, match=rf"{name} cannot be read as \.\w+; it is damaged or of another kind"):
                fcn.from_torch(encoder, str(tmp_path / name), source="torchvision")
    (tmp_path / "vgg.txt").write_text("")
    with pytest.raises(ValueError, match=r"vgg.txt is no checkpoint that can be read; known are .safetensors"):
        fcn.from_torch(encoder, tmp_path / "vgg.txt", source="torchvision")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*none.pth"):
        fcn.from_torch(encoder, tmp_path / "none.pth", source="torchvision")


def test_sources():
    with pytest.raises(ValueError, match=r"unknown source 'torchvison'; did you mean 'torchvision'\?"):
        fcn.from_torch(fcn.create_encoder("vgg11"), {}, source="torchvison")
    with pytest.raises(ValueError, match="source 'timm' has no weights for VGG; it has torchvision, smp, torchfcn"):
        fcn.from_torch(fcn.create_encoder("vgg11"), {}, source="timm")
    for given, meant in (("TorchVision", "torchvision"), ("segmentation_models_pytorch", "smp"), ("tf-deeplab", "tf_deeplab")):
        with pytest.raises(ValueError, match=f"unknown source '{given}'; did you mean '{meant}'"):
            fcn.from_torch(fcn.create_encoder("vgg11"), {}, source=given)
    with pytest.raises(
        ValueError, match=r"no weights for UNet; it has no reference; with encoder=... it has the form of smp's"
    ):
        fcn.from_torch(fcn.create_model("unet", num_classes=2), {}, source="torchvision")
