"""Images in the order of how badly they were done."""

import csv

import pytest

import fcn
from experiments import evaluate
from experiments.reports.ranking import rank, worst, write_csv
from fcn.tasks import Task

SCALARS = [{"miou": 0.5, "iou/a": 0.5}, {"miou": None, "iou/a": None}, {"miou": 0.25, "iou/a": None}]


def test_the_worst_come_first(tmp_path):
    names, scalars = ["x", "y", "z\x1b", "w"], [*SCALARS, {"miou": None}]
    rows = [{"image": names[i], **scalars[i]} for i in rank(scalars, "miou")]
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


def test_of_errors_the_largest_is_the_worst():
    assert rank([{"mae": 0.5}, {"mae": None}, {"mae": 2.0}, {"mae": 0.0}], "mae") == [2, 0, 3, 1]


def test_only_the_images_that_are_shown_are_read(monkeypatch):
    class Source(list):
        def __getitem__(self, index):
            read.append(index)
            return {"name": super().__getitem__(index)}

    task = fcn.tasks.make("semantic", ["a"])
    monkeypatch.setattr(type(task), "image_scalars", lambda self, state: [*SCALARS, {"miou": 0.0}])
    for count, expected in ((1, ["z"]), (None, ["z", "x", "y"])):
        read = []
        scores = evaluate.image_scores(task, None, range(3))
        rows = evaluate.ranked(Source("xyz"), scores, rank(scores, task.best)[:count])
        assert [row["image"] for row in rows] == expected and len(read) == len(expected)


def test_images_that_were_counted_in_another_order_keep_their_scores(monkeypatch):
    """As in an evaluation of mixed sizes, whose batches are filled up (-1) one by one."""
    task = fcn.tasks.make("semantic", ["a"])
    monkeypatch.setattr(type(task), "image_scalars", lambda self, state: [{"miou": v} for v in (0.5, 0.0, 0.25, 0.75)])
    scores = evaluate.image_scores(task, None, [2, -1, 0, 1])
    rows = evaluate.ranked([{"name": name} for name in "xyz"], scores, rank(scores, task.best))
    assert [(row["image"], row["miou"]) for row in rows] == [("x", 0.25), ("z", 0.5), ("y", 0.75)]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("RUN --json", "RUN --json -"),
        ("--json RUN", "--json - RUN"),
        ("RUN --json --csv x.csv", "RUN --json - --csv x.csv"),
        ("RUN --json numbers.json", "RUN --json numbers.json"),
    ],
)
def test_json_without_a_file_is_printed(args, expected, tmp_path):
    args, expected = (text.replace("RUN", str(tmp_path)).split() for text in (args, expected))
    assert evaluate.with_json_named(args) == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"csv": "."}, IsADirectoryError, "--csv .* is a folder; name a file"),
        ({"csv": "x", "json": "x"}, ValueError, "--json and --csv are both .*; give two names"),
        ({"json": "no/x"}, FileNotFoundError, "--json .*: there is no folder"),
        ({"report": "x"}, NotADirectoryError, "--report .* is a file; name a folder"),
        ({"report": "x", "overwrite": False}, NotADirectoryError, "--report .* is a file; name a folder"),
        ({"report": ".", "overwrite": False}, FileExistsError, "--report .* exists; give another name, or --overwrite"),
    ],
)
def test_files_that_cannot_be_written_are_refused_at_once(options, error, message, tmp_path):
    given = {"overwrite": True, **{name: tmp_path / path if path else path for name, path in options.items()}}
    (tmp_path / "x").touch()
    with pytest.raises(error, match=message):
        evaluate.EvaluateConfig(tmp_path, **given)


@pytest.mark.parametrize("name", ["semantic", "binary", "multilabel", "regression"])
def test_tasks_say_whether_they_measure_images(name):
    task = fcn.tasks.make(name, ["a", "b"])
    own = type("Own", (type(task),), {"image_scalars": Task.image_scalars})(classes=["a", "b"])
    assert [evaluate.measures_images(task), evaluate.measures_images(own)] == [True, False]


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path):
    (tmp_path / "images.csv").write_text("mine")
    with pytest.raises(TypeError):
        write_csv([{"image": "x"}, None], tmp_path / "images.csv")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
