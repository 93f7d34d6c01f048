"""Tables of results, measured on the stored predictions. What has not been run stands there as "not run"."""

import html
import re

import numpy as np
import pandas as pd

from .cost import cost_of, training_speeds
from .effects import paired_effect
from .experiments import PEERS, TABLE_3, find_row
from .results import dataset_name
from .runs import measure
from .skeleton import FINGERS, JOINTS, finger_of

MEAN_POSE, NOT_RUN = "mean pose", "not run"
PAPER, PAPER_STB = "paper, RHD", "paper, STB"
_BOX = '<div class="results-table" style="overflow-x: auto" tabindex="0"><table class="dataframe">{}</table></div>'


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
        change = relative_change(results, name, seeds)
        lines.append(_line(ours, name, row.parts, columns, _percent(change), row.paper, _percent(paper)))
    table = pd.DataFrame(lines).set_index(["row", "parts"])
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def comparison_table(results, seeds=None):
    """Table 3: MEPE and AUC of other methods on RHD and STB as the paper quotes them, and ours on this run's data.

    DataFrame of texts, indexed by method; our column is named as in ``ablation_table``. Methods that have not been trained
    are "not run" there: figures measured on other data don't stand in for it.
    """
    found = {METHODS[method]: seeds_of(results, METHODS[method], seeds) for method in TABLE_3}
    ours, lines = _name(results, found), []
    for method, line in TABLE_3.items():
        predicted = [results[METHODS[method], seed].predicted for seed in found[METHODS[method]]]
        measured = [measure(pose, results.target, results.visible, results.root_joint) for pose in predicted]
        quoted = {
            (PAPER, "MEPE (mm)"): line.rhd, (PAPER, "AUC 20-50"): line.auc_rhd,
            (PAPER_STB, "MEPE (mm)"): line.stb, (PAPER_STB, "AUC 20-50"): line.auc_stb,
        }  # fmt: skip
        digits = {"MEPE (mm)": 2, "AUC 20-50": 3}
        lines.append(
            {"method": method}
            | {key: "" if value is None else f"{value:.{digits[key[1]]}f}" for key, value in quoted.items()}
            | {(ours, name): mean_and_spread([one[key] for one in measured], digits[name])
               for key, name in (("mepe", "MEPE (mm)"), ("auc", "AUC 20-50"))}
        )  # fmt: skip
    table = pd.DataFrame(lines).set_index("method")
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def peers_table(results, seeds=None):
    """Table 3's methods on this run's data, beside what each costs: DataFrame of texts, indexed by method.

    Parameters and multiply-adds are of what predicts one picture. "training speed" is ``cost.training_speeds``, measured now, over row
    D3's.
    """
    lines = {}
    there = [row for row in METHODS.values() if seeds_of(results, row, seeds)]
    speeds = training_speeds(there, results[there[0], seeds_of(results, there[0], seeds)[0]].card["preset"]) if "D3" in there else {}
    for method, row in METHODS.items():
        runs = [results[row, seed] for seed in seeds_of(results, row, seeds)]
        measured = [measure(run.predicted, results.target, results.visible, results.root_joint) for run in runs]
        floor = measure(results.mean_pose, results.target, results.visible, results.root_joint)["mepe"]
        mepe = [one["mepe"] for one in measured]
        lines[method] = {
            "MEPE (mm)": mean_and_spread(mepe, 2),
            "of the mean pose's": f"{np.mean(mepe) / floor:.2f}" if runs else "",
            "AUC 20-50": mean_and_spread([one["auc"] for one in measured], 3),
        }
        if runs:
            cost, epochs = cost_of(row, runs[0].card["preset"]), [epoch for run in runs for epoch in run.history]
            images = sum(epoch["images_per_second"] * epoch["seconds"] for epoch in epochs)
            lines[method] |= {
                "parameters (M)": f"{cost.parameters / 1e6:.1f}",
                "multiply-adds (M)": f"{cost.multiply_adds / 1e6:.0f}",
                "images/s in training": f"{speeds[row]:.0f} ({speeds[row] / speeds['D3']:.2f} of D3's)" if speeds else "",
                "images seen": f"{round(images / len(runs), -3):.0f}",
            }
    return pd.DataFrame.from_dict(lines, orient="index").fillna("").rename_axis("method")


