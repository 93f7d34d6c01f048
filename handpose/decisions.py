"""What the choices change: open points of the paper (book/decisions.md), measured.

Two kinds. A measure (``MEASURES``) reads the predictions that are stored anyway in another way. A variant (``VARIANTS``)
is a row trained with one other setting. ``python -m handpose.decisions --preset quick`` trains the variants that are
missing; this module's functions open what is there.
"""

import argparse
import html
import sys
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import stdtrit

from . import metrics
from .alike import trains_alike
from .effects import paired_effect
from .experiments import ROWS, find_row, stage_owner
from .results import Results, obtain, results_folder


@dataclass(frozen=True)
class Variant:
    """``row`` trained with other settings: ``changes`` in the words of ``find_preset``, "adversarial_weight=0" say.

    ``printed`` is what the paper says, ``ours`` what the presets do, ``name`` what the variant does instead. ``chance``: the row
    whose ``seed_margin`` holds, where not the last stage of ``row`` alone is trained anew.
    """

    name: str
    changes: str
    question: str
    row: str
    printed: str
    ours: str
    chance: str = ""

    def preset(self, preset):
        """The preset's text with the changes: "quick" gives "quick+adversarial_weight=0"."""
        return f"{preset}+{self.changes}"


_ADVERSARIAL = ("Weight of the adversarial term", "B", "not printed", "0.01")
_KCS = ("Reduction and weight of the KCS loss", "D1", "l1, no reduction", "mean of the 400 entries, weight 0.01")
_GEO = ("Reduction and weight of the GEO loss", "D2", "a double sum", "sum of the 3990 entries, weight 1e-6")
_ALTERNATION = ("Alternation of the two losses", "D3", "alternating", "in turns, step by step")
_VIEW = ("View correction of the picture", "A", "not printed", "picture cropped, not turned")
_MAPPER = ("What the mapper reads of a latent", "D0", "our reading of figure 2b", "a sample, in training")
_RATE = ("Learning rate of the discriminator", "B", "1e-4 in all stages", "a fifth of the others'")
_BATCHES = ("What normalises the shared decoder in stage 2", "D0", "not printed", "each latent's own batch")
_START = ("Variance of a mapper before training", "D0", "not printed", "0.0001")
_THREE = ("The last three together", "D3", "as above", "as above", "D0")
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
    Variant("the same as the others'", "discriminator_rate=1", *_RATE),
    Variant("one batch of both latents", "alignment_batches=joint", *_BATCHES),
    Variant("0.0067, as encoders start", "mapper_variance=0.0067", *_START),
    Variant("all three the other way", "discriminator_rate=1+alignment_batches=joint+mapper_variance=0.0067", *_THREE),
)


@dataclass(frozen=True)
class Measure:
    """One way to make a number of stored predictions: ``value(results, row, seed)`` -> float, in ``unit``."""

    question: str
    name: str
    unit: str
    value: Callable


def _auc(**options):
    return lambda results, row, seed: metrics.auc(*_pair(results, row, seed), root=results.root_joint, **options)


def _mepe(root=None):
    return lambda results, row, seed: metrics.mepe(*_pair(results, row, seed), root=root or results.root_joint)


def _visible(results, row, seed):
    return metrics.mepe(*_pair(results, row, seed), results.visible, root=results.root_joint)


def _pair(results, row, seed):
    return results[row, seed].predicted, results.target


def _median(results, row, seed):
    return float(np.median(results.errors(row, seed)))


def mean_scale_mepe(results, row, seed):
    """MEPE (mm) when the hand's scale is not given: each prediction gets the mean scale of the training hands."""
    predicted, scale = results[row, seed].predicted, results[row, seed].card["scale_mm"]
    true = np.linalg.norm(results.target[:, 10] - results.target[:, 9], axis=1)  # middle finger, MCP to PIP
    return metrics.mepe(predicted * (scale / true)[:, None, None], results.target, root=results.root_joint)


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


