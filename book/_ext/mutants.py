"""The directive ``mutants``: what ``make mutants`` found, as a table and a list, from ``book/checks/mutants.json``."""

import json
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

RESULT = "book/checks/mutants.json"


def read_result(root):
    """The recorded result under ``root``, a dict."""
    return json.loads((Path(root) / RESULT).read_text(encoding="utf-8"))


def share_caught(counts):
    """Share of a module's mutants that the tests catch, those that compute the same left out."""
    return counts["caught"] / (counts["mutants"] - counts["equivalent"])


def lines_of(result):
    """Markdown of the table of modules, and of the mutants that live on."""
    table = ["| Module | Mutants | Caught | Lived on | Compute the same | Caught, per cent |", "|---|---|---|---|---|---|"]
    for module, counts in result.items():
        numbers = (counts[name] for name in ("mutants", "caught", "survived", "equivalent"))
        table.append(f"| `{module}.py` | {' | '.join(map(str, numbers))} | {100 * share_caught(counts):.1f} |")
    survivors = [one for counts in result.values() for one in counts["survivors"]]
    left = [f"- {_told(one)}" for one in survivors if "equivalent" not in one] or ["None."]
    same = [f"- {_told(one)}: {one['equivalent']}" for one in survivors if "equivalent" in one] or ["None."]
    return [*table, "", "**Lived on**", "", *left, "", "**Compute the same**", "", *same]


def _told(one):
    return f"`{one['module']}.py`, line {one['line']}: `{one['before']}` became `{one['after']}`"


class Mutants(SphinxDirective):
    """The table and the list."""

    def run(self):
        self.env.note_dependency(str(Path(self.env.srcdir) / RESULT))
        return self.parse_text_to_nodes("\n".join(lines_of(read_result(self.env.srcdir))))


def setup(app):
    app.add_directive("mutants", Mutants)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
