"""What the choices change: open points of the paper (book/decisions.md), measured.

Two kinds. A measure (``MEASURES``) reads the predictions that are stored anyway in another way. A variant (``VARIANTS``)
is a row trained with one other setting. ``python -m handpose.decisions --preset quick`` trains the variants that are
missing; this module's functions open what is there.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from . import metrics
from .claims import paired_effect
from .experiments import ROWS, find_preset, find_row, row_stages, stage_owner, stage_settings
from .results import Results, obtain, results_folder, stage_folder
from .runs import run_stage


@dataclass(frozen=True)
class Variant:
    """``row`` trained with other settings: ``changes`` in the words of ``find_preset``, "adversarial_weight=0" say.

    ``printed`` is what the paper says, ``ours`` what the presets do, ``name`` what the variant does instead.
    """

    name: str
    changes: str
    question: str
    row: str
    printed: str
    ours: str

    def preset(self, preset):
        """The preset's text with the changes: "quick" gives "quick+adversarial_weight=0"."""
        return f"{preset}+{self.changes}"


_ADVERSARIAL = ("Weight of the adversarial term", "B", "not printed", "0.01")
_KCS = ("Reduction of the KCS loss", "D1", "l1, no reduction", "mean of the 400 entries, weight 0.01")
_GEO = ("Reduction of the GEO loss", "D2", "a double sum", "sum of the 3990 entries, weight 1e-6")
_ALTERNATION = ("Alternation of the two losses", "D3", "alternating", "in turns, step by step")
_VIEW = ("View correction of the picture", "A", "not printed", "picture cropped, not turned")
_MAPPER = ("What the mapper reads of a latent", "D0", "our reading of figure 2b", "a sample, in training")
VARIANTS = (
    Variant("0: no adversarial term", "adversarial_weight=0", *_ADVERSARIAL),
    Variant("0.1", "adversarial_weight=0.1", *_ADVERSARIAL),
    Variant("1", "adversarial_weight=1", *_ADVERSARIAL),
    Variant("weight 0.1 on the mean", "kcs_weight=0.1", *_KCS),
    Variant("sum (weight 4 on the mean)", "kcs_weight=4", *_KCS),
    Variant("mean (weight 2.5e-10 on the sum)", "geo_weight=2.5e-10", *_GEO),
    Variant("weight 1e-4 on the sum", "geo_weight=1e-4", *_GEO),
    Variant("both at every step, q = q' = 1/2", "alternate=false", *_ALTERNATION),
    Variant("picture turned as the pose", "view=homography", *_VIEW),
    Variant("its mean", "mapper_input=mean", *_MAPPER),
)


@dataclass(frozen=True)
class Measure:
    """One way to make a number of stored predictions: ``value(results, row, seed)`` -> float, in ``unit``."""

    question: str
    name: str
    unit: str
    value: Callable


def _auc(**options):
    def value(results, row, seed):
        return metrics.auc(results[row, seed].predicted, results.target, root=results.root_joint, **options)

    return value


def _mepe(root=None):
    return lambda results, row, seed: metrics.mepe(results[row, seed].predicted, results.target, root=root or results.root_joint)


def _visible(results, row, seed):
    return metrics.mepe(results[row, seed].predicted, results.target, results.visible, root=results.root_joint)


def _median(results, row, seed):
    return float(np.median(results.errors(row, seed)))


def mean_scale_mepe(results, row, seed):
    """MEPE (mm) when the hand's scale is not given: each prediction gets the mean scale of the training hands."""
    result = results[row, seed]
    true = np.linalg.norm(results.target[:, 10] - results.target[:, 9], axis=1)  # middle finger, MCP to PIP
    predicted = result.predicted * (result.card["scale_mm"] / true)[:, None, None]
    return metrics.mepe(predicted, results.target, root=results.root_joint)


