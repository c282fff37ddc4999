"""The directive `networks`: each class of models or encoders with the names that build it and their numbers.

Names and classes are the registry's, numbers those of the tables on the pages.
"""

from sphinx.util.docutils import SphinxDirective

from experiments.model_table import listed
from fcn.registry import ENCODERS, MODELS


def classes(table) -> dict[tuple, list[str]]:
    """The names of a table by what they build, which may be another class where an encoder is given."""
    found = {}
    for name, row in table.items():
        makers = (row.constructor, getattr(row, "with_encoder", None))
        built = tuple(getattr(maker, "func", maker) for maker in makers if maker is not None)
        found.setdefault(built, []).append(name)
    return found


def _section(built, rows) -> str:
    title = built[0].__name__
    papers = "; ".join(dict.fromkeys(row["paper"] for row in rows))
    columns = [column for column in rows[0] if column != "paper" and any(row[column] for row in rows)]
    lines = [title, "-" * len(title), "", f"{papers}.", "", ".. list-table::", "   :header-rows: 1", ""]
    for cells in [columns, *([row[column] for column in columns] for row in rows)]:
        lines += [f"   {'  -' if i else '* -'} {cell.replace('`', '``')}" for i, cell in enumerate(cells)]
    return "\n".join([*lines, "", *(f".. autoclass:: {thing.__module__}.{thing.__name__}\n" for thing in built), ""])


class Networks(SphinxDirective):
    """`.. networks:: models` or `.. networks:: encoders`."""

    required_arguments = 1

    def run(self):
        (kind,) = self.arguments
        rows = {row["name"].strip("`"): row for row in listed(kind)}
        names = classes({"models": MODELS, "encoders": ENCODERS}[kind])
        text = "\n".join(_section(built, [rows[name] for name in of]) for built, of in names.items())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app):
    app.add_directive("networks", Networks)
    return {"parallel_read_safe": True}
