"""Images in the order of how badly they were done."""

import csv

import pytest

from experiments.ranking import rank, worst, write_csv

SCALARS = [{"miou": 0.5, "iou/a": 0.5}, {"miou": None, "iou/a": None}, {"miou": 0.25, "iou/a": None}]


def test_the_worst_come_first(tmp_path):
    rows = rank(["x", "y", "z\x1b", "w"], [*SCALARS, {"miou": None}], "miou")
    assert [row["image"] for row in rows] == ["z\x1b", "x", "y", "w"]
    assert worst(rows, "miou").splitlines() == ["the worst images by miou:", "  z\\x1b  0.250", "  x      0.500"]
    write_csv(rows, tmp_path / "images.csv")
    with open(tmp_path / "images.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"image": "z\x1b", "miou": "0.25", "iou/a": ""} and [row["image"] for row in read] == [
        "z\x1b",
        "x",
        "y",
        "w",
    ]


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path):
    (tmp_path / "images.csv").write_text("mine")
    with pytest.raises(TypeError):
        write_csv([{"image": "x"}, None], tmp_path / "images.csv")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