_MM = "MEPE, mm"
#: Of each question the first is ours.
MEASURES = (
    Measure("Which thresholds for the AUC?", "20-50 mm, trapezoids of 1 mm", "AUC", _auc()),
    Measure("Which thresholds for the AUC?", "20-50 mm, the field's 12 points", "AUC", _auc(protocol="hand3d")),
    Measure("Which thresholds for the AUC?", "0-50 mm, trapezoids of 1 mm", "AUC", _auc(low=0)),
    Measure("Do hidden joints count?", "all joints", _MM, _mepe()),
    Measure("Do hidden joints count?", "visible joints only", _MM, _visible),
    Measure("Mean or median error?", "mean over joints and frames", _MM, _mepe()),
    Measure("Mean or median error?", "median over joints and frames", "median, mm", _median),
    Measure("Is the hand's scale given?", "true scale", _MM, _mepe()),
    Measure("Is the hand's scale given?", "mean scale of the training hands", _MM, mean_scale_mepe),
)
#: Only where the palm is not a joint of its own, as it is in STB.
ROOT_MEASURES = (
    Measure("What are poses centred on?", "midpoint of wrist and middle MCP", _MM, _mepe("palm")),
    Measure("What are poses centred on?", "wrist", _MM, _mepe("wrist")),
)


def measures(results, rows=("baseline", "D3")):
    """``MEASURES`` of the rows, means over their seeds: a DataFrame with a line a measure.

    Columns question, choice, unit, then each row's mean, and its "sd" over the seeds (NaN for one seed); with two rows
    "change", the second against the first in %, mean over the seeds that both have. NaN where a row has not been run.
    """
    lines = []
    for measure in MEASURES + ROOT_MEASURES * (results.root_joint == "palm"):
        values = {row: {seed: measure.value(results, row, seed) for seed in results.seeds(row)} for row in rows}
        line = {"question": measure.question, "choice": measure.name, "unit": measure.unit}
        for row in rows:
            column = np.array(list(values[row].values()))
            line[row] = column.mean() if len(column) else np.nan
            line[f"{row} sd"] = column.std(ddof=1) if len(column) > 1 else np.nan
        if len(rows) == 2:
            first, second = (values[row] for row in rows)
            changes = [100 * (second[seed] / first[seed] - 1) for seed in first if seed in second]
            line["change"] = np.mean(changes) if changes else np.nan
        lines.append(line)
    return pd.DataFrame(lines)


def seed_margin(results, row, seeds=1):
    """How far apart, in mm, two trainings of the last stage of ``row`` come to lie by chance in 95 of 100 cases.

    Rows of the tables with the same last stage, over the seeds that all of them have: what is left of their MEPE when
    each row's mean and each seed's mean is taken away is chance. It gives a standard deviation s, and the margin is t s
    sqrt(2 / seeds), with Student's t for as many degrees of freedom. None with fewer than two such rows or seeds.
    """
    stage = find_row(row).stages[-1]
    alike = [name for name, other in ROWS.items() if other.stages[-1] == stage and stage_owner(stage, name) == name]
    rows = [name for name in alike if results.seeds(name)]
    common = sorted(set.intersection(*(set(results.seeds(name)) for name in rows))) if rows else []
    freedom = (len(rows) - 1) * (len(common) - 1)
    if freedom < 1:
        return None
    return chance_margin([[results.errors(name, seed).mean() for seed in common] for name in rows], seeds)


def chance_margin(values, seeds=1):
    """The margin of ``seed_margin`` from a table of MEPEs (rows, seeds), in its unit; both sides at least 2."""
    values = np.asarray(values, float)
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    deviation = np.sqrt((left**2).sum() / freedom)
    return float(stats.t.ppf(0.975, freedom) * deviation * np.sqrt(2 / seeds))


#: Poses are stored in steps of 0.01 mm.
_RESOLUTION = 0.005


