"""Networks that come with the library, by their names."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import fcn
from experiments import convert
from experiments.building import networks
from experiments.building.initialise import find_weights
from fcn import shipped
from fcn.data import open_source
from fcn.inference import Predictor
from fcn.instances import match
from fcn.preprocessing import Preprocessing
from fcn.pretrained.networks import open_network
from tests.variables import random_variables

GRAY = Preprocessing((0.5,), (0.25,))


def save_network(folder, num_classes, shift=0.0):
    model = fcn.create_model("unet", num_classes=num_classes, base_features=2, depth=1)
    variables = jax.tree.map(lambda leaf: leaf + shift, random_variables(model, 1, 8, 8, 1))
    fcn.save(folder, model, variables, classes=[f"class {i}" for i in range(num_classes)], preprocessing=GRAY)
    return model, variables


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """A folder with a network `whole` and its half, `trained/cells`; and the network itself."""
    folder = tmp_path_factory.mktemp("networks")
    network = save_network(folder / "whole", 2)
    convert.main([str(folder / "whole"), "--out", str(folder / "trained" / "cells"), "--half"])
    return folder, network


@pytest.fixture
def box(halved, tmp_path, monkeypatch):
    """The network `cells` in place of those that come with the library, and what it was before it was stored."""
    folder, network = halved
    monkeypatch.setattr(shipped, "FOLDER", folder / "trained")
    monkeypatch.chdir(tmp_path)
    return network


def test_a_name_is_enough(box):
    model, variables = box
    halves = jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), variables)
    for found in (fcn.load("cells"), open_network("cells"), networks.from_folder("cells", "last")):
        assert found.model == model and found.task.classes == ("class 0", "class 1") and found.preprocessing == GRAY
        jax.tree.map(np.testing.assert_array_equal, found.variables, halves)
        assert {leaf.dtype for leaf in jax.tree.leaves(found.variables)} == {np.dtype(np.float32)}
    started = fcn.init(model, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), weights="cells", tell=None)
    jax.tree.map(np.testing.assert_array_equal, started, halves)
    assert find_weights(model, "cells", None).preprocessing() == GRAY
    assert networks.stored_task("cells").classes == ("class 0", "class 1")
    assert networks.stored_preprocessing("cells") == GRAY
    with pytest.raises(ValueError, match="unknown network 'cels'; did you mean 'cells'"):
        open_network("cels")


def test_what_the_user_has_of_that_name(box, tmp_path):
    """Images do not hide the network; a network of theirs does."""
    (tmp_path / "cells").mkdir()
    assert fcn.load("cells").model == box[0]
    (tmp_path / "cells").rmdir()
    theirs, _ = save_network("cells", 3)
    assert fcn.load("cells").model == theirs


def test_what_float16_does_not_hold(box, tmp_path):
    save_network("large", 2, 1e5)
    with pytest.raises(ValueError, match=r"largest of these numbers is 1e\+05; float16 holds up to 65504"):
        convert.main(["large", "--out", "small", "--half"])
    assert not (tmp_path / "small").exists()
    with pytest.raises(ValueError, match="leave --half out"):
        convert.main(["large", "--out", "x.safetensors", "--source", "smp", "--half"])


def test_the_network_in_the_box_finds_nuclei(shared_data):
    """Those of a part of a validation image; it is small, and its card says what may be done with it."""
    folder = shipped.FOLDER / "nuclei"
    tensors = load_file(folder / "variables.safetensors")
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float16)}
    assert (folder / "variables.safetensors").stat().st_size < 3_000_000
    assert "CC0" in (folder / "README.md").read_text()
    saved = fcn.load("nuclei")
    source = open_source("folder", "val", root=shared_data / "dsb2018_nuclei", label_kind="instances")
    image, true = source[1]["image"][:128, :128], source.label(1)[:128, :128]
    found = Predictor(saved.model, saved.variables, saved.preprocessing, saved.task)(image)
    assert true.max() > 0 and match(true, found, 0.5).ap >= 0.7
