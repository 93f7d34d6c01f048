"""Code that trains may be made faster, or clearer, and still train the same: what was found to, and how alike it is.

A result's run card holds the digest of the code that trained it. After a change the digests differ and the result is stale,
until ``python -m tests.alike COMMIT`` has gone through the first step of every training with the code of that commit and with
the code as it is, and found the same losses and gradients. What it measured is kept in ``book/checks/alike.json``.
"""

from functools import cache

from .experiments import PEERS
from .records import PACKAGE, read_check
from .runs import training_code

KEPT = PACKAGE.parent / "book" / "checks" / "alike.json"
#: How far the losses of a first step may lie apart, over the loss, and its gradients, over their norm. They differ by rounding alone:
#: a picture's numbers in the fifth digit, and what gradients become where a ReLU then lies on the other side of 0.
LIMITS = {"loss": 1e-5, "gradient": 2e-2}


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
    return bool(change["trainings"]) and all(one[what] <= limit for one in change["trainings"] for what, limit in LIMITS.items())


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
        furthest = max(one["loss"] for one in change["trainings"])
        apart = f"losses at most {furthest:.0e} apart" if furthest else "the same losses to the last digit"
        text += [f"Commit `{then}` against commit `{now}`: {len(change['trainings'])} trainings, {apart}.", "",
                 "````{dropdown} Each of them", ""]  # fmt: skip
        text += ["| Training | Loss apart | Gradient apart |", "|---|--:|--:|"]
        for one in change["trainings"]:
            text.append(f"| {one['name']} | {one['loss']:.0e} | {one['gradient']:.0e} |")
        text += ["", "The largest difference of a term over the loss, and of the gradient over its norm, in float32 "
                     f"({change['platform']}).", "````", ""]  # fmt: skip
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
