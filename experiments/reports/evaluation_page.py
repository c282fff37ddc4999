"""What `evaluate --report` writes as one HTML page that stands alone: without scripts and other files."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.reports.evaluation_pictures import BEST, CONFUSION, CURVE, RELIABILITY, WORST
from experiments.reports.inspection_page import escaped, html_table
from experiments.reports.ranking import SHOWN
from fcn.draft import replacing

PAGE = "index.html"
_BINS = 20
_STYLE = """body { font: 15px/1.45 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; display: block; overflow-x: auto } td { padding: .15em 1em .15em 0 }
pre { overflow-x: auto; font-size: 13px } img { max-width: 100%; height: auto } h1 { font-size: 1.4em; overflow-wrap: anywhere }
figure { display: inline-block; margin: .4em 1em .4em 0 } figcaption { font-size: 13px } svg { max-width: 100% }"""
_TITLES = {
    CONFUSION: "Confusion",
    RELIABILITY: "Calibration: how often predictions are right, by how sure they are",
    CURVE: "Precision and recall",
}


def write_page(
    folder: Path,
    head: str,
    table: str,
    remarks: str,
    scores: Sequence[Mapping[str, float | None]],
    listed: Mapping[str, Sequence[tuple[str, float | None]]],
    run: Path,
) -> None:
    """Writes the page into a folder of pictures, which it holds itself.

    Args:
      folder: of the report.
      head: what was measured on what.
      table: what was measured, as a terminal shows it.
      remarks: what the pictures say.
      scores: what each image is worth.
      listed: the names and scores of the images in `WORST` and in `BEST`.
      run: the run or saved model, whose configuration and curves are shown.
    """
    parts = [f"<h1>{escaped(head)}</h1>", f"<pre>{escaped(table, lines=True)}</pre>"]
    parts += [f"<p>{escaped(line)}</p>" for line in remarks.splitlines()]
    parts += [_section(title, folder / name) for name, title in _TITLES.items() if (folder / name).exists()]
    curves = run / "pictures" / "curves.png"
    parts += [_section("Curves of the training", curves)] if curves.is_file() else []
    if histograms := list(_histograms(scores)):
        parts += ["<h2>Images by their scores</h2>", *histograms]
    for name, title in ((WORST, "The worst images"), (BEST, "The best images")):
        if (folder / name).exists():
            rows = [(image, "-" if score is None else f"{score:.4f}") for image, score in listed[name][:SHOWN]]
            parts += [_section(title, folder / name), html_table(rows)]
    parts += list(_configuration(run))
    top = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    top += f"<title>{escaped(head)}</title><style>{_STYLE}</style>"
    text = f'<!doctype html>\n<html lang="en"><head>{top}</head><body>\n{chr(10).join(parts)}\n</body></html>\n'
    with replacing(folder / PAGE) as draft:
        draft.write_text(text, encoding="utf-8")


def _section(title: str, picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    return f'<h2>{escaped(title)}</h2><img alt="{escaped(title)}" src="data:image/png;base64,{data}">'


def _histograms(scores: Sequence[Mapping[str, float | None]]) -> Iterator[str]:
    """One for each score: how many images have it."""
    for name in scores[0] if scores else ():
        values = [value for row in scores if (value := row.get(name)) is not None]
        if values:
            yield f"<figure>{_bars(np.array(values))}<figcaption>{escaped(name)}: {_spread(values)}</figcaption></figure>"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{low:.3g} to {high:.3g}, median {middle:.3g}"


def _bars(values: np.ndarray) -> str:
    """From 0 to 1, or to the largest value."""
    counts, _ = np.histogram(values, _BINS, (0, max(1.0, float(values.max()))))
    heights = 50 * counts / counts.max()
    bars = "".join(
        f'<rect x="{8 * i}" y="{50 - height:.1f}" width="7" height="{height:.1f}" fill="#3f83d6"/>'
        for i, height in enumerate(heights)
    )
    axis = '<line x1="0" y1="50.5" x2="160" y2="50.5" stroke="#8a8d96"/>'
    return f'<svg viewBox="0 0 160 52" width="240" height="78" role="img">{bars}{axis}</svg>'


def _configuration(run: Path) -> Iterator[str]:
    for name in ("config.json", "model.json"):
        if (run / name).is_file():
            text = escaped((run / name).read_text(encoding="utf-8"), lines=True)
            yield f"<h2>Configuration</h2><details><summary>{name}</summary><pre>{text}</pre></details>"
