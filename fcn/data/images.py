"""Read images and label masks from files or bytes, and resize them: uint8 images, int32 labels, no TensorFlow."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_GRAY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION = 0x0112


def _open(file: str | Path | bytes, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not an image that can be read ({', '.join(IMAGE_SUFFIXES)})") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"{name}: more than {limit} pixels; cut it into parts, or raise PIL.Image.MAX_IMAGE_PIXELS") from None
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{name}: holds {image.n_frames} pages; save each page as a file of its own")
    if image.mode == "F":
        raise ValueError(f"{name}: floating-point pixels, whose range is not known; save it with 8 or 16 bits a channel")
    return image


def _orientation(image: Image.Image, name: str) -> int:
    """The EXIF orientation, 1 where there is none; of some formats this reads all of the file."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: damaged or cut short ({error})") from error


def _load(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: damaged or cut short ({error})") from error


def read_image(file: str | Path | bytes, *, channels: int | None = None, name: str | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Read a photo as uint8 values 0..255, turned upright as its EXIF orientation says.

    Args:
        file: a path, or the bytes of an image file.
        channels: 1 for gray, 3 for RGB; None keeps gray images gray and gives RGB for all others. Transparency is dropped.
            16-bit images are scaled by 1/257.
        name: what errors call the file; the path by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, holds several pages or floating-point values, or has more pixels than
            Pillow allows; the message begins with its name.
    """
    name = name or ("image bytes" if isinstance(file, bytes) else str(file))
    with _open(file, name) as image:
        _load(image, name)
        if _orientation(image, name) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode in _DEEP_MODES:
            deep = np.asarray(image).astype(np.float32) / 257
            image = Image.fromarray(np.clip(np.rint(deep), 0, 255).astype(np.uint8))
        gray = image.mode in _GRAY_MODES if channels is None else channels == 1
        values = np.array(image.convert("L" if gray else "RGB"))
    return values[..., None] if gray else values


def read_label(file: str | Path | bytes, *, name: str | None = None) -> Int[np.ndarray, "h w"]:
    """Read a label mask as the int32 class ids that it stores: gray values, or palette indices (never palette colours).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, or stores colours instead of class ids.
    """
    name = name or ("label bytes" if isinstance(file, bytes) else str(file))
    with _open(file, name) as image:
        if image.mode not in ("1", "L", "P", *_DEEP_MODES):
            raise ValueError(
                f"{name}: a label of colour mode {image.mode}; labels are gray or palette images whose pixels are class ids"
            )
        _load(image, name)
        return np.array(image).astype(np.int32)


def read_size(file: str | Path) -> tuple[int, int]:
    """Height and width as `read_image` would give them, from the file's header only.

    Raises:
        ValueError: the file is not an image, or is damaged.
    """
    with _open(file, str(file)) as image:
        width, height = image.size
        turned = _orientation(image, str(file)) >= 5
    return (width, height) if turned else (height, width)


def verify_image(file: str | Path) -> tuple[int, int, int]:
    """Height, width and channels (1 or 3) of an image file, having read it to the end (a JPEG at reduced resolution: faster).

    Raises:
        ValueError: the file is not an image, is damaged, or holds several pages.
    """
    height, width = read_size(file)
    with _open(file, str(file)) as image:
        gray = image.mode in (*_GRAY_MODES, *_DEEP_MODES)
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        _load(image, str(file))
    return height, width, 1 if gray else 3


def resize_image(image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Bilinear resize to (height, width), antialiased when it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[-1])


def resize_label(label: Int[np.ndarray, "h w"], size: tuple[int, int]) -> Int[np.ndarray, "h2 w2"]:
    """Nearest-neighbour resize to (height, width): output pixel i takes the input pixel that holds its centre."""
    rows = nearest_rows(label.shape[0], size[0])
    columns = nearest_rows(label.shape[1], size[1])
    return label[rows[:, None], columns]


def nearest_rows(length: int, new_length: int) -> Int[np.ndarray, " n"]:
    """The input row under the centre of each of `new_length` output rows: floor((i + 1/2) * length / new_length)."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)
