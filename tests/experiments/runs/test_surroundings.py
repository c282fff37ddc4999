"""What a run says of its versions and devices, and whether it tells that they have changed."""

import json

import flax
import jax
import pytest

from experiments.runs import surroundings
from fcn.kernels import measured_table, uses_onednn
from fcn.training.records import DamagedFile


def test_a_run_notes_what_it_depends_on(finished_run):
    (start,) = json.loads((finished_run / "environment.json").read_text())["starts"]
    assert start["step"] == 0
    assert start["versions"]["jax"] == jax.__version__ and start["versions"]["flax"] == flax.__version__
    assert start["devices"] == {jax.devices()[0].device_kind: 1}
    assert start["kernels"] == {"mode": "auto", "onednn": uses_onednn(), "measured": measured_table()}


def test_changes_are_noted_with_their_step_and_told(monkeypatch, tmp_path):
    file = tmp_path / "environment.json"

    def start(step, jax_version):
        facts = {"versions": {"jax": jax_version, "flax": "1"}, "devices": {"cpu": 1}}
        monkeypatch.setattr(surroundings, "describe", lambda: facts)
        changed = surroundings.record(file, step)
        noted = [(s["step"], s["versions"]["jax"]) for s in json.loads(file.read_text())["starts"]]
        return changed, noted

    assert start(0, "1") == ([], [(0, "1")])
    assert start(50, "1") == ([], [(0, "1")])
    assert start(100, "2") == (["jax 1 -> 2"], [(0, "1"), (100, "2")])
    assert start(80, "3") == (["jax 1 -> 3"], [(0, "1"), (80, "3")])  # the checkpoint of 100 was damaged
    assert start(80, "1") == ([], [(0, "1")])
    assert start(0, "2") == ([], [(0, "2")])


@pytest.mark.parametrize(
    ("old", "now", "told"),
    [
        ({"kernels": {"mode": "auto"}}, {"kernels": {"mode": "auto", "measured": {"gradient": "tw"}}}, []),
        ({"kernels": {"measured": {"gradient": "tt"}}}, {"kernels": {"measured": {"gradient": "tw"}}}, ["measured kernels"]),
        ({}, {"processes": 2}, []),
        ({"devices": {"cpu": 1}}, {"devices": {"gpu": 2}}, ["cpu 1 -> None", "gpu None -> 2"]),
        ({"variables": {}}, {"variables": {"XLA_FLAGS": "a"}}, ["XLA_FLAGS None -> a"]),
    ],
)
def test_what_an_older_start_does_not_have_is_no_change(old, now, told, monkeypatch, tmp_path):
    file = tmp_path / "environment.json"
    file.write_text(json.dumps({"starts": [{"step": 0, **old}]}))
    monkeypatch.setattr(surroundings, "describe", lambda: now)
    assert surroundings.record(file, 5) == told
    assert json.loads(file.read_text())["starts"] == [{"step": 0, **old}, {"step": 5, **now}]


@pytest.mark.parametrize("text", ["[]", "{}", '{"starts": [{"step": "a"}]}', "{"])
def test_a_damaged_file_is_named(text, tmp_path):
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"environment\.json is damaged.*delete it"):
        surroundings.record(tmp_path / "environment.json", 5)