def verdict(mean, low, high, margin):
    """An effect (mm, negative is better) in words. Clear: the interval leaves out 0, and chance alone is not as large.

    ``margin`` as from ``seed_margin``; None says that it isn't known, and so do the words.
    """
    if low <= 0 <= high or abs(mean) <= max(margin or 0, _RESOLUTION):
        return "no clear difference"
    words = f"{'worse' if mean > 0 else 'better'} by {abs(mean):.2f} mm"
    return words if margin is not None else f"{words} on these frames; chance in training not known"


def compare(results, other, variant):
    """One line of ``measured``: the seeds that both ``results`` and ``other``, of the variant, have of its row.

    Raises ValueError when the two hold other frames. None without a common seed.
    """
    seeds = [seed for seed in other.seeds(variant.row) if seed in results.seeds(variant.row)]
    if not seeds:
        return None
    # the homography's crops are others, and its poses went through another rotation: equal to a rounding
    if not np.array_equal(results.frame, other.frame) or np.abs(results.target - other.target).max() > 0.1:
        raise ValueError(f"{results.folder} and {other.folder} hold other frames: they can't be compared")
    ours = [results.errors(variant.row, seed).mean(1) for seed in seeds]
    theirs = [other.errors(variant.row, seed).mean(1) for seed in seeds]
    effect, margin = paired_effect(theirs, ours), seed_margin(results, variant.row, len(seeds))
    return {
        "MEPE ours": np.mean(ours), "MEPE variant": np.mean(theirs),
        "effect": effect.mean, "low": effect.low, "high": effect.high, "margin": np.nan if margin is None else margin,
        "seeds": ", ".join(map(str, seeds)), "verdict": verdict(effect.mean, effect.low, effect.high, margin),
    }  # fmt: skip


_NUMBERS = ("MEPE ours", "MEPE variant", "effect", "low", "high", "margin")
_NOT_RUN = dict.fromkeys(_NUMBERS, np.nan) | {"seeds": "", "verdict": "not run"}


def measured(preset, dataset="synthetic", output_dir="runs", recorded=False):
    """All ``VARIANTS`` against their rows at ``preset``: a DataFrame with a line a variant.

    question, row, printed, ours, variant, setting: texts. "MEPE ours", "MEPE variant", "effect" (variant - ours; negative
    is better), its 95 % interval "low" to "high" over the frames (and seeds, where there are several), "margin" (see
    ``seed_margin``): mm, NaN when not run. "seeds", "verdict": texts, "not run" when there is nothing to compare. Raises
    FileNotFoundError when ``preset`` itself has no results.
    """
    results, lines = Results(results_folder(preset, dataset, output_dir, recorded)), []
    for variant in VARIANTS:
        folder = results_folder(variant.preset(preset), dataset, output_dir, recorded)
        found = compare(results, Results(folder), variant) if (folder / "frames.npz").exists() else None
        texts = {
            "question": variant.question, "row": variant.row, "printed": variant.printed, "ours": variant.ours,
            "variant": variant.name, "setting": variant.changes,
        }  # fmt: skip
        lines.append(texts | (found or _NOT_RUN))
    return pd.DataFrame(lines)


def measures_text(table):
    """``measures`` for readers: numbers as "mean ± sd", questions once."""
    text = pd.DataFrame({"Question": _once(table["question"]), "Choice": table["choice"], "Number": table["unit"]})
    decimals = [3 if unit == "AUC" else 2 for unit in table["unit"]]
    for row in (name[:-3] for name in table if name.endswith(" sd")):
        text[row] = [_number(*numbers) for numbers in zip(table[row], table[f"{row} sd"], decimals)]
    if "change" in table:
        text["change"] = [f"{value:+.1f} %" if np.isfinite(value) else "" for value in table["change"]]
    first = ~table["question"].duplicated()
    text["Choice"] = [f"{choice} (ours)" if ours else choice for choice, ours in zip(text["Choice"], first)]
    return text


def _number(mean, deviation, places):
    if not np.isfinite(mean):
        return "not run"
    return f"{mean:.{places}f}" + (f" ± {deviation:.{places}f}" if np.isfinite(deviation) else "")


