"""Arrays of Zarr that are read in parts."""

import os
import sys

import numpy as np
import pytest

import fcn
from experiments.building.networks import Network
from experiments.prediction import maps
from experiments.prediction.outputs import plan
from fcn import tasks
from fcn.data.large import in_parts, open_large
from fcn.inference.files import Files
from fcn.preprocessing import Preprocessing

zarr = pytest.importorskip("zarr", reason="arrays of Zarr take zarr: install '.[test]'")
PIXELS = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype(np.uint8)
ROWS, COLUMNS = [3, 2, 0, 0, 40, 63, 63], [89, 60, 33, 32, 31, 0]
CHUNK = {2: "2.0.0", 3: "c/2/0/0"}


def written(path, image, version=3):
    chunks = (32, 32, 2)[: image.ndim]
    zarr.create_array(path, shape=image.shape, chunks=chunks, dtype=image.dtype, zarr_format=version)[...] = image
    return path


@pytest.mark.parametrize("version", CHUNK)
def test_both_formats(version, tmp_path):
    """Chunks that hold nothing of what is asked for are not read: one of them is damaged."""
    path = written(tmp_path / "x.zarr", PIXELS, version)
    (path / CHUNK[version]).write_bytes(b"damaged")
    with open_large(path) as found:
        assert in_parts(path) and (found.shape, found.dtype) == (PIXELS.shape, np.uint8)
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], PIXELS[np.ix_(ROWS, COLUMNS)])
        with pytest.raises(ValueError, match=r"x.zarr: cannot be decoded"):
            found[np.ix_([69], [0])]


def test_one_channel_without_an_axis(tmp_path):
    with open_large(written(tmp_path / "x", PIXELS[..., 0].astype(np.uint16))) as found:
        assert found.shape == (70, 90, 1)
        np.testing.assert_array_equal(found[np.ix_(ROWS, COLUMNS)], PIXELS[..., :1][np.ix_(ROWS, COLUMNS)])


def test_a_map_of_an_array_goes_on_with_the_same_chunks_only(tmp_path, monkeypatch):
    """And an array is not read whole where the network needs all of it."""
    path, sources = written(tmp_path / "x.zarr", PIXELS), []
    model, task = fcn.create_model("unet", num_classes=2, base_features=1, depth=1), tasks.make("semantic", ["a", "b"])
    network = Network(model, {}, task, Preprocessing())
    monkeypatch.setattr(maps, "write_labels", lambda *args, source, **how: sources.append(source))
    files = Files.named(path, tmp_path / "out/x", ["mask.npy"])
    for seconds in (1e9, 1e9, 2e9):
        os.utime(path / CHUNK[3], (seconds + 2**31, seconds + 2**31))
        maps.Maps(network, None).write(files, None)
    assert sources[0] == sources[1] != sources[2]
    whole = network._replace(preprocessing=Preprocessing(per_image="z-score"))
    with pytest.raises(ValueError, match=r"x\.zarr is read in parts only, and the network needs all of an image at once"):
        maps.Maps(whole, None).write(files, None)


def test_an_array_is_one_image_also_of_a_pattern(tmp_path):
    path = written(tmp_path / "scan.zarr", PIXELS)
    for given in (path, tmp_path / "*"):
        (files,) = plan([given], tmp_path / "out", ["mask.tif"])
        assert (files.image, files.done.name) == (path, "scan_mask.tif")


def test_what_is_refused(tmp_path, monkeypatch):
    zarr.create_group(tmp_path / "group")
    written(tmp_path / "group/a", PIXELS)
    written(tmp_path / "signal", PIXELS[0, :, 0])
    written(tmp_path / "damaged", PIXELS)
    (tmp_path / "damaged/zarr.json").write_text("{")
    for name, said in (
        ("group", "group: a group of arrays; name one of them: .*group/a$"),
        ("signal", r"an array of type uint8 and shape \(90,\); images are"),
        ("damaged", "damaged: no array of Zarr, or damaged"),
    ):
        with pytest.raises(ValueError, match=said), open_large(tmp_path / name):
            pass
    monkeypatch.setitem(sys.modules, "zarr", None)
    with (
        pytest.raises(ImportError, match=r"reading it needs zarr: pip install 'fcn-zoo\[zarr\]'"),
        open_large(tmp_path / "group"),
    ):
        pass
