"""Networks as files: by JAX alone they compute what the predictor computes; what is wrong with a file is one sentence."""

import json
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

import fcn
from experiments import export as command
from experiments import predict
from fcn import tasks
from fcn.inference import Predictor, export_network, open_export
from fcn.inference.export import METADATA, PROGRAM, VARIABLES, load_network, stored_preprocessing, stored_task
from fcn.inference.standalone import Sizes
from fcn.preprocessing import Preprocessing
from tests.conftest import ROOT, symbolic_sizes
from tests.test_docs import run_code
from tests.variables import random_variables

TASK = tasks.make("semantic", classes=["sky", "road", "car"])
EXPECTS = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), bgr=True)


@pytest.fixture(scope="module")
def network():
    model = fcn.create_model("unet", num_classes=3, base_features=2, depth=1)
    return model, random_variables(model, 1, 16, 16, 3)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "net.fcn"
    with symbolic_sizes():
        export_network(path, *network, EXPECTS, TASK)
    return path


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


def test_the_page_reads_it_by_jax_alone(network, file):
    """Any number of images of any size; its imports are JAX and Python's own."""
    names = run_code(ROOT / "docs" / "export.md", {"path": file, "images": images(2, 33, 20)})
    predictor = Predictor(*network, EXPECTS, TASK, bucket=32)
    expected = predictor.probabilities(images(2, 33, 20))
    np.testing.assert_allclose(names["probabilities"], expected, atol=1e-5)
    assert names["ids"].dtype == np.int32
    np.testing.assert_array_equal(names["ids"], expected.argmax(-1))
    larger, _ = names["predict"](images(1, 40, 70))
    np.testing.assert_array_equal(larger, predictor(images(1, 40, 70)))
    assert names["classes"] == ["sky", "road", "car"]
    assert set(names) - {"path", "images"} >= {"json", "zipfile", "export", "jit"} and "fcn" not in names


def test_the_network_can_be_made_again(network, file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        metadata = json.loads(archive.read(METADATA))
        (tmp_path / "model.json").write_text(json.dumps(metadata["network"]))
        archive.extract(VARIABLES, tmp_path)
    saved = fcn.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, load_network(file).variables, saved.variables)
    assert (saved.model, saved.preprocessing, saved.task) == (network[0], EXPECTS, TASK)
    jax.tree.map(np.testing.assert_array_equal, saved.variables, network[1])
    assert metadata["platforms"] == ["cpu", "cuda", "tpu"] and metadata["readable_until"] > metadata["written"]


def test_the_record_is_read_without_variables(file, tmp_path):
    bare = rewritten(file, tmp_path / "bare.fcn", variables=b"")
    assert (stored_task(bare), stored_preprocessing(bare)) == (TASK, EXPECTS)
    with pytest.raises(ValueError, match=r"bare\.fcn: variables.safetensors"):
        load_network(bare)
    for text, said in (
        ("{}", "does not say what its network is"),
        ("{", ": Expecting"),
        ('{"network": {"format": 9}}', ": model.json"),
    ):
        with pytest.raises(ValueError, match=f"odd.fcn ?{said}"):
            stored_task(rewritten(file, tmp_path / "odd.fcn", metadata=text))


def test_one_size(network, tmp_path):
    export_network(tmp_path / "x.fcn", *network, EXPECTS, TASK, size=(20, 33), platforms=["cpu"])
    found = open_export(tmp_path / "x.fcn")
    assert found.metadata["input"]["shape"] == ["b", 20, 33, 3]
    np.testing.assert_array_equal(found(images(1, 20, 33))[0], Predictor(*network, EXPECTS, TASK, bucket=32)(images(1, 20, 33)))


@pytest.mark.usefixtures("symbols")
def test_labels_are_told_one_by_one(network, tmp_path):
    task = tasks.make("multilabel", classes=["a", "b", "c"])
    export_network(tmp_path / "x.fcn", *network, EXPECTS, task, platforms=["cpu"])
    ids, probabilities = open_export(tmp_path / "x.fcn")(images(1, 20, 33))
    np.testing.assert_array_equal(ids, probabilities >= 0.5)


