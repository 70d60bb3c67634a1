"""Tables as pages of HTML."""

from __future__ import annotations

import jinja2

from crossfold.paper.tables.layout import Table


def to_html(table: Table) -> str:
    """Return a table as a page that opens by itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossfold.paper.tables"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("table.html")
    return template.render(table=table, rows=list(table.rows())) + "\n"
