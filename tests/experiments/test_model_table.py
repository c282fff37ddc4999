"""The tables of models are what the registry says."""

import pytest

import fcn
from experiments import model_table
from experiments.model_table import listed


def test_every_name_is_listed():
    """A model or an encoder that is missing here: `python -m experiments.model_table` writes the tables anew."""
    names = {table: [row["name"].strip("`") for row in listed(table)] for table in ("names", "models", "encoders")}
    assert names == {"names": fcn.list_models(), "models": fcn.list_models(), "encoders": fcn.list_encoders()}


@pytest.mark.parametrize(
    ("table", "name"), [("names", "unet"), ("names", "meshnet"), ("models", "unet2015"), ("encoders", "resnet18")]
)
def test_a_row(table, name):
    """Computed anew, all its cells are what stands there."""
    rows = {"names": model_table.name_rows, "models": model_table.model_rows, "encoders": model_table.encoder_rows}
    header, row = rows[table]([name])
    assert dict(zip(header, row)) == next(row for row in listed(table) if row["name"] == f"`{name}`")


def test_tables_of_models_agree():
    """Those of the README and of docs/models.md."""
    assert listed("names") == [{key: row[key] for key in listed("names")[0]} for row in listed("models")]


def test_presets():
    """Their costs and scores are those that `python -m experiments` shows."""
    stands = [list(row.values()) for row in listed("presets")]
    assert [row[:1] + row[-2:] for row in stands] == [row[:1] + row[-2:] for row in model_table.preset_rows()[1:]]
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
    assert (parameters, operations) == ("3.00 k", "6.0")


def test_marks():
    text = "a\n<!-- table of models -->\nold\n<!-- end of models -->\nb"
    assert model_table.replace(text, "models", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="no marks <!-- table of encoders -->"):
        model_table.replace(text, "encoders", "new")


def test_a_table_that_has_no_marks_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("<!-- table of models -->\n| name |\n| --- |\n| `unet` |\n")
    monkeypatch.setitem(model_table.FILES, "models", tmp_path / "page.md")
    with pytest.raises(ValueError, match=r"no marks <!-- table of models --> \.\.\. <!-- end of models -->"):
        listed("models")
