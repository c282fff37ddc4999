"""Open image files: whatever is wrong with one, a single ValueError tells it and begins with the file's name."""

import contextlib
import contextvars
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".npy")
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_RUN_PROGRAMS = ("EPS", "WMF")  # Pillow starts other programs for these
_ORIENTATION, _PHOTOMETRIC, _SAMPLE_FORMAT, _BITS, _SAMPLES, _PLANAR = 0x0112, 262, 339, 258, 277, 284
_SUBFILE, REDUCED_OR_MASK = 254, 5
"""The tag that says what a page is to the others, and its bits for those that are no images of their own."""

_reading: contextvars.ContextVar[str | None] = contextvars.ContextVar("_reading", default=None)


class Refused(ValueError):
    """Why a file cannot be used; `opened` puts the file's name before it."""


@contextlib.contextmanager
def opened(file: str | Path | bytes, name: str | None = None, *, floats: bool = False) -> Iterator[ImageFile]:
    """An image that is open, its pixels not yet decoded; errors inside the block are told as errors of the file, too.

    Raises:
        FileNotFoundError, PermissionError: there is no such file, or it may not be read.
        ValueError: the file is not a regular file or not an image, is damaged, has several pages, values whose range is not
            known, or too many pixels; the message begins with its name.
    """
    name = name or ("image bytes" if isinstance(file, bytes) else str(file))
    limit_pixels()
    token = _reading.set(name)
    try:
        with readable(file) as stream, Image.open(stream) as image:
            _refuse_unclear(image, floats)
            yield image
    except Refused as error:
        raise ValueError(f"{name}: {error}") from None
    except (FileNotFoundError, PermissionError):
        raise
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not an image that can be read ({', '.join(IMAGE_SUFFIXES)})") from None
    except Image.DecompressionBombError:
        raise ValueError(f"{name}: {too_many_pixels()}") from None
    except MemoryError:
        raise ValueError(f"{name}: decoding it takes more memory than there is; cut it into parts") from None
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise ValueError(f"{name}: damaged or cut short ({str(error)[:200] or type(error).__name__})") from error
    finally:
        _reading.reset(token)


def pixel_limit() -> int:
    """So many pixels an image may have, lest a small file unpack to more than the memory: FCN_MAX_PIXELS, else Pillow's limit.

    Raises:
        ValueError: FCN_MAX_PIXELS is no number.
    """
    if (given := os.environ.get("FCN_MAX_PIXELS")) is None:
        return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else sys.maxsize
    if not (given.isdecimal() and 0 < int(given) <= sys.maxsize):
        raise ValueError(f"FCN_MAX_PIXELS is {given!r}; give a number of pixels, such as 1000000000")
    return int(given)


def limit_pixels() -> None:
    """Tells Pillow the limit of FCN_MAX_PIXELS: it warns from half as many pixels on, and refuses more."""
    if "FCN_MAX_PIXELS" in os.environ:
        Image.MAX_IMAGE_PIXELS = pixel_limit() // 2


def too_many_pixels() -> str:
    """What is said of an image that has more than `pixel_limit`."""
    return f"more than {pixel_limit()} pixels; cut it into parts, or set FCN_MAX_PIXELS in the environment"


def file_being_read() -> str | None:
    """The name of the image that is open in this thread, if one is, which Pillow's own warnings do not tell."""
    return _reading.get()


def readable(file: str | Path | bytes) -> io.BytesIO | io.BufferedReader:
    """The open file; refuses FIFOs, sockets and devices, which may never end, and folders.

    Given a path, Pillow maps uncompressed TIFF files into memory and, where they are to be turned, takes width for height.
    """
    if isinstance(file, bytes):
        return io.BytesIO(file)
    refuse_irregular(file)
    return open(file, "rb")


def is_given(path: Path) -> bool:
    """Whether there is a file that users may leave out.

    Raises:
        FileNotFoundError: it is a link to nothing.
        ValueError: it is a folder, a FIFO, a socket or a device.
    """
    if not os.path.lexists(path):
        return False
    try:
        refuse_irregular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is a link to nothing; mend or remove it") from None
    except Refused as error:
        raise ValueError(f"{path}: {error}") from None
    return True


def refuse_irregular(path: str | Path) -> None:
    """Raise `Refused` for what is not a regular file, and FileNotFoundError where there is nothing."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        raise Refused(f"{kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file")


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says (of TIFF files Pillow turns them itself)."""
    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of `upright(image)`, without decoding the pixels."""
    width, height = image.size  # of a TIFF file: turned already
    return (width, height) if image.format != "TIFF" and 5 <= _orientation(image) <= 8 else (height, width)


def _orientation(image: Image.Image) -> int:
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if isinstance(orientation, int) else 1


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF file says that 0 is white; Pillow inverts such pixels of up to 8 bits, and leaves others."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0


def refuse_white_zero(image: Image.Image) -> None:
    """Raise `Refused` for a label whose stored values Pillow may invert."""
    if white_is_zero(image):
        raise Refused("a label of which 0 is white (PhotometricInterpretation 0); save it with 0 as black")


def channels_in_file(image: Image.Image) -> int:
    """How many channels a file holds; of TIFF files Pillow may read fewer (near infrared beside red, green and blue)."""
    samples = image.tag_v2.get(_SAMPLES, 1) if isinstance(image, TiffImageFile) else 1
    return max(samples, len(image.getbands()))


def depth_in_file(image: Image.Image) -> int:
    """The bits of a channel of a TIFF file."""
    return max(image.tag_v2.get(_BITS, (1,))) if isinstance(image, TiffImageFile) else 8


def pages_in_file(image: Image.Image) -> int:
    """The pages of an open TIFF file that are images of their own: none of reduced size (a pyramid, an overview), no mask."""
    count = getattr(image, "n_frames", 1)
    if count == 1 or not isinstance(image, TiffImageFile):
        return count
    kinds = []
    for page in range(count):
        image.seek(page)
        kinds.append(image.tag_v2.get(_SUBFILE, 0))
    image.seek(0)
    return sum(not kind & REDUCED_OR_MASK for kind in kinds)


def several_pages(count: int) -> str:
    """What is said of a file of several pages, of which nobody said what they are."""
    return f"holds {count} pages; save each page as a file of its own, or set pages to channels"


def signed(image: Image.Image) -> bool:
    """Whether a TIFF file's integers may be negative."""
    return isinstance(image, TiffImageFile) and 2 in image.tag_v2.get(_SAMPLE_FORMAT, ())


def in_planes(image: Image.Image) -> bool:
    """Whether a TIFF file holds its channels one after another; of their 16 bits Pillow reads bytes as pixels."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PLANAR) == 2 and channels_in_file(image) > 1


def _refuse_unclear(image: Image.Image, floats: bool) -> None:
    """Raise for what would be read as other values than were meant, by images and labels alike."""
    if image.format in _RUN_PROGRAMS:
        raise Refused(f"{image.format} files are not read; save it as PNG")
    if image.format != "MPO" and (pages := pages_in_file(image)) > 1:  # MPO: a photo, and views of it for other devices
        raise Refused(several_pages(pages))
    if image.mode == "F" and not floats:
        raise Refused("floating-point pixels, whose range is not known; save it with 8 or 16 bits a channel")
    if isinstance(image, TiffImageFile) and signed(image) and depth_in_file(image) <= 8:
        raise Refused("signed 8-bit integers; save it with unsigned ones")
    if in_planes(image) and depth_in_file(image) > 8:
        raise Refused("channels of 16 bits in planes (PlanarConfiguration 2); save it with the channels of a pixel together")
