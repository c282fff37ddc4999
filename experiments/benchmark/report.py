"""The results as a table and as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.benchmark.case import SIDES, Case, Side
from experiments.benchmark.race import Result
from experiments.benchmark.records import Compared, Records
from experiments.pointwise_claims.drawing import BLUE, GRAY, GREEN, INK, ORANGE, PURPLE, RED, STYLE, TEAL, new_figure

COLOURS = dict(zip(SIDES, (BLUE, TEAL, GRAY, ORANGE, RED, PURPLE, GREEN)))
HEADER = (
    *("case", "ms", "our setting", "PyTorch ms", "its setting", "ratio", "one device's", "sharded", "plain Flax", "autocast"),
    *("GFLOP/s", "of ceiling", "MiB", "PyTorch MiB", "compile s"),
)


def line(row: Compared) -> str:
    """A case in a few words."""
    parts = []
    for side, result in row.results.items():
        if result.error:
            parts.append(f"{side}: {result.error}")
    ours, rival, ratio = row.ours, row.rival, row.ratio()
    if ours is not None:
        parts.insert(0, f"{1e3 * ours.median:.1f} ms ({ours.side})")
    if rival is not None and ratio is not None:
        parts.insert(1, f"{1e3 * rival.median:.1f} ms ({rival.side}), ratio {ratio:.2f}")
    return "; ".join(parts)


def table(rows: Sequence[Compared], ceiling: float | None = None) -> str:
    """Markdown, in the order of the rows."""
    lines = [HEADER, ("---",) * len(HEADER), *(_cells(row, ceiling) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


LEAST_SIDE = 128
"""Growth is judged from here up; smaller images are quick, and mostly what does not depend on them."""


def growth(rows: Sequence[Compared]) -> list[str]:
    """For each network of several sizes, and each side: the lines that its time and its peak of memory follow, and how far from
    them they stray.

    The lines have the least squares of relative deviations.
    """
    lines = []
    for same in _of_several_sizes(rows):
        name = f"{same[0].case.name} {same[0].case.what} from {LEAST_SIDE}²"
        for side in SIDES:
            found = [(case, result) for case, result in _measured(same, side) if case.size >= LEAST_SIDE]
            if len(found) > 2:
                pixels = [_pixels(case) for case, _ in found]
                time = _law(pixels, [1e3 * result.median for _, result in found], "ms", 1e6, "ns")
                memory = _law(pixels, [result.facts["peak_bytes"] / 2**20 for _, result in found], "MiB", 2**20, "bytes")
                lines.append(f"{name}: {time}; {memory} ({side})")
    return lines


def _law(pixels: Sequence[int], values: Sequence[float], unit: str, small_units: float, small_unit: str) -> str:
    """The line through `values`, which are in a `unit` of so many small units."""
    matrix = np.stack([np.ones(len(pixels)), pixels], 1) / np.asarray(values)[:, None]
    fixed, each = np.linalg.lstsq(matrix, np.ones(len(pixels)), rcond=None)[0]
    stray = np.abs(matrix @ (fixed, each) - 1).max()
    return f"{fixed:.1f} {unit} + {small_units * each:.0f} {small_unit} a pixel, within {100 * stray:.0f} %"


def _measured(rows: Sequence[Compared], side: str) -> list[tuple[Case, Result]]:
    """The cases that a side did, smallest first, and what it needed."""
    found = [(row.case, row.results[side]) for row in rows if side in row.results and row.results[side].seconds]
    return sorted(found, key=lambda pair: pair[0].size)


def _pixels(case: Case) -> int:
    return case.batch * case.size**2


def _of_several_sizes(rows: Sequence[Compared]) -> list[list[Compared]]:
    """The rows of each network and kind of work of which there are more than two sizes."""
    groups: dict[tuple[str, str], list[Compared]] = {}
    for row in rows:
        groups.setdefault((row.case.what, row.case.name), []).append(row)
    return [group for group in groups.values() if len({row.case.size for row in group}) > 2]


def _cells(row: Compared, ceiling: float | None) -> list[str]:
    def number(value, form="{:.2f}"):
        return "" if value is None else form.format(value)

    ours, rival = row.ours, row.rival
    gflop = ours.facts.get("gflop") if ours else None
    rate = gflop / ours.median if ours and gflop else None
    case = f"{row.case.name} {row.case.what} {row.case.batch} x {row.case.size}²"
    return [
        case,
        number(ours and 1e3 * ours.median, "{:.1f}"),
        ours.side if ours else "",
        number(rival and 1e3 * rival.median, "{:.1f}"),
        rival.side if rival else "",
        number(row.ratio()),
        number(row.ratio("fcn")),
        number(row.ratio("fcn_sharded")),
        number(row.ratio("flax")),
        number(row.ratio("torch_autocast")),
        number(rate, "{:.0f}"),
        number(rate and ceiling and rate / ceiling, "{:.0%}"),
        number(ours and ours.facts["peak_bytes"] / 2**20, "{:.0f}"),
        number(rival and rival.facts["peak_bytes"] / 2**20, "{:.0f}"),
        number(ours and ours.facts["compile_seconds"], "{:.1f}"),
    ]


def draw(rows: Sequence[Compared], folder: Path) -> list[Path]:
    """Pictures of ratios, and of growth where there are several sizes; the paths of what was written."""
    import matplotlib

    written = []
    with matplotlib.rc_context(STYLE):
        for what in ("forward", "train"):
            chosen = [row for row in rows if row.case.what == what and row.ratio() is not None]
            if chosen:
                written.append(_draw_ratios(chosen, what, folder / f"benchmark_{what}.png"))
        for same in _of_several_sizes(rows):
            case = same[0].case
            written.append(_draw_growth(same, folder / f"growth_{case.name.replace('/', '_')}_{case.what}.png"))
    return written


def _draw_ratios(rows: Sequence[Compared], what: str, path: Path) -> Path:
    figure = new_figure(9, 1.8 + 0.32 * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    shown = [ratio for row in rows if (ratio := row.ratio()) is not None]
    label = "this library, its faster setting"
    axes.barh(places, [ratio - 1 for ratio in shown], left=1, height=0.62, color=BLUE, label=label)
    markers: dict[Side, str] = {"fcn": "s", "fcn_sharded": "o", "flax": "|", "torch_autocast": "d"}
    for side, marker in markers.items():
        beside = [(row, place) for row, place in zip(rows, places) if row.results.get(side) is not row.ours]
        found = [(ratio, place) for row, place in beside if (ratio := row.ratio(side)) is not None]
        if found:
            look = {"color": COLOURS[side], "markerfacecolor": "white", "markersize": 9, "markeredgewidth": 2}
            axes.plot(*zip(*found), marker, label=SIDES[side], **look)
            shown += [ratio for ratio, _ in found]
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.5, *shown) / 1.1, max(2, *shown) * 1.1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(places, [f"{row.case.name}  {row.case.batch} x {row.case.size}²" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time / time of PyTorch's fastest setting (less is better)")
    axes.set_title(what)
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def _draw_growth(rows: Sequence[Compared], path: Path) -> Path:
    figure = new_figure(10, 4)
    time, memory = figure.subplots(1, 2)
    for side in SIDES:
        found = _measured(rows, side)
        if not found:
            continue
        sizes, pixels = [case.size for case, _ in found], [_pixels(case) for case, _ in found]
        look = {"color": COLOURS[side], "marker": "o", "markersize": 4, "label": SIDES[side]}
        time.plot(sizes, [1e9 * result.median / count for (_, result), count in zip(found, pixels)], **look)
        grown = [result.facts["peak_bytes"] - result.facts["resident_bytes"] for _, result in found]
        memory.plot(sizes, [value / count for value, count in zip(grown, pixels)], **look)
    for axes, label in ((time, "nanoseconds per pixel"), (memory, "bytes per pixel")):
        axes.set(xscale="log", ylabel=label, xlabel="side of the image in pixels", ylim=(0, None))
        axes.set_xticks(sorted({row.case.size for row in rows}), sorted({row.case.size for row in rows}), minor=False)
        axes.minorticks_off()
    time.legend()
    figure.suptitle(f"{rows[0].case.name}, {rows[0].case.what}")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return path


def describe(records: Records) -> str:
    """Where and with what it was measured."""
    facts = dict(records.get("machine"))
    where = f"{facts.pop('processor')}, {facts.pop('processors')} processors"
    if "accelerator" in facts:
        where = f"{facts.pop('accelerator')} ({where})"
    return f"{where}; {', '.join(f'{name} {version}' for name, version in facts.items())}"
