"""The table of forms: what is looked up, measured and kept."""

import json

import jax
import pytest

from fcn.kernels import forms, tuning
from fcn.layers import tune


@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ("tiles", ("convolution", 64, 64, 4 * 128 * 128)),
        ("tiles", ("convolution", 64, 64, 10**9)),
        ("rows", ("convolution", 256, 300, 196)),
        ("native", ("convolution", 15, 64, 4096)),
        ("native", ("convolution", 64, 15, 4096)),
        ("rows", ("convolution", 16, 17, 4096)),
        ("rows", ("convolution", 12, 81, 4096)),
        ("native", ("convolution", 7, 81, 4096)),
        ("native", ("convolution", 12, 81, 4095)),
        ("native", ("convolution", 12, 80, 4096)),
        ("native", ("convolution", 16, 16, 4096)),
        ("native", ("convolution", 17, 16, 4096)),
        ("native", ("convolution", 256, 16, 4096)),
        ("tiles", ("convolution", 256, 16, 1024)),
        ("native", ("convolution", 64, 64, 0)),
        ("im2col", ("gradient", 512, 512, 49)),
        ("tiles", ("gradient", 90, 90, 4000)),
        ("tiles", ("gradient", 180, 12, 4000)),
        ("native", ("gradient", 180, 7, 4000)),
    ],
)
def test_lookup(usual_forms, form, arguments):
    assert forms.form_3x3(*arguments) == form


def test_tune_keeps_what_it_measured(usual_forms, monkeypatch):
    """Two sizes; what is larger than is measured takes the form before it."""
    for module in (forms, tuning):
        monkeypatch.setattr(module, "CHANNELS", (16, 32))
        monkeypatch.setattr(module, "PIXELS", (16, 64, 256))
    monkeypatch.setattr(tuning, "_MOST_WORK", 18 * 16**2 * 64)
    raced = []

    def race(functions, arguments, rounds):
        """Runs all of them, and says that the last form is the fastest where there are 64 pixels."""
        raced.append((arguments[0].shape, len(functions)))
        assert len({function(*arguments).shape for function in functions.values()}) == 1
        last = arguments[0].shape[1] == 4
        return {form: 9 - number if last else 9 + number for number, form in enumerate(functions)}

    monkeypatch.setattr(tuning, "_race", race)
    forms._path().write_text(json.dumps({"another": "its table"}))
    path = tune(rounds=1)
    measured = {"convolution": ["ntt", "nnn"], "gradient": ["ntt", "nnn"]}
    assert json.loads(path.read_text()) == {"another": "its table", forms._machine(): measured}
    assert raced[:3] == [((4, 2, 2, 16), 4), ((4, 4, 4, 16), 4), ((4, 2, 2, 32), 4)]
    assert forms.form_3x3("convolution", 16, 16, 64) == "tiles"
    assert list(path.parent.iterdir()) == [path]


def test_race_takes_medians():
    seconds = tuning._race({"native": lambda x: x, "tiles": lambda x: sum(range(300_000))}, (1,), 5)
    assert 0 < seconds["native"] < seconds["tiles"]


TILES = {product: ["tttttt"] * 7 for product in forms.PRODUCTS}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (json.dumps({forms._machine(): TILES}), "tiles"),
        (json.dumps({f"{forms._machine()}0": TILES}), "native"),
        *(
            (json.dumps({forms._machine(): {**TILES, **change}}), "native")
            for change in ({"gradient": ["n"]}, {"convolution": 3}, {"convolution": ["xxxxxx"] * 7})
        ),
        (json.dumps({forms._machine(): 3}), "native"),
        ("[]", "native"),
        ("{", "native"),
    ],
)
def test_what_does_not_fit_is_not_used(usual_forms, text, form):
    forms._path().write_text(text)
    assert forms.form_3x3("convolution", 16, 16, 64) == form


def test_a_table_is_of_one_version_of_jax(usual_forms, monkeypatch):
    forms._path().write_text(json.dumps({forms._machine(): TILES}))
    monkeypatch.setattr(jax, "__version_info__", (0, 99, 1))
    assert forms.form_3x3("convolution", 16, 16, 64) == "native"
