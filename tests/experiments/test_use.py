"""`evaluate` and `predict` on a finished run."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate


def test_evaluate_reproduces_the_result_of_training(finished_run, type_command):
    done = type_command("experiments.evaluate", finished_run, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    result = json.loads((finished_run / "result.json").read_text())
    assert values == {"step": 24, **{name: value for name, value in result.items() if name.startswith("val/")}}


def test_evaluate_prints_a_table_of_any_split(finished_run, capsys):
    evaluate.main([str(finished_run), "--split", "train[:3]", "--batch-size", "2"])
    printed = capsys.readouterr().out
    assert "3 images" in printed
    assert "disc" in printed
    with pytest.raises(FileNotFoundError, match="no run in"):
        evaluate.main([str(finished_run / "nothing")])


def test_predict_writes_masks_overlays_and_a_legend_of_the_images_size(finished_run, folder_data, type_command, tmp_path):
    image = Image.open(folder_data / "images" / "val" / "00.png")
    image.resize((61, 47), Image.Resampling.BICUBIC).save(tmp_path / "odd.png")
    done = type_command(
        "experiments.predict", finished_run, folder_data / "images/val/00.png", tmp_path / "odd.png", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    names = {"legend.png", *(f"{stem}_{kind}.png" for stem in ("00", "odd") for kind in ("mask", "overlay"))}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    mask = np.asarray(Image.open(tmp_path / "out" / "00_mask.png"))
    label = np.asarray(Image.open(folder_data / "labels" / "val" / "00.png"))
    assert mask.shape == label.shape
    assert (mask == label)[label != 7].mean() > 0.9
    with Image.open(tmp_path / "out" / "00_mask.png") as coloured:
        assert coloured.getpalette()[:6] == [40, 40, 60, 240, 180, 40]
    with Image.open(tmp_path / "out" / "odd_overlay.png") as overlay, Image.open(tmp_path / "out" / "odd_mask.png") as odd:
        assert overlay.size == odd.size == (61, 47)
