"""Networks as ONNX files: onnxruntime computes what the predictor computes."""

import json
import re
import sys
from functools import partial

import jax
import numpy as np
import pytest

import fcn
from experiments import export as command
from fcn import tasks
from fcn.inference import Predictor, export_onnx
from fcn.inference.standalone import logits_of
from fcn.preprocessing import Preprocessing
from tests.conftest import ROOT
from tests.onnx_models import Run, converted
from tests.test_contract import Subject
from tests.test_docs import run_code
from tests.test_export_file import EXPECTS, TASK, images, network
from tests.variables import shapes_of

assert network  # a fixture
pytestmark = pytest.mark.usefixtures("symbols")
PLAIN = Preprocessing((0.5,) * 3, (0.25,) * 3)


def test_the_page_runs_it(network, tmp_path):
    """Any number of images of any size; preparation, names and outputs are the page's."""
    export_onnx(tmp_path / "net.onnx", *network, EXPECTS, TASK)
    names = run_code(ROOT / "docs" / "onnx.md", {"path": tmp_path / "net.onnx", "images": images(2, 33, 20)})
    predictor = Predictor(*network, EXPECTS, TASK, bucket=32)
    expected = predictor.probabilities(images(2, 33, 20))
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-5)
    assert names["ids"].dtype == np.int32 and names["classes"] == ["sky", "road", "car"]
    np.testing.assert_array_equal(names["ids"], expected.argmax(-1))
    larger, _ = names["session"].run(None, {"images": images(1, 40, 70)})
    np.testing.assert_array_equal(larger, predictor(images(1, 40, 70)))
    told = names["session"].get_modelmeta().custom_metadata_map
    assert told["task"] == "semantic" and told["images"] == EXPECTS.describe()
    assert json.loads(told["palette"]) == [list(colour) for colour in TASK.palette]


@pytest.mark.parametrize("name", ["deeplabv3plus", "pan", "segformer", "dpt", "segnet"])
def test_any_size(name):
    """What depends on the size: resizing, positions, windows, indices, how far sides are extended."""
    subject = Subject(name)
    logits = partial(logits_of, subject.model, PLAIN)
    run = converted(logits, subject.variables, [images(2, 64, 64)], ["b, h, w, 3"], count=1)
    for given in (images(2, 64, 64), images(1, 40, 50)):
        both = np.repeat(given, 2 // len(given), 0)
        expected = subject.apply(subject.variables, PLAIN.apply(extended(both)))[
            : len(given), : given.shape[1], : given.shape[2]
        ]
        np.testing.assert_allclose(run(given)[0], expected, rtol=1e-4, atol=1e-4 * np.max(np.abs(expected)))


def extended(given):
    """As exported networks extend them."""
    sides = [(0, -side % 32) for side in given.shape[1:3]]
    return np.pad(given, ((0, 0), *sides, (0, 0)), mode="edge")


def test_one_size_of_low_precision(network, tmp_path):
    """The file computes in float32 what was trained in bfloat16."""
    model, variables = network
    halves = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), variables)
    task = tasks.make("multilabel", classes=["a", "b", "c"])
    export_onnx(tmp_path / "x.onnx", model.clone(dtype="bfloat16"), halves, EXPECTS, task, size=(20, 33))
    ids, probabilities = Run.of(tmp_path / "x.onnx")(images(1, 20, 33))
    single = jax.tree.map(lambda leaf: leaf.astype("float32"), halves)
    expected = Predictor(model, single, EXPECTS, task, bucket=32).probabilities(images(1, 20, 33))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(ids, probabilities >= 0.5)


def test_what_cannot_be_written_is_one_sentence(network, tmp_path, monkeypatch):
    path = tmp_path / "x.onnx"
    valid = fcn.create_model("pspnet", num_classes=3)
    with pytest.raises(ValueError, match=r"PSPNet takes no images of any size in one program .*; give a size"):
        export_onnx(path, valid, shapes_of(valid, 1, 64, 64, 3), EXPECTS, TASK)
    with pytest.raises(ValueError, match="the task 'flows' gives no classes on the device"):
        export_onnx(path, *network, EXPECTS, tasks.make("flows", classes=["cell"]))
    assert not path.exists()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"takes the package onnx: pip install 'fcn-zoo\[onnx\]'"):
        export_onnx(path, *network, EXPECTS, TASK)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"x\.onnx exists already"):
        export_onnx(path, *network, EXPECTS, TASK)
    assert path.read_text() == "mine"


def test_the_command(network, tmp_path, capsys):
    fcn.save(tmp_path / "net", *network, task=TASK, preprocessing=EXPECTS, label_ids=(0, 7, 9))
    command.main([str(tmp_path / "net"), "--out", str(tmp_path / "out/net.onnx"), "--size", "16", "24"])
    assert "takes images of 16x24; images have mean" in capsys.readouterr().out
    run = Run.of(tmp_path / "out/net.onnx")
    ids, _ = run(images(1, 16, 24))
    assert ids.shape == (1, 16, 24)
    assert run.session.get_modelmeta().custom_metadata_map["label_ids"] == "[0, 7, 9]"
    for given, said in (
        (["--out", "x.fcn", "--format", "onnx"], "x.fcn has the ending of another format; let it end in .onnx"),
        (["--out", "x.onnx", "--platforms", "cpu"], "an ONNX file runs wherever its runtime does: leave it out"),
    ):
        with pytest.raises(SystemExit):
            command.main([str(tmp_path / "net"), *given])
        assert said in " ".join(re.sub("[│\n]", " ", capsys.readouterr().err).split())
