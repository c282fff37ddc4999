"""Read images and label masks from files or bytes, and resize them: uint8 images, int32 labels, no TensorFlow."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from fcn.data.decode import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    Refused,
    channels_in_file,
    file_being_read,
    opened,
    refuse_white_zero,
    upright,
    upright_size,
)
from fcn.data.depth import MODES as DEEP_MODES
from fcn.data.depth import WHOLE_RANGE, ValueRange, checked_range, is_deep, raw_mode, read_deep, refuse_unclear_depth, to_bytes

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "read_image",
    "read_label",
    "read_mask",
    "read_size",
    "resize_image",
    "resize_label",
    "verify_image",
]
_GRAY_MODES = ("1", "L", "LA", "La", *DEEP_MODES)
_told: set[str] = set()


def read_image(
    file: str | Path | bytes, *, channels: int | None = None, value_range: ValueRange | None = None, name: str | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Read a photo as uint8 values 0..255, turned upright as its EXIF orientation says.

    Args:
        file: a path, or the bytes of an image file.
        channels: 1 for gray (the luma of colours), 3 for RGB; None keeps gray images gray and gives RGB for all others.
            Transparency and further channels are left out; the first time that there are any, a warning names the file.
        value_range: of images of 16 bits, the stored values that become 0 and 255 (what lies outside is clipped); by default
            0 and 65535. Images of 8 bits stay as they are.
        name: what errors call the file; the path by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, holds several pages, floating-point, signed or 32-bit values, or has
            more pixels than Pillow allows; the message begins with its name. Or `value_range` is not two rising numbers.
    """
    value_range = checked_range(value_range or WHOLE_RANGE)
    with opened(file, name) as image:
        refuse_unclear_depth(image)
        stored = 2 if raw_mode(image) == "LA;16B" else channels_in_file(image)  # opened as if it had 4
        if is_deep(image):
            values = to_bytes(read_deep(image, file), value_range)
            image = Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)
        else:
            image = upright(image)
        _tell_of_lost_channels(image, stored, file_being_read())
        image.info.pop("transparency", None)  # or else Pillow warns of it, too
        gray = image.mode in _GRAY_MODES if channels is None else channels == 1
        values = np.array(image.convert("L" if gray else "RGB"))
    return values[..., None] if gray else values


def _tell_of_lost_channels(image: Image.Image, stored: int, name: str) -> None:
    """Warn, once a process, of channels left out: transparency that is not the same everywhere, further channels of TIFF."""
    bands = image.getbands()
    kept = len(bands) - (bands[-1] in "Aa")
    if _told:
        return
    if "transparency" in image.info and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        lost = "transparency is"  # of a colour of the palette, or of one value
    elif stored == kept or (stored == len(bands) and image.getchannel(bands[-1]).getextrema()[0] == 255):
        return
    else:
        lost = f"channel {stored} of {stored} is" if stored == kept + 1 else f"channels {kept + 1} to {stored} of {stored} are"
    _told.add(name)
    warnings.warn(f"{name}: {lost} left out, here and in other images", stacklevel=3)


def read_label(file: str | Path | bytes, *, name: str | None = None) -> Int[np.ndarray, "h w"]:
    """Read a label mask as the int32 class ids that it stores: gray values, or palette indices (never palette colours).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, or stores colours instead of class ids.
    """
    stored = read_mask(file, name=name)
    if stored.ndim == 3:
        name = name or ("label bytes" if isinstance(file, bytes) else str(file))
        raise ValueError(f"{name}: a label of colour mode RGB; labels are gray or palette images whose pixels are class ids")
    return stored


def read_mask(file: str | Path | bytes, *, name: str | None = None) -> Int[np.ndarray, "h w *c"]:
    """Read a label mask as it is stored: class ids [h, w], or colours [h, w, 3] of an RGB image; int32, upright.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, or of a kind whose values are not clear.
    """
    with opened(file, name) as image:
        refuse_white_zero(image)
        if image.mode in ("1", "L", "P", *DEEP_MODES):
            return np.array(upright(image)).astype(np.int32)
        if image.mode not in ("RGB", "RGBA") or is_deep(image):
            raise Refused(f"a label of colour mode {image.mode}; labels are gray or palette images of class ids, or RGB")
        return np.array(upright(image))[..., :3].astype(np.int32)


def read_size(file: str | Path) -> tuple[int, int]:
    """Height and width as `read_image` would give them, from the file's header only.

    Raises:
        ValueError: the file is not an image, or is damaged.
    """
    with opened(file) as image:
        return upright_size(image)


def verify_image(file: str | Path) -> tuple[int, int, int]:
    """Height, width and channels (1 or 3) of an image file, having read it to the end (a JPEG at reduced resolution: faster).

    Raises:
        ValueError: `read_image` would refuse it.
    """
    with opened(file) as image:
        refuse_unclear_depth(image)
        gray = image.mode in _GRAY_MODES or raw_mode(image).startswith("LA")
        height, width = upright_size(image)  # may decode a PNG file
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    return height, width, 1 if gray else 3


def resize_image(image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Bilinear resize to (height, width), antialiased when it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, image.shape[-1])


def resize_label(label: Shaped[np.ndarray, "h w ..."], size: tuple[int, int]) -> Shaped[np.ndarray, "h2 w2 ..."]:
    """Nearest-neighbour resize to (height, width): output pixel i takes the input pixel that holds its centre."""
    rows = nearest_rows(label.shape[0], size[0])
    columns = nearest_rows(label.shape[1], size[1])
    return label[rows[:, None], columns]


def nearest_rows(length: int, new_length: int) -> Int[np.ndarray, " n"]:
    """The input row under the centre of each of `new_length` output rows: floor((i + 1/2) * length / new_length)."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)
