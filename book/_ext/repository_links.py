"""Buttons and links that need the repository's address: none while ``repository.url`` in ``_config.yml`` is empty."""

import json
from pathlib import Path

from docutils import nodes

from handpose.address import BRANCH, colab_link

_BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")


def _switch(app, config):
    """All buttons, or none. Colab's stands on pages that are notebooks: those in ``book/runs``."""
    options = config.html_theme_options
    url = options.get("repository_url", "")
    options.update(dict.fromkeys(_BUTTONS, bool(url)), repository_branch=BRANCH)
    options["launch_buttons"] = {"colab_url": "https://colab.research.google.com"} if colab_link(url, "") else {}


def _source(path):
    """Name of the notebook that the executed page ``path`` was made from; None for prose."""
    if path.suffix != ".ipynb":
        return None
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("handpose", {}).get("notebook")


def _link(app, doctree, docname):
    """A line under the title of an executed page: open it, or the notebook that it was made from, in Colab."""
    url = app.config.html_theme_options.get("repository_url", "")
    source = _source(Path(app.env.doc2path(docname)))
    if app.builder.format != "html" or not source or not colab_link(url, source):
        return
    line = nodes.paragraph("", "Open in Colab: ", classes=["in-colab"])
    line += nodes.reference("", "this page, as it ran", refuri=colab_link(url, f"{docname}.ipynb"))
    line += nodes.Text(", or its ")
    line += nodes.reference("", "source notebook", refuri=colab_link(url, f"notebooks/{source}"))
    line += nodes.Text(".")
    doctree.next_node(nodes.section).insert(1, line)


def _edit_the_source(app, pagename, templatename, context, doctree):
    """An executed page is edited where it comes from, not in its outputs."""
    source = doctree and _source(Path(app.env.doc2path(pagename)))
    for group in context.get("header_buttons", []) if source else []:
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                button["url"] = button["url"].replace(f"{pagename}.ipynb", f"notebooks/{Path(source).stem}.py")


def setup(app):
    app.connect("config-inited", _switch)
    app.connect("doctree-resolved", _link)
    app.connect("html-page-context", _edit_the_source, priority=600)  # after the theme's own
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