def peers_effects(results, seeds=None):
    """``effects.Effect`` of row D3 against each method of Table 3 that shares a seed with it: {method: effect}, in mm."""
    found = {}
    for method, row in METHODS.items():
        common = [seed for seed in seeds_of(results, row, seeds) if seed in results.seeds("D3")]
        if row != "D3" and common:
            ours, theirs = ([results.errors(one, seed).mean(1) for seed in common] for one in ("D3", row))
            found[method] = paired_effect(ours, theirs, common)
    return found


def published_table():
    """How the figures that the paper quotes were measured, and whether they can be compared: DataFrame of texts, by method."""
    lines = {
        method: {
            PAPER: f"{line.rhd:.2f} mm", PAPER_STB: "" if line.stb is None else f"{line.stb:.2f} mm",
            "protocol of these figures": line.protocol, "comparable with the paper's?": line.comparable,
        } for method, line in TABLE_3.items()
    }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")


#: The row of ours that stands for a line of Table 3.
METHODS = {method: next((name for name, peer in PEERS.items() if peer.published == method), "D3") for method in TABLE_3}


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


def _name(results, found):
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


def _percent(share):
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


def as_html(table, link="row-{}.html", caption=""):
    """A table as HTML that scrolls in its own box. All text is escaped.

    ``link``: address of a row's page, with "{}" for the row's name (``METHODS`` for Table 3's), relative to the page: the row's
    name and each of our own figures in its line lead there; "" for no links. The paper's columns, the mean pose and what has not been run
    lead nowhere.
    """
    names = [name if isinstance(name, tuple) else (name,) for name in table.index]
    columns = [column if isinstance(column, tuple) else (column,) for column in table.columns]
    head = "".join(_head(columns, level, table.index.names) for level in range(len(columns[0])))
    body = ""
    for name, values in zip(names, table.to_numpy()):
        has_run = name[0] != MEAN_POSE and NOT_RUN not in values
        address = link.format(METHODS.get(name[0], name[0])) if link and has_run else ""
        cells = _cell(name[0], address, "th") + "".join(f"<td>{html.escape(part)}</td>" for part in name[1:])
        cells += "".join(_cell(value, "" if column[0] in (PAPER, PAPER_STB) else address) for column, value in zip(columns, values))
        body += f"<tr>{cells}</tr>"
    caption = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return _BOX.format(f"{caption}<thead>{head}</thead><tbody>{body}</tbody>")


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
        side = "right" if last else "center"  # over figures, which stand at the right
        cells += f'<th scope="col"{width} style="text-align: {side}">{html.escape(str(columns[place][level]))}</th>'
        place += span
    return f"<tr>{cells}</tr>"


def _cell(value, address, tag="td"):
    text = _linked(f"{value:.2f}" if isinstance(value, float) else str(value), address)
    return f'<th scope="row">{text}</th>' if tag == "th" else f'<td style="text-align: right">{text}</td>'


def amount(effect, unit):
    """The mean of an effect in words, with its unit: "-0.62 mm (-2.9 %)", "times 0.45", "-0.312" for a score."""
    if effect is None:
        return NOT_RUN
    if unit == "times":
        return f"times {np.exp(effect.mean):.2f}"
    ending = {"mm": f" mm ({_signed(100 * effect.relative, 1)} %)", "score": ""}.get(unit, f" {unit}")
    return f"{_signed(effect.mean, _DIGITS.get(unit, 2))}{ending}"


#: Scores lie between 0 and 1, and some differ by thousandths.
_DIGITS = {"score": 3}


def _signed(value, digits=2):
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # never "-0.00"


def interval(effect, unit):
    """The interval that the verdict is read from, in words; says when it stands on one seed."""
    if effect is None:
        return ""
    low, high = (np.exp(effect.low), np.exp(effect.high)) if unit == "times" else (effect.low, effect.high)
    if len(effect.seeds) < 2 and effect.frames_only[0] == effect.frames_only[1]:
        return "none with one seed"
    digits = _DIGITS.get(unit, 2)
    text = f"{low:.2f} to {high:.2f}" if unit == "times" else f"{_signed(low, digits)} to {_signed(high, digits)}"
    return text + " (one seed)" * (len(effect.seeds) < 2)


