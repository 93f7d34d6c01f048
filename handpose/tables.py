"""Tables 1 and 2, joints and fingers, measured on the stored predictions. What has not been run stands there as "not run"."""

import numpy as np
import pandas as pd

from .experiments import PEERS, TABLE_3, find_row
from .results import dataset_name
from .runs import measure
from .skeleton import FINGERS, JOINTS, finger_of

MEAN_POSE, NOT_RUN = "mean pose", "not run"
PAPER, PAPER_STB = "paper, RHD", "paper, STB"
#: How figures that the paper quotes were measured: texts.
PROTOCOLS = "the figures that the paper quotes"
#: The row of ours that stands for a line of Table 3.
METHODS = {method: next((name for name, peer in PEERS.items() if peer.published == method), "D3") for method in TABLE_3}


def ablation_table(results, rows, seeds=None):
    """Rows of the paper's Tables 1 and 2, ours beside the paper's: DataFrame of texts, indexed by (row, parts).

    results: ``Results``; seeds: which (all that a row has been run with). The first line is what predicting the mean
    training pose gets. Our columns are named after dataset, preset and seeds, the paper's "paper, RHD". MEPE and AUC are
    mean ± standard deviation over seeds, "change" the mean over the common seeds of the relative change of MEPE against
    the row that a row builds on.
    """
    found = {row: seeds_of(results, row, seeds) for row in rows}
    ours = run_name(results, found)
    root = results.root_joint
    floor = measure(results.mean_pose, results.target, results.visible, root)
    lines = [_line(ours, MEAN_POSE, "", {name: [floor[name]] for name in ("mepe", "auc")}, "", None, "")]
    for name, numbers in found.items():
        row = find_row(name)
        measured = [measure(results[name, seed].predicted, results.target, results.visible, root) for seed in numbers]
        columns = {key: [one[key] for one in measured] for key in ("mepe", "auc")}
        paper_base = row.builds_on and find_row(row.builds_on).paper
        paper = row.paper / paper_base - 1 if row.paper and paper_base else None
        change = relative_change(results, name, seeds)
        lines.append(_line(ours, name, row.parts, columns, percent(change), row.paper, percent(paper)))
    table = pd.DataFrame(lines).set_index(["row", "parts"])
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def seeds_of(results, row, seeds=None):
    """Seeds that ``row`` has been run with, of ``seeds`` where given."""
    run = results.seeds(row)
    return run if seeds is None else [seed for seed in seeds if seed in run]


def counted(seeds):
    """How many seeds each row has been run with, in words: "3 for each row", or row by row where they differ.

    seeds: {row: list of seeds}; rows without any are left out.
    """
    counts = {row: len(numbers) for row, numbers in seeds.items() if numbers}
    if len(counts) > 1 and len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} for each row ({', '.join(counts)})"
    return ", ".join(f"{row}: {count}" for row, count in counts.items())


def relative_change(results, row, seeds=None):
    """Mean over common seeds of MEPE(row) / MEPE(the row it builds on) - 1; None without such a row or seed."""
    base = find_row(row).builds_on
    common = [seed for seed in seeds_of(results, row, seeds) if seed in results.seeds(base)] if base else []
    if not common:
        return None
    return float(np.mean([results.errors(row, seed).mean() / results.errors(base, seed).mean() - 1 for seed in common]))


def run_name(results, found):
    """Dataset, preset and seeds of all rows found, in words."""
    runs = [results[row, seed].card for row, numbers in found.items() for seed in numbers]
    if not runs:
        return "ours"
    counts = sorted({len(numbers) for numbers in found.values() if numbers})
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{dataset_name(runs[0])}, {runs[0]['preset']}, {most} {'seed' if most == '1' else 'seeds'}"


def _line(ours, name, parts, measured, change, paper, paper_change):
    return {
        "row": name,
        "parts": parts,
        (ours, "MEPE (mm)"): mean_and_spread(measured["mepe"], 2),
        (ours, "AUC 20-50"): mean_and_spread(measured["auc"], 3),
        (ours, "change"): change,
        (PAPER, "MEPE (mm)"): f"{paper:.2f}" if paper else "",
        (PAPER, "change"): paper_change,
    }


def mean_and_spread(values, digits):
    """"21.34 ± 0.12" from one value a seed (sample standard deviation); one value alone; "not run" without any."""
    if len(values) == 0:
        return NOT_RUN
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def percent(share):
    """"+1.2 %" of 0.012; "" of None."""
    return "" if share is None else f"{100 * share:+.1f} %"


def per_joint_table(results, rows, seeds=None):
    """MEPE (mm) of each joint, mean over seeds: DataFrame (21 joints, rows); rows that have not been run are left out."""
    numbers = {row: [None] if row == MEAN_POSE else seeds_of(results, row, seeds) for row in rows}
    columns = {row: [results.errors(row, seed).mean(0) for seed in numbers[row]] for row in rows}
    table = pd.DataFrame({row: np.mean(columns[row], axis=0) for row in rows if columns[row]}, index=list(JOINTS))
    return table.rename_axis("joint")


def per_finger_table(results, rows, seeds=None):
    """MEPE (mm) of the wrist and of each finger's four joints, mean over seeds: DataFrame (wrist and 5 fingers, rows)."""
    joints = per_joint_table(results, rows, seeds)
    return joints.groupby([finger_of(joint) for joint in range(21)]).mean().loc[["wrist", *FINGERS]].rename_axis("finger")


def trained_apart(shown):
    """What is not alike in how rows were trained, lines of text: the hands that they learn from (how many, and what their mean pose
    gets), their precisions, and the warm-ups that they start from.

    ``shown``: {row or method: list of ``Result``, one a seed}. Empty where nothing differs.
    """
    cards = {name: [result.card for result in runs] for name, runs in shown.items()}
    lines = _differing(cards, _hands, "not all learn from the same hands, so they don't compare:")
    lines += _differing(cards, _precisions, "not all are trained in the same precision:")
    return lines + _differing(
        cards, lambda card: f"warm-up {_warmup(card)[:4]}" if _warmup(card) else "no warm-up",
        "not all start from the same warm-up of the backbone; its settings are the same, the machine or the code is another:",
    )


def _hands(card):
    return f"{card['frames']['training']} hands, whose mean pose gets {card['mean_pose']['mepe']:.2f} mm"


def _precisions(card):
    """Of all its stages; older cards say that of the last alone."""
    stages = card["stages"].values()
    return " and ".join(dict.fromkeys(stage.get("precision", card["precision"]) for stage in stages)) or card["precision"]


def _warmup(card):
    return card["stages"].get("warmup", {}).get("identity", "")


def _differing(cards, value, heading):
    """``heading`` and a line for the names whose seeds are alike, where not all have the same ``value``."""
    if len({value(card) for each in cards.values() for card in each}) < 2:
        return []
    alike = {}
    for name, each in ((name, each) for name, each in cards.items() if each):
        seeds = {}
        for card in each:
            seeds.setdefault(value(card), []).append(str(card["seed"]))
        said = (f"{what} (seed{'s' * (len(found) > 1)} {', '.join(found)})" for what, found in seeds.items())
        alike.setdefault(" and ".join(said), []).append(name)
    return [heading, *(f"  {said}: {', '.join(names)}" for said, names in alike.items())]
