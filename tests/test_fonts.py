"""Names in any script in pictures: a font that has them, or escapes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn.visualize import default_palette, fonts, legend, panel, plot_confusion

NAMES = ["طريق", "道路", "🚗", r"$\frac{$", "x" * 200, "\x1b[31mred\n"]


@pytest.fixture
def no_fonts_installed(monkeypatch):
    """As on a machine that has matplotlib's DejaVu Sans only."""
    monkeypatch.setattr(fonts, "_installed", list)
    fonts.drawable.cache_clear()
    yield
    fonts.drawable.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown", "font"),
    [
        ("road & $x$", "road & $x$", None),
        ("Straße", "Straße", "DejaVuSans.ttf"),
        ("طريق", "طريق", "DejaVuSans.ttf"),
        ("道路 1", r"\u9053\u8def 1", None),
        ("🚗", r"\U0001f697", None),
        ("\x1b[31mé", r"\x1b[31mé", "DejaVuSans.ttf"),
    ],
)
def test_a_text_is_drawn_in_the_first_font_that_has_it_all(no_fonts_installed, text, shown, font):
    drawn, path = fonts.drawable(text)
    assert (drawn, path and Path(path).name) == (shown, font)


def test_fonts_of_the_machine_come_next_but_not_boxes_for_all_characters(monkeypatch):
    drawn, path = fonts.drawable("⌒ arc")  # DejaVu Sans lacks it, DejaVu Sans Mono, which matplotlib brings along, has it
    assert drawn == "⌒ arc" and not path.endswith("DejaVuSans.ttf")
    assert not any("LastResort" in path for path in fonts._installed())
    assert fonts._characters(__file__) == fonts._characters("nowhere.ttf") == frozenset()


def test_legends_show_different_names_differently(no_fonts_installed):
    palette = default_palette(1)
    pictures = [legend([name], palette, width=300) for name in ("道路", "白線", "طريق", "جسر")]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])


def test_long_names_are_cut(tmp_path):
    palette, label = default_palette(2), np.eye(8, dtype=int)
    assert legend(["x" * 10**5, "y"], palette).shape[1] < 2 * 400
    many = [f"{'x' * 200} {i}" for i in range(4)]
    image, wide = label[..., None].astype(np.uint8), default_palette(4)
    assert panel([image], [label], None, many, wide).shape == panel([image], [label], None, ["x" * 60] * 4, wide).shape
    sizes = []
    for length in (200, 50):
        plot_confusion(np.eye(2, dtype=int), ["x" * length, "y"], tmp_path / "matrix.png")
        with Image.open(tmp_path / "matrix.png") as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[1]


@pytest.mark.filterwarnings("error")
def test_no_name_ends_a_picture(tmp_path):
    """matplotlib warns of characters that a font lacks."""
    palette, label = default_palette(len(NAMES)), np.arange(36).reshape(6, 6) % len(NAMES)
    plot_confusion(np.eye(len(NAMES), dtype=int), NAMES, tmp_path / "matrix.png")
    picture = panel([label[..., None].astype(np.uint8)], [label], [label], NAMES, palette, titles=NAMES[:3])
    assert picture.shape[1] < 1000
