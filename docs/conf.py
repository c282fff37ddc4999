"""Configuration of Sphinx: `python -m sphinx -W docs OUT` builds the site from the pages and the docstrings."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "fcn"
html_title = "fcn"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "monokai"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
extensions += ["extensions.docstrings", "extensions.pages", "extensions.zoo"]

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "special-members": "__call__", "no-value": True}
autodoc_default_options["exclude-members"] = "param_dtype, references"
napoleon_use_ivar, napoleon_attr_annotations = True, False
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
