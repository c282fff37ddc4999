"""Read images and label masks from files or bytes, and resize them: uint8 images, int32 labels, no TensorFlow."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image
from PIL.ImageFile import ImageFile

from fcn.data.reading.arrays import array_kind, read_array
from fcn.data.reading.decode import (
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
from fcn.data.reading.depth import MODES as DEEP_MODES
from fcn.data.reading.depth import (
    WHOLE_RANGE,
    ValueRange,
    checked_range,
    is_deep,
    raw_mode,
    read_deep,
    refuse_unclear_depth,
    to_bytes,
)
from fcn.data.reading.stretch import stretched
from fcn.preprocessing import PerImage

__all__ = [
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "image_type",
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
    file: str | Path | bytes,
    *,
    channels: int | None = None,
    value_range: ValueRange | None = None,
    per_image: PerImage | None = None,
    name: str | None = None,
    pages: bool = False,
) -> UInt8[np.ndarray, "h w c"]:
    """Read an image as uint8 values 0..255, turned upright as its EXIF orientation says.

    Args:
        file: a path, or the bytes of an image file. A path may be one of NumPy's files, [H, W] or [H, W, C], and a TIFF
            file of up to 64 channels of integers or floats.
        channels: 1 for gray (the luma of colours), 3 for RGB, another number for as many as are stored. None keeps gray images
            gray, gives what has more than four channels as it is, and RGB for all others. Transparency and further channels
            are left out; the first time that there are any, a warning names the file.
        value_range: of images of other types than bytes, the stored values that become 0 and 255 (what lies outside is
            clipped); by default 0 and 65535, for 16 bits only. Images of 8 bits stay as they are.
        per_image: each channel is brought to 0..255 by its own percentiles, or its own mean and deviation (`stretched`), in
            place of a range.
        name: what errors call the file; the path by default.
        pages: the pages of a TIFF file are channels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image, is damaged, has another number of channels, holds several pages, or
            floating-point, signed or 32-bit values without a `value_range`, or has more pixels than `FCN_MAX_PIXELS` allows;
            the message begins with its name. Or `value_range` is not two rising numbers.
        ImportError: reading it takes tifffile, which is not installed.
    """
    kind = array_kind(file, pages, channels)
    name_of = name or str(file)
    if not isinstance(file, bytes) and (kind == "array" or (kind == "unclear" and (value_range, per_image) != (None, None))):
        values = read_array(file, name, pages)
        if per_image is None:
            _refuse_unknown_range(values, value_range, name_of)
        checked = value_range and checked_range(value_range)
        return _with_channels(_as_bytes(values, checked, per_image), channels, name_of)
    return _read_picture(file, channels, checked_range(value_range or WHOLE_RANGE), per_image, name)


def _as_bytes(
    values: Shaped[np.ndarray, "h w c"], value_range: ValueRange | None, per_image: PerImage | None
) -> UInt8[np.ndarray, "h w c"]:
    return stretched(values, per_image) if per_image else to_bytes(values, value_range)


def _read_picture(
    file: str | Path | bytes, channels: int | None, value_range: ValueRange, per_image: PerImage | None, name: str | None
) -> UInt8[np.ndarray, "h w c"]:
    with opened(file, name) as image:
        refuse_unclear_depth(image)
        stored = 2 if raw_mode(image) == "LA;16B" else channels_in_file(image)  # opened as if it had 4
        deep = is_deep(image)
        image = _deep_picture(read_deep(image, file), value_range, per_image) if deep else upright(image)
        if channels not in (None, 1, 3):
            values = np.atleast_3d(np.array(image))
            if values.shape[2] != channels:
                raise Refused(_other_channels(values.shape[2], channels))
            return values if deep or per_image is None else stretched(values, per_image)
        _tell_of_lost_channels(image, stored, file_being_read() or "an image")
        image.info.pop("transparency", None)  # or else Pillow warns of it, too
        gray = image.mode in _GRAY_MODES if channels is None else channels == 1
        values = np.atleast_3d(np.array(image.convert("L" if gray else "RGB")))
    return values if deep or per_image is None else stretched(values, per_image)


def _deep_picture(values: Shaped[np.ndarray, "h w *c"], value_range: ValueRange, per_image: PerImage | None) -> Image.Image:
    """An image of 16 bits as one of 8; transparency is no value that is stretched."""
    values = np.atleast_3d(values)
    count = values.shape[2] - (values.shape[2] in (2, 4))
    parts = _as_bytes(values[..., :count], value_range, per_image), to_bytes(values[..., count:], value_range)
    pixels = np.concatenate(parts, -1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _refuse_unknown_range(values: Shaped[np.ndarray, "h w c"], value_range: ValueRange | None, name: str) -> None:
    if value_range is None and values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name}: values of type {values.dtype}, whose range is not known; give it as value_range")


def _with_channels(values: UInt8[np.ndarray, "h w c"], channels: int | None, name: str) -> UInt8[np.ndarray, "h w k"]:
    """As many channels as are asked for: gray and colours are turned into each other, others must be there."""
    stored = values.shape[2]
    if channels in (None, stored):
        return values
    if (channels, stored) == (1, 3):
        return np.array(Image.fromarray(values).convert("L"))[..., None]
    if (channels, stored) == (3, 1):
        return np.repeat(values, 3, 2)
    raise ValueError(f"{name}: {_other_channels(stored, channels)}")


def _other_channels(stored: int, asked: int) -> str:
    return f"{stored} channels, but {asked} are asked for; set channels to {stored}"


def _tell_of_lost_channels(image: Image.Image, stored: int, name: str) -> None:
    """Warn, once a process, of channels left out: transparency that is not the same everywhere, further channels of TIFF."""
    bands = image.getbands()
    kept = len(bands) - (bands[-1] in "Aa")
    if _told:
        return
    if "transparency" in image.info and any(image.convert("RGBA").getchannel("A").histogram()[:255]):
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


def read_size(file: str | Path, pages: bool = False) -> tuple[int, int]:
    """Height and width as `read_image` would give them, from the header of a picture.

    Raises:
        ValueError: the file is not an image, or is damaged.
    """
    if array_kind(file, pages):
        return read_array(file, pages=pages).shape[:2]
    with opened(file) as image:
        return upright_size(image)


def picture_channels(file: str | Path, pages: bool = False) -> int | None:
    """By its header, 1 for a gray picture and 3 for one in colour, as `read_image` gives them unasked; None for other files."""
    with contextlib.suppress(ValueError, OSError):
        if array_kind(file, pages) is None:
            with opened(file) as image:
                return 1 if _is_gray(image) else 3
    return None


def _is_gray(image: ImageFile) -> bool:
    return image.mode in _GRAY_MODES or raw_mode(image).startswith("LA")


def verify_image(
    file: str | Path, channels: int | None = None, *, pages: bool = False, ranged: bool = False
) -> tuple[int, int, int]:
    """Height, width and channels of an image file, having read it to the end (a JPEG at reduced resolution: faster).

    Args:
        file: the image.
        channels: another number than 1 and 3 counts all that are stored; else it is gray or RGB, or has more than four.
        pages: the pages of a TIFF file are channels.
        ranged: the range of the values is known, so that they may have any type.

    Raises:
        ValueError: `read_image` would refuse it.
    """
    kind = array_kind(file, pages, channels)
    if kind == "array" or (kind == "unclear" and ranged):
        values = read_array(file, pages=pages)
        _refuse_unknown_range(values, (0, 1) if ranged else None, str(file))
        return values.shape
    with opened(file) as image:
        refuse_unclear_depth(image)
        gray, stored = _is_gray(image), channels_in_file(image)
        height, width = upright_size(image)  # may decode a PNG file
        image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    return height, width, stored if channels not in (None, 1, 3) else 1 if gray else 3


def image_type(file: str | Path, pages: bool = False) -> str:
    """What a file holds: "JPEG RGB, 8 bits" of a picture, "float32, 13 channels" of an array."""
    if array_kind(file, pages):
        values = read_array(file, pages=pages)
        return f"{Path(file).suffix[1:].upper()} {values.dtype}, {values.shape[2]} channel{'s' * (values.shape[2] != 1)}"
    with opened(file) as image:
        return f"{image.format} {image.mode}, {16 if is_deep(image) else 8} bits"


def resize_image(image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Bilinear resize to (height, width), antialiased when it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    if image.shape[-1] not in (1, 3):
        return np.concatenate([resize_image(image[..., c : c + 1], size) for c in range(image.shape[-1])], -1)
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
