"""Tables of results, computed from run cards and predictions."""

import pandas as pd

from .experiments import find_row
from .runs import mean_pose, measure


def ablation_table(runs, data):
    """The paper's Table 1 beside ours: {row name: Run} and the ``Data`` they were measured on -> DataFrame.

    Our columns are named after our dataset and preset, the paper's after RHD. "change" is relative to the
    row that a row builds on.
    """
    card = next(iter(runs.values())).card
    ours = f"{card['dataset']}, {card['preset']}"
    floor = measure(mean_pose(data), data.evaluation.target, data.evaluation.visible, data.root_joint)
    lines = [_line("mean pose", None, floor, ours, None, None)]
    for name, run in runs.items():
        row = find_row(name)
        base = runs.get(row.builds_on)
        change = _change(run.card["metrics"]["mepe"], base and base.card["metrics"]["mepe"])
        change_paper = _change(row.paper, row.builds_on and find_row(row.builds_on).paper)
        lines.append(_line(name, row, run.card["metrics"], ours, change, change_paper))
    table = pd.DataFrame(lines).set_index(["row", "parts"])
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def _change(value, base):
    return f"{100 * (value / base - 1):+.1f} %" if base else ""


def _line(name, row, metrics, ours, change, change_paper):
    return {
        "row": name,
        "parts": row.parts if row else "",
        (ours, "MEPE (mm)"): f"{metrics['mepe']:.1f}",
        (ours, "AUC 20-50"): f"{metrics['auc']:.3f}",
        (ours, "change"): change or "",
        ("paper, RHD", "MEPE (mm)"): f"{row.paper:.2f}" if row else "",
        ("paper, RHD", "change"): change_paper or "",
    }