def measured_text(table):
    """``measured`` for readers: the effect with its interval in one cell, questions once."""
    ran = np.isfinite(table["effect"])
    effect = [f"{line.effect:+.2f} [{line.low:+.2f}, {line.high:+.2f}]" for line in table.itertuples()]
    effect = [text if run else "" for text, run in zip(effect, ran)]
    margin = [f"{value:.2f}" if np.isfinite(value) else "not known" * run for value, run in zip(table["margin"], ran)]
    return pd.DataFrame(
        {
            "Question": _once(table["question"]), "Row": table["row"], "Ours": _once(table["ours"]), "Instead": table["variant"],
            "Effect (mm) [95 %]": effect, "Chance (mm)": margin, "Seeds": table["seeds"], "Verdict": table["verdict"],
        }
    )  # fmt: skip


def _once(texts):
    return texts.where(texts != texts.shift(), "")


def as_html(table):
    """A table of texts as HTML, escaped, in a box of its own that scrolls where the page is narrow."""
    with pd.option_context("display.max_colwidth", None):
        return f'<div style="overflow-x: auto">{table.to_html(index=False, border=0, justify="left")}</div>'


def forest_plot(table):
    """Effects of ``measured`` with their intervals as a Figure: left of 0 the variant is better; a grey bar is chance."""
    table = table[np.isfinite(table["effect"])].reset_index(drop=True)
    height = 0.36 * len(table) + 1.1
    figure, axes = plt.subplots(figsize=(8, height))
    places, chance = np.arange(len(table)), table["margin"].fillna(0)
    if len(table):
        axes.barh(places, 2 * chance, left=-chance, height=0.7, color="0.88", label="chance in training")
        spread = np.abs(table[["low", "high"]].to_numpy().T - table["effect"].to_numpy())
        axes.errorbar(table["effect"], places, xerr=spread, fmt="o", ms=5, color="#0072B2", capsize=3, label="effect, 95 %")
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1 + 0.34 / (height - 0.8)), ncol=2, frameon=False)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(places, [f"{line.question}:\n{line.variant} (row {line.row})" for line in table.itertuples()], fontsize=7.5)
    axes.invert_yaxis()
    axes.set_xlabel("change of MEPE (mm): left is better than ours, right is worse")
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    return figure


def share_stages(variant, preset="quick", seed=0, **options):
    """Let ``variant`` find the stages that its settings leave as they are under its own preset's name; trains those missing.

    Links beside the trained stages; a stage that the variant changes, and all after it, is left to be trained.
    """
    changed = variant.preset(preset)
    for stage in row_stages(variant.row, preset):
        if stage_settings(stage, variant.row, preset, seed) != stage_settings(stage, variant.row, changed, seed):
            break
        run = run_stage(stage, variant.row, preset=preset, seed=seed, **options)
        link = run.folder.with_name(stage_folder(run.card | {"preset": changed}))
        if not link.exists():
            os.symlink(run.folder.name, link, target_is_directory=True)


def train_variant(variant, preset="quick", seed=0, **options):
    """The ``Result`` of ``variant`` and that of its row, trained where they are missing. ``options`` of ``run_stage``."""
    ours = obtain(variant.row, preset=preset, seed=seed, **options)
    share_stages(variant, preset, seed, **options)
    return obtain(variant.row, preset=variant.preset(preset), seed=seed, **options), ours


def main(arguments=None):
    """Command line: train all variants that are missing, one after another, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m handpose.decisions", description=main.__doc__)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--output-dir", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    options = vars(parser.parse_args(arguments))
    try:
        find_preset(options["preset"])
        for variant in VARIANTS:
            other, ours = train_variant(variant, **options)
            mepe, before = (result.card["metrics"]["mepe"] for result in (other, ours))
            print(f"row {variant.row}, {variant.changes}: {mepe:.2f} mm, ours {before:.2f} mm", flush=True)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
