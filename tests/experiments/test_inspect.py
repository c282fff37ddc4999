"""`experiments.inspect`: the table, the JSON object, the page, and the exit status."""

import json
import re
import xml.etree.ElementTree as Tree

import numpy as np
import pytest
from PIL import Image

from experiments import command, inspect


def test_a_folder_that_trains(folder_data, tmp_path, capsys):
    files = [tmp_path / "found.json", tmp_path / "found.html"]
    assert inspect.main([str(folder_data), "--json", str(files[0]), "--html", str(files[1]), "--samples", "3"]) == 0
    said = capsys.readouterr().out
    assert (
        said.count("images/ and labels/") == 1
        and said.splitlines()[0] == f"{folder_data}: images/ and labels/"
        and "training would take these data" in said
    )
    assert re.search(r"train +12 +12  24x32 \(12\)", said) and re.search(r"\(ignored\) +8\.33% +8\.33%", said)
    assert max(map(len, said.splitlines()[1:])) <= 80
    values = json.loads(files[0].read_text())
    assert values["classes"] == ["ground", "disc"] and sum(values["splits"]["val"]["class_shares"].values()) == pytest.approx(1)
    page = files[1].read_text()
    assert page.count("<img") == 3 and page.count("<polyline") == 3
    assert "<td>types</td><td>PNG RGB, 8 bits (17)</td>" in page and "<td>suggested</td><td>crops of 32x32; norm" in page
    assert not re.search(r'(src|href)="(?!data:)|<script|@import|url\(', page), "the page stands alone"
    Tree.fromstring(re.sub(r'<meta charset="utf-8">|<img[^>]*>|<!doctype html>', "", page))
    with pytest.raises(FileExistsError, match="--overwrite"):
        inspect.main([str(folder_data), "--json", str(files[0])])


def test_a_folder_that_does_not_train(tmp_path, capsys):
    for name, size in (("train/<a>", (4, 5)), ("train/b", (6, 7)), ("val/c", (8, 8))):
        for kind, shape in (("images", (*size, 3)), ("labels", size)):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.arange(np.prod(shape)).reshape(shape).astype(np.uint8) % 2).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "labels" / "train" / "b.png").unlink()
    assert inspect.main([str(tmp_path), "--html", str(tmp_path / "page.html")]) == 1
    said = capsys.readouterr().out
    assert "warning: images have 2 sizes: 4x5 (1), 6x7 (1); `train auto`" in said and "training would refuse these data" in said
    assert "&lt;a&gt;" in (tmp_path / "page.html").read_text() and "<a>" not in (tmp_path / "page.html").read_text()
    assert inspect.main([str(tmp_path), "--size", "4", "4", "--skip-bad", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] is False


def test_no_folder_of_images(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: inspect.main([str(tmp_path)]))
    assert ended.value.code == 1 and "a data folder holds images/train/NAME.jpg" in capsys.readouterr().err
