"""Label maps on the disk: those of the image in memory, whole or not there, and going on where they were interrupted."""

import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcn import tasks
from fcn.file_lock import locked
from fcn.inference import label_maps, write_labels
from tests.test_predictor import image, predictor

TASK = tasks.make("semantic", classes=["sky", "road", "car"], palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)])


@pytest.fixture(scope="module")
def semantic():
    return predictor("pixels", TASK, bucket=1)


@pytest.fixture
def photo(tmp_path):
    """One that lies on the disk; 20 tiles of 10."""
    np.save(tmp_path / "photo.npy", image(50, 40))
    return np.load(tmp_path / "photo.npy", mmap_mode="r")


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "photo.npy")


def test_the_map_is_that_of_the_image_in_memory(semantic, photo, tmp_path):
    seen = []
    write_labels(semantic, photo, tmp_path / "map.npy", tile=10, tell=lambda *progress: seen.append(progress))
    found = np.load(tmp_path / "map.npy")
    assert found.dtype == np.uint8 and seen == [(done, 20) for done in range(1, 21)]
    np.testing.assert_array_equal(found, semantic(image(50, 40)))
    assert files(tmp_path) == ["map.npy"]


def test_a_tiff_has_the_colours_and_the_place(semantic, photo, tmp_path):
    place = [(33550, 12, 3, (2.0, 2.0, 0.0), True)]
    write_labels(semantic, photo, tmp_path / "map.tif", tile=10, tags=place)
    with Image.open(tmp_path / "map.tif") as found:
        np.testing.assert_array_equal(np.asarray(found), semantic(image(50, 40)))
        assert found.getpalette()[:9] == list(range(1, 10))
    with tifffile.TiffFile(tmp_path / "map.tif") as found:
        assert found.pages[0].tags[33550].value == (2.0, 2.0, 0.0)


def test_two_calls_do_not_write_one_map(photo, tmp_path, monkeypatch):
    """The second is told so; another map of the same network is written, whose weights are not read again."""
    read, network = [], predictor("pixels", TASK, bucket=1)
    noted = SimpleNamespace(sha256=lambda *data: read.append(data) or hashlib.sha256(*data))
    monkeypatch.setattr(label_maps, "hashlib", noted)

    def tell(done, _):
        if done == 3:
            with pytest.raises(BlockingIOError, match=r"map.npy is being written by another call; wait for its end"):
                write_labels(network, photo, tmp_path / "map.npy", tile=10)
            write_labels(network, photo, tmp_path / "other.npy", tile=10)

    write_labels(network, photo, tmp_path / "map.npy", tile=10, tell=tell)
    np.testing.assert_array_equal(np.load(tmp_path / "map.npy"), np.load(tmp_path / "other.npy"))
    assert files(tmp_path) == ["map.npy", "other.npy"] and len(read) == 1


def test_a_lock_of_another_user_is_read(tmp_path, monkeypatch):
    """Of whom it was left, or who holds it."""
    (tmp_path / ".map.npy.lock").touch()
    opened = Path.open

    def refuse(path, mode="r", **how):
        if mode == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, **how)

    monkeypatch.setattr(Path, "open", refuse)
    path = tmp_path / "map.npy"
    with locked(path), pytest.raises(BlockingIOError, match=r"map\.npy is being written by another call"), locked(path):
        pass
    with pytest.raises(PermissionError), locked(tmp_path / "other.npy"):
        pass


@pytest.mark.parametrize("ending", [".npy", ".tif"])
def test_what_was_interrupted_goes_on(semantic, photo, tmp_path, monkeypatch, ending):
    """But neither for another image nor for another network, nor for one that sees other borders."""
    monkeypatch.setattr(label_maps, "_SECONDS", -1)
    path, seen = tmp_path / f"map{ending}", []

    def stop_after(count):
        def tell(done, _):
            seen.append(done)
            if done == count:
                raise KeyboardInterrupt

        return tell

    with pytest.raises(KeyboardInterrupt):
        write_labels(semantic, photo, path, tile=10, tell=stop_after(7))
    assert not path.exists() and len(files(tmp_path)) == 2
    wide, mirrored = (predictor("pixels", TASK, bucket=5, border=border) for border in ("network", "mirror"))
    scaled = predictor("pixels", TASK, bucket=1, scale=2.0)
    for source, network in (("", wide), ("", mirrored), ("another", semantic), ("", scaled)):
        with pytest.raises(KeyboardInterrupt):
            write_labels(network, photo, tmp_path / f"map{ending}", tile=10, source=source, tell=stop_after(1))
        assert seen[-1] == 1
    with pytest.raises(KeyboardInterrupt):
        write_labels(semantic, photo, path, tile=10, tell=stop_after(7))
    write_labels(semantic, photo, path, tile=10, tell=stop_after(0))
    assert seen[-13:] == list(range(8, 21)) and files(tmp_path) == [path.name]
    stored = np.load(path) if ending == ".npy" else np.asarray(Image.open(path))
    np.testing.assert_array_equal(stored, semantic(image(50, 40)))


def test_what_is_refused(semantic, photo, tmp_path, monkeypatch):
    (tmp_path / "mine.npy").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.npy exists already"), monkeypatch.context() as patch:
        patch.setattr(label_maps, "_digest", lambda _: pytest.fail("weights are read in vain"))
        write_labels(semantic, photo, tmp_path / "mine.npy")
    with pytest.raises(ValueError, match=r"map\.png: label maps are \.npy or \.tif files"):
        write_labels(semantic, photo, tmp_path / "map.png")
    labels = predictor("pixels", tasks.make("multilabel", classes=["a", "b", "c"]), bucket=1)
    with pytest.raises(ValueError, match="the task 'multilabel' has no class for each pixel"):
        write_labels(labels, photo, tmp_path / "map.npy")
    assert files(tmp_path) == ["mine.npy"] and (tmp_path / "mine.npy").read_text() == "mine"
    write_labels(semantic, photo, tmp_path / "mine.npy", overwrite=True)
    np.testing.assert_array_equal(np.load(tmp_path / "mine.npy"), semantic(image(50, 40)))


@pytest.mark.parametrize("ending", [".npy", ".tif"])
def test_the_room_on_the_disk_is_taken_first(semantic, photo, tmp_path, monkeypatch, ending):
    """Where there is none, one sentence says so, and nothing is left; a file system that cannot take it is used without."""
    asked = []

    def refuse(number):
        def take(file, start, length):
            asked.append((start, length))
            raise OSError(number, "No space left on device")

        return take

    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC), raising=False)
    with pytest.raises(OSError, match=rf"^/.*map\{ending} cannot be written: No space left on device$") as error:
        write_labels(semantic, photo, tmp_path / f"map{ending}", tile=10)
    assert error.value.errno == errno.ENOSPC and files(tmp_path) == []
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.EOPNOTSUPP), raising=False)
    write_labels(semantic, photo, tmp_path / f"map{ending}", tile=10)
    assert asked == [(0, (tmp_path / f"map{ending}").stat().st_size)] * 2 and asked[0][1] > 50 * 40
