"""Pictures of labels, predictions and runs: arrays in, uint8 RGB arrays [H, W, 3] or PNG files out. Needs no jax.

Labels are integer arrays [H, W] with values 0..K-1 or the ignore index; a palette is uint8 [K, 3], a colour per class.
Matplotlib is imported by the functions that plot, and only its file renderer is used: no window, no global state.
"""

from fcn.visualize.palette import IGNORED, colourise, default_palette, heat, indexed
from fcn.visualize.pictures import edges, gallery, legend, overlay, overlay_instances, overlay_masks, panel, rgb
from fcn.visualize.plots import plot_confusion, plot_curves, plot_precision_recall, plot_reliability, plot_runs
from fcn.visualize.signals import draw_signal
from fcn.visualize.volumes import as_pictures

__all__ = [
    "IGNORED",
    "as_pictures",
    "colourise",
    "default_palette",
    "draw_signal",
    "edges",
    "gallery",
    "heat",
    "indexed",
    "legend",
    "overlay",
    "overlay_instances",
    "overlay_masks",
    "panel",
    "plot_confusion",
    "plot_curves",
    "plot_precision_recall",
    "plot_reliability",
    "plot_runs",
    "rgb",
]
