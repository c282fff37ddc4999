"""Images that are brought to their own exposure: 8 and 16 bits, floats, each channel by itself."""

import numpy as np
import pytest
from PIL import Image

from fcn.data import open_source, read_image
from fcn.data.reading.stretch import stretched
from tests.data.reading.test_depth import save_png

VALUES = np.random.default_rng(0).normal(300, (40, 9), (20, 30, 2))


def expected(values, how):
    if how == "percentiles":
        low, high = np.percentile(values, (1, 99.8), axis=(0, 1))
    else:
        low, high = (values.mean((0, 1)) + sign * 3 * values.std((0, 1)) for sign in (-1, 1))
    return np.clip(np.rint((values - low) / (high - low) * 255), 0, 255)


@pytest.mark.parametrize("how", ["percentiles", "z-score"])
def test_each_channel_by_its_own_values(how):
    for values in (VALUES, VALUES.astype(np.uint16), (VALUES / 2).astype(np.uint8)):
        np.testing.assert_allclose(stretched(values, how), expected(values, how), atol=1)
    holes = VALUES.copy()
    holes[0, 0], holes[0, 1] = np.nan, np.inf
    known = expected(VALUES.reshape(-1, 2)[2:].reshape(-1, 1, 2), how)[:, 0]
    found = stretched(holes, how).reshape(-1, 2)
    np.testing.assert_allclose(found[2:], known, atol=1)
    assert (found[0] == 0).all() and (found[1] == 255).all()
    flat = stretched(np.full((3, 3, 1), 7), how)
    assert (flat == (0 if how == "percentiles" else 128)).all()
    assert (stretched(np.full((2, 2, 1), np.nan), how) == 0).all()


def test_files_are_stretched_with_all_their_bits(tmp_path):
    deep = VALUES[..., :1].astype(np.uint16)
    colour = (np.repeat(VALUES[..., :1], 3, 2) / 2).astype(np.uint8)
    save_png(tmp_path / "deep.png", deep)
    clear = np.concatenate([deep, np.full_like(deep, 65535)], -1)
    save_png(tmp_path / "clear.png", clear)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    np.save(tmp_path / "float.npy", VALUES)
    for name, values in (("deep.png", deep), ("clear.png", deep), ("colour.png", colour), ("float.npy", VALUES)):
        found = read_image(tmp_path / name, per_image="percentiles")
        np.testing.assert_allclose(found, expected(values, "percentiles"), atol=1)


def test_a_folder_of_images_of_their_own_exposure(tmp_path):
    for name, gain in (("a", 1), ("b", 7)):
        save_png(tmp_path / "images" / f"{name}.png", (gain * VALUES[..., :1].round()).astype(np.uint16))
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(np.eye(20, 30, dtype=np.uint8)).save(tmp_path / "labels" / f"{name}.png")
    source = open_source("folder", "all", root=tmp_path, per_image="percentiles")
    np.testing.assert_array_equal(source[0]["image"], source[1]["image"])
    assert source.value_range is None
    assert [text for text in source.remarks if "stored values" in text] == []
    with pytest.raises(ValueError, match="only images of the data set 'folder'"):
        open_source("shapes", "train", per_image="z-score")
