"""Images of 16 bits: all their bits, and the range that a set of them uses."""

import dataclasses
import struct
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments.prediction.stages import Stages, tell_of_exposure
from fcn.data import check_source, open_source, read_image
from fcn.data.reading.depth import SetRange, exposure, find_range
from fcn.data.reading.images import verify_image
from fcn.preprocessing import default_preprocessing


def save_png(path, values):
    """A 16-bit PNG file of 1 to 4 channels, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def deep(channels, high=4095, seed=0):
    values = np.random.default_rng(seed).integers(0, high + 1, (20, 30, channels)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, high
    if channels in (2, 4):
        values[..., -1] = 65535
    return values


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_bit_of_every_channel_counts(tmp_path, channels):
    values = deep(channels)
    path = save_png(tmp_path / "deep.png", values)
    colours = values[..., :1] if channels < 3 else values[..., :3]
    expected = np.rint(colours.astype(float) * 255 / 4095)
    np.testing.assert_array_equal(read_image(path, value_range=(0, 4095)), expected)
    np.testing.assert_array_equal(read_image(path), np.rint(colours / 257))
    assert verify_image(path) == (20, 30, colours.shape[2])
    assert find_range([path]) == (0, 4095)


@pytest.mark.parametrize("channels", [2, 4])
def test_only_transparency_that_is_lost_is_told(tmp_path, channels, monkeypatch):
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    values = deep(channels)
    with warnings.catch_warnings(action="error"):
        read_image(save_png(tmp_path / "opaque.png", values))
    values[0, 0, -1] = 7
    with pytest.warns(UserWarning, match=rf"partly\.png: channel {channels} of {channels} is left out"):
        read_image(save_png(tmp_path / "partly.png", values))


def test_a_range_clips_and_leaves_eight_bits_alone(tmp_path):
    values = np.array([[0, 1000, 1500, 2000, 9000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", value_range=(1000, 2000))[0, :, 0], [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif", value_range=(1000, 2000))[..., 0], values.astype(np.uint8))
    for wrong in ((5, 5), (0, float("inf")), (float("nan"), 1)):
        with pytest.raises(ValueError, match=r"value_range is .*such as"):
            read_image(tmp_path / "a.tif", value_range=wrong)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(4096), (0, 4095)),
        (np.arange(65536), None),
        (np.append(np.tile(np.arange(1000), 20), 65535), (0, 1023)),  # one hot pixel
        (np.arange(30000, 32000), (30000, 32767)),
        (np.zeros(9), (0, 1)),
    ],
)
def test_the_range_of_a_set(tmp_path, values, expected):
    Image.fromarray(values[None].astype(np.uint16)).save(tmp_path / "x.tif")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "y.tif")
    assert find_range([tmp_path / "x.tif", tmp_path / "y.tif"]) == expected
    assert find_range([tmp_path / "y.tif"]) is None


def test_a_large_set_is_not_taken_at_once(monkeypatch):
    taken, waiting = [], []

    def files():
        for i in range(200):
            taken.append(i)
            yield str(i)

    def count(file):
        waiting.append(len(taken) - int(file))
        return np.bincount([int(file)], minlength=65536)

    monkeypatch.setattr("fcn.data.reading.depth._count", count)
    assert find_range(files()) == (0, 255) and len(waiting) == 200
    assert max(waiting) <= 64


def test_dark_pages_are_told(tmp_path, capsys):
    """With the range that they make use of; what has 8 bits is as dark as it is."""
    for name, kind in (("deep", np.uint16), ("flat", np.uint8)):
        pages = [Image.fromarray(np.array([[0, high]], kind)) for high in (7, 100, 255)]
        pages[0].save(tmp_path / f"{name}.tif", save_all=True, append_images=pages[1:])
    assert exposure(tmp_path / "deep.tif", pages=True) == (0, 255)
    data, preprocessing = SimpleNamespace(pages="channels"), default_preprocessing(3)
    stages = SimpleNamespace(network=SimpleNamespace(data=data, preprocessing=preprocessing))
    image = Stages.read(stages, SimpleNamespace(image=tmp_path / "deep.tif", page=None), None)
    np.testing.assert_array_equal(image, [[[0, 0, 0], [0, 0, 1]]])
    assert "deep.tif is nearly black to the network" in (said := capsys.readouterr().err)
    assert "which sees stored values 0..65535; try --value-range 0 255" in said
    tell_of_exposure(tmp_path / "flat.tif", np.zeros((1, 2, 3), np.uint8), None, pages=True)
    assert capsys.readouterr().err == ""


def test_a_folder_of_twelve_bits_is_well_exposed(tmp_path):
    for split, high, name in (("train", 4095, "a.jpg"), ("val", 1000, "a.png")):  # what it holds counts, not its name
        save_png(tmp_path / "images" / split / name, deep(1, high))
        (tmp_path / "labels" / split).mkdir(parents=True)
        Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(tmp_path / "labels" / split / "a.png")
    train = open_source("folder", "train", root=tmp_path)
    assert train.value_range == (0, 4095) and train[0]["image"].max() == 255
    assert "stored values 0..4095" in train.remarks[-1]
    val = open_source("folder", "val[:1]", root=tmp_path, value_range=train.value_range)
    assert val.value_range == (0, 4095) and val[0]["image"].max() == round(1000 * 255 / 4095)
    check_source(val)


@pytest.mark.parametrize(
    ("value_range", "said"),
    [
        ((-100, 4095), ""),
        ((-200, -100), "of the stored values 100.0% are white, because they lie outside -200..-100"),
    ],
)
def test_a_range_may_begin_below_zero(tmp_path, value_range, said):
    path = save_png(tmp_path / "a.png", deep(1))
    assert SetRange(value_range, lambda: [path]).remark() == said


def test_training_scales_validation_by_its_own_range(tmp_path, capsys):
    from experiments.building.build import load_splits
    from experiments.configuration.config import DataConfig

    bright = np.where(np.arange(600) < 150, 60000, 100).reshape(20, 30, 1).astype(np.uint16)
    for split, values in (("train", deep(1)), ("val", deep(1, 1000)), ("bright", bright)):
        save_png(tmp_path / "images" / split / "a.png", values)
        (tmp_path / "labels" / split).mkdir(parents=True)
        Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(tmp_path / "labels" / split / "a.png")
    config = DataConfig(name="folder", root=str(tmp_path))
    train, val = load_splits(config)
    assert train.value_range == val.value_range == (0, 4095) and val[0]["image"].max() == round(1000 * 255 / 4095)
    said = capsys.readouterr().err
    assert "stored values 0..4095 are read as black..white" in said and "outside" not in said
    load_splits(dataclasses.replace(config, val="bright"))
    assert "of the stored values 25.0% are white, because they lie outside 0..4095" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint16])
def test_values_of_0_to_65535_are_black_to_white_whatever_their_type(tmp_path, kind):
    from experiments.building.build import load_splits
    from experiments.configuration.config import DataConfig

    values = np.repeat(np.array([[0, 32768, 65535]], kind), 4, 0)
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "images" / split / "a.tif")
        Image.fromarray(np.eye(4, 3, dtype=np.uint8)).save(tmp_path / "labels" / split / "a.png")
    train, val = load_splits(DataConfig("folder", root=str(tmp_path)))
    assert train.value_range == val.value_range == (None if kind is np.uint16 else (0, 65535))
    for split in (train, val):
        assert split[0]["image"][0, :, 0].tolist() == [0, 128, 255]
