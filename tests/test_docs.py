"""The code on the pages runs, and links lead somewhere."""

import re

import jax
import numpy as np
import pytest

from experiments import COMMANDS
from experiments.auto.config import AUTO
from experiments.configuration.presets import PRESETS
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def run_code(page, namespace):
    """Executes the Python of a page from top to bottom; errors show the page's own lines."""
    text = page.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        lines = text[: block.start(1)].count("\n")
        exec(compile("\n" * lines + block[1], str(page), "exec"), namespace)  # the pages are ours
    return namespace


def test_code_of_the_readme():
    names = run_code(ROOT / "README.md", {})
    assert names["logits"].shape == (2, 97, 130, 3) and names["logits"].dtype == np.float32


def test_code_of_using():
    names = run_code(ROOT / "docs" / "using.md", {})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["gradients"]))
    assert [a.shape for a in names["auxiliary"]] == [(2, 96, 128, 4)]
    assert [x.shape[1:3] for x in names["maps"]] == [(48, 64), (24, 32), (12, 16)]
    jax.tree.map(np.testing.assert_array_equal, names["saved"].variables, names["start"])


def test_code_of_finetuning(capsys):
    """The encoder is the trained one, and a step that freezes it moves the decoder alone."""
    names = run_code(ROOT / "docs" / "finetuning.md", {})
    assert "; new: decoder, segmentation_head" in capsys.readouterr().out
    before, after = names["variables"]["params"], names["params"]
    jax.tree.map(np.testing.assert_array_equal, names["trained"]["params"], before["encoder"])
    jax.tree.map(np.testing.assert_array_equal, after["encoder"], before["encoder"])
    moved = jax.tree.map(lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), after["decoder"], before["decoder"])
    assert any(jax.tree.leaves(moved))


def test_code_of_memory():
    names = run_code(ROOT / "docs" / "memory.md", {})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["gradients"]))
    assert names["logits"].shape == (2, 96, 128, 4)


def test_code_of_metrics(capsys):
    """Class 0 is found, class 1 takes all of class 2, too."""
    names = run_code(ROOT / "docs" / "metrics.md", {})
    miou, f1, distances, rand = capsys.readouterr().out.splitlines()
    one, two = (int(np.sum(names["labels"] == c)) for c in (1, 2))
    assert float(miou) == pytest.approx((1 + one / (one + two)) / 3)
    assert 0.5 < float(f1) < 0.6
    assert re.fullmatch(r"\[ *0\. +\d\.\d+ +inf\]", distances)
    assert float(rand) == 1


def test_code_of_augmentation():
    names = run_code(ROOT / "docs" / "augmentation.md", {})
    assert names["batch"]["image"].shape == (2, 24, 32, 3) and names["batch"]["label"].shape == (2, 24, 32)


def test_code_of_inference(tmp_path):
    names = run_code(ROOT / "docs" / "inference.md", {"folder": tmp_path})
    assert [one.shape for one in names["found"]] == [(150, 100), (140, 90), (60, 100)]
    assert names["programs"] == 5
    np.testing.assert_array_equal(names["same"], names["classes"])
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), names["classes"])
    assert 0 < names["disagreement"].max() < names["entropy"].max() <= np.log(4) + 1e-6
    np.testing.assert_array_equal(names["probabilities"].argmax(-1), names["classes"])


def test_code_among_other_jax_code(symbols):
    """The network in NNX, on a mesh, in shard_map and exported computes what it computes alone."""
    names = run_code(ROOT / "docs" / "jax.md", {})
    for given in ("same", "sharded", "again"):
        np.testing.assert_allclose(names[given], names["logits"], atol=1e-5)
    assert names["larger"].shape == (1, 32, 48, 3)
    first, *_, last = names["losses"]
    np.testing.assert_allclose(first, names["loss"], rtol=1e-5)
    assert last < first
    assert jax.tree.structure(names["trained"]) == jax.tree.structure(names["variables"])
    mean, new = (tree["encoder0"]["block0"]["bn"]["mean"] for tree in (names["trained"]["batch_stats"], names["batch_stats"]))
    assert np.abs(mean).max() > np.abs(new).max() > 0
    logits, pull = jax.vjp(lambda images: names["model"].apply(names["variables"], images), names["images"])
    back = np.vdot(pull(np.ones_like(logits))[0], names["direction"])
    np.testing.assert_allclose(np.asarray(names["change"], np.float64).sum(), back, rtol=1e-4)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} leads to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_presets_on_the_pages_exist(page):
    text = page.read_text()
    assert set(re.findall(r"python -m experiments\.(\w+)", text)) <= set(COMMANDS)
    assert set(re.findall(r"experiments\.train ([a-z]\w*)", text)) <= {AUTO, *PRESETS}
