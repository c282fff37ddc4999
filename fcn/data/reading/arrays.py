"""Images that are arrays more than pictures: NumPy's files, and TIFF files of floats, of many channels, in planes or pages."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from fcn.data.reading.decode import (
    REDUCED_OR_MASK,
    Refused,
    channels_in_file,
    depth_in_file,
    in_planes,
    limit_pixels,
    pages_in_file,
    pixel_limit,
    readable,
    refuse_irregular,
    several_pages,
    signed,
    too_many_pixels,
    upright,
    white_is_zero,
)
from fcn.errors import first_line

MOST_CHANNELS = 64
_TIFF = (".tif", ".tiff")
_GRAY = ("L", "F", "I;16", "I;16L", "I;16B", "I;16N")
_TURNS = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
"""What brings an image upright, by EXIF orientation."""


def array_kind(
    file: str | Path | bytes, pages: bool = False, channels: int | None = None
) -> Literal["array", "unclear"] | None:
    """Whether a file holds what pictures do not; None: it is to be read as a picture, or refused as one.

    Args:
        file: a path; what is given as bytes is taken for a picture.
        pages: the pages of a TIFF file are channels.
        channels: what is asked for; other numbers than 1 and 3 mean all that are stored, of which Pillow may leave one
            out.

    Returns:
        "array": NumPy's file, pages, or a TIFF file that Pillow does not know. "unclear": a TIFF file whose values Pillow
        knows, but not their range.
    """
    if isinstance(file, bytes):
        return None
    suffix = Path(file).suffix.lower()
    if suffix == ".npy":
        return "array"
    return _kind_of_tiff(file, pages, channels not in (None, 1, 3)) if suffix in _TIFF else None


def _kind_of_tiff(file: str | Path, pages: bool, all_channels: bool) -> Literal["array", "unclear"] | None:
    limit_pixels()
    try:
        with readable(file) as stream, Image.open(stream) as image:
            if not isinstance(image, TiffImageFile):
                return None
            left_out = channels_in_file(image) > (len(image.getbands()) if all_channels else 4)
            if left_out or (pages and pages_in_file(image) > 1):
                return "array"
            odd = image.mode in ("F", "I") or signed(image) or (in_planes(image) and depth_in_file(image) > 8)
            return "unclear" if odd else None
    except UnidentifiedImageError:
        return "array"
    except Exception:  # who reads it as a picture tells what is wrong
        return None


def read_array(file: str | Path, name: str | None = None, pages: bool = False) -> Shaped[np.ndarray, "h w c"]:
    """The values of an array as they are stored: integers or floats, 1 to 64 channels, which are the last axis.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, has too many pixels or channels, or is of a kind that is not read.
        ImportError: it takes tifffile, which is not installed.
    """
    name = name or str(file)
    try:
        refuse_irregular(file)
        values = _read_npy(file) if Path(file).suffix.lower() == ".npy" else _read_tiff(file, pages)
    except Refused as error:
        raise ValueError(f"{name}: {error}") from None
    except (FileNotFoundError, PermissionError, ImportError):
        raise
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise ValueError(
            f"{name}: not an image that can be read, or damaged ({first_line(str(error) or type(error).__name__)})"
        ) from None
    return values


def _read_npy(file: str | Path) -> Shaped[np.ndarray, "h w c"]:
    mapped = np.load(file, mmap_mode="r", allow_pickle=False)
    _refuse_shape(mapped.shape, mapped.dtype)
    values = np.array(mapped.astype(np.uint8) * 255 if mapped.dtype == bool else mapped)
    return values.reshape(*values.shape[:2], -1)


def _read_tiff(file: str | Path, pages: bool) -> Shaped[np.ndarray, "h w c"]:
    """By Pillow what that knows; else by tifffile."""
    values = _read_by_pillow(file, pages)
    if values is not None:
        return values
    try:
        import tifffile
    except ImportError:
        raise ImportError(f"{file}: reading it needs tifffile: pip install 'fcn-zoo[tiff]'") from None
    with tifffile.TiffFile(file) as tiff:
        whole = [page for page in tiff.pages if not getattr(page, "subfiletype", 0) & REDUCED_OR_MASK]
        if len(whole) > 1 and not pages:
            raise Refused(several_pages(len(whole)))
        return np.concatenate([_read_page(page) for page in whole], -1)


def _read_page(page: Any) -> Shaped[np.ndarray, "h w c"]:
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    _refuse_shape(shape, page.dtype)
    if page.photometric == 0:
        raise Refused("values of which 0 is white (PhotometricInterpretation 0); save it with 0 as black")
    values = page.asarray()
    values = values.transpose(1, 2, 0) if page.axes == "SYX" else values.reshape(shape)
    orientation = page.tags.valueof(274, 1)
    return np.ascontiguousarray(_TURNS[orientation](values) if orientation in _TURNS else values)


def _read_by_pillow(file: str | Path, pages: bool) -> Shaped[np.ndarray, "h w c"] | None:
    """One channel a page, of types that Pillow reads as they are."""
    try:
        with readable(file) as stream, Image.open(stream) as image:
            count = pages_in_file(image)
            gray = image.mode in (*_GRAY, "I") if signed(image) and depth_in_file(image) > 8 else image.mode in _GRAY
            if (
                not gray
                or channels_in_file(image) > 1
                or white_is_zero(image)
                or (count > 1 and not pages)
                or getattr(image, "n_frames", 1) > count > 1
            ):
                return None
            _refuse_shape((*image.size[::-1], count), np.dtype(float))
            found = []
            for page in range(count):
                image.seek(page)
                found.append(np.asarray(upright(image)))
            return np.stack(found, -1)
    except UnidentifiedImageError:
        return None


def _refuse_shape(shape: tuple[int, ...], dtype: Any) -> None:
    if dtype is None or dtype.kind not in "buif" or len(shape) not in (2, 3) or 0 in shape:
        form = "numbers [height, width] or [height, width, channels]"
        raise Refused(f"an array of type {dtype} and shape {shape}; images are {form}")
    if len(shape) == 3 and shape[2] > MOST_CHANNELS:
        raise Refused(f"an array of shape {shape}; images are [height, width, channels], of 1 to {MOST_CHANNELS} channels")
    if shape[0] * shape[1] > pixel_limit():
        raise Refused(too_many_pixels())
