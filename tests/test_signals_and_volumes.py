"""What is done with networks, done with one for signals and one for volumes; what is done with pixels, in any order of them."""

import jax
import numpy as np
import pytest

import fcn
from experiments import command, export
from fcn import tasks
from fcn.inference import export_network, export_onnx, open_export
from fcn.inference.standalone import Sizes
from fcn.preprocessing import Preprocessing
from tests.variables import random_variables

SIDES = {1: (37,), 3: (5, 9, 6)}
EXPECTS = Preprocessing((0.0,), (1 / 255,))
"""Values as they are."""
TASK = tasks.make("semantic", classes=["noise", "P", "S"])


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module", params=SIDES)
def network(request):
    """A small U-Net, its variables, and what it takes."""
    model, x = fcn.create_model("unet", num_classes=3, base_features=2, depth=1), normal(2, *SIDES[request.param], 1)
    return model, random_variables(model, *x.shape), x


@pytest.fixture(scope="module")
def expected(network):
    """Probabilities, where the last values are repeated up to multiples of 32."""
    model, variables, x = network
    sides = x.shape[1:-1]
    whole = np.pad(x, ((0, 0), *((0, -side % 32) for side in sides), (0, 0)), mode="edge")
    return np.asarray(jax.nn.softmax(jax.jit(model.apply)(variables, whole)[:, *map(slice, sides)]))


def test_saved_and_gone_on_with(network, tmp_path):
    model, variables, x = network
    fcn.save(tmp_path / "saved", model, variables, preprocessing=EXPECTS, task=TASK)
    again, said = fcn.load(tmp_path / "saved"), []
    assert (again.model, again.preprocessing, again.task) == (model, EXPECTS, TASK)
    jax.tree.map(np.testing.assert_array_equal, again.variables, variables)
    begun = fcn.init(model, jax.random.key(0), x, weights=tmp_path / "saved", tell=said.append)
    jax.tree.map(np.testing.assert_array_equal, begun, dict(variables))
    assert said[0].endswith("new: none")
    with pytest.raises(ValueError, match="preprocessing is for images of 3 channels, the variables for 1"):
        fcn.save(tmp_path / "other", model, variables, preprocessing=Preprocessing())


@pytest.mark.parametrize(("size", "said"), [((64,), "signals of 64"), ((4, 5, 6), "volumes of 4x5x6")])
def test_one_size_to_export(size, said):
    asked = command.parse(export.ExportConfig, ["run", "--out", "x.fcn", "--size", *map(str, size)], "export", None)
    assert asked.size == size and Sizes(size, len(size)).describe() == said


@pytest.mark.usefixtures("symbols")
def test_exported(network, expected, tmp_path):
    """A program for any size, of float32 values."""
    model, variables, x = network
    sides, file = x.shape[1:-1], tmp_path / "network.fcn"
    with pytest.raises(ValueError, match=r"size=\(8, 8\) has 2 sides; the network's variables are for (signals|volumes)"):
        export_network(file, model, variables, EXPECTS, TASK, size=(8, 8))
    taken = export_network(file, model, variables, EXPECTS, TASK, platforms=["cpu"])
    assert taken.describe() == f"{'signals' if x.ndim == 3 else 'volumes'} of any size"
    found = open_export(file)
    assert found.metadata["input"] == {"type": "float32", "shape": ["b", *("l" if len(sides) == 1 else "dhw"), 1]}
    ids, probabilities = found(x)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(ids, np.argmax(probabilities, -1))


@pytest.mark.usefixtures("symbols")
def test_as_onnx(network, expected, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime: install '.[test]'")
    model, variables, x = network
    export_onnx(tmp_path / "network.onnx", model, variables, EXPECTS, TASK)
    ids, probabilities = onnxruntime.InferenceSession(tmp_path / "network.onnx").run(None, {"images": x})
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(ids, np.argmax(probabilities, -1))


@pytest.mark.parametrize("name", ["semantic", "binary", "multilabel", "regression"])
def test_tasks(name):
    """Loss, scores and metric of pixels that lie in a line, in a plane or in a volume are the same."""
    task = tasks.make(name, classes=["a", "b"])
    logits, labels = normal(2, 24, task.channels), np.random.default_rng(1).integers(0, 2, (2, 24)).astype(np.int32)
    if name in ("multilabel", "regression"):
        labels = (np.float32 if name == "regression" else np.int32)(np.stack([labels, 1 - labels], -1))

    @jax.jit
    def compute(logits, labels):
        results = []
        for size in (24,), (4, 6), (2, 3, 4):
            x, y = (array.reshape(2, *size, *array.shape[2:]) for array in (logits, labels))
            found = task.prediction(task.scores(x))
            results.append((task.loss(x, {"label": y}), found.reshape(2, -1), task.metric().count(found, y)))
        return results

    line, *others = compute(logits, labels)
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), line, other)
    assert np.isfinite(line[0]) and len(np.unique(line[1])) > 1
    np.testing.assert_array_equal(np.reshape(task.decode(logits), (2, -1)), line[1])
