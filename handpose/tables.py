"""Tables of results, measured on the stored predictions. What has not been run stands there as "not run"."""

import html

import numpy as np
import pandas as pd

from .experiments import find_row
from .runs import measure
from .skeleton import FINGERS, JOINTS, finger_of

MEAN_POSE, NOT_RUN = "mean pose", "not run"
PAPER = "paper, RHD"


def ablation_table(results, rows, seeds=None):
    """Rows of the paper's Tables 1 and 2, ours beside the paper's: DataFrame of texts, indexed by (row, parts).

    results: ``Results``; seeds: which (all that a row has been run with). The first line is what predicting the mean
    training pose gets. Our columns are named after dataset, preset and seeds, the paper's "paper, RHD". MEPE and AUC are
    mean ± standard deviation over seeds, "change" the mean over the common seeds of the relative change of MEPE against
    the row that a row builds on.
    """
    found = {row: seeds_of(results, row, seeds) for row in rows}
    ours = _name(results, found)
    root = results.root_joint
    floor = measure(results.mean_pose, results.target, results.visible, root)
    lines = [_line(ours, MEAN_POSE, "", {name: [floor[name]] for name in ("mepe", "auc")}, "", None, "")]
    for name, numbers in found.items():
        row = find_row(name)
        measured = [measure(results[name, seed].predicted, results.target, results.visible, root) for seed in numbers]
        columns = {key: [one[key] for one in measured] for key in ("mepe", "auc")}
        paper_base = row.builds_on and find_row(row.builds_on).paper
        paper = row.paper / paper_base - 1 if row.paper and paper_base else None
        lines.append(_line(ours, name, row.parts, columns, _percent(relative_change(results, name, seeds)), row.paper, _percent(paper)))
    table = pd.DataFrame(lines).set_index(["row", "parts"])
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def seeds_of(results, row, seeds=None):
    """Seeds that ``row`` has been run with, of ``seeds`` where given."""
    run = results.seeds(row)
    return run if seeds is None else [seed for seed in seeds if seed in run]


def relative_change(results, row, seeds=None):
    """Mean over common seeds of MEPE(row) / MEPE(the row it builds on) - 1; None without such a row or seed."""
    base = find_row(row).builds_on
    common = [seed for seed in seeds_of(results, row, seeds) if seed in results.seeds(base)] if base else []
    if not common:
        return None
    return float(np.mean([results.errors(row, seed).mean() / results.errors(base, seed).mean() - 1 for seed in common]))


def _name(results, found):
    """Dataset, preset and seeds of all rows found, in words."""
    runs = [results[row, seed].card for row, numbers in found.items() for seed in numbers]
    if not runs:
        return "ours"
    counts = sorted({len(numbers) for numbers in found.values() if numbers})
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{runs[0]['dataset']}, {runs[0]['preset']}, {most} {'seed' if most == '1' else 'seeds'}"


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


def _percent(share):
    return "" if share is None else f"{100 * share:+.1f} %"


def per_joint_table(results, rows, seeds=None):
    """MEPE (mm) of each joint, mean over seeds: DataFrame (21 joints, rows); rows that have not been run are left out."""
    columns = {row: [results.errors(row, seed).mean(0) for seed in seeds_of(results, row, seeds)] for row in rows if row != MEAN_POSE}
    if MEAN_POSE in rows:
        columns[MEAN_POSE] = [results.errors(MEAN_POSE, None).mean(0)]
    table = pd.DataFrame({row: np.mean(columns[row], axis=0) for row in rows if columns[row]}, index=list(JOINTS))
    return table.rename_axis("joint")


def per_finger_table(results, rows, seeds=None):
    """MEPE (mm) of the wrist and of each finger's four joints, mean over seeds: DataFrame (wrist and 5 fingers, rows)."""
    joints = per_joint_table(results, rows, seeds)
    return joints.groupby([finger_of(joint) for joint in range(21)], sort=False).mean().loc[["wrist", *FINGERS]].rename_axis("finger")


def as_html(table, link="row-{}.html", caption=""):
    """A table as HTML that scrolls in its own box. All text is escaped.

    ``link``: address of a row's page, with "{}" for the row's name, relative to the page: the row's name and each of our
    own figures in its line lead there; "" for no links. The paper's columns, the mean pose and what has not been run
    lead nowhere.
    """
    names = [name if isinstance(name, tuple) else (name,) for name in table.index]
    columns = [column if isinstance(column, tuple) else (column,) for column in table.columns]
    head = "".join(_head(columns, level, table.index.names) for level in range(len(columns[0])))
    body = ""
    for name, values in zip(names, table.to_numpy()):
        has_run = name[0] != MEAN_POSE and NOT_RUN not in values
        address = link.format(name[0]) if link and has_run else ""
        cells = "".join(_cell(part, address if not place else "", "th") for place, part in enumerate(name))
        cells += "".join(_cell(value, "" if column[0] == PAPER else address) for column, value in zip(columns, values))
        body += f"<tr>{cells}</tr>"
    caption = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="results-table" style="overflow-x: auto" tabindex="0"><table class="dataframe">{caption}'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _head(columns, level, index_names):
    """One line of column headings, neighbours that agree joined; the index's names stand in the last line."""
    last = level == len(columns[0]) - 1
    cells = "".join(f'<th scope="col">{html.escape(str((name or "") if last else ""))}</th>' for name in index_names)
    place = 0
    while place < len(columns):
        span = 1
        while not last and place + span < len(columns) and columns[place + span][: level + 1] == columns[place][: level + 1]:
            span += 1
        width = f' colspan="{span}"' if span > 1 else ""
        cells += f'<th scope="col"{width}>{html.escape(str(columns[place][level]))}</th>'
        place += span
    return f"<tr>{cells}</tr>"


def _cell(value, address, tag="td"):
    text = html.escape(f"{value:.2f}" if isinstance(value, float) else str(value))
    if address and text:
        text = f'<a href="{html.escape(address, quote=True)}">{text}</a>'
    return f'<th scope="row">{text}</th>' if tag == "th" else f'<td style="text-align: right">{text}</td>'
