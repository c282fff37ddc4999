"""Odd image files: right, or refused by one sentence that names the file."""

import io
import os
import socket
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from fcn.data import read_image, read_label
from fcn.data.reading.decode import file_being_read, opened
from fcn.data.reading.images import read_size, verify_image

GRAY = np.arange(35, dtype=np.uint8).reshape(5, 7)
COLOUR = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def tiff(path, values, **tags):
    """A TIFF file with some tags set to what Pillow would not write."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag[1:])] = value
    Image.fromarray(values).save(path, tiffinfo=info)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_orientation_is_obeyed_alike_by_all_readers(tmp_path, orientation, suffix):
    """Images, labels, sizes and checks agree; the turn is Pillow's own, applied to the array in memory."""
    path, exif = tmp_path / f"turned.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GRAY).save(path, exif=exif)
    stored = Image.fromarray(GRAY)
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    np.testing.assert_array_equal(read_label(path), expected)
    assert read_size(path) == expected.shape and verify_image(path) == (*expected.shape, 1)


@pytest.mark.parametrize(
    ("values", "tags", "message"),
    [
        (GRAY.astype(np.int32), {}, "signed integers"),
        (GRAY.astype(np.uint32), {}, "32-bit integers"),
        (GRAY.astype(np.uint16), {"t262": 0}, "of which 0 is white"),
        (GRAY, {"t339": 2}, "signed 8-bit integers"),
    ],
)
def test_tiff_values_whose_meaning_is_not_clear_are_refused(tmp_path, values, tags, message):
    path = tmp_path / "odd.tif"
    if values.dtype == np.uint32:
        Image.fromarray(values.view(np.int32)).save(path)
        kind = b"\x53\x01\x03\x00\x01\x00\x00\x00"  # SampleFormat, of which Pillow writes 2: signed
        path.write_bytes(path.read_bytes().replace(kind + b"\x02", kind + b"\x01"))
    else:
        tiff(path, values, **tags)
    for reader in (read_image, verify_image):
        with pytest.raises(ValueError, match=rf"odd\.tif: .*{message}"):
            reader(path)


def planes(path, values):
    """An uncompressed RGB TIFF file whose channels lie one after another, which Pillow cannot write."""
    height, width, size = *values.shape[:2], values[..., 0].nbytes
    bits, offsets, counts, pixels = 134, 140, 152, 164  # where the longer values of the ten tags lie, and the channels
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 3, offsets)]
    tags += [(277, 3, 1, 3), (278, 3, 1, height), (279, 4, 3, counts), (284, 3, 1, 2)]
    directory = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    longer = struct.pack("<3H3I3I", *[8 * values.itemsize] * 3, *(pixels + i * size for i in range(3)), *[size] * 3)
    path.write_bytes(directory + longer + np.ascontiguousarray(values.transpose(2, 0, 1)).tobytes())
    return path


def test_planes_of_sixteen_bits_are_refused(tmp_path):
    """Pillow takes the two bytes of a value for two pixels; of 8 bits it reads planes right."""
    np.testing.assert_array_equal(read_image(planes(tmp_path / "eight.tif", COLOUR)), COLOUR)
    path = planes(tmp_path / "deep.tif", COLOUR.astype(np.uint16) * 257)
    for reader in (read_image, read_label, verify_image):
        with pytest.raises(ValueError, match=r"deep\.tif: .*in planes"):
            reader(path)


def test_white_is_zero(tmp_path):
    """An image is shown as it is meant; a label, whose numbers could mean either, is refused."""
    path = tiff(tmp_path / "white.tif", GRAY, t262=0)
    with Image.open(path) as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(read_image(path)[..., 0], GRAY)
    with pytest.raises(ValueError, match=r"white\.tif: a label of which 0 is white"):
        read_label(path)


