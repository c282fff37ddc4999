"""The page of an evaluation."""

import base64
import re

import numpy as np
from PIL import Image

from experiments.reports.evaluation_page import PAGE, write_page


def test_the_page_stands_alone(tmp_path):
    """It holds the pictures that are there, byte by byte, and asks for nothing else; names are text."""
    run, names = tmp_path / "run", ("worst.png", "best.png", "confusion.png")
    (run / "pictures").mkdir(parents=True)
    (run / "config.json").write_text('{"steps": 7}\n')
    for number, path in enumerate([*(tmp_path / name for name in names), run / "pictures/curves.png"]):
        Image.fromarray(np.full((2, 3), number, np.uint8)).save(path)
    scores = [{"miou": 0.04, "iou/<b>": 1.0}, {"miou": 0.06, "iou/<b>": None}, {"miou": 0.96, "iou/<b>": None}]
    listed = {"worst.png": [("a<i>.png", 0.04), ("c.png", None)], "best.png": [("b.png", 0.96)]}
    write_page(tmp_path, "run <x>", "class  IoU\n<b>  50.0", "calibration error 0.1", scores, listed, run)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    wanted = [tmp_path / "confusion.png", run / "pictures/curves.png", tmp_path / "worst.png", tmp_path / "best.png"]
    assert [base64.b64decode(data) for data in embedded] == [path.read_bytes() for path in wanted]
    assert page.count("src=") == 4 and not re.search(r"href|url\(|<script|http", page)
    assert "<h1>run &lt;x&gt;</h1>" in page and "<pre>class  IoU\n&lt;b&gt;  50.0</pre>" in page
    assert "<td>a&lt;i&gt;.png</td><td>0.0400</td>" in page and "<td>c.png</td><td>-</td>" in page
    assert "miou: 0.04 to 0.96, median 0.06" in page and "iou/&lt;b&gt;: 1 to 1, median 1" in page
    first, second = re.findall(r"<svg.*?</svg>", page)
    heights = [[float(height) for height in re.findall(r'width="7" height="([\d.]+)"', svg)] for svg in (first, second)]
    assert heights == [[50.0, 50.0, *[0.0] * 17, 50.0], [*[0.0] * 19, 50.0]]
    assert "<pre>{&quot;steps&quot;: 7}</pre>" in page
