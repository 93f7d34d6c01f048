"""Code that trains may be made faster, or clearer, and still train the same: what was found to, and how alike it is.

A result's run card holds the digest of the code that trained it. After a change the digests differ and the result is stale,
until ``python -m tests.alike COMMIT`` has gone through the first steps of every training with the code of that commit and with
the code as it is, and found the same losses and gradients, with the optimiser told the same. What it measured is kept in ``book/checks/alike.json``.
"""

from functools import cache

from .experiments import PEERS
from .records import PACKAGE, read_check
from .runs import training_code

KEPT = PACKAGE.parent / "book" / "checks" / "alike.json"
#: How far the losses of a first step may lie apart, over the loss, and its gradients, over their norm. They differ by rounding alone:
#: a picture's numbers in the fifth digit, and what gradients become where a ReLU then lies on the other side of 0. Adam's first
#: steps are as long for small gradients as for large ones, so that the losses of "later" steps lie farther apart. "told": whether
#: what the optimiser was told differed, its learning rate at each step above all.
LIMITS = {"loss": 1e-5, "gradient": 2e-2, "later": 3e-2, "told": 0.0}


@cache
def _kept(path, changed):
    return read_check(path)


def found():
    """What the check found: {"changes": a list, oldest first, ...}. Raises ValueError when the file was changed since."""
    if not KEPT.exists():
        return {"changes": []}
    return _kept(KEPT, KEPT.stat().st_mtime_ns)


def passed(change):
    """Whether a change's every training stayed within ``LIMITS``."""
    return bool(change["trainings"]) and all(one.get(what, float("inf")) <= limit for one in change["trainings"] for what, limit in LIMITS.items())


def trains_alike(then, now, row=None):
    """Whether code of digest ``then`` trains what ``now`` does in ``row``; a method of Table 3 has digests of its own.

    The digests are those of ``runs.training_code``; changes that follow each other lead from one to the next. A change that was not
    examined, or did not pass, counts as another training.
    """
    reached = {then}
    for change in found()["changes"]:
        before, after = change["digests"].get(row if row in PEERS else "ours", (None, None))
        if before in reached and passed(change):
            reached.add(after)
    return now in reached


def code_changed(card):
    """Whether the code that trains no longer is what trained the run of this card, nor what trains alike."""
    row = None if card["stage"] == "warmup" else card.get("of_row") or card.get("trained_as") or card["row"]
    return not trains_alike(card["training_code"], training_code(row), row)


def lines(result):
    """Markdown of the check: each change of the code and how far apart the two trained, and what whole trainings came to."""
    text = []
    for change in result["changes"]:
        then, now = change["then"][:7], change["now"][:7]
        furthest, steps = (max(one[what] for one in change["trainings"]) for what in ("loss", "steps"))
        apart = f"losses at most {furthest:.0e} apart" if furthest else "the same losses to the last digit"
        which = "" if "ours" in change["digests"] else f" of {', '.join(change['digests'])} alone"
        text += [f"Commit `{then}` against commit `{now}`: {len(change['trainings'])} trainings{which} of up to {steps} steps, in the first {apart}.", "",
                 "````{dropdown} Each of them", ""]  # fmt: skip
        text += ["| Training | Steps | Loss apart | Gradient apart | Loss apart, later | Optimiser told the same |", "|---|--:|--:|--:|--:|---|"]
        for one in change["trainings"]:
            apart = " | ".join(f"{one[what]:.0e}" for what in ("loss", "gradient", "later"))
            text.append(f"| {one['name']} | {one['steps']} | {apart} | {'no' if one['told'] else 'yes'} |")
        text += ["", "The largest difference of a term over the loss, in the first step and in the later ones, and of the first gradient over "
                     f"its norm, in float32 ({change['platform']}).", "````", ""]  # fmt: skip
    whole = result.get("whole")
    if whole:
        text += ["", *_whole(whole)]
    return text


def _whole(whole):
    import numpy as np

    apart = np.array([one["now"] - one["then"] for one in whole["trainings"]])
    rows = {one["row"] for one in whole["trainings"]}
    table = ["| Row | Seed | Then (mm) | Now (mm) |", "|---|--:|--:|--:|"]
    table += [f"| {one['row']} | {one['seed']} | {one['then']:.2f} | {one['now']:.2f} |" for one in whole["trainings"]]
    return [
        f"And trained to the end, at preset `{whole['preset']}`: {len(apart)} trainings of {len(rows)} rows, then on {whole['then']}, "
        f"now on {whole['now']}, commit `{whole['commit'][:7]}`. Now is {np.mean(apart):+.2f} mm on average, with a standard deviation of "
        f"{np.std(apart, ddof=1):.2f} mm from one training to the next.",
        "", "````{dropdown} All of them", *table, "````",
    ]  # fmt: skip
