"""`evaluate` and `predict` on a finished run."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from experiments import command, convert, evaluate


def metrics_of(result):
    """What `evaluate` tells as well, which knows no loss."""
    return {name: value for name, value in result.items() if name.startswith("val/") and name != "val/loss"}


def test_evaluate_reproduces_the_result_of_training(finished_run, capsys):
    evaluate.main([str(finished_run), "--json"])
    values = json.loads(capsys.readouterr().out)
    result = json.loads((finished_run / "result.json").read_text())
    assert values == pytest.approx({"step": 24, **metrics_of(result)})


def test_evaluate_prints_a_table_of_any_split(finished_run, capsys, monkeypatch):
    """It keeps compiled programs, or not, by the number of batches."""
    batches = []
    monkeypatch.setattr(command, "cache_compilations", lambda calls: batches.append(calls))
    evaluate.main([str(finished_run), "--split", "train[:3]", "--batch-size", "2"])
    assert batches == [2]
    printed = capsys.readouterr().out
    assert "3 images" in printed
    assert "disc" in printed
    assert "\n\nthe worst images by miou:\n" in printed
    with pytest.raises(FileNotFoundError, match="no run in"):
        evaluate.main([str(finished_run / "nothing")])


def test_evaluate_writes_numbers_and_the_images_in_order(finished_run, capsys, tmp_path):
    """What --json prints it writes to a file that is named. Images are of one size: their mean accuracy is that of all."""
    table, numbers = tmp_path / "images.csv", tmp_path / "numbers.json"
    command_line = [str(finished_run), "--data.val", "train[:3]", "--batch-size", "2", "--outlines", "--csv", str(table)]
    evaluate.main([*command_line, "--json"])
    printed = json.loads(capsys.readouterr().out)
    evaluate.main([*command_line, "--json", str(numbers), "--overwrite"])
    assert json.loads(numbers.read_text()) == printed
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sorted(row["image"] for row in rows) == ["00", "01", "02"]
    miou = [float(row["miou"]) for row in rows]
    assert miou == sorted(miou) and rows[0].keys() >= {"iou/ground", "iou/disc"}
    assert np.mean([float(row["pixel_accuracy"]) for row in rows]) == pytest.approx(printed["val/pixel_accuracy"])
    for name in ("boundary_f1/disc", "boundary_iou", "hd95"):
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(printed[f"val/{name}"])
    for option, file in (("--csv", table), ("--json", numbers)):
        with pytest.raises(FileExistsError, match=f"{option} .* exists; give another name, or --overwrite"):
            evaluate.main([str(finished_run), option, str(file)])


def test_a_saved_model_is_evaluated_as_its_run_is(finished_run, folder_data, tmp_path, capsys):
    """On the same data, wherever they lie; without them one sentence says what is missing."""
    convert.main([str(finished_run), "--out", str(tmp_path / "saved")])
    capsys.readouterr()
    moved = tmp_path / "moved"
    moved.symlink_to(folder_data)
    evaluate.main([str(tmp_path / "saved"), "--data.root", str(moved), "--json"])
    result = json.loads((finished_run / "result.json").read_text())
    values = json.loads(capsys.readouterr().out)
    assert values.pop("step") is None and values == pytest.approx(metrics_of(result))
    evaluate.main([str(tmp_path / "saved"), "--root", str(moved), "--data.val", "train[:3]", "--size", "12", "16"])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'saved'}, 3 images of discs, seen at 12x16\n\nclass ")
    with pytest.raises(ValueError, match="does not say on which data to evaluate it; give --root"):
        evaluate.main([str(tmp_path / "saved")])


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
