"""Docstrings, which are written in plain words, for Sphinx.

What stands in backticks is a name or code, and so are blocks that are indented by four; stars and bars are themselves.
"""

import re

SIGNATURES = (
    (r", parent: .*?, name: str \| None = None(?=\))", ""),  # fields that every module of Flax has
    (r"<class '(?:\w+\.)*(\w+)'>", r"\1"),
    (r"<(?:[\w-]+ )*(?:\w+\.)*(\w+)(?: at 0x\w+)?>", r"\1"),  # a function, an object
    (r"jaxlib\._jax\.Array", "Array"),
    (r"~typing\.", ""),
)
"""What says nothing in signatures, and what to say instead."""


def restructured(text: str) -> str:
    """A docstring as reStructuredText."""
    blocks = re.split(r"(?<=\n\n)((?:    .*(?:\n|$))+)", text)
    return "".join(f"::\n\n{block}" if i % 2 else _words(block) for i, block in enumerate(blocks))


def _words(text: str) -> str:
    text = re.sub(r"^Attributes \(more in (.*)\):$", r"More attributes: see \1.\n\nAttributes:", text, flags=re.MULTILINE)
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(^ *\* )|([*|])", lambda found: found[1] or f"\\{found[2]}", parts[i], flags=re.MULTILINE)
    for i in range(1, len(parts), 2):
        parts[i] = _code(" ".join(parts[i].strip("`").split())) + ("\\ " if parts[i + 1][:1].isalnum() else "")
    return "".join(parts)


def _code(text: str) -> str:
    """A name becomes a link, where the site has it."""
    name = re.fullmatch(r"([a-zA-Z_][\w.]*\w)(\(\))?", text)
    return f":py:obj:`{text} <{name[1]}>`" if name else f"``{text}``"


def shorter(signature: str) -> str:
    """A signature without what says nothing."""
    for pattern, instead in SIGNATURES:
        signature = re.sub(pattern, instead, signature)
    return signature


def _shorten(app, what, name, thing, options, *signature):
    return tuple(shorter(part) if part else part for part in signature)


def _restructure(app, what, name, thing, options, lines):
    lines[:] = restructured("\n".join(lines)).split("\n")
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # a comment, or else napoleon takes what stands before the first colon for a type


def setup(app):
    from sphinx.domains.python import PyObject

    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("autodoc-process-docstring", _restructure, priority=400)  # before napoleon reads its sections
    app.connect("autodoc-process-signature", _shorten)
    return {"parallel_read_safe": True}
