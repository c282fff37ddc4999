"""Damaged files of a run are named in one sentence, with the cure, by whatever reads them."""

import json
import random
import shutil
from pathlib import Path

import pytest

from experiments.runs.run_folder import RunFolder
from fcn.training.records import DamagedFile, Records, read_records

SPLITS = {"train": {"a": 1}, "val": {"b": 2}}
TODAY = {"classes": ["dark", "bright"], "image_shape": [4, 6, 3], "files": SPLITS, "label_values": SPLITS}
OLD_RUN = Path(__file__).resolve().parents[1] / "fixtures" / "old_run"


@pytest.fixture
def folder(tmp_path):
    return RunFolder(shutil.copytree(OLD_RUN, tmp_path / "run"))


def read_all(folder):
    """All that the commands read of the JSON files of a run."""
    read_records(folder.metrics)
    folder.describe_result()
    folder.read_preprocessing()
    folder.refuse_other_data(TODAY)


DAMAGES = {
    "config.json": [
        ("[1]", r"it holds \[1\], not an object"),
        ('{"steps": "many"}', "steps is 'many'; it must be int"),
        ('{"steps": -1}', "steps is -1; it must be at least 1"),
        ('{"data": 5}', "data is 5; it must be an object"),
        ('{"model": {"options": "depth=2"}}', r"model\.options is 'depth=2'; it must be tuple"),
        ('{"stepz": 5}', "stepz"),
    ],
    "data.json": [
        ("5", "it holds 5, not an object"),
        ({"classes": None}, "classes is None; it must be tuple"),
        ({"classes": ["one"]}, "it has 1 classes and 2 colours"),
        ({"palette": [[0, 0, 0], [1, 2, 300]]}, "palette has the colour"),
        ({"image_shape": [4]}, "image_shape is"),
        ({"image_shape": [4, 6, 10**9]}, "channels go from 1 to 65536"),
        ({"preprocessing": []}, "preprocessing is"),
        ({"files": [1]}, r"files is \[1\]; it must hold numbers by name"),
        ({"files": {"test": {}}}, "files is .*; it must hold numbers by name"),
        ({"label_values": {"train": ["a"]}}, r"label_values is .*; it must hold numbers by name"),
        ({"preprocessing": {"std": [0, 0, 0]}}, "std is"),
        ({"preprocessing": {"mean": [0.5], "std": [0.5]}}, "preprocessing is for 1 channels, the images have 3"),
    ],
    "result.json": [
        ("null", "it holds None, not an object"),
        ({"seconds": "1"}, "seconds is '1'; it must be float"),
        ({"val/miou": []}, r"val/miou is \[\]"),
        ({"val/iou/dark": "0.5"}, "val/iou/dark is '0.5'"),
    ],
    "metrics.jsonl": [
        ('{"step": 1}\n{"st\n{"step": 3}\n', "line 2: .*; delete that line"),
        ("[]\n", "line 1: it holds"),
        ("{}\n", "line 1: it has no step"),
        ('{"step": 1, "train/loss": "x"}\n', "line 1: 'train/loss' is no number"),
    ],
}


@pytest.mark.parametrize(("name", "content", "problem"), [(name, *damage) for name in DAMAGES for damage in DAMAGES[name]])
def test_what_is_wrong_is_named(name, content, problem, folder):
    path = folder.path / name
    path.write_text(content if isinstance(content, str) else json.dumps(json.loads(path.read_text()) | content))
    with pytest.raises(DamagedFile, match=problem) as caught:
        read_all(folder)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "data.json", "result.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"steps": 1, "val/miou": NaN}', b"\0" * 64])
def test_what_is_no_json_is_named(name, content, folder):
    (folder.path / name).write_bytes(content)
    with pytest.raises(DamagedFile, match=f"{name} is damaged: .*; (delete it|put back a copy)"):
        read_all(folder)


def harm(path, chance):
    """Cuts a file off, flips some of its bits, or gives a value another type."""
    data = bytearray(path.read_bytes())
    kind = chance.randrange(3)
    if kind == 0:
        del data[chance.randrange(len(data)) :]
    elif kind == 1:
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    else:
        values = json.loads(data.split(b"\n")[0] if path.suffix == ".jsonl" else data)
        values[chance.choice(list(values))] = chance.choice([None, True, 7, -1.5, "word", [], [[]], {}, 10**40, [1, "a"]])
        data = json.dumps(values).encode() + b"\n"
    path.write_bytes(data)


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_whatever_happens_to_a_file_it_is_read_or_named(name, folder):
    chance, whole, refused = random.Random(name), (folder.path / name).read_bytes(), 0
    for _ in range(50):
        (folder.path / name).write_bytes(whole)
        harm(folder.path / name, chance)
        try:
            read_all(folder)
        except ValueError as error:
            assert str(folder.path / name) in str(error)
            assert isinstance(error, DamagedFile) or "the data are not those" in str(error)
            refused += 1
    assert refused > 10


def test_a_training_goes_on_after_the_cure_of_its_records(folder):
    good = folder.metrics.read_text()
    folder.metrics.write_text(good + "damage\n")
    with pytest.raises(DamagedFile, match=f"line {good.count(chr(10)) + 1}: .*; delete that line"):
        Records(folder.metrics, last_step=10**6)
    folder.metrics.write_text(good)
    Records(folder.metrics, last_step=10**6).close()
    assert folder.metrics.read_text() == good
