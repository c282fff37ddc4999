"""The look of the pictures: colours, axes without clutter, and boxes with numbers in them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

INK, SOFT, GRID = "#22252b", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREEN, RED, PURPLE, GRAY = "#2563eb", "#ea7317", "#15915b", "#d6293e", "#7c3aed", "#9ca3af"
TEAL = "#0891b2"
CHANNELS = ("#d6293e", "#15915b", "#2563eb")
"""Red, green and blue, as the channels of a photo."""

Colour = str | tuple[float, float, float]

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that needs no window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def parts(figure: Figure, rows: int, columns: int, **ratios: Any) -> tuple[Any, ...]:
    """Parts of a figure, row by row, with suptitles and axes of their own."""
    return tuple(np.ravel(figure.subfigures(rows, columns, squeeze=False, **ratios)))


def show(ax: Axes, image: np.ndarray, title: str = "", **options) -> None:
    """A picture without axes; one channel is shown in gray, 0 black and 1 white."""
    if image.ndim == 2:
        options = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0} | options
    else:
        image = np.clip(image, 0.0, 1.0)
    ax.imshow(image, interpolation="nearest", **options)
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def blank(ax: Axes, width: float, height: float) -> None:
    """Axes as a drawing sheet: x from 0 to width, y from 0 (top) to height, equal units, nothing drawn."""
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_aspect("equal")
    ax.axis("off")


def cell(ax: Axes, x: float, y: float, text: str, *, colour: Colour = GRID, ink: str = INK, size: float = 1.0) -> None:
    """A square with a number in it; (x, y) is its top left corner."""
    ax.add_patch(Rectangle((x, y), size, size, facecolor=colour, edgecolor="white", linewidth=2))
    ax.text(x + size / 2, y + size / 2, text, ha="center", va="center", color=ink, fontsize=12)


def note(ax: Axes, x: float, y: float, text: str, *, colour: str = INK, align: str = "center", **options) -> None:
    """Text on a drawing sheet."""
    ax.text(x, y, text, ha=align, va="center", color=colour, **options)


def tint(colour: str, strength: float) -> tuple[float, float, float]:
    """The colour mixed with white: 1 is the colour itself, 0 white."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return tuple(1 - strength * (1 - rgb))
