"""Files of volumes and signals: NIfTI with spacing and orientation, NumPy's arrays, stacks of TIFF pages, tables of numbers."""

import csv
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer, Shaped

from fcn.data.reading.decode import refuse_irregular
from fcn.data.reading.pages import read_pages
from fcn.draft import replacing
from fcn.errors import first_line

SUFFIXES = (".nii.gz", ".nii", ".npz", ".npy", ".csv", ".tif", ".tiff")
MOST_CHANNELS = 64
_SAME_PLACE = 1e-3
"""Millimetres, or shares of one, by which affines and spacings of one place may differ."""
_STRICT = threading.Lock()
"""nibabel has one level of errors for all threads."""
_ARRAYS = ("image", "label", "data", "waveform")
"""Names of the array in a file .npz that holds several."""


class Volume(NamedTuple):
    """What a file holds.

    Attributes:
        values: [D, H, W] or [D, H, W, C] of a volume, [L] or [L, C] of a signal, as they are stored. NIfTI's axes are brought
            to run right, to the front and up (RAS+).
        spacing: millimetres between the voxels along each axis of a volume; None where the file does not say it.
        affine: of NIfTI, from the axes of `values` to the space of the scanner.
    """

    values: Shaped[np.ndarray, "..."]
    spacing: tuple[float, ...] | None = None
    affine: Float[np.ndarray, "4 4"] | None = None


def read_volume(path: str | Path) -> Volume:
    """Reads a file by its suffix, one of `SUFFIXES`; arrays of NumPy's files .npy stay on the disk until they are used.

    Of a file .npz the array "image", "label", "data" or "waveform" is taken, or the only one; "spacing" may lie beside it.
    The pages of a TIFF file are slices. A table has a row for each sample and a column for each channel, with a header or
    without; of one column it is [L].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else than numbers, or more than 64 channels; the message begins with
            its name.
        ImportError: NIfTI takes nibabel, TIFF takes tifffile.
    """
    path = Path(path)
    refuse_irregular(path)
    read = _READERS[suffix_of(path)]
    try:
        found = read(path)
    except (FileNotFoundError, PermissionError, ImportError):
        raise
    except Exception as error:  # a decoder may raise anything for a damaged file
        text = first_line(str(error) or type(error).__name__)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: not read, or damaged ({text})") from None
    kind, shape = found.values.dtype.kind, found.values.shape
    if kind not in "buif" or not 1 <= len(shape) <= 4 or 0 in shape:
        form = "numbers [length, channels] or [depth, height, width, channels]"
        raise ValueError(f"{path}: an array of type {found.values.dtype} and shape {shape}; signals and volumes are {form}")
    return found


def read_case(paths: Sequence[Path]) -> Volume:
    """What the files of a case hold; of several, one a channel, the channels are last.

    Raises:
        ValueError: a channel lies elsewhere than the first.
    """
    parts = [read_volume(path) for path in paths]
    for path, part in zip(paths[1:], parts[1:]):
        refuse_other_place(path, part, paths[0], parts[0])
    return parts[0] if len(parts) == 1 else parts[0]._replace(values=np.stack([part.values for part in parts], -1))


def refuse_other_place(path: Path, found: Volume, image_path: Path, image: Volume) -> None:
    """Raises a ValueError for a volume of another shape, or another place in space as far as both say it, than an image."""
    if found.values.shape != image.values.shape:
        own, other = ("x".join(map(str, volume.values.shape)) for volume in (found, image))
        raise ValueError(f"{path}: its shape is {own}, that of the image {image_path} is {other}")
    places = [(found.affine, image.affine), (found.spacing, image.spacing)]
    known = [(own, other) for own, other in places if own is not None and other is not None]
    if not all(np.allclose(own, other, atol=_SAME_PLACE) for own, other in known):
        raise ValueError(f"{path}: its axes, spacing or origin are not those of the image {image_path}; resample it to them")


