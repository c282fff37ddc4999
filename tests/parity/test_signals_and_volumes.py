"""Published networks for seismograms and for heads, on data of others: what their authors' graphs say."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from tests.parity.reference import assert_close

BRAINS = {
    "model5_gw_ae": {"features": 5, "norm": None},
    "model20chan3cls": {"features": 20, "norm": None, "activation": "elu"},
    "mindgrab": {"features": 15, "dilations": (16, 8, 4, 2, 1) * 5, "norm": "instance", "activation": "gelu"},
}


@pytest.fixture(scope="module")
def head(shared_data):
    """The voxels of a volume of 256 sides, uint8."""
    content = gzip.decompress((shared_data / "weights" / "meshnet_brain" / "t1_crop.nii.gz").read_bytes())
    return np.frombuffer(content, np.uint8, 256**3, offset=352).reshape(256, 256, 256, order="F")


def normalised(head, crop, name):
    """Of the whole head: from least to largest, or from the 5th percentile, which is 0, to the 95th, which is 112."""
    if name == "model20chan3cls":
        return crop / np.float32(112)
    return (crop - head.min()) / np.float32(np.ptp(head))


def test_phasenet(shared_data):
    """Logits within 1e-4 of their scale, probabilities within 1e-5."""
    model = fcn.create_model("phasenet", num_classes=3)
    variables = fcn.from_torch(model, shared_data / "weights" / "phasenet" / "phasenet_190703-214543.npz", source="phasenet")
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 268_443
    folder = shared_data / "signals_phasenet"
    with np.load(folder / "reference.npz") as reference, np.load(folder / "waveforms.npz") as data:
        names = [name for name in data["names"] if f"{name}/logits" in reference]
        places = [(i, data["window_start"][i]) for i in map(list(data["names"]).index, names)]
        windows = np.stack([data["waveforms"][i, start : start + 3000] for i, start in places])
        expected, probabilities = (np.stack([reference[f"{name}/{kind}"] for name in names]) for kind in ("logits", "prob"))
    deviation = windows.std(1, keepdims=True)
    windows = (windows - windows.mean(1, keepdims=True)) / np.where(deviation == 0, 1, deviation)
    logits = jax.jit(model.apply)(variables, windows)
    assert_close(logits, expected, relative=1e-4)
    np.testing.assert_allclose(jax.nn.softmax(logits), probabilities, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["model5_gw_ae", pytest.param("model20chan3cls", marks=pytest.mark.slow)])
def test_the_corner_of_a_head(shared_data, head, name):
    """Logits see 46 voxels around: those of the first 8 of the reference's 96 need 54."""
    folder = shared_data / "weights" / "meshnet_brain"
    model = fcn.create_model("meshnet", num_classes=3, **BRAINS[name])
    variables = fcn.from_torch(model, folder / f"{name}.npz", source="brainchop")
    crop = normalised(head, head[80:134, 60:114, 90:144], name)
    logits = jax.jit(model.apply)(variables, crop[None, ..., None])[0, :8, :8, :8]
    with np.load(folder / "reference.npz") as reference:
        expected = np.moveaxis(reference[f"{name}/crop_logits_stride4"], 0, -1)[:2, :2, :2]
        classes = reference[f"{name}/crop_argmax"][:8, :8, :8]
    np.testing.assert_allclose(logits[::4, ::4, ::4], expected, rtol=0, atol=1e-3)
    assert np.mean(np.argmax(logits, -1) == classes) > 0.999


@pytest.mark.slow
def test_the_brain_in_a_head(shared_data, head):
    """Instance norm sees the whole crop."""
    folder = shared_data / "weights" / "meshnet_brain"
    model = fcn.create_model("meshnet", num_classes=2, **BRAINS["mindgrab"])
    variables = fcn.from_torch(model, folder / "mindgrab.npz", source="brainchop")
    crop = normalised(head, head[80:176, 60:156, 90:186], "mindgrab")
    logits = jax.jit(model.apply)(variables, crop[None, ..., None])[0]
    with np.load(folder / "reference.npz") as reference:
        expected = np.moveaxis(reference["mindgrab/crop_logits_stride4"], 0, -1)
        classes = reference["mindgrab/crop_argmax"]
    np.testing.assert_allclose(logits[::4, ::4, ::4], expected, rtol=0, atol=1e-3)
    assert np.mean(np.argmax(logits, -1) == classes) > 0.9999


@pytest.mark.parametrize(
    ("name", "classes", "count"), [("model5_gw_ae", 3, 5_598), ("model20chan3cls", 3, 87_183), ("mindgrab", 2, 146_237)]
)
def test_parameters_of_meshnet(name, classes, count):
    model = fcn.create_model("meshnet", num_classes=classes, **BRAINS[name])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize(("source", "name"), [("phasenet", "phasenet"), ("brainchop", "meshnet")])
def test_back_again(source, name):
    model = fcn.create_model(name, num_classes=2)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 3)))
    tensors = fcn.to_torch(model, variables, source=source)
    assert {key.split("/")[-1] for key in tensors} <= {"kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"}
    again = fcn.from_torch(model, tensors, source=source)
    jax.tree.map(np.testing.assert_array_equal, again, dict(variables))
