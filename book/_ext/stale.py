"""A warning on top of every page whose notebook, code or results have changed since it was made."""

from pathlib import Path

from docutils import nodes

from handpose.notebook import stale_page


def _why(app, docname):
    """Why a page is stale, in words; empty for one that is not, and for prose."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".ipynb" or page.parent.name != "runs":
        return ""
    return stale_page(page, Path(app.srcdir) / "notebooks")


def _changed(app, env, added, changed, removed):
    """Pages to read anew though their files are as they were: they have become stale since the last build, or are stale no more."""
    unchanged = env.found_docs - added - changed - removed
    return [name for name in unchanged if _why(app, name) != env.metadata.get(name, {}).get("stale", "")]


def _warn(app, doctree):
    why = _why(app, app.env.docname)
    if why:
        app.env.metadata[app.env.docname]["stale"] = why
        text = nodes.paragraph("", f"This page is stale: {why}. Make it again with ")
        text += [nodes.literal(text="make pages"), nodes.Text(", or "), nodes.literal(text="make book"), nodes.Text(".")]
        warning = nodes.warning("", text, classes=["stale"])
        doctree.next_node(nodes.section).insert(1, warning)


def setup(app):
    app.connect("env-get-outdated", _changed)
    app.connect("doctree-read", _warn)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
