"""The picture of augmentation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import augment, train
from experiments.building.build import load_data
from experiments.configuration.config import DataConfig
from fcn.visualize import overlay, overlay_instances


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
    assert_tiles(picture, own, own[:, ::-1], other)
    with pytest.raises(ValueError, match=r"--out a\.jpg is no name of a PNG; try --out a\.png"):
        augment.Options(out=Path("a.jpg"))
    with pytest.raises(FileExistsError, match=r"a\.png exists already; give another --out, or --overwrite"):
        augment.main([*options, "--show", "flip"])


def assert_tiles(picture, *tiles):
    """Enlarged, side by side below their titles."""
    for number, expected in enumerate(tiles):
        factor = round(288 / max(expected.shape[:2]))
        height, width = (factor * length for length in expected.shape[:2])
        left = 24 + number * (width + 10)
        shown = picture[50 : 50 + height, left : left + width]
        np.testing.assert_array_equal(shown, expected.repeat(factor, 0).repeat(factor, 1))


def test_objects_are_pasted(tmp_path):
    parts = np.zeros((2, 8, 12), np.uint16)
    parts[0, 1:4, 1:4], parts[1, 4:7, 5:9] = 300, 256  # as classes these were none
    for name, value, label in zip("ab", (20, 220), parts):
        for folder, pixels in (("images", np.full((8, 12, 3), value, np.uint8)), ("labels", label)):
            (tmp_path / folder / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / "train" / f"{name}.png")
    words = f"--data.name folder --data.root {tmp_path} --out {tmp_path}/a.png --labels instances --draws 1 --show".split()
    augment.main([*words, "copy_paste(share=1)"])
    label = parts[0] + np.where(parts[1] > 0, 556, 0)
    image = np.where(parts[1] > 0, 220, 20).astype(np.uint8)[..., None].repeat(3, -1)
    before = overlay_instances(np.full_like(image, 20), parts[0])
    assert_tiles(np.asarray(Image.open(tmp_path / "a.png")), before, overlay_instances(image, label))
    with pytest.raises(ValueError, match="CutMix takes parts of class maps, and Objects learns objects; take CopyPaste"):
        augment.main([*words, "cutmix", "--overwrite"])
    assert "cutmix" not in augment.shown("instances") and "copy_paste" not in augment.shown("classes")


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
