"""The built-in data set: its scenes, how hard they are, and how they are prepared."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fcn.data import check_source, open_source
from fcn.data.sources import scenes, shapes
from fcn.metrics import segmentation_metrics
from fcn.visualize import default_palette

SMALL = {"train": 12, "val": 5}


@pytest.fixture(scope="module")
def drawn():
    """A hundred scenes to learn from and fifty to test on."""
    parts = [[scenes.draw_scene(seed, i) for i in range(count)] for seed, count in ((1, 100), (2, 50))]
    return [(np.stack([s[0] for s in part]), np.stack([s[1] for s in part])) for part in parts]


def test_a_scene_is_a_function_of_seed_and_index():
    image, label, instances = scenes.draw_scene(3, 4)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert label.shape == (128, 128) and label.dtype == np.uint8
    np.testing.assert_array_equal(instances > 0, label > 0)
    assert all(len(np.unique(label[instances == number])) == 1 for number in np.unique(instances))
    for again, equal in (((3, 4), True), ((3, 5), False), ((4, 4), False)):
        assert np.array_equal(scenes.draw_scene(*again)[0], image) == equal


def test_every_class_covers_its_share(drawn):
    share = np.bincount(drawn[0][1].ravel(), minlength=6) / drawn[0][1].size
    assert len(share) == 6 and 0.55 < share[0] < 0.75
    assert share[1:].min() > 0.03


def miou(predictions, labels):
    matrix = np.bincount(6 * labels.ravel().astype(int) + predictions.ravel(), minlength=36).reshape(6, 6)
    return segmentation_metrics(matrix).mean_iou


def colour_codes(images):
    """The number of each pixel's colour, with 16 steps a channel."""
    return (images.astype(int) // 16) @ [256, 16, 1]


def colour_counts(images, labels):
    """How often each colour has each class: [4096, 6]."""
    return np.bincount(colour_codes(images).ravel() * 6 + labels.ravel(), minlength=4096 * 6).reshape(-1, 6).astype(float)


def polynomials(degree):
    """Terms up to `degree` of each of the 4096 colours."""
    rgb = np.stack(np.unravel_index(np.arange(4096), (16, 16, 16)), 1) / 7.5 - 1
    columns = [np.ones(4096), *rgb.T]
    if degree == 2:
        columns += [rgb[:, i] * rgb[:, j] for i in range(3) for j in range(i, 3)]
    return np.stack(columns, 1)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("balanced", [False, True])
def test_linear_pixel_classifiers_fail(drawn, degree, balanced):
    """Multinomial logistic regression from the colour of a pixel to its class, fitted to all pixels, stays under 0.40."""
    counts, x = colour_counts(*drawn[0]), polynomials(degree)
    counts = counts / counts.sum(0) if balanced else counts / counts.sum()
    rows = counts.sum(1, keepdims=True)
    # Boehning's bound of the Hessian, 1/2 X'WX for each class: steps with it climb steadily to the maximum likelihood.
    step = 2 * np.linalg.inv((x * rows).T @ x)
    theta = np.zeros((x.shape[1], 6))
    for _ in range(150):
        scores = np.exp(x @ theta)
        change = step @ (x.T @ (counts - rows * scores / scores.sum(1, keepdims=True)))
        theta += change
    assert np.abs(x @ change).max() < 0.02  # it has arrived
    images, labels = drawn[1]
    assert miou(np.argmax(x @ theta, 1)[colour_codes(images)], labels) < 0.40


@pytest.mark.parametrize("balanced", [False, True])
def test_no_function_of_the_colour_alone_does_better(drawn, balanced):
    """The best table from colour to class, even made from the pixels that it is tested on, stays under 0.40."""
    images, labels = drawn[1]
    counts = colour_counts(images, labels)
    best = np.argmax(counts / counts.sum(0) if balanced else counts, 1)
    assert miou(best[colour_codes(images)], labels) < 0.40


RUN = """
import socket, sys
def refuse(*args, **kwargs):
    raise SystemExit("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from fcn.data import open_source
from fcn.data.sources import shapes
shapes.SPLITS.update(train=12, val=5)
source = open_source("shapes", "train", root=sys.argv[1])
assert len(source) == 12 and source[0]["image"].shape == (128, 128, 3)
"""


def start(root):
    """Prepare a small copy in a process that has no network and whose TensorFlow must not be imported."""
    package = root.parent / "installed" / "tensorflow"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    return subprocess.Popen([sys.executable, "-c", RUN, str(root)], stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small copy that two processes prepared at once, without TensorFlow or a network, after one that was killed."""
    root = tmp_path_factory.mktemp("shapes") / "data"
    killed = start(root)
    while not list(root.glob(".shapes-*")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (root / "shapes").exists()
    for process in [start(root), start(root)]:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    return root


def test_preparation_survives_a_kill_and_a_race(prepared):
    assert [p.name for p in (prepared / "shapes").iterdir()] == [str(shapes.Shapes.VERSION)]
    drafts = list(prepared.glob(".shapes-*"))
    assert len(drafts) == 1  # of the killed one, kept while it is young: it might be alive
    os.utime(drafts[0], (0, 0))
    shapes._remove_stale(prepared)
    assert [p.name for p in prepared.iterdir()] == ["shapes"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_prepared_set_holds_the_scenes(prepared, split):
    source = open_source("shapes", split, root=prepared)
    assert source.name == "shapes" and source.classes == scenes.CLASSES and source.ignore_index == 255
    np.testing.assert_array_equal(source.palette, default_palette(6))
    check_source(source)  # does nothing: the package made it
    source.checked = False
    check_source(source)
    numbers = []
    for sample in source:
        numbers.append(int(sample["name"].rstrip(")").split("_")[-1]))
        image, label, _ = scenes.draw_scene(scenes.SEEDS[split], numbers[-1])
        np.testing.assert_array_equal(sample["image"], image)
        np.testing.assert_array_equal(sample["label"], label)
        assert sample["label"].dtype == np.int32
    assert sorted(numbers) == list(range(SMALL[split]))


def test_an_existing_copy_is_opened_not_prepared(prepared, monkeypatch):
    monkeypatch.setattr(shapes, "prepare", None)
    assert len(open_source("shapes", "val[:2]", root=prepared)) == 2
    with pytest.raises(ValueError, match="unknown split of shapes 'trian'; did you mean 'train'"):
        open_source("shapes", "trian", root=prepared)


def test_a_race_lost_is_no_error(prepared, monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", SMALL)
    before = sorted(prepared.iterdir())
    shapes.prepare(prepared)
    assert sorted(prepared.iterdir()) == before
    assert len(open_source("shapes", "val", root=prepared)) == 5


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("FCN_DATA_DIR", str(tmp_path / "a"))
    assert shapes.default_root() == tmp_path / "a"
    monkeypatch.delenv("FCN_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert shapes.default_root() == tmp_path / "b" / "fcn" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shapes.default_root() == tmp_path / ".cache" / "fcn" / "data"


def test_the_full_set_has_the_published_sizes():
    assert shapes.SPLITS == {"train": 600, "val": 150}
