"""The directives ``mutants``, ``soak``, ``fuzz``, ``bench``, ``bench-gpu`` and ``alike``: what each of these commands found, from
``book/checks``; ``growth``: what the work costs as it grows, and what of it was measured; and ``precision``: rows in float32 and in bfloat16.
"""

from pathlib import Path

from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective

from handpose import alike, growth, records
from handpose.decisions import Variant, compare
from handpose.experiments import ROWS
from handpose.results import RECORDED, Results


def kept_check(root, name):
    """The recorded result of the check ``name`` under ``root``, a dict; the build stops at one that was changed by hand."""
    try:
        return records.read_check(Path(root) / "book" / "checks" / f"{name}.json")
    except (ValueError, FileNotFoundError) as error:
        raise SphinxError(str(error)) from None


def share_caught(counts):
    """Share of a module's mutants that the tests catch, those that compute the same left out."""
    return counts["caught"] / (counts["mutants"] - counts["equivalent"])


def mutant_lines(result):
    """Markdown of the table of modules, and of the mutants that live on."""
    table = ["| Module | Mutants | Caught | Lived on | Compute the same | Caught, per cent |", "|---|--:|--:|--:|--:|--:|"]
    for module, counts in result.items():
        numbers = (counts[name] for name in ("mutants", "caught", "survived", "equivalent"))
        table.append(f"| `{module}.py` | {' | '.join(map(str, numbers))} | {100 * share_caught(counts):.1f} |")
    survivors = [one for counts in result.values() for one in counts["survivors"]]
    left = [f"- {_told(one)}" for one in survivors if "equivalent" not in one] or ["None."]
    same = [f"- {_told(one)}: {one['equivalent']}" for one in survivors if "equivalent" in one] or ["None."]
    return [*table, "", "**Lived on**", "", *left, "", "**Compute the same**", "", *same]


def _told(one):
    return f"`{one['module']}.py`, line {one['line']}: `{one['before']}` became `{one['after']}`"


def soak_lines(result):
    """Markdown of how many parts of a run were ended, and how many ended well when they were started again."""
    back = dict.fromkeys(result["phases"], 0)
    for point in result["points"]:
        back[point["phase"]] += point["recovered"]
    table = ["| Ended while | Times | Recovered |", "|---|--:|--:|"]
    table += [f"| {_DOING.get(phase, phase)} | {count} | {back[phase]} |" for phase, count in result["phases"].items()]
    table += [f"| **all** | **{result['count']}** | **{result['recovered']}** |"]
    return [*table, "", f"{_run(result)}; {result['seconds'] / 60:.0f} minutes."]


_DOING = {
    "frames": "rendering hands", "frames in STB's layout": "rendering hands in STB's layout", "shards": "cutting the crops",
    "warmup": "training the warm-up", "disentangle": "training stage 1", "align": "training stage 2", "refine": "training stage 3",
    "results": "writing predictions", "notebook": "executing a notebook", "record": "recording a run", "book": "building the pages",
}  # fmt: skip


def fuzz_lines(result):
    """Markdown of what came of the damaged datasets."""
    names = ("read as before", "read as changed", "refused")
    table = [f"| Layout | Damaged | {' | '.join(name.capitalize() for name in names)} | Anything else |", "|---|--:|--:|--:|--:|--:|"]
    for layout, outcomes in result["outcomes"].items():
        good = [outcomes[name] for name in names]
        bad = sum(outcomes.values()) - sum(good)
        table.append(f"| {layout.upper()} | {sum(outcomes.values())} | {' | '.join(map(str, good))} | {bad} |")
    return [*table, "", f"{_run(result)}."]


def bench_lines(result):
    """Markdown of the figures, and of the bars that the project has set for some of them."""
    table = ["| About | Figure | Here | Bar |", "|---|---|---|---|"]
    for one in result["figures"]:
        verdict = "" if one["holds"] is None else f"{one['bar']}: {'holds' if one['holds'] else '**missed**'}"
        table.append(f"| {one['topic']} | {one['what']} | {one['value']} | {verdict} |")
    where = f"{result['device']}, {result['cores']} cores, load {result['load']} before it began, {growth.named_commit(result['commit'])}"
    return [*table, "", f"{where}; {result['seconds'] / 60:.0f} minutes."]


def check_lines(root, name):
    """Markdown of the check ``name`` under ``root``. A GPU is not everywhere: what was not measured on one is said to be."""
    if name == "bench-gpu" and not (Path(root) / "book" / "checks" / f"{name}.json").exists():
        return ["Not measured yet."]
    return LINES[name](kept_check(root, name))


def _run(result):
    return f"Seed {result['seed']}, {result['platform']}, {growth.named_commit(result['commit'])}"


def precision_lines(recorded=RECORDED):
    """Markdown of the rows that were trained in float32 and in bfloat16, with the same seeds, on the same frames."""
    plain, half = (Results(Path(recorded) / f"synthetic-{preset}") for preset in ("minutes", "minutes+precision=bf16-mixed"))
    if not half.folder.exists():
        return ["Not measured yet."]
    table = ["| Row | Seeds | float32 (mm) | bfloat16 (mm) | Apart (mm), 95 % | Verdict |", "|---|---|--:|--:|--:|---|"]
    for row in [row for row in ROWS if half.seeds(row)]:
        variant = Variant("bfloat16", "precision=bf16-mixed", "Precision", row, "not printed", "float32")
        found = compare(plain, half, variant)
        if found is None:
            continue
        apart = f"{found['effect']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f})"
        table.append(f"| {row} | {found['seeds']} | {found['MEPE ours']:.2f} | {found['MEPE variant']:.2f} | {apart} | {found['verdict']} |")
    if len(table) == 2:
        return ["Not measured yet."]
    cards = [half[row, seed].card for row in ROWS for seed in half.seeds(row)]
    where = dict.fromkeys(f"{growth.processor_name(card['device'])}, {growth.named_commit(card['commit'])}" for card in cards)
    return [*table, "", f"Preset `minutes`; {'; '.join(where)}."]


class Check(SphinxDirective):
    """The table and the list of the check of the directive's own name."""

    def run(self):
        self.env.note_dependency(str(Path(self.env.srcdir) / "book" / "checks" / f"{self.name}.json"))
        return self.parse_text_to_nodes("\n".join(check_lines(self.env.srcdir, self.name)))


class Precision(SphinxDirective):
    def run(self):
        self.env.note_reread()
        return self.parse_text_to_nodes("\n".join(precision_lines()))


class Growth(SphinxDirective):
    def run(self):
        self.env.note_reread()
        return self.parse_text_to_nodes("\n".join([*growth.markdown(growth.table()), "", "\n\n".join(growth.source())]))


LINES = {"mutants": mutant_lines, "soak": soak_lines, "fuzz": fuzz_lines, "bench": bench_lines, "bench-gpu": bench_lines,
         "alike": alike.lines}  # fmt: skip


def setup(app):
    for name in LINES:
        app.add_directive(name, Check)
    app.add_directive("growth", Growth)
    app.add_directive("precision", Precision)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
