"""Curves of a run, confusion matrices and diagrams of probabilities, as PNG files."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from fcn.text import cut
from fcn.visualize.fonts import drawable

_LONGEST = 32
"""Characters of a class name beside a confusion matrix; longer ones are cut."""
_TEXT, _FAINT, _SERIES = "#26282f", "#8a8d96", ("#3f83d6", "#f08c32")


def plot_curves(records: Iterable[Mapping], path: str | Path) -> None:
    """Two plots over the steps of a run: the loss, and mIoU with pixel accuracy.

    Args:
        records: the lines of metrics.jsonl: mappings with "step" and any of "train/loss", "val/loss", "val/miou",
            "val/pixel_accuracy"; values that are missing, None or not finite are left out.
        path: the PNG to write.
    """
    records = list(records)
    figure, (left, right) = _figure(11.0, 3.8, 2)
    _curves(left, records, {"train/loss": "training", "val/loss": "validation"}, "{:.3g}")
    _curves(right, records, {"val/miou": "mIoU", "val/pixel_accuracy": "pixel accuracy"}, "{:.3f}")
    left.set_title("Loss", loc="left")
    right.set_title("Validation", loc="left")
    left.set_ylim(bottom=min(0, left.get_ylim()[0]))
    right.set_ylim(0, 1.02)
    _save(figure, path)


def plot_runs(runs: Mapping[str, Iterable[Mapping]], metric: str, path: str | Path) -> None:
    """Two plots over the steps of several runs: the loss of training, and a value of evaluations.

    Args:
        runs: the records of each run (see `plot_curves`) by its name.
        metric: the value, such as "val/miou".
        path: the PNG to write.
    """
    figure, (left, right) = _figure(11.0, 3.8, 2)
    for number, (name, lines) in enumerate(runs.items()):
        records, title, colour = list(lines), cut(drawable(name)[0], _LONGEST), f"C{number % 10}"
        _curve(left, records, "train/loss", title, "{:.3g}", colour)
        _curve(right, records, metric, title, "{:.3f}", colour)
    for axes, title in ((left, "Loss"), (right, drawable(metric)[0])):
        _finish(axes)
        axes.set_title(title, loc="left", parse_math=False)
    _save(figure, path)


def plot_confusion(matrix: Integer[np.ndarray, "k k"], classes: Sequence[str], path: str | Path) -> None:
    """The confusion matrix, each row divided by its sum: the share of each label's pixels by prediction, in per cent.

    Rows of classes that do not occur in the labels are hatched. Numbers are written for up to 30 classes.

    Args:
        matrix: counts [K, K], row = label, column = prediction.
        classes: K names, in any script (escapes where no font has it); long ones are cut.
        path: the PNG to write.
    """
    matrix = np.asarray(matrix, np.float64)
    k, sums = len(classes), matrix.sum(1, keepdims=True)
    if matrix.shape != (k, k):
        raise ValueError(f"{k} class names for a matrix of shape {matrix.shape}")
    shares = 100 * np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    side = 0.42 * min(max(k, 5), 40)
    figure, axes = _figure(side + 2.4, side + 1.8)
    pixels = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.tick_params(length=0)
    _name_ticks(axes, classes, 9 if k <= 40 else 360 / k)
    axes.set(xlabel="prediction", ylabel="label")
    axes.set_title("Confusion, % of each label's pixels", loc="left")
    axes.spines[:].set_visible(False)
    axes.grid(False)
    for row in np.flatnonzero(sums == 0):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="#eeeeee", edgecolor="#cccccc", hatch="////", linewidth=0)
    if k > 30:
        figure.colorbar(pixels, shrink=0.5).outline.set_visible(False)
    for row, column in np.argwhere((shares > 0) & (k <= 30)):
        share = float(shares[row, column])
        colour = "white" if share > 55 else _TEXT
        axes.text(column, row, _percent(share), ha="center", va="center", fontsize=8, color=colour)
    _save(figure, path)


def plot_reliability(
    confidence: Float[np.ndarray, " bins"],
    accuracy: Float[np.ndarray, " bins"],
    counts: Integer[np.ndarray, " bins"],
    path: str | Path,
) -> None:
    """A reliability diagram: how often predictions are right, by how sure they are, and how many are so sure.

    Args:
        confidence: mean confidence of the predictions in each of equally wide bins from 0 to 1; NaN where there are none.
        accuracy: the share of them that is right.
        counts: how many there are.
        path: the PNG to write.
    """
    figure, (left, right) = _figure(8.0, 3.8, 2)
    edges = np.arange(len(counts)) / len(counts)
    width = 1 / len(counts)
    left.bar(edges, np.nan_to_num(accuracy), width, align="edge", color=_SERIES[0], edgecolor="white")
    left.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
    left.plot(confidence, accuracy, color=_SERIES[1], marker=".", linewidth=0)
    right.bar(edges, counts, width, align="edge", color=_SERIES[0], edgecolor="white")
    left.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1.02))
    right.set(xlabel="confidence", xlim=(0, 1))
    left.set_title("Share that is right", loc="left")
    right.set_title("Pixels", loc="left")
    _save(figure, path)


def plot_precision_recall(precision: Float[np.ndarray, " n"], recall: Float[np.ndarray, " n"], path: str | Path) -> None:
    """Precision over recall.

    Args:
        precision: at each threshold; NaN, where nothing is predicted, is left out.
        recall: the same.
        path: the PNG to write.
    """
    figure, axes = _figure(4.4, 4.0)
    defined = ~np.isnan(precision)
    axes.plot(recall[defined], precision[defined], color=_SERIES[0], linewidth=1.8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    _save(figure, path)


def _name_ticks(axes, classes: Sequence[str], size: int | float) -> None:
    """The names along both axes, each in a font that has its characters; "$" is a dollar sign."""
    names = [drawable(name) for name in classes]
    texts, places = [cut(text, _LONGEST) for text, _ in names], range(len(names))
    axes.set_xticks(places, texts, rotation=45, ha="right", rotation_mode="anchor", parse_math=False, usetex=False)
    axes.set_yticks(places, texts, parse_math=False, usetex=False)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for label, (_, font) in zip(labels, names):
            label.set(font=font and Path(font), fontsize=size)


def _figure(width: float, height: float, columns: int = 1):
    """A matplotlib figure that belongs to no window, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for each in np.atleast_1d(axes):
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(_FAINT)
        each.tick_params(color=_FAINT, labelcolor=_TEXT, labelsize=9)
        each.grid(axis="y", color="#e6e6ea", linewidth=0.8)
        each.set_axisbelow(True)
    return figure, axes


