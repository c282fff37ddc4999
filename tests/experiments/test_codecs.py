"""The picture of where each way to find objects fails, and that each fails where it is said to, and only there."""

import pytest
from PIL import Image

from experiments import codecs
from fcn.metrics.instances import match


def test_each_fails_where_it_is_said_to():
    found = {name: [match(true, find(true), 0.8).tp for true in codecs.scenes()] for name, find in codecs.FINDERS.items()}
    assert found == {"boundary, with a gap": [0, 2, 2], "stardist": [2, 1, 2], "flows": [2, 1, 1]}


def test_the_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codecs, "FINDERS", {"as it is": lambda true: true})
    codecs.main(["--out", str(tmp_path / "codecs.png")])
    assert Image.open(tmp_path / "codecs.png").size[0] > 500
    with pytest.raises(FileExistsError, match="exists; give another name"):
        codecs.main(["--out", str(tmp_path / "codecs.png")])
    with pytest.raises(SystemExit):
        codecs.main(["--out", "codecs.jpg"])
    assert "codecs.jpg is no name of a PNG; try --out codecs.png" in " ".join(capsys.readouterr().err.split())
