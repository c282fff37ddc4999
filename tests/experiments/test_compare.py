"""Runs side by side, from their files alone."""

import dataclasses
import json

import pytest
from PIL import Image

import fcn.visualize
from experiments import compare
from experiments.configuration.config import DataConfig, LossConfig, TrainConfig, to_json


@pytest.fixture
def runs(tmp_path):
    """Two seeds of a run, and one with another loss that is not finished."""

    def write(name, config, miou, finished):
        folder = tmp_path / name
        folder.mkdir()
        values = {"val/miou": miou, "val/pixel_accuracy": 0.9, "val/iou/sky": None}
        (folder / "config.json").write_text(json.dumps(to_json(config)))
        records = [{"step": 10, "train/loss": 1.0}, {"step": 10, **values}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        if finished:
            (folder / "result.json").write_text(json.dumps({"steps": 10, "seconds": 1.0, **values}))
        return str(folder)

    plain = TrainConfig(log_every=5)
    other = dataclasses.replace(plain, loss=LossConfig(dice=1.0), steps=7)
    return [write("a", plain, 0.5, True), write("c", other, 0.25, False), write("b", TrainConfig(seed=3), 0.52, True)]


def test_seeds_stand_together_and_configurations_beside_each_other(runs, capsys):
    compare.main(runs)
    settings, values = capsys.readouterr().out.rstrip().split("\n\n")
    rows = [[cell for cell in line.split("  ") if cell] for line in settings.splitlines()]
    rows = [[cell.strip() for cell in row] for row in rows]
    assert rows == [["a, b", "c"], ["seed", "0, 3", "0"], ["loss.dice", "0.0", "1.0"], ["steps", "1000", "7"]]
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in values.splitlines()]
    assert rows[1:] == [
        ["miou", "0.5100 ± 0.0141", "0.2500"],
        ["pixel_accuracy", "0.9000 ± 0.0000", "0.9000"],
        ["iou/sky", "-", "-"],
    ]


def test_runs_on_other_data_stand_beside_each_other():
    configs = [TrainConfig(seed=seed, data=DataConfig("folder", root)) for seed, root in enumerate(("a", "b", "a"))]
    runs = [compare.Run(str(config.seed), config, [], {}) for config in configs]
    assert [[run.name for run in group] for group in compare.grouped(runs)] == [["0", "2"], ["1"]]


def test_the_curve_is_that_of_the_value_that_chose_the_best(tmp_path, monkeypatch):
    run, drawn = compare.Run("a", TrainConfig(best="val/pixel_accuracy"), [], {}), []
    monkeypatch.setattr(compare, "read", lambda path: run)
    monkeypatch.setattr(fcn.visualize, "plot_runs", lambda runs, metric, path: drawn.append(metric))
    compare.main(["a", "--out", str(tmp_path / "a.png")])
    compare.main(["a", "--out", str(tmp_path / "a.png"), "--metric", "val/miou"])
    assert drawn == ["val/pixel_accuracy", "val/miou"]


def test_the_curves_of_all_are_drawn_once(runs, tmp_path):
    picture = tmp_path / "curves.png"
    compare.main([*runs, "--out", str(picture)])
    with Image.open(picture) as opened:
        assert min(opened.size) > 300
        # The first three colours of the runs are in it.
        colours = {colour for _, colour in opened.convert("RGB").getcolors(2**24)}
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44)} <= colours
    with pytest.raises(FileExistsError, match=r"curves\.png exists already; give another --out, or --overwrite"):
        compare.main([*runs, "--out", str(picture)])
    with pytest.raises(FileNotFoundError, match="no run in"):
        compare.main([str(tmp_path / "nothing")])
    with pytest.raises(ValueError, match="no run was given; name run folders"):
        compare.CompareConfig(())
