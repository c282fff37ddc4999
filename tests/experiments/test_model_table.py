"""The tables of models are what the registry says."""

import pytest

import fcn
from experiments import model_table


def listed(name):
    lines = model_table.FILES[name].read_text().partition(f"<!-- table of {name} -->")[2].partition("<!-- end")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.strip().splitlines()[2:]]


def test_every_name_is_listed():
    """A model or an encoder that is missing here: `python -m experiments.model_table` writes the tables anew."""
    assert [row[0].strip("`") for row in listed("models")] == fcn.list_models()
    assert [row[0].strip("`") for row in listed("encoders")] == fcn.list_encoders()


@pytest.mark.parametrize(("table", "name"), [("models", "unet"), ("models", "unet2015"), ("encoders", "resnet18")])
def test_a_row(table, name):
    """Computed anew, all its cells are what stands there."""
    rows = {"models": model_table.model_rows, "encoders": model_table.encoder_rows}[table]([name])
    assert rows[1] == next(row for row in listed(table) if row[0] == f"`{name}`")


def test_presets():
    """Their costs and scores are those that `python -m experiments` shows."""
    assert [row[:1] + row[-2:] for row in listed("presets")] == [row[:1] + row[-2:] for row in model_table.preset_rows()[1:]]
    assert model_table.preset_rows()[1] == ["`shapes_unet`", "the built-in scenes, 128x128", "nothing", "168 s", "0.917"]


def test_algorithms():
    """docs/forms.md holds the table of rules: `python -m experiments.model_table --tables algorithms` writes it anew."""
    text = model_table.FILES["algorithms"].read_text()
    assert model_table.replace(text, "algorithms", model_table.algorithms()) == text
    model_table.main(["--tables", "algorithms", "--check"])
    with pytest.raises(ValueError, match="unknown table 'algorithm'; did you mean 'algorithms'"):
        model_table.main(["--tables", "algorithm"])


def test_costs():
    """A pointwise convolution has one multiplication and one addition for each weight and pixel."""
    from fcn.layers import PointwiseConv

    parameters, operations = model_table.costs(PointwiseConv(1000, use_bias=False), size=1000)
    assert (parameters, operations) == ("0.00 M", "6.0")


def test_marks():
    text = "a\n<!-- table of models -->\nold\n<!-- end of models -->\nb"
    assert model_table.replace(text, "models", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="no marks <!-- table of encoders -->"):
        model_table.replace(text, "encoders", "new")
