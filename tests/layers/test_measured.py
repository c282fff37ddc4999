"""The table of what is fast on a machine: what is looked up, measured and kept."""

import json

import jax
import pytest

from fcn.kernels import measured, tune, tuning


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        ("tiles", ("convolution", 64, 64, 10**9)),
        ("rows", ("convolution", 256, 300, 196)),
        ("native", ("convolution", 64, 64, 0)),
        ("im2col", ("gradient", 512, 512, 49)),
        ("tiles", ("gradient", 180, 12, 4000)),
    ],
)
def test_lookup(usual_table, algorithm, arguments):
    """What is nearest; a gradient as with the mean of both numbers of channels, a convolution with their geometric one."""
    assert measured.measured_algorithm(*arguments) == algorithm


def test_tune_keeps_what_it_measured(usual_table, monkeypatch):
    """Two sizes; what is larger than is measured takes what is before it."""
    for module in (measured, tuning):
        monkeypatch.setattr(module, "CHANNELS", (16, 32))
        monkeypatch.setattr(module, "PIXELS", (16, 64, 256))
    monkeypatch.setattr(tuning, "_MOST_WORK", 18 * 16**2 * 64)
    raced = []

    def race(functions, arguments, rounds):
        """Runs all of them, and says that the last is the fastest where there are 64 pixels."""
        raced.append((arguments[0].shape, len(functions)))
        assert len({function(*arguments).shape for function in functions.values()}) == 1
        last = arguments[0].shape[1] == 4
        return {name: 9 - number if last else 9 + number for number, name in enumerate(functions)}

    monkeypatch.setattr(tuning, "_race", race)
    measured._path().write_text(json.dumps({"another": "its table"}))
    path = tune(rounds=1)
    found = {"convolution": ["ntt", "nnn"], "gradient": ["ntt", "nnn"]}
    assert json.loads(path.read_text()) == {"another": "its table", measured._machine(): found}
    assert raced[:3] == [((4, 2, 2, 16), 4), ((4, 4, 4, 16), 4), ((4, 2, 2, 32), 4)]
    assert measured.measured_algorithm("convolution", 16, 16, 64) == "tiles"
    assert list(path.parent.iterdir()) == [path]


def test_race_takes_medians():
    seconds = tuning._race({"native": lambda x: x, "tiles": lambda x: sum(range(300_000))}, (1,), 5)
    assert 0 < seconds["native"] < seconds["tiles"]


TILES = {product: ["tttttt"] * 7 for product in measured.PRODUCTS}


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (json.dumps({measured._machine(): TILES}), "tiles"),
        (json.dumps({f"{measured._machine()}0": TILES}), "native"),
        *(
            (json.dumps({measured._machine(): {**TILES, **change}}), "native")
            for change in ({"gradient": ["n"]}, {"convolution": 3}, {"convolution": ["xxxxxx"] * 7})
        ),
        (json.dumps({measured._machine(): 3}), "native"),
        ("[]", "native"),
        ("{", "native"),
    ],
)
def test_what_does_not_fit_is_not_used(usual_table, text, algorithm):
    measured._path().write_text(text)
    assert measured.measured_algorithm("convolution", 16, 16, 64) == algorithm


def test_a_table_is_of_one_version_of_jax(usual_table, monkeypatch):
    measured._path().write_text(json.dumps({measured._machine(): TILES}))
    monkeypatch.setattr(jax, "__version_info__", (0, 99, 1))
    assert measured.measured_algorithm("convolution", 16, 16, 64) == "native"
