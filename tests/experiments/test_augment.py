"""The picture of augmentation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import augment, train
from experiments.building.build import load_data
from experiments.configuration.config import DataConfig
from fcn.visualize import overlay


@pytest.fixture
def options(folder_data, tmp_path):
    return ["--data.name", "folder", "--data.root", str(folder_data), "--out", str(tmp_path / "made" / "a.png")]


def test_a_picture_shows_each_operation_with_its_labels(options, folder_data, tmp_path, capsys):
    augment.main([*options, "--show", "flip(probability=1)", "cutmix(share=[1,1])", "--draws", "1"])
    path = tmp_path / "made" / "a.png"
    assert capsys.readouterr().out == f"{path}\n"
    picture = np.asarray(Image.open(path))
    samples = load_data(DataConfig("folder", root=str(folder_data)), "train")
    own, other = (overlay(samples[i]["image"], samples[i]["label"], samples.palette, 0.3) for i in (0, 1))
    for tile, expected in enumerate((own, own[:, ::-1], other)):  # enlarged, side by side below their titles
        factor = round(288 / max(expected.shape[:2]))
        height, width = (factor * length for length in expected.shape[:2])
        left = 24 + tile * (width + 10)
        shown = picture[50 : 50 + height, left : left + width]
        np.testing.assert_array_equal(shown, expected.repeat(factor, 0).repeat(factor, 1))
    with pytest.raises(ValueError, match=r"--out a\.jpg is no name of a PNG; try --out a\.png"):
        augment.Options(out=Path("a.jpg"))
    with pytest.raises(FileExistsError, match=r"a\.png exists already; give another --out, or --overwrite"):
        augment.main([*options, "--show", "flip"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--show", "flp"], "unknown operation 'flp'; did you mean 'flip'"),
        (["--show", "flip", "--image", "999"], "--image is 999; the split has the images 0 to "),
        (["--show", "copy_paste"], "CopyPaste takes objects from instance maps"),
    ],
)
def test_what_cannot_be_shown_is_told(words, message, options):
    with pytest.raises(ValueError, match=message):
        augment.main([*options, *words])


def test_a_preset_stands_in_place_of_other_options():
    for given, told in (("vertical_flip", "vertical-flip"), ("no-flip", "no-flip")):
        message = f"--augment.preset light stands in place of --augment.{told}; leave one of them out, or add to the preset"
        with pytest.raises(ValueError, match=message):
            train.parse(f"camvid_unet --augment.preset light --augment.{given}".split())
    assert train.parse("camvid_unet --augment.preset light --augment.crop 9 9".split()).augment.pipeline.crop == (9, 9)