def suffix_of(path: Path) -> str:
    """The suffix of a file as `SUFFIXES` has it: ".nii.gz" of both its parts.

    Raises:
        ValueError: it is another one.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise ValueError(f"{path}: no file of a signal or a volume; these end in {', '.join(SUFFIXES)}")


def stem_of(path: Path) -> str:
    """The name of a file without its suffix."""
    return path.name[: -len(suffix_of(path))]


def write_label_volume(path: Path, labels: Integer[np.ndarray, "d h w"], like: Path) -> None:
    """Writes the classes of a volume as NIfTI, in one piece, as uint8 (int16 beyond 255).

    Args:
        path: ends in .nii.gz or .nii.
        labels: as the axes of `read_volume` lie.
        like: the image; where it is NIfTI, its header is taken, and the axes lie as there.

    Raises:
        ImportError: nibabel is missing.
    """
    nibabel = _nibabel(path)
    kind = np.uint8 if labels.max() < 256 else np.int16
    if suffix_of(like).startswith(".nii"):
        image: Any = nibabel.load(like)
        orientations = nibabel.orientations
        own = orientations.io_orientation(image.affine)
        back = orientations.ornt_transform(orientations.io_orientation(np.eye(4)), own)
        made = nibabel.Nifti1Image(orientations.apply_orientation(labels.astype(kind), back), image.affine, image.header)
    else:
        made = nibabel.Nifti1Image(labels.astype(kind), np.eye(4))
    made.header.set_data_dtype(kind)
    made.header.set_slope_inter(1, 0)
    with replacing(path) as draft:
        draft.write_bytes(_packed(made.to_bytes(), path))


def _packed(content: bytes, path: Path) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0) if path.suffix == ".gz" else content


def _nibabel(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise ImportError(f"{path}: NIfTI needs nibabel: pip install 'fcn-zoo[volumes]'") from None
    return nibabel


def _read_nifti(path: Path) -> Volume:
    nibabel = _nibabel(path)
    image = nibabel.as_closest_canonical(_loaded(nibabel, path))
    spacing = tuple(float(length) for length in image.header.get_zooms()[:3])
    if len(image.shape) not in (3, 4) or (len(image.shape) == 4 and image.shape[3] > MOST_CHANNELS):
        raise ValueError(f"{path}: an array of shape {image.shape}; volumes have three axes, or channels as the fourth")
    return Volume(np.asanyarray(image.dataobj), spacing, np.asarray(image.affine, np.float64))


def _loaded(nibabel: Any, path: Path) -> Any:
    """An image that is open; one without a spacing is refused, which nibabel takes for a millimetre."""
    strict = nibabel.imageglobals.ErrorLevel(30)
    try:
        with _STRICT, strict:
            return nibabel.load(path)
    except nibabel.spatialimages.HeaderDataError as error:
        if "pixdim" in str(error):
            raise ValueError(f"{path}: its header says no spacing ({error}); write the size of its voxels there") from None
        return nibabel.load(path)


def _read_npy(path: Path) -> Volume:
    return Volume(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_npz(path: Path) -> Volume:
    with zipfile.ZipFile(path):  # a file of another kind would be unpickled
        pass
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name != "spacing"]
        name = names[0] if len(names) == 1 else next((name for name in _ARRAYS if name in names), None)
        if name is None:
            raise ValueError(f"{path}: arrays {', '.join(names) or 'of no name'}; call the one that counts {_ARRAYS[0]}")
        values = arrays[name]
        if "spacing" not in arrays.files:
            return Volume(values)
        spacing, axes = np.asarray(arrays["spacing"], np.float64), 3 if values.ndim > 2 else 1
        if spacing.shape != (axes,) or not (np.isfinite(spacing) & (spacing > 0)).all():
            raise ValueError(f"{path}: the spacing {spacing.tolist()}; give a number above 0 for each of its {axes} axes")
        return Volume(values, tuple(spacing.tolist()))


def _read_tiff(path: Path) -> Volume:
    return Volume(read_pages(path))


def _read_csv(path: Path) -> Volume:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines) if row]
    header = bool(rows) and not _is_number(rows[0][0])
    values = np.array([[float(value) for value in row] for row in rows[header:]], np.float64)
    return Volume(values[:, 0] if values.shape[1:] == (1,) else values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii.gz": _read_nifti,
    ".nii": _read_nifti,
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_csv,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
}
