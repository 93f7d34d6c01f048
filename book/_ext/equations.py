"""The directive ``equation-index``: each numbered equation of the paper, its formula, code, test and page.

``book/equations.csv`` says what belongs together; formulas are taken from ``book/method.md``, code and tests from their
files, so that none of it is written twice.
"""

import csv
import re
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

TABLE, METHOD = "book/equations.csv", "book/method.md"
_FORMULA = re.compile(r"^```\{math\}\n:label: ([\w-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_table(root):
    """The lines of ``book/equations.csv`` under ``root``, in the paper's order: dicts, "number" an int."""
    with open(Path(root) / TABLE, newline="", encoding="utf-8") as file:
        return [line | {"number": int(line["number"])} for line in csv.DictReader(file)]


def formulas(root):
    """LaTeX of the labelled formulas of the method's page: {label: text}."""
    return dict(_FORMULA.findall((Path(root) / METHOD).read_text(encoding="utf-8")))


class EquationIndex(SphinxDirective):
    """All equations of the table, then the source of the tests that they lead to."""

    def run(self):
        root, lines, texts = self.env.srcdir, read_table(self.env.srcdir), formulas(self.env.srcdir)
        for name in (TABLE, METHOD):
            self.env.note_dependency(str(Path(root) / name))
        out, tests = [], list(dict.fromkeys(line["test"] for line in lines))
        for line in lines:
            number, test = line["number"], line["test"].partition("::")[2]
            name = line["name"][0].lower() + line["name"][1:]
            kind = "class" if line["function"].rpartition(".")[2][0].isupper() else "func"
            out += [
                f"(paper-eq-{number})=", f"```{{rubric}} Equation {number}: {name}", ":heading-level: 2", "```", "",
                "```{math}", texts[line["label"]], "```", "",
                f"Code {{py:{kind}}}`~handpose.{line['function']}` · test [`{test}`](#{_anchor(line['test'])}) · explained at "
                f"{{eq}}`{line['label']}` of {{doc}}`method` · at work in {{doc}}`{line['page']}`", "",
            ]  # fmt: skip
        out += ["```{rubric} The tests", ":heading-level: 2", "```", ""]
        for test in tests:
            path, _, name = test.partition("::")
            out += [f"({_anchor(test)})=", f"```{{literalinclude}} ../{path}", f":pyobject: {name}", f":caption: {path}", "```", ""]
        return self.parse_text_to_nodes("\n".join(out))


def _anchor(test):
    return "test-" + re.sub(r"[^a-z0-9]+", "-", test.partition("::")[2].removeprefix("test_").lower())


def setup(app):
    app.add_directive("equation-index", EquationIndex)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
