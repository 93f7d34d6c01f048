"""The directive ``hand-to-turn``: a hand of the run that the book shows, in 3D; content: its caption."""

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from handpose.landing import hand_html, results_of_page, typical_hand

PAGE = "book/runs/results.ipynb"


class HandToTurn(SphinxDirective):
    """One typical evaluation frame: crop, true pose, baseline and whole method."""

    has_content = True

    def run(self):
        page = Path(self.env.srcdir) / PAGE
        self.env.note_dependency(str(page))
        try:
            results, seed = results_of_page(page)
            hand = typical_hand(results, seed)
        except FileNotFoundError as error:
            raise self.error(f"the landing page has no hand to show: {error}") from None
        figure = nodes.figure(ids=["hand-to-turn"], classes=["turnable", "landing-hand"])
        figure += nodes.raw("", hand_html(hand), format="html")
        if self.content:
            caption = nodes.caption()
            for paragraph in self.parse_content_to_nodes():
                caption += paragraph.children
            figure += caption
        return [figure]


def setup(app):
    app.add_directive("hand-to-turn", HandToTurn)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
