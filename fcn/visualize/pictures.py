"""Overlays, legends and panels: uint8 RGB arrays."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

from fcn.text import cut
from fcn.visualize.fonts import drawable
from fcn.visualize.palette import IGNORED, colourise, default_palette

_TEXT, _FAINT = "#26282f", "#8a8d96"
_TILE, _GAP, _MARGIN, _FONT = 288, 10, 24, 17
_COLOURS = 24
"""Of objects."""
_LONGEST = 320
"""Pixels of a name in a legend; longer ones are cut."""


def overlay(
    image: Shaped[np.ndarray, "h w *c"],
    label: Integer[np.ndarray, "h w"],
    palette: UInt8[np.ndarray, "k 3"],
    alpha: float = 0.5,
    ignore_index: int = 255,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with each pixel tinted by the colour of its label; ignored pixels keep the image's colour.

    Args:
        image: [H, W] or [H, W, C] as in `panel`.
        label: [H, W].
        palette: [K, 3].
        alpha: share of the label's colour, 0..1.
        ignore_index: the label of pixels that are not tinted.

    Raises:
        ValueError: for an image and a label of different sizes, or a label without a colour.
    """
    image, label = rgb(image), np.asarray(label)
    _check_size("label", label, image)
    colours = colourise(label, palette, ignore_index).astype(np.float32)
    return _mix(image, colours, np.where(label == ignore_index, np.float32(0), np.float32(alpha)))


