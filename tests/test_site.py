"""What the site is made of; Sphinx itself checks the rest (`.ci/run`)."""

import re

import pytest

from docs.extensions import docstrings
from docs.extensions.docstrings import restructured, shorter
from docs.extensions.pages import relinked
from tests.conftest import ROOT

DOCS = ROOT / "docs"


def test_every_page_is_in_the_contents():
    contents = re.findall(r"^[a-z][\w/]*$", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    pages = [path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*") if path.suffix in (".md", ".rst")]
    assert sorted(contents) == sorted({*pages} - {"index"})


def test_every_public_package_has_a_page():
    """A package that says which of its names are public."""
    inits = [path for path in (ROOT / "fcn").rglob("__init__.py") if "\n__all__ = " in path.read_text()]
    pages = "".join(path.read_text() for path in (DOCS / "api").glob("*.rst"))
    assert {".".join(path.relative_to(ROOT).parts[:-1]) for path in inits} <= set(re.findall(r"automodule:: (\S+)", pages))


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("a `name`, `a.b()` and `x + 1`", "a :py:obj:`name <name>`, :py:obj:`a.b() <a.b>` and ``x + 1``"),
        ("2 * 3 of |x|, *args", r"2 \* 3 of \|x\|, \*args"),
        ("* one\n* two", "* one\n* two"),
        ("`word`s", ":py:obj:`word <word>`\\ s"),
        ("Example:\n\n    x * y\n\nEnd.", "Example:\n\n::\n\n    x * y\n\nEnd."),
        ("Attributes (more in `B`):\n    a: b", "More attributes: see ``B``.\n\nAttributes:\n    a: b"),
    ],
)
def test_docstrings(plain, expected):
    assert restructured(plain) == expected


@pytest.mark.parametrize(("what", "expected"), [("property", ["..", "", "Size: of all."]), ("class", ["Size: of all."])])
def test_a_colon_of_an_attribute_is_no_type(what, expected):
    lines = ["Size: of all."]
    docstrings._restructure(None, what, "size", None, None, lines)
    assert lines == expected


def test_signatures():
    given = "(a: ~typing.Any = <class 'jax.numpy.float32'>, parent: Module | None = None, name: str | None = None)"
    assert shorter(given) == "(a: Any = float32)"
    assert (
        shorter("(tell: Callable = <built-in function print>, b: list = <factory>)")
        == "(tell: Callable = print, b: list = factory)"
    )
    assert shorter("Float[jaxlib._jax.Array, 'b h w c']") == "Float[Array, 'b h w c']"


@pytest.mark.parametrize(
    ("link", "in_root", "expected"),
    [
        ("[a](docs/using.md#train)", True, "[a](/using.md#train)"),
        ("![a](docs/pictures/a.png)", True, "![a](/pictures/a.png)"),
        ("[a](CHANGELOG.md)", True, "[a](/changelog.md)"),
        ("[a](../CONTRIBUTING.md#style)", False, "[a](/contributing.md#style)"),
        ("[a](../../README.md)", False, "[a](/index.md)"),
        ("[a](weights.md)", False, "[a](weights.md)"),
    ],
)
def test_links(link, in_root, expected):
    assert relinked(link, in_root) == expected
