"""Text that others wrote: what reaches a terminal or a picture."""

import pytest

from fcn.text import columns, cut, join, pad, printable, short_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("road, wet", "road, wet"),
        ("Straße ¿dónde?", "Straße ¿dónde?"),
        ("道路　白線", "道路　白線"),
        ("طريق", "طريق"),
        ("👩‍🌾", "👩‍🌾"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\ttab\r\x07", r"two\nlines\ttab\r\x07"),
        ("\x9b2Jcsi", r"\x9b2Jcsi"),
        ("a\u202ereversed", r"a\u202ereversed"),
        ("\udcff.png", r"\udcff.png"),  # a byte of a file's name that is no UTF-8
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_would_move_or_reorder_text_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("road", 4), ("道路", 4), ("é", 1), ("e\u0301", 1), ("ｆ", 2), ("🚗", 2), ("طريق", 4), ("क्षेत्र", 4)],
)
def test_columns(text, width):
    assert columns(text) == width
    assert columns(pad(text, 9)) == 9


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("road", 4, "road"),
        ("roads", 4, "roa…"),
        ("a road", 3, "a…"),
        ("道路白線", 8, "道路白線"),
        ("道路白線", 7, "道路白…"),
        ("道路白線", 6, "道路…"),
        ("road", 0, "…"),
    ],
)
def test_cut(text, room, expected):
    assert cut(text, room) == expected


def test_cut_by_another_measure_asks_few_times():
    asked = []

    def measure(text):
        asked.append(text)
        return 3 * len(text)

    assert cut("x" * 100_000, 30, measure) == "x" * 9 + "…"
    assert len(asked) < 20


def test_names_are_printable_and_short():
    assert short_name("\x1b]0;title\x07" + "x" * 10**6, 20) == r"\x1b]0;title\x07xxx…"
    assert short_name("car") == "car"


@pytest.mark.parametrize(
    ("items", "room", "line"),
    [
        (["a 1", "b 2"], 8, "a 1, b 2"),
        (["a 1", "b 2"], 7, "a 1, …"),
        (["道路 1", "b", "c"], 10, "道路 1, …"),
        (["a 1", "b 2"], 2, "a…"),
        ([], 4, ""),
    ],
)
def test_items_that_do_not_fit_are_left_out_with_an_ellipsis(items, room, line):
    assert join(items, room) == line