def rewritten(file, path, **members):
    """The file with other members."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.partition(".")[0], old.read(name)))
    return path


def test_what_is_wrong_with_a_file(network, file, tmp_path):
    with zipfile.ZipFile(file) as archive:
        metadata, program = json.loads(archive.read(METADATA)), archive.read(PROGRAM)
    (tmp_path / "cut.fcn").write_bytes(file.read_bytes()[:-100])
    export_network(tmp_path / "tpu.fcn", *network, EXPECTS, TASK, size=(16, 16), platforms=["tpu"])
    for path, said in (
        (tmp_path / "cut.fcn", "is no exported network, or damaged; export it again"),
        (rewritten(file, tmp_path / "new.fcn", metadata=json.dumps({**metadata, "format": 9})), "has the format 9; .* reads 1"),
        (rewritten(file, tmp_path / "odd.fcn", program=program[: len(program) // 2]), "was written by JAX .* does not read it"),
        (tmp_path / "tpu.fcn", "is for tpu, and JAX computes on cpu here"),
    ):
        with pytest.raises(ValueError, match=f"{path.name} {said}"):
            open_export(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        open_export(tmp_path / "none.fcn")
    with pytest.raises(FileExistsError, match=r"net\.fcn exists already"):
        export_network(file, *network, EXPECTS, TASK)
    with pytest.raises(ValueError, match="the task 'flows' gives no classes on the device"):
        export_network(tmp_path / "x.fcn", *network, EXPECTS, tasks.make("flows", classes=["cell"]))
    valid = fcn.create_model("unet2015", num_classes=3, base_features=2, depth=1)
    with pytest.raises(ValueError, match=r"UNet2015 takes no images of any size in one program .*; give a size"):
        export_network(tmp_path / "x.fcn", valid, random_variables(valid, 1, 28, 28, 3), EXPECTS, TASK)
    assert not (tmp_path / "x.fcn").exists()


def test_the_command(network, tmp_path, capsys, monkeypatch):
    fcn.save(tmp_path / "net", *network, task=TASK, preprocessing=EXPECTS, label_ids=(0, 7, 9))
    command.main([str(tmp_path / "net"), "--out", str(tmp_path / "out/net.fcn"), "--size", "16", "24", "--platforms", "cpu"])
    assert "takes images of 16x24; images have mean" in capsys.readouterr().out
    ids, _ = open_export(tmp_path / "out/net.fcn")(images(1, 16, 24))
    assert ids.shape == (1, 16, 24)
    Image.fromarray(images(1, 16, 24)[0]).save(tmp_path / "a.png")
    predict.main([str(tmp_path / name) for name in ("out/net.fcn", "a.png")] + ["--out", str(tmp_path / "masks")])
    expected = np.array([0, 7, 9])[Predictor(*network, EXPECTS, TASK, bucket=None)(images(1, 16, 24))[0]]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks/a_mask.png")), expected)
    seen = []
    monkeypatch.setattr("fcn.inference.export_network", lambda *given, **how: seen.append(given) or Sizes())
    monkeypatch.setattr("experiments.building.networks.open_network", lambda name: fcn.load(tmp_path / "net"))
    for source in (tmp_path / "out/net.fcn", "fcn_resnet50.coco_voc"):  # nothing is downloaded
        command.main([str(source), "--out", str(tmp_path / "x.fcn")])
    assert [(model, *known) for _, model, _, *known in seen] == [(network[0], EXPECTS, TASK)] * 2
    for _, _, variables, *_ in seen:
        jax.tree.map(np.testing.assert_array_equal, variables, network[1])
    with pytest.raises(FileNotFoundError, match="give that of a run or of a saved model, or a name"):
        command.main([str(tmp_path / "none"), "--out", str(tmp_path / "x.fcn")])
