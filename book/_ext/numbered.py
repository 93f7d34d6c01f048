"""Figures and tables that notebooks print get captions and numbers, like those of the prose.

Alternative text says what is drawn, a caption what to see in it: a picture's is its cell's metadata ``caption``, a
plotly figure's what ``handpose.notebook.show`` was given. Without one, the alternative text stands there. A plotly
figure shown as ``name`` can be referred to as ``fig-name``, or as ``fig-page-name`` where the name does not hold the
page's: one notebook can make several pages. HTML tables that bring a ``<caption>`` are counted among the tables.
"""

import html
import re

from docutils import nodes
from sphinx.transforms import SphinxTransform

_PLOTLY = re.compile(r'<div role="img" aria-label="([^"]*)"(?: data-caption="([^"]*)")?>.*?id="([\w-]+)"', re.DOTALL)
_CAPTION = re.compile(r"<caption>(.*?)</caption>", re.DOTALL)


class printed_table(nodes.General, nodes.Element):
    """Around an HTML table of a notebook: what makes Sphinx count it."""


class Number(SphinxTransform):
    """Wraps what cells print in figures and tables, before Sphinx collects labels."""

    default_priority = 800

    def apply(self):
        for bundle in list(self.document.findall(_is_bundle)):
            if any(isinstance(node, nodes.figure) for node in _ancestors(bundle)):
                continue
            text = "".join(raw.astext() for raw in bundle.findall(nodes.raw) if raw["format"] == "html")
            plot, caption = _PLOTLY.search(text), _CAPTION.search(text)
            picture = next(bundle.findall(nodes.image), None)
            if plot:
                words = html.unescape(plot[2] or plot[1])
                self.wrap(bundle, nodes.figure(names=[self.label(plot[3])], classes=["turnable"]), words)
            elif picture is not None and next(bundle.findall(nodes.figure), None) is None:
                words = _cell_caption(bundle) or picture.get("alt", "")
                self.wrap(bundle, nodes.figure(), words, nodes.container(classes=["picture"]))
            elif caption:
                self.wrap(bundle, printed_table(title=html.unescape(caption[1])))
        for figure in self.document.findall(nodes.figure):
            if not figure["ids"] and next(figure.findall(nodes.caption), None) is not None:
                self.document.set_id(figure)  # what has no id is not counted

    def label(self, name):
        page = self.env.docname.rpartition("/")[2]
        return f"fig-{name if page in name else f'{page}-{name}'}".lower()

    def wrap(self, bundle, around, caption="", box=None):
        bundle.replace_self(around)
        around += bundle if box is None else box
        if box is not None:
            box += bundle
        if caption:
            around += nodes.caption("", caption)
        if around["names"]:
            self.document.note_explicit_target(around, around)
        else:
            self.document.set_id(around)


def _is_bundle(node):
    """What one output of a cell came to, in all its formats; a lone picture outside of one too."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"


def _cell_caption(bundle):
    cell = next((node for node in _ancestors(bundle) if "cell_metadata" in getattr(node, "attributes", {})), {})
    return cell.get("cell_metadata", {}).get("caption", "")


def _ancestors(node):
    while node.parent is not None:
        node = node.parent
        yield node


def _write_numbers(app, doctree, docname):
    """The number goes inside the table's own caption, where a screen reader looks for it."""
    numbers = app.env.toc_fignumbers.get(docname, {}).get("table", {})
    for table in doctree.findall(printed_table):
        number = numbers.get(table["ids"][0])
        words = app.config.numfig_format["table"] % ".".join(map(str, number)) if number else ""
        for raw in table.findall(nodes.raw):
            text = _CAPTION.sub(lambda found, words=words: f'<caption><span class="caption-number">{words}</span> {found[1]}</caption>', raw.astext())
            raw.children = []
            raw += nodes.Text(text)
            raw.rawsource = text


def _mend_lists(app, pagename, templatename, context, doctree):
    """Two lists that other extensions write break the rules of HTML: the bibliography's has no items, that of modules nests
    lists outside of items.
    """
    body = context.get("body", "").replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    if pagename == "_modules/index":
        head, _, lists = body.partition("<ul>")
        body = f"{head}<ul>{lists.replace('<ul>', '').replace('</ul>', '')}</ul>"
    context["body"] = body


def setup(app):
    app.add_transform(Number)
    app.add_enumerable_node(
        printed_table, "table", lambda node: node.get("title"),
        html=(lambda self, node: self.body.append(self.starttag(node, "div")), lambda self, node: self.body.append("</div>\n")),
    )  # fmt: skip
    app.connect("doctree-resolved", _write_numbers)
    app.connect("html-page-context", _mend_lists)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
