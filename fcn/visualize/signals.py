"""Pictures of signals: a curve for each channel, one below the other, and classes as bands of the same size."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Integer, Shaped, UInt8

WIDTH, HEIGHT = 560, 60
"""Pixels of a curve; a band has as many columns."""
_INK, _PAPER = 40, 255


def curve(signal: Shaped[np.ndarray, "l c"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The channels of a signal, each from its least to its largest value; a column reaches over all of its samples."""
    return np.concatenate([_curve(channel) for channel in np.moveaxis(np.asarray(signal, np.float32), -1, 0)])


def band(label: Integer[np.ndarray, " l"], rows: int = HEIGHT) -> Integer[np.ndarray, "rows columns"]:
    """Class numbers of a signal as a picture of a curve's width: of each column the first above 0, if one is."""
    edges = _edges(len(label))
    columns = [_of_column(label[start:stop]) for start, stop in zip(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1))]
    return np.tile(np.array(columns, label.dtype), (rows, 1))


def _of_column(part: Integer[np.ndarray, " n"]) -> int:
    known = part[part != 0]
    return int(known[0]) if known.size else 0


def _edges(length: int) -> Integer[np.ndarray, " n"]:
    return np.linspace(0, length, min(WIDTH, length) + 1).astype(int)


def _curve(channel: Float32[np.ndarray, " l"]) -> UInt8[np.ndarray, "rows columns 3"]:
    edges = _edges(len(channel))
    low, high = float(channel.min()), float(channel.max())
    rows = (high - channel) / ((high - low) or 1.0) * (HEIGHT - 1)
    picture = np.full((HEIGHT, len(edges) - 1, 3), _PAPER, np.uint8)
    for column, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = rows[max(start - 1, 0) : max(stop, start + 1)]  # the line begins where the one before ends
        picture[int(part.min()) : int(part.max()) + 1, column] = _INK
    return picture


def draw_signal(
    signal: Shaped[np.ndarray, "l c"],
    marks: Sequence[tuple[int, UInt8[np.ndarray, "3"]]],
    label: Integer[np.ndarray, " l"],
    palette: UInt8[np.ndarray, "k 3"],
) -> UInt8[np.ndarray, "rows columns 3"]:
    """The curves of a signal with lines at some samples in their colours, and below them the classes as a band.

    Args:
        signal: [L, C].
        marks: samples and colours.
        label: the class of each sample.
        palette: a colour for each class.
    """
    picture = curve(signal)
    for sample, colour in marks:
        column = min(sample * picture.shape[1] // len(signal), picture.shape[1] - 1)
        picture[:, column : column + 2] = colour
    return np.concatenate([picture, np.asarray(palette, np.uint8)[band(label, HEIGHT // 5)]])
