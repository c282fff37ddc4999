"""Reading and resizing of images and labels."""

import io

import numpy as np
import pytest
from PIL import Image

from fcn.data import read_image, read_label, resize_image, resize_label
from fcn.data.reading.images import read_size, verify_image


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_lossless_images_come_back_as_they_are(tmp_path, suffix):
    colour, gray = random_image((7, 9, 3)), random_image((7, 9))
    Image.fromarray(colour).save(tmp_path / f"c.{suffix}")
    Image.fromarray(gray).save(tmp_path / f"g.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"c.{suffix}"), colour)
    np.testing.assert_array_equal(read_image(tmp_path / f"g.{suffix}"), gray[..., None])
    np.testing.assert_array_equal(read_image(tmp_path / f"g.{suffix}", channels=3), np.repeat(gray[..., None], 3, 2))
    np.testing.assert_array_equal(read_image((tmp_path / f"c.{suffix}").read_bytes()), colour)


def test_modes_are_brought_to_gray_or_rgb(tmp_path, monkeypatch):
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    colour, gray = random_image((4, 5, 3)), random_image((4, 5))
    Image.fromarray(np.dstack([colour, np.full((4, 5), 3, np.uint8)])).save(tmp_path / "rgba.png")
    with pytest.warns(UserWarning, match=r"rgba\.png: channel 4 of 4 is left out"):
        np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), colour)
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png")[..., 0], gray)
    Image.fromarray(gray > 127).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bit.png")[..., 0], np.where(gray > 127, 255, 0))
    palette = Image.fromarray(gray % 2, "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "palette.png"), np.array([[10, 20, 30], [40, 50, 60]], np.uint8)[gray % 2]
    )


def test_exif_orientation_turns_the_image_upright(tmp_path):
    stored = random_image((6, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # show it turned clockwise by a quarter
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(stored, -1))
    assert read_size(tmp_path / "turned.png") == (4, 6)
    assert verify_image(tmp_path / "turned.png") == (4, 6, 3)


def test_labels_are_indices_never_colours(tmp_path):
    ids = np.array([[0, 1, 15], [255, 2, 0]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "gray.png")
    palette = Image.fromarray(ids).convert("L")
    palette.putpalette(random_image((768,)).tolist())
    palette.save(tmp_path / "palette.png")
    Image.fromarray(ids.astype(np.uint16) + 300).save(tmp_path / "deep.png")
    for name, expected in (("gray.png", ids), ("palette.png", ids), ("deep.png", ids.astype(int) + 300)):
        label = read_label(tmp_path / name)
        assert label.dtype == np.int32
        np.testing.assert_array_equal(label, expected)
    Image.fromarray(random_image((3, 3, 3))).save(tmp_path / "colours.png")
    with pytest.raises(ValueError, match=r"colours\.png.*colour mode RGB.*class ids"):
        read_label(tmp_path / "colours.png")


def test_errors_name_the_file(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    buffer = io.BytesIO()
    Image.fromarray(random_image((64, 64, 3))).save(buffer, "jpeg")
    (tmp_path / "half.jpg").write_bytes(buffer.getvalue()[:1500])
    Image.fromarray(random_image((64, 64, 3))).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:400])
    Image.fromarray(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)).save(tmp_path / "float.tif")
    pages = [Image.fromarray(random_image((4, 4), i)) for i in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    for reader in (read_image, verify_image):
        with pytest.raises(ValueError, match=r"text\.png: not an image"):
            reader(tmp_path / "text.png")
        with pytest.raises(ValueError, match=r"half\.jpg: damaged"):
            reader(tmp_path / "half.jpg")
        with pytest.raises(ValueError, match=r"half\.png: damaged"):
            reader(tmp_path / "half.png")
        with pytest.raises(ValueError, match=r"float\.tif: floating-point pixels"):
            reader(tmp_path / "float.tif")
        with pytest.raises(ValueError, match=r"stack\.tif: holds 3 pages"):
            reader(tmp_path / "stack.tif")
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            reader(tmp_path / "none.png")


def test_images_of_too_many_pixels_are_named(tmp_path, monkeypatch):
    Image.fromarray(random_image((30, 40))).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"huge\.png: more than 200 pixels"):
        read_image(tmp_path / "huge.png")


def slow_resize(image, size):
    """Triangle filter whose width grows with the reduction, pixel by pixel."""

    def weights(length, new):
        ratio = length / new
        reach = max(ratio, 1)
        table = np.zeros((new, length))
        for i in range(new):
            for j in range(length):
                table[i, j] = max(0, 1 - abs((i + 0.5) * ratio - (j + 0.5)) / reach)
        return table / table.sum(1, keepdims=True)

    rows, columns = weights(image.shape[0], size[0]), weights(image.shape[1], size[1])
    return np.einsum("ih,jw,hwc->ijc", rows, columns, image.astype(float))


@pytest.mark.parametrize("size", [(5, 8), (23, 7), (12, 10), (30, 41)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_with_an_antialiased_triangle_filter(size, channels):
    image = random_image((12, 17, channels))
    resized = resize_image(image, size)
    assert resized.shape == (*size, channels) and resized.dtype == np.uint8
    np.testing.assert_allclose(resized, slow_resize(image, size), atol=1.01)  # rounded to uint8 after each axis


@pytest.mark.parametrize("size", [(5, 8), (23, 7), (12, 17), (30, 41)])
def test_labels_take_the_pixel_under_the_centre(size):
    label = np.random.default_rng(1).integers(0, 9, (12, 17)).astype(np.int32)
    resized = resize_label(label, size)
    for i in range(size[0]):
        for j in range(size[1]):
            assert resized[i, j] == label[int((i + 0.5) * 12 / size[0]), int((j + 0.5) * 17 / size[1])]


def test_a_resize_to_the_same_size_is_the_identity():
    image = random_image((5, 6, 3))
    assert resize_image(image, (5, 6)) is image