def measures(results, rows=("baseline", "baseline-longer", "D3")):
    """``MEASURES`` of the rows, means over their seeds: a DataFrame with a line a measure.

    Columns question, choice, unit, then each row's mean, and its "sd" over the seeds (NaN for one seed); for each row but the last
    "against" it the last one's change in %, mean over the seeds that both have. NaN where a row has not been run.
    """
    lines = []
    for measure in MEASURES + ROOT_MEASURES * (results.root_joint == "palm"):
        values = {row: {seed: measure.value(results, row, seed) for seed in results.seeds(row)} for row in rows}
        line = {"question": measure.question, "choice": measure.name, "unit": measure.unit}
        for row in rows:
            column = np.array([*values[row].values()])
            line[row] = column.mean() if len(column) else np.nan
            line[f"{row} sd"] = column.std(ddof=1) if len(column) > 1 else np.nan
        last = values[rows[-1]]
        for row in rows[:-1]:
            changes = [100 * (last[seed] / value - 1) for seed, value in values[row].items() if seed in last and value]
            line[f"against {row}"] = np.mean(changes) if changes else np.nan
        lines.append(line)
    return pd.DataFrame(lines)


def seed_margin(results, row, seeds=1):
    """How far apart, in mm, two trainings of the last stage of ``row`` come to lie by chance in 95 of 100 cases.

    Rows of the tables with the same last stage and two seeds at least, over the seeds that all of them have: what is left
    of their MEPE when each row's mean and each seed's mean is taken away is chance. It gives a standard deviation s, and
    the margin is t s sqrt(2 / seeds), with Student's t for as many degrees of freedom. None with fewer than two such rows
    or seeds.
    """
    stage = find_row(row).stages[-1]
    alike = [name for name, other in ROWS.items() if other.stages[-1] == stage and stage_owner(stage, name) == name]
    rows = [name for name in alike if len(results.seeds(name)) > 1]
    common = sorted(set.intersection(*(set(results.seeds(name)) for name in rows))) if rows else []
    if min(len(rows), len(common)) < 2:
        return None
    return chance_margin([[results.errors(name, seed).mean() for seed in common] for name in rows], seeds)


def chance_margin(values, seeds=1):
    """The margin of ``seed_margin`` from a table of MEPEs (rows, seeds), in its unit; both sides at least 2."""
    values = np.asarray(values, float)
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
    deviation = np.sqrt((left**2).sum() / freedom)
    return float(stdtrit(freedom, 0.975) * deviation * np.sqrt(2 / seeds))


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


def _alike(row, one, other):
    return trains_alike(one, other, row) or trains_alike(other, one, row)


def compare(results, other, variant):
    """One line of ``measured``: the seeds that both ``results`` and ``other``, of the variant, have of its row.

    Raises ValueError when the two hold other frames. None without a common seed that the same code has trained, or code alike.
    """
    row = variant.row
    seeds = [seed for seed in other.seeds(row) if seed in results.seeds(row)]
    seeds = [seed for seed in seeds if _alike(row, *(have[row, seed].card["training_code"] for have in (results, other)))]
    if not seeds:
        return None
    if not np.array_equal(results.frame, other.frame) or np.abs(results.target - other.target).max() > 0.1:
        raise ValueError(f"{results.folder} and {other.folder} hold other frames: they can't be compared")
    ours, theirs = ([have.errors(row, seed).mean(1) for seed in seeds] for have in (results, other))
    effect, margin = paired_effect(theirs, ours), seed_margin(results, variant.chance or row, len(seeds))
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
        found = compare(results, Results(folder), variant) if folder.exists() else None
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
    for row in (name.removesuffix(" sd") for name in table if name.endswith(" sd")):
        text[row] = [_number(*numbers) for numbers in zip(table[row], table[f"{row} sd"], decimals)]
    for column in (name for name in table if name.startswith("against ")):
        text[column.capitalize()] = [f"{value:+.1f} %" if np.isfinite(value) else "" for value in table[column]]
    first = ~table["question"].duplicated()
    text["Choice"] = [f"{choice} (ours)" if ours else choice for choice, ours in zip(text["Choice"], first)]
    return text


def _number(mean, deviation, places):
    if not np.isfinite(mean):
        return "not run"
    return f"{mean:.{places}f}" + (f" ±\u00a0{deviation:.{places}f}" if np.isfinite(deviation) else "")