def overlay_masks(
    image: Shaped[np.ndarray, "h w *c"],
    masks: Integer[np.ndarray, "h w k"],
    palette: UInt8[np.ndarray, "k 3"],
    alpha: float = 0.5,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with each pixel tinted by the mean colour of all classes that are there; as it is where none is.

    Args:
        image: [H, W] or [H, W, C] as in `panel`.
        masks: [H, W, K], 1 where the class is there.
        palette: [K, 3].
        alpha: share of the colour, 0..1.

    Raises:
        ValueError: for an image and masks of different sizes.
    """
    image, there = rgb(image), np.asarray(masks) == 1
    _check_size("masks", there[..., 0], image)
    count = there.sum(-1, keepdims=True)
    colours = (there @ np.asarray(palette, np.float32)) / np.maximum(count, 1)
    return _mix(image, colours, np.where(count[..., 0] > 0, np.float32(alpha), np.float32(0)))


def overlay_instances(
    image: Shaped[np.ndarray, "h w *c"], instances: Integer[np.ndarray, "h w"], alpha: float = 0.25
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with each object outlined and tinted in a colour; that of an id comes again after 24.

    Args:
        image: [H, W] or [H, W, C] as in `panel`.
        instances: [H, W], a number above 0 for each object.
        alpha: share of the colour inside of outlines, 0..1.

    Raises:
        ValueError: for an image and instances of different sizes.
    """
    image, instances = rgb(image), np.asarray(instances)
    _check_size("instances", instances, image)
    colours = default_palette(_COLOURS + 1)[1:][(instances - 1) % _COLOURS].astype(np.float32)
    share = np.where(edges(instances), np.float32(1), np.float32(alpha))
    return _mix(image, colours, np.where(instances > 0, share, np.float32(0)))


def edges(instances: Shaped[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels beside one of another number."""
    edge = np.zeros(instances.shape, bool)
    for map_, found in ((instances, edge), (instances.T, edge.T)):
        differs = map_[1:] != map_[:-1]
        found[1:] |= differs
        found[:-1] |= differs
    return edge


def _mix(image, colours, share) -> UInt8[np.ndarray, "h w 3"]:
    """The image with a share of colours, float32 [H, W, 3], which are overwritten."""
    colours -= image
    colours *= share[..., None]
    colours += image
    return np.rint(colours, out=colours).astype(np.uint8)


def legend(
    classes: Sequence[str], palette: UInt8[np.ndarray, "k 3"], *, width: int | None = None, ignored: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """A swatch and a name per class, in aligned columns on white.

    Args:
        classes: the K names, in any script (escapes where no font has it).
        palette: [K, 3].
        width: of the picture in pixels; a name that does not fit is cut with an ellipsis. None: as wide as four columns need.
        ignored: adds a hatched swatch named "ignored".

    Raises:
        ValueError: for another number of names than colours.
    """
    if len(classes) != len(palette):
        raise ValueError(f"{len(classes)} class names for {len(palette)} colours")
    names = [*classes, "ignored"] if ignored else list(classes)
    swatches = [np.broadcast_to(np.asarray(c, np.uint8), (18, 26, 3)) for c in palette] + [_hatch(18, 26)]
    labels = [_fitting(name, _LONGEST) for name in names]
    column = 34 + max(int(font.getlength(text)) for text, font in labels) + 22
    columns = min(len(names), 4 if width is None else max(1, width // column))
    rows = -(-len(names) // columns)
    canvas = Image.new("RGB", (width or columns * column, rows * 28), "white")
    draw = ImageDraw.Draw(canvas)
    for i, ((text, font), swatch) in enumerate(zip(labels, swatches)):
        left, top = i // rows * column, i % rows * 28 + 5
        canvas.paste(Image.fromarray(np.ascontiguousarray(swatch)), (left, top))
        draw.rectangle((left, top, left + 25, top + 17), outline=_FAINT)
        draw.text((left + 34, top + 9), cut(text, canvas.width - left - 34, font.getlength), _TEXT, font, anchor="lm")
    return np.asarray(canvas).copy()


def panel(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
    predictions: Sequence[np.ndarray] | np.ndarray | None,
    classes: Sequence[str],
    palette: UInt8[np.ndarray, "k 3"],
    *,
    ignore_index: int = 255,
    titles: Sequence[str] = ("image", "label", "prediction"),
) -> UInt8[np.ndarray, "h w 3"]:
    """A row per image: image | label | prediction, with titles above and a legend below; ignored pixels are hatched.

    Small pictures are enlarged by a whole factor without smoothing, large ones are reduced. The legend names the classes that
    occur where there are more than 24.

    Args:
        images: N arrays [H, W] or [H, W, C], sizes may differ. One or two channels: the first in gray; four and more: the
            first three. uint8 as it is; floats within 0..1 are scaled by 255; all else is stretched from its least value to
            its greatest.
        labels: N integer arrays [H, W].
        predictions: the same; None leaves the column out.
        classes: K names.
        palette: [K, 3].
        ignore_index: the label that is hatched.
        titles: of the columns.

    Raises:
        ValueError: for lists of different lengths or of none, an image and a label of different sizes, or a label without a
            colour.
    """
    columns = [list(images), list(labels)] + ([] if predictions is None else [list(predictions)])
    if not columns[0] or len({len(column) for column in columns}) > 1:
        raise ValueError(f"a panel needs as many labels and predictions as images, not {[len(c) for c in columns]}")
    rows = [_row(image, maps, palette, ignore_index) for image, *maps in zip(*columns)]
    maps = [np.unique(m) for column in columns[1:] for m in column]
    shown = [c for c in range(len(classes)) if len(classes) <= 24 or any(c in m for m in maps)]
    names, colours = [classes[c] for c in shown], np.asarray(palette)[shown]
    ignored = any(ignore_index in m for m in maps)
    return _sheet(rows, titles, lambda width: legend(names, colours, width=width, ignored=ignored))


def gallery(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = ("image", "label", "prediction"),
    classes: Sequence[str] = (),
    palette: UInt8[np.ndarray, "k 3"] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures in rows, with titles above the columns and a legend below, enlarged or reduced as in `panel`.

    Args:
        rows: pictures, uint8 [H, W, 3], of one size in each row.
        titles: of the columns.
        classes: names of the legend; without them there is none.
        palette: [K, 3], the colours of the names; `default_palette` by default.

    Raises:
        ValueError: for no row, or rows of different lengths.
    """
    if not len(rows) or len({len(row) for row in rows}) > 1:
        raise ValueError(f"a gallery needs as many pictures in each row, not {[len(row) for row in rows]}")
    scaled = [[_scaled(np.asarray(picture), _scaled_size(row[0])) for picture in row] for row in rows]

    def key(width):
        return legend(classes, default_palette(len(classes)) if palette is None else palette, width=width)

    return _sheet(scaled, titles, key if len(classes) else lambda width: None)


def _sheet(rows, titles, make_key) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles in rows below titles, and below them the key that is made for their width."""
    columns = len(rows[0])
    width = max(tile.shape[1] for row in rows for tile in row)
    total = columns * width + (columns - 1) * _GAP
    key = make_key(total)
    below = 0 if key is None else key.shape[0] + 12
    height = sum(row[0].shape[0] + _GAP for row in rows)
    canvas = Image.new("RGB", (total + 2 * _MARGIN, height + below + 2 * _MARGIN + 26), "white")
    draw, top = ImageDraw.Draw(canvas), _MARGIN + 26
    for i, title in enumerate(titles[:columns]):
        text, font = _fitting(title, width)
        draw.text((_MARGIN + i * (width + _GAP) + width / 2, _MARGIN + 16), text, _TEXT, font, anchor="ms")
    for row in rows:
        for i, tile in enumerate(row):
            left = _MARGIN + i * (width + _GAP) + (width - tile.shape[1]) // 2
            canvas.paste(Image.fromarray(tile), (left, top))
        top += row[0].shape[0] + _GAP
    if key is not None:
        canvas.paste(Image.fromarray(key), (_MARGIN, top + 12))
    return np.asarray(canvas).copy()


def rgb(image: Shaped[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Any image as `panel` shows it."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    if image.dtype == np.uint8:
        return image
    fraction = np.issubdtype(image.dtype, np.floating)
    image = np.nan_to_num(image.astype(np.float64))
    low, high = image.min(), image.max()
    if not (fraction and low >= 0 and high <= 1):
        image = (image - low) / max(high - low, 1e-12)
    return np.rint(255 * image).astype(np.uint8)


def _check_size(name: str, label: np.ndarray, image: np.ndarray) -> None:
    if label.shape != image.shape[:2]:
        raise ValueError(f"{name} of shape {label.shape} does not fit an image of shape {image.shape[:2]}")


def _scaled_size(image) -> tuple[int, int]:
    """Width and height of a tile: a whole multiple of a small picture, a part of a large one."""
    factor = _TILE / max(image.shape[:2])
    factor = max(1, round(factor)) if factor > 0.5 else factor
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return width, height


def _scaled(image, size) -> np.ndarray:
    method = Resampling.NEAREST if size[0] >= image.shape[1] else Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size, method))


def _row(image, maps, palette, ignore_index: int) -> list[np.ndarray]:
    """The tiles of one row, all of the same size."""
    image, tiles = rgb(image), []
    size = _scaled_size(image)
    tiles.append(_scaled(image, size))
    for name, label in zip(("label", "prediction"), maps):
        label = np.asarray(label)
        _check_size(name, label, image)
        colours = np.asarray(Image.fromarray(colourise(label, palette, ignore_index)).resize(size, Resampling.NEAREST))
        ignored = np.asarray(Image.fromarray(label == ignore_index).resize(size, Resampling.NEAREST))
        tiles.append(np.where(ignored[..., None], _hatch(*ignored.shape), colours))
    return tiles


def _hatch(height: int, width: int) -> np.ndarray:
    """Diagonal stripes in two grays, for what is ignored."""
    stripes = (np.arange(height)[:, None] + np.arange(width)) // 3 % 3 == 0
    return np.where(stripes[..., None], 170, IGNORED).astype(np.uint8)


def _fitting(name: str, width: int) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """As much of a name as so many pixels hold, and the font for it."""
    text, path = drawable(name)
    font = _font(path)
    return cut(text, width, font.getlength), font


@functools.cache
def _font(path: str | None) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT) if path is None else ImageFont.truetype(path, _FONT)
