"""The findings about a folder as one HTML page that stands alone: without scripts and other files."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from experiments.reports.inspection import facts
from fcn.data.checks.survey import Survey
from fcn.data.source import spread
from fcn.text import printable
from fcn.visualize import overlay

_SIDE = 320
"""Of the pictures, in pixels."""
_FILES = 20
_STYLE = """body { font: 15px/1.4 system-ui, sans-serif; max-width: 64em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .15em .8em .15em 0; text-align: left } td.n { text-align: right }
.error { color: #a11 } .warning { color: #850 } figure { display: inline-block; margin: .5em } figcaption { font-size: 12px }
.bar { display: inline-block; height: .8em }"""


def page(values: Mapping[str, Any], seen: Survey, samples: int) -> str:
    """The page of a summary.

    Args:
      values: of `experiments.reports.inspection.summary`.
      seen: what they were taken from.
      samples: how many overlays to show, spread evenly over what could be read.
    """
    title = escaped(f"{seen.root.resolve().name}: {values['layout']}")
    verdict = "Training would refuse these data." if values["refused"] else "Training would take these data."
    parts = [f"<h1>{title}</h1>", *(f"<p>{escaped(remark)}</p>" for remark in values["remarks"]), f"<p><b>{verdict}</b></p>"]
    parts += [*_findings(values["findings"]), *_splits(values["splits"]), *_classes(values, seen)]
    parts += ["<h2>Images, and what suits them</h2>", html_table(list(facts(values).items()))]
    parts += ["<h2>Histograms of the values 0..255</h2>", *_histograms(seen), "<h2>Samples</h2>", *_samples(seen, samples)]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{chr(10).join(parts)}\n</body></html>\n'


def escaped(text: str, lines: bool = False) -> str:
    """Text for a page; `lines`: of several lines, which stay."""
    return "\n".join(map(escaped, text.splitlines())) if lines else html.escape(printable(text))


def _findings(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for finding in found:
        kind = "error" if finding["refused"] else "warning"
        files = "".join(f"<li>{escaped(file)}</li>" for file in finding["files"][:_FILES])
        more = len(finding["files"]) - _FILES
        files += f"<li>and {more} more</li>" * (more > 0)
        yield f'<p class="{kind}">{kind}: {escaped(finding["text"])}</p><ul>{files}</ul>'


def _splits(splits: Mapping[str, Any]) -> Iterator[str]:
    rows = [("split", "images", "labels", "sizes (height x width)")]
    for name, split in splits.items():
        sizes = ", ".join(f"{size} ({count})" for size, count in split["sizes"].items())
        rows.append((name, split["images"], split["labels"], sizes))
    yield "<h2>Splits</h2>" + html_table(rows)


def html_table(rows: Sequence[Sequence[Any]]) -> str:
    """A table without a header."""
    cells = ("".join(f"<td>{escaped(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _classes(values: Mapping[str, Any], seen: Survey) -> Iterator[str]:
    """A bar for the share of each class in each split."""
    yield "<h2>Classes, by their share of the labelled pixels</h2><table>"
    palette = next(iter(seen.sources.values())).palette
    labelled = {name: split["class_shares"] for name, split in values["splits"].items() if split["class_shares"]}
    yield f"<tr><th>class</th>{''.join(f'<th>{escaped(name)}</th>' for name in labelled)}</tr>"
    for name, colour in zip(values["classes"], palette.tolist()):
        style = "background: rgb({}, {}, {})".format(*colour)
        bars = (f'<span class="bar" style="{style}; width: {12 * shares[name]:.2f}em"></span>' for shares in labelled.values())
        cells = (f"<td>{bar} {shares[name]:.2%}</td>" for bar, shares in zip(bars, labelled.values()))
        yield f"<tr><td>{escaped(name)}</td>{''.join(cells)}</tr>"
    yield "</table>"


def _histograms(seen: Survey) -> Iterator[str]:
    """One for each number of channels, a curve a channel."""
    for channels in sorted({record.channels for record in seen.records if record.histogram is not None}):
        alike = [record.histogram for record in seen.records if record.channels == channels and record.histogram is not None]
        total = np.sum(alike, axis=0)
        colours = ("#c22", "#282", "#22c") if channels == 3 else ("#444",) * channels
        lines = "".join(_curve(counts / total.max(), colour) for counts, colour in zip(total, colours))
        frame = '<rect width="256" height="100" fill="none" stroke="#ccc"/>'
        yield f'<svg viewBox="0 0 256 100" width="512" height="200" role="img">{frame}{lines}</svg>'


def _curve(heights: np.ndarray, colour: str) -> str:
    step = 256 / len(heights)
    points = " ".join(f"{step * (i + 0.5):.1f},{100 - 98 * height:.1f}" for i, height in enumerate(heights.tolist()))
    return f'<polyline points="{points}" fill="none" stroke="{colour}"/>'


def _samples(seen: Survey, count: int) -> Iterator[str]:
    places = [(source, i) for source in seen.sources.values() for i, label in enumerate(source.labels) if label is not None]
    sound = {record.image for record in seen.records if not record.problems}
    places = [(source, i) for source, i in places if source.images[i] in sound]
    for number in spread(len(places), count):
        source, i = places[number]
        picture = overlay(source.image(i), source.label(i), source.palette, ignore_index=source.ignore_index)
        caption = escaped(source.images[i].relative_to(seen.root).as_posix())
        yield f'<figure><img alt="" src="{_embedded(picture)}"><figcaption>{caption}</figcaption></figure>'


def _embedded(pixels: np.ndarray) -> str:
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