def test_large_ids_of_labels_are_kept(tmp_path):
    Image.fromarray(GRAY.astype(np.int32) * 70000).save(tmp_path / "ids.tif")
    np.testing.assert_array_equal(read_label(tmp_path / "ids.tif"), GRAY.astype(int) * 70000)


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        for name, kind in (("fifo", "a FIFO"), ("folder", "a folder"), ("s", "a socket")):
            for reader in (read_image, read_label, verify_image):
                with pytest.raises(ValueError, match=rf"{name}\.png: {kind}"):
                    reader(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="/dev/zero: a device"):
        read_image("/dev/zero")


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).resize((24, 24)).save(buffer, kind, **options)
    return buffer.getvalue()


KINDS = [("PNG", {}), ("JPEG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}), ("BMP", {})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.filterwarnings("ignore")  # of Pillow: about the damage
def test_damaged_files_are_read_or_named(tmp_path, kind, options):
    """Flipped, cut and overwritten bytes: an image, or a ValueError that begins with the name."""
    whole, rng, refused, read = encoded(kind, **options), np.random.default_rng(5), 0, 0
    assert read_image(whole).shape == (24, 24, 3)
    for case in range(60):
        data = bytearray(whole)
        places = rng.integers(0, min(len(data), 200 if case % 2 else len(data)), 3)
        for place in places:
            data[place] = rng.integers(0, 256)
        if case % 3 == 0:
            del data[rng.integers(0, len(data)) :]
        for reader in (read_image, read_label):
            try:
                reader(bytes(data), name="x.png")
                read += 1
            except ValueError as error:
                assert str(error).startswith("x.png: ")
                refused += 1
    assert refused >= 20 and read >= (0 if kind == "PNG" else 5)  # every byte of a PNG file is under a checksum


@pytest.mark.parametrize("error", [SyntaxError, KeyError, OverflowError, MemoryError, IndexError, EOFError, RuntimeError])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error):
    Image.fromarray(GRAY).save(tmp_path / "x.png")

    def fail(self):
        raise error("odd")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=r"x\.png: "):
        read_image(tmp_path / "x.png")


def test_the_first_lost_channel_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    opaque, partly = (np.dstack([COLOUR, np.full((5, 7), v, np.uint8)]) for v in (255, 7))
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    Image.fromarray(partly).save(tmp_path / "partly.png")
    with pytest.warns(UserWarning, match=r"partly\.png: channel 4 of 4 is left out") as told:
        for name in ("opaque", "partly", "partly"):
            np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png"), COLOUR)
    assert len(told) == 1


@pytest.mark.parametrize(("clear", "colour"), [(1, 1), (b"\xff\x00", 1), (b"\xff\xff", None), (2, None)])
def test_a_transparent_colour_of_a_palette_is_told(tmp_path, clear, colour, monkeypatch):
    """The pixels are read in the colours that the palette has, as before; where no pixel is clear, nothing is lost."""
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "palette.png", transparency=clear)
    told = r"palette\.png: transparency is left out" if colour else None
    with pytest.warns(UserWarning, match=told) if told else warnings.catch_warnings(action="error"):
        values = read_image(tmp_path / "palette.png")
    np.testing.assert_array_equal(values, [[[10, 20, 30], [40, 50, 60]]])


def test_the_image_that_is_open_has_a_name(tmp_path):
    """For what Pillow warns of."""
    assert file_being_read() is None
    Image.fromarray(GRAY).save(tmp_path / "x.png")
    with opened(tmp_path / "x.png"):
        assert file_being_read() == str(tmp_path / "x.png")
    with pytest.raises(ValueError, match="damaged"), opened(tmp_path / "x.png"):
        raise KeyError
    assert file_being_read() is None


def test_a_channel_that_is_not_transparency_is_told_too(tmp_path, monkeypatch):
    """Near infrared as the fourth channel of a TIFF file, which Pillow passes over."""
    monkeypatch.setattr("fcn.data.reading.images._told", set())
    infrared = np.dstack([COLOUR, np.full((5, 7), 255, np.uint8)])
    Image.frombytes("RGBX", (7, 5), infrared.tobytes()).save(tmp_path / "nir.tif")
    with pytest.warns(UserWarning, match=r"nir\.tif: channel 4 of 4 is left out"):
        np.testing.assert_array_equal(read_image(tmp_path / "nir.tif"), COLOUR)
