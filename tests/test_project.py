"""What the project says of itself in several places agrees."""

import re
import tomllib
import warnings

import pytest
import yaml

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = [path for folder in ("fcn", "experiments", "tests") for path in (ROOT / folder).rglob("*.py")]


def test_environment_variables_stand_in_the_table():
    text = "".join(path.read_text() for path in [*SOURCES, ROOT / ".ci" / "run"])
    table = re.findall(r"^\| `(FCN_\w+)`", (ROOT / "docs" / "environment.md").read_text(), flags=re.MULTILINE)
    assert sorted(table) == sorted(set(re.findall(r"\bFCN_[A-Z_]+\b", text)) - {"FCN_"})


def test_other_variables_that_are_read_stand_there_too():
    text = "".join(path.read_text() for path in SOURCES if "tests" not in path.relative_to(ROOT).parts)
    reading = r"environ\W+(?:get\W+|setdefault\W+)?([A-Z][A-Z_0-9]+)\b|\"([A-Z][A-Z_0-9]+)\" (?:not )?in os\.environ"
    read = {name for names in re.findall(reading, text) for name in names if name}
    page = (ROOT / "docs" / "environment.md").read_text()
    assert {name for name in read if f"`{name}`" not in page} == set()


def test_python_versions():
    """Of the metadata, the workflow and the README."""
    versions = re.findall(r"Python :: (3\.\d+)", str(PROJECT["project"]["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions
    assert f"Python {versions[0]} to {versions[-1]}" in (ROOT / "README.md").read_text()
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == versions[0]


def test_types_are_checked():
    """Of all that is no test, before a push and by continuous integration."""
    assert PROJECT["tool"]["pyright"]["include"] == ["fcn", "experiments"]
    assert "\npyright\n" in (ROOT / ".ci" / "run").read_text()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert "pyright" in [hook["entry"] for hook in hooks]


@pytest.mark.parametrize("kind", [UserWarning, DeprecationWarning, RuntimeWarning])
def test_a_warning_is_an_error_in_tests(kind):
    with pytest.raises(kind, match="old"):
        warnings.warn("old", kind, stacklevel=1)


def test_types_are_shipped():
    assert (ROOT / "fcn" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["fcn"]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_issue_templates(path):
    """Every field has a label and an id of its own."""
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"]
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
    assert all(field["attributes"]["label"] for field in form["body"])