def claims_frame(measured):
    """``claims.Measured`` as texts: DataFrame, a line a claim, indexed by the claim's name.

    Columns: claim, where, compared, effect, 95 % interval, control, effect against control, its 95 % interval, "paper,
    RHD" (the paper's change of MEPE), seeds, verdict.
    """
    lines = {}
    for one in measured:
        claim, unit = one.claim, one.claim.unit
        both = ", less the same with the linear decoder" if claim.kind == "interaction" else ""
        lines[claim.name] = {
            "claim": claim.statement,
            "where": claim.where,
            "compared": f"{claim.row} against {claim.base}{both}",
            "effect": amount(one.against_base, unit),
            "95 % interval": interval(one.against_base, unit),
            "control": claim.control or "",
            "effect against control": amount(one.against_control, unit) if claim.control else "",
            "its 95 % interval": interval(one.against_control, unit),
            PAPER: _percent(one.paper),
            "seeds": ", ".join(map(str, one.deciding.seeds)) if one.deciding else "",
            "verdict": one.verdict,
        }
    return pd.DataFrame.from_dict(lines, orient="index")


#: Verdicts by their first word: white on these has a contrast of 4.5 at least.
_COLOURS = {"supported": "#1a7f37", "not": "#b42318", "undecided": "#6b5b00"}


def claims_html(table, link="row-{}.html", caption=""):
    """``claims_frame`` as HTML that scrolls in its own box: one line a claim, the verdict as a coloured word.

    ``link`` as in ``as_html``; what has not been run leads nowhere.
    """
    links = np.where(table["effect"] == NOT_RUN, "", link)
    compared = list(map(_compared, table["compared"], links))
    columns = {
        "claim": [f"{_stacked(claim, where)}<br/><small>{sides}</small>" for claim, where, sides in zip(table["claim"], table["where"], compared)],
        "verdict": list(map(verdict_html, table["verdict"])),
        "measured, 95 % interval": [_unbroken(_stacked(*cell)) for cell in zip(table["effect"], table["95 % interval"])],
    }
    if table["control"].any():
        against = [_unbroken(_stacked(*cell)) for cell in zip(table["effect against control"], table["its 95 % interval"])]
        columns["against the control"] = [
            f"{cell}<br/><small>{_linked(row, address.format(row))}</small>" if row else ""
            for cell, row, address in zip(against, table["control"], links)
        ]
    if table[PAPER].any():
        columns[f"{PAPER}: change"] = list(map(html.escape, table[PAPER]))
    head = "".join(f'<th scope="col" style="text-align: left">{html.escape(name)}</th>' for name in columns)
    body = ""
    for name, *cells in zip(table.index, *columns.values()):
        cells = "".join(f'<td style="text-align: left; vertical-align: top">{cell}</td>' for cell in cells)  # type: ignore[assignment]
        body += f'<tr id="claim-{html.escape(name, quote=True)}">{cells}</tr>'
    caption = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return _BOX.format(f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def verdict_html(verdict):
    """A verdict as a word on its colour."""
    words = verdict.split()
    colour = "#57606a" if verdict == NOT_RUN else _COLOURS[words[0]]
    style = f"background: {colour}; color: #fff; border-radius: 0.3rem; padding: 0.1rem 0.4rem; display: inline-block"
    return f'<span class="verdict" style="{style}">{html.escape(verdict)}</span>'


def _compared(text, link):
    """"A against baseline" with each side's row, its first word, linked to its page."""
    sides = [re.fullmatch(r"([\w-]+)(.*)", side).groups() for side in text.split(" against ")]  # type: ignore[union-attr]
    return " against ".join(_linked(row, link.format(row)) + html.escape(rest) for row, rest in sides)


def _linked(text, address):
    text = html.escape(text)
    return f'<a href="{html.escape(address, quote=True)}">{text}</a>' if address and text else text


def _unbroken(text):
    return f'<span style="white-space: nowrap">{text}</span>'


def _stacked(text, below):
    return html.escape(text) + (f"<br/><small>{html.escape(below)}</small>" if below else "")
