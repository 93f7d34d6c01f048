"""Tables and claims as texts and HTML: every cell of ours leads to its row's page. All text is escaped."""

import html
import re

import numpy as np
import pandas as pd

from .effects import NOT_KNOWN
from .tables import MEAN_POSE, METHODS, NOT_RUN, PAPER, PAPER_STB, PROTOCOLS, percent

INSIDE = "the paper's change"
_BOX = '<div class="results-table" style="overflow-x: auto" tabindex="0"><table class="dataframe">{}</table></div>'


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
        cells += "".join(_entry(column[0], value, address) for column, value in zip(columns, values))
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
        figures = columns[place][0] != PROTOCOLS
        side = ("right" if last else "center") if figures else "left"  # over figures, which stand at the right
        cells += f'<th scope="col"{width} style="text-align: {side}">{html.escape(str(columns[place][level]))}</th>'
        place += span
    return f"<tr>{cells}</tr>"


def _entry(heading, value, address):
    if heading == PROTOCOLS:
        return f'<td class="words">{html.escape(value)}</td>'
    return _cell(value, "" if heading in (PAPER, PAPER_STB) else address)


def _cell(value, address, tag="td"):
    text = _linked(f"{value:.2f}" if isinstance(value, float) else str(value), address)
    return f'<th scope="row">{text}</th>' if tag == "th" else f'<td style="text-align: right">{text}</td>'


def amount(effect, unit):
    """The mean of an effect in words, with its unit: "-0.62 mm (-2.9 %)", "times 0.45", "-0.312 (0.402 against 0.714)" for scores."""
    if effect is None:
        return NOT_RUN
    if unit == "times":
        return f"times {np.exp(effect.mean):.2f}"
    scores = f" ({effect.base + effect.mean:z.3f} against {effect.base:z.3f})" if np.isfinite(effect.base) else ""
    ending = {"mm": f" mm ({_signed(100 * effect.relative, 1)} %)", "score": scores}.get(unit, f" {unit}")
    return f"{_signed(effect.mean, _DIGITS.get(unit, 2))}{ending}"

#: Scores lie between 0 and 1, and some differ by thousandths.
_DIGITS = {"score": 3}


def _signed(value, digits=2):
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text  # nothing has no sign


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
    RHD" (the paper's change of MEPE), whether that lies in our interval, seeds, verdict.
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
            PAPER: percent(one.paper),
            INSIDE: {True: "inside our interval", False: "outside our interval"}.get(one.paper_inside, ""),
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
        columns[f"{PAPER}: change"] = [_stacked(*cell) for cell in zip(table[PAPER], table[INSIDE])]
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
    colour = "#57606a" if verdict in (NOT_RUN, NOT_KNOWN) else _COLOURS[words[0]]
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
