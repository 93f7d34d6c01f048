"""A warning on top of every page whose notebook, code or results have changed since it was made."""

from pathlib import Path

from docutils import nodes

from handpose.notebook import stale_page


def _warn(app, doctree):
    page = Path(app.env.doc2path(app.env.docname))
    if page.suffix != ".ipynb" or page.parent.name != "runs":
        return
    why = stale_page(page, Path(app.srcdir) / "notebooks")
    if why:
        text = nodes.paragraph("", f"This page is stale: {why}. Make it again with ")
        text += [nodes.literal(text="make pages"), nodes.Text(", or "), nodes.literal(text="make book"), nodes.Text(".")]
        warning = nodes.warning("", text, classes=["stale"])
        doctree.next_node(nodes.section).insert(1, warning)


def setup(app):
    app.connect("doctree-read", _warn)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