def measured_text(table):
    """``measured`` for readers: the effect with its interval in one cell, questions once."""
    ran = np.isfinite(table["effect"])
    # with a blank that does not break inside the interval
    effect = [f"{_signed(line.effect)} [{_signed(line.low)},\u00a0{_signed(line.high)}]" for line in table.itertuples()]
    effect = [text if run else "" for text, run in zip(effect, ran)]
    margin = [f"{value:.2f}" if np.isfinite(value) else "not known" * run for value, run in zip(table["margin"], ran)]
    return pd.DataFrame(
        {
            "Question": _once(table["question"]), "Row": table["row"], "Ours": _once(table["ours"]), "Instead": table["variant"],
            "Effect (mm) [95 %]": effect, "Chance (mm)": margin, "Seeds": [seeds_text(text) for text in table["seeds"]], "Verdict": table["verdict"],
        }
    )  # fmt: skip


def seeds_text(text):
    """"seed 0", "seeds 0, 1": a number alone would be read as how many."""
    return f"seed{'s' * (',' in text)} {text}" if text else ""


def _signed(value):
    return f"{round(value, 2):+.2f}" if abs(value) >= _RESOLUTION else "0.00"


def _once(texts):
    return texts.where(texts != texts.shift(), "")


def as_html(table, caption=""):
    """A table of texts as HTML, escaped, in a box of its own that scrolls where the page is narrow."""
    with pd.option_context("display.max_colwidth", None):
        text = table.to_html(index=False, border=0, justify="left")
    if caption:
        text = text.replace("<thead>", f"<caption>{html.escape(caption)}</caption><thead>", 1)
    return f'<div class="texts-table" style="overflow-x: auto">{text}</div>'


def forest_plot(table):
    """Effects of ``measured`` with their intervals as a Figure: left of 0 the variant is better; a grey bar is chance.

    Beyond 1 mm the axis is logarithmic where an effect or its interval goes further than 5 mm.
    """
    table = table[np.isfinite(table["effect"])].reset_index(drop=True)
    height = 0.36 * len(table) + 1.1
    figure, axes = plt.subplots(figsize=(8, height))
    places, chance = np.arange(len(table)), table["margin"].fillna(0)
    if len(table):
        axes.barh(places, 2 * chance, left=-chance, height=0.7, color="0.88", label="chance in training")
        spread = np.abs(table[["low", "high"]].to_numpy().T - table["effect"].to_numpy())
        axes.errorbar(table["effect"], places, xerr=spread, fmt="o", ms=5, color="#0072B2", capsize=3, label="effect, 95 %")
        reach = 1.15 * max(np.abs(table[["low", "high"]].to_numpy()).max(), _RESOLUTION)
        if reach > 5:
            axes.set_xscale("symlog", linthresh=1)
            ticks = [sign * tick for sign in (-1, 1) for tick in (0.5, 1, 2, 5, 10, 20, 50) if tick <= reach]
            axes.set_xticks([0, *ticks], [f"{tick:g}" for tick in [0, *ticks]])
            axes.minorticks_off()
        axes.set_xlim(-reach, reach)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1 + 0.34 / (height - 0.8)), ncol=2, frameon=False)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(places, [f"{line.question}:\n{line.variant} (row {line.row})" for line in table.itertuples()], fontsize=7.5)
    axes.invert_yaxis()
    unit = "mm, logarithmic beyond 1" if axes.get_xscale() == "symlog" else "mm"
    axes.set_xlabel(f"change of MEPE ({unit}): left is better than ours, right is worse")
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    return figure


def train_variant(variant, preset="quick", seed=0, **options):
    """The ``Result`` of ``variant`` and that of its row, trained where they are missing. ``options`` of ``run_stages``."""
    ours = obtain(variant.row, preset=preset, seed=seed, **options)
    return obtain(variant.row, preset=variant.preset(preset), seed=seed, **options), ours


def main(arguments=None):
    """Command line: train all variants that are missing, one after another, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m handpose.decisions", description=main.__doc__)
    texts = {"preset": "quick", "dataset": "synthetic", "data-root": None, "output-dir": "runs", "device": "auto"}
    for name, default in texts.items():
        parser.add_argument(f"--{name}", default=default)
    for name, default in {"seed": 0, "threads": 1}.items():  # type: ignore[assignment]
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args(arguments))
    try:
        for variant in VARIANTS:
            other, ours = train_variant(variant, **options)
            mepe, before = (result.card["metrics"]["mepe"] for result in (other, ours))
            print(f"row {variant.row}, {variant.changes}: {mepe:.2f} mm, ours {before:.2f} mm", flush=True)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