def _save(figure, path: str | Path) -> None:
    figure.savefig(path, dpi=160, bbox_inches="tight", pad_inches=0.15)


def _percent(share: float) -> str:
    """A whole number that never claims to be nothing or all."""
    if share <= 0.5:
        return "<1"
    return ">99" if 99.5 <= share < 100 else f"{share:.0f}"


def _curves(axes, records: list[Mapping], names: dict[str, str], number: str) -> None:
    """A line per key that occurs."""
    for (key, title), colour in zip(names.items(), _SERIES):
        _curve(axes, records, key, title, number, colour)
    _finish(axes)


def _curve(axes, records: list[Mapping], key: str, title: str, number: str, colour: str) -> None:
    """A line, its last value in the legend; many points are drawn faint, with a running mean over them."""
    points = [(r["step"], r[key]) for r in records if r.get(key) is not None and np.isfinite(r[key])]
    if not points:
        return
    steps, values = np.array(points, np.float64).T
    if len(values) > 40:
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
        values = _running_mean(values, max(1, len(values) // 40))
    label = f"{title} {number.format(values[-1])}"
    axes.plot(steps, values, color=colour, linewidth=1.8, marker="." if len(values) <= 40 else None, label=label)


def _finish(axes) -> None:
    axes.set_xlabel("step", color=_TEXT)
    if axes.lines:
        for text in axes.legend(frameon=False, fontsize=9, labelcolor=_TEXT).get_texts():
            text.set_parse_math(False)
    else:
        axes.text(0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center", color=_FAINT)


def _running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """The mean of each value and the `reach` values on both sides, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
