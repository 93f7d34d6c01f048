"""The directive ``drawing``: drawings of ``handpose.diagram`` inside the page, so that they follow its colours."""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

FOLDER = "book/_static/diagrams"


class Drawing(SphinxDirective):
    """One or several drawings by name, side by side where there is room, as one numbered figure; content: its caption."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012 (docutils reads it from the class)

    def run(self):
        figure, drawings = nodes.figure(classes=["drawing"]), []
        for name in self.arguments[0].split():
            path = Path(self.env.srcdir) / FOLDER / f"{name}.svg"
            self.env.note_dependency(str(path))
            try:
                svg = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                raise self.error(f"no drawing {name} in {FOLDER}: run python -m handpose.diagram") from None
            drawings.append(f'<div class="drawing-{name}">{svg}</div>')
        figure += nodes.raw("", f'<div class="drawings">{"".join(drawings)}</div>', format="html")
        caption = nodes.caption("\n".join(self.content), "")
        self.state.nested_parse(self.content, self.content_offset, parsed := nodes.Element())
        caption += [child for paragraph in parsed for child in paragraph]
        figure += caption
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]


def setup(app):
    app.add_directive("drawing", Drawing)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
