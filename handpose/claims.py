"""The paper's claims as data, and what the stored results say about each.

A claim holds one row against another. Both are measured frame by frame with the same seeds on the same frames, so
that differences are paired; ``effects.Effect`` has them with their intervals, ``effects.verdict`` turns one into words.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator

from . import analysis, inside, plausibility
from .effects import AT_CHANCE, NOT_KNOWN, Effect, forest_plot, paired_effect, verdict
from .experiments import find_row
from .tables import NOT_RUN, mean_and_spread

# What is measured: functions of (results, row, seed) -> (N,), one value a frame, or (1,) where there is one a seed.


def _error(results, row, seed):
    return results.errors(row, seed).mean(1)


def _interaction(results, row, seed):
    """Table 2 as one difference: the base row stands for the error of injection if it gained what the plain decoder gains."""
    if row == "injection-pose":
        return _error(results, row, seed)
    return _error(results, row, seed) + _error(results, "linear-pose", seed) - _error(results, "linear-concat", seed)


def _bones(results, row, seed):
    return plausibility.bone_length_error(results[row, seed].predicted, results.target)


def _violations(results, row, seed):
    return 100 * plausibility.violations(results[row, seed].predicted, results.left).mean(1)


def moved(results, row, seed, change):
    """How far predictions move when only the ``change`` ("background" or "light") of a picture is another: (M,), mm."""
    arrays = _analysis(results, row, seed, f"pair_{change}")
    return _distance(arrays[f"pair_{change}"], arrays["pair_same"])


def worse(results, row, seed, change):
    """How much larger each frame's error gets when only the ``change`` of the picture is another: (M,), mm."""
    arrays = _analysis(results, row, seed, f"pair_{change}")
    target = results.target[arrays["pair"]]
    return _distance(arrays[f"pair_{change}"], target) - _distance(arrays["pair_same"], target)


def _distance(one, other):
    return np.linalg.norm(one.astype(np.float64) - other, axis=-1).mean(1)


def _analysis(results, row, seed, needed):
    arrays = results[row, seed].analysis
    if needed not in arrays:
        raise FileNotFoundError(f"row {row}, seed {seed} was analysed without {needed}")
    return arrays


def gradient_norms(result):
    """Mean gradient norm of each watched layer, an epoch of the first stage a line: DataFrame (epochs, layers)."""
    norms = [epoch["gradients"] for epoch in result.history if epoch["stage"] == "disentangle" and epoch.get("gradients")]
    if not norms or result.card.get("precision") == "16-mixed":  # older code stored those of float16 as they are scaled
        raise FileNotFoundError(f"{result.folder} holds no gradient norms")
    return pd.DataFrame(norms)


def loss_share(result, term):
    """Share of ``term`` in the sum that the last epoch of a ``Result`` minimised, weighted as it enters it."""
    last = result.history[-1]
    terms = {name: value for name, value in last.items() if isinstance(value, float) and name not in ("seconds", "images_per_second", "mepe")}
    return terms[term] / sum(map(abs, terms.values()))


def _gradient(results, row, seed, layer, over=None):
    logarithms = np.log(gradient_norms(results[row, seed])).mean()  # of the geometric mean over epochs
    return np.array([logarithms[layer] - (logarithms[over] if over else 0)])


BACKBONE, LAYER_1, LAST_LAYER = "backbone, first layer", "decoder layer 1", "decoder layer 4"


#: What a probe reads: "B pose part" is the pose part of row B's latent, "A 64 of 128 latents" as many of row A's.
POSE_PART, CONTEXT_PART, HALF = "pose part", "context part", "64 of 128 latents"


def _probe(results, row, seed, factor):
    """``analysis.Probe`` that reads ``factor`` from a part of the latent; ``row`` is like "B pose part"."""
    row, part = row.split(" ", 1)
    if not len(results.factors):
        raise FileNotFoundError(f"nothing is known of the {factor} of photographs")
    arrays = _analysis(results, row, seed, "latent")
    latent = arrays["latent"][:, : arrays["latent_pose"].shape[1]] if part == HALF else analysis.latent_blocks(arrays)[part]
    columns, kind = analysis.PROBES[factor]
    targets = analysis.probe_targets(results)
    return analysis.probe(latent, np.column_stack([targets[name][: len(latent)] for name in columns]).squeeze(), kind)


def _score(results, row, seed, factor):
    return np.array([_probe(results, row, seed, factor).score])


def _at_chance(results, claim, seeds):
    """Whether neither side of a claim on probes tells more than chance: then there is nothing to compare, in any of ``seeds``."""
    if claim.kind not in PROBED:
        return False
    found = [_probe(results, row, seed, PROBED[claim.kind]) for row in (claim.row, claim.base) for seed in seeds]
    return all(one.low <= one.chance for one in found)


def _gap(results, row, seed):
    """Distance of the means of pictures' and true poses' latents, in spreads: (1,)."""
    return np.array([inside.gap(*inside.clouds(_analysis(results, row, seed, "read_rgb")))])


#: Kinds that are scores of a probe, and the factor of the frames that it reads.
PROBED = {"probe background": "background", "probe light": "light, direction", "probe skin": "skin"}


#: What can be measured: {kind: (function, unit)}. "times" is the logarithm of a ratio.
KINDS = {
    "mepe": (_error, "mm"),
    "interaction": (_interaction, "mm"),
    "bones": (_bones, "mm"),
    "violations": (_violations, "% of joints"),
    "background": (lambda *of: moved(*of, "background"), "mm"),
    "light": (lambda *of: moved(*of, "light"), "mm"),
    "background, error": (lambda *of: worse(*of, "background"), "mm of error"),
    "light, error": (lambda *of: worse(*of, "light"), "mm of error"),
    "gap": (_gap, "spreads"),
    "gradient": (lambda *of: _gradient(*of, BACKBONE), "times"),
    "gradient, layer 1": (lambda *of: _gradient(*of, LAYER_1), "times"),
    "gradient, layer 1 to 4": (lambda *of: _gradient(*of, LAYER_1, LAST_LAYER), "times"),
    **{kind: (lambda *of, factor=factor: _score(*of, factor), "score") for kind, factor in PROBED.items()},
}


def effect(results, row, base, seeds=None, draws=2000, seed=0, kind="mepe"):
    """``Effect`` of ``row`` against ``base`` over ``seeds`` (those that both have been run with), measured as ``kind`` says.

    Raises FileNotFoundError when there is no such seed or one of ``seeds`` is missing.
    """
    measure = KINDS[kind][0]
    wanted = _common_seeds(results, row, base) if seeds is None else seeds
    found = {}
    for number in wanted:
        try:
            found[number] = measure(results, row, number), measure(results, base, number)
        except FileNotFoundError:
            if seeds is not None:
                raise
    if not found:
        raise FileNotFoundError(f"{row} and {base} have not been run with the same seed, or not all of it was kept")
    rows, bases = zip(*found.values())
    return paired_effect(rows, bases, tuple(found), draws, seed)


def measures_table(results, rows, kinds):
    """What ``kinds`` {heading: kind} measure, mean ± standard deviation over seeds: DataFrame of texts, a line a row.

    Rows without a seed that was measured are left out.
    """
    lines = {}
    for row in rows:
        values = {heading: [_mean(results, row, seed, kind) for seed in results.seeds(row)] for heading, kind in kinds.items()}
        values = {heading: [value for value in column if value is not None] for heading, column in values.items()}
        if any(values.values()):
            lines[row] = {heading: mean_and_spread(column, 2) for heading, column in values.items()}
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(kinds)).rename_axis("row")


def _mean(results, row, seed, kind):
    try:
        return float(KINDS[kind][0](results, row, seed).mean())
    except FileNotFoundError:
        return None


def _common_seeds(results, row, base):
    return sorted(set(results.seeds(row.split()[0])) & set(results.seeds(base.split()[0])))


@dataclass(frozen=True)
class Claim:
    """One claim: ``row`` does better than ``base`` in what ``kind`` measures, downwards (-1) or upwards (1).

    ``control``: a row that only trains on for as long as ``row`` does; where it has been run, the verdict is on it.
    """

    name: str
    statement: str
    where: str
    row: str
    base: str
    control: str | None = None
    kind: str = "mepe"
    direction: int = -1

    @property
    def unit(self):
        return KINDS[self.kind][1]


_LATENTS = "sections 3.1.1, 4.3"
_FACTORS = {"background": "background", "light": "light's direction", "skin": "skin"}


def _kept_out(row):
    return [
        Claim(f"{factor}-out-{row}", f"Row {row}'s pose part tells less about the {words} than its context part", _LATENTS,
              f"{row} {POSE_PART}", f"{row} {CONTEXT_PART}", kind=f"probe {factor}") for factor, words in _FACTORS.items()
    ]  # fmt: skip


def _known_less(row, base):
    return [
        Claim(f"{factor}-less-{row}", f"It tells less about the {words} than as many latents of row {base}", _LATENTS,
              f"{row} {POSE_PART}", f"{base} {HALF}", kind=f"probe {factor}") for factor, words in _FACTORS.items()
    ]  # fmt: skip


def _steadier(row, base, what):
    kinds = {"steady": ("predictions move less", ""), "error": ("the error grows less", ", error")}
    return [
        Claim(f"{name}-{factor}-{row}", f"Under another {factor}, {words} with {what}", _LATENTS, row, base, kind=factor + ending)
        for name, (words, ending) in kinds.items() for factor in ("background", "light")
    ]  # fmt: skip


_TABLE_1, _TABLE_2, _REFINE = "section 4.3, Table 1", "section 4.3, Table 2", "section 3.2"
CLAIMS = (
    Claim("injection", "The injection decoder lowers the error", _TABLE_1, "A", "baseline"),
    Claim("disentangle", "Disentanglement lowers it further", _TABLE_1, "B", "A"),
    Claim("align", "Alignment lowers it after disentanglement", _TABLE_1, "D0", "B", "B-longer"),
    Claim("align-alone", "Alignment lowers it without disentanglement", _TABLE_1, "C", "A", "A-longer"),
    Claim("kcs", "The KCS loss lowers it", _TABLE_1, "D1", "D0", "D0-longer"),
    Claim("geo", "The GEO loss lowers it", _TABLE_1, "D2", "D0", "D0-longer"),
    Claim("both", "Both losses together lower it", _TABLE_1, "D3", "D0", "D0-longer"),
    Claim("both-over-kcs", "Both losses are better than KCS alone", _TABLE_1, "D3", "D1"),
    Claim("both-over-geo", "Both losses are better than GEO alone", _TABLE_1, "D3", "D2"),
    Claim("after-injection", "All that follows injection lowers it together", _TABLE_1, "D3", "A", "A-longer"),
    Claim("whole", "The whole method beats the baseline", _TABLE_1, "D3", "baseline", "baseline-longer"),
    Claim("pose-part", "The injection decoder gains from reading the pose part alone", _TABLE_2,
          "injection-pose", "injection-concat"),
    Claim("pose-part-linear", "The linear decoder does not", _TABLE_2, "linear-pose", "linear-concat", direction=1),
    Claim("pose-part-interaction", "The injection decoder gains more from it than the linear one", _TABLE_2,
          "injection-pose", "injection-concat", kind="interaction"),
    Claim("gradient", "With the injection decoder more gradient reaches the backbone's first layer", "section 3.3",
          "A", "baseline", kind="gradient", direction=1),
    Claim("gradient-decoder", "... and the decoder's first layer", "section 3.3",
          "A", "baseline", kind="gradient, layer 1", direction=1),
    Claim("gradient-vanishing", "... and less of it is lost from the decoder's last hidden layer to its first", "section 3.3",
          "A", "baseline", kind="gradient, layer 1 to 4", direction=1),
    Claim("bones-kcs", "The KCS loss brings bones closer to their true lengths", _REFINE, "D1", "D0", "D0-longer", "bones"),
    Claim("bones-geo", "The GEO loss does", _REFINE, "D2", "D0", "D0-longer", "bones"),
    Claim("bones-both", "Both losses do", _REFINE, "D3", "D0", "D0-longer", "bones"),
    Claim("angles-kcs", "With the KCS loss fewer joints bend as no hand can", _REFINE, "D1", "D0", "D0-longer", "violations"),
    Claim("angles-geo", "With the GEO loss fewer do", _REFINE, "D2", "D0", "D0-longer", "violations"),
    Claim("angles-both", "With both losses fewer do", _REFINE, "D3", "D0", "D0-longer", "violations"),
    Claim("bones-whole", "With the whole method bones are closer to their true lengths", _REFINE,
          "D3", "baseline", "baseline-longer", "bones"),
    Claim("angles-whole", "With the whole method fewer joints bend as no hand can", _REFINE,
          "D3", "baseline", "baseline-longer", "violations"),
    Claim("closer-B", "Disentanglement brings pictures' pose latents closer to those of true poses", _LATENTS, "B", "A", kind="gap"),
    Claim("closer-D0", "Alignment brings closer what the decoder reads of the two", "sections 3.1.2, 4.3", "D0", "B", kind="gap"),
    *_kept_out("B"), *_known_less("B", "A"), *_kept_out("D3"),
    *_steadier("B", "A", "disentanglement"), *_steadier("D3", "baseline", "the whole method"),
)  # fmt: skip


def paper_change(claim):
    """Relative change of MEPE that the paper prints for ``claim``, on RHD; None where it prints no figure."""
    if claim.kind not in ("mepe", "interaction"):
        return None
    row, base = find_row(claim.row).paper, find_row(claim.base).paper
    if claim.kind == "interaction":
        base += find_row("linear-pose").paper - find_row("linear-concat").paper
    return row / base - 1


@dataclass(frozen=True)
class Measured:
    """A claim and what was measured: row against base, row against the control; None for what has not been run.

    ``at_chance``: both sides are scores of a probe that tells nothing, so that their difference says nothing either. ``measurable``:
    whether these frames can tell at all: what photographs were made of is not known, and they can't be drawn again.
    """

    claim: Claim
    against_base: Effect | None
    against_control: Effect | None
    at_chance: bool = False
    measurable: bool = True

    @property
    def deciding(self):
        """The effect that the verdict is on: against the control where it was run, since both saw as many images."""
        return self.against_control or self.against_base

    @property
    def paper(self):
        return paper_change(self.claim)

    @property
    def paper_inside(self):
        """Whether the paper's relative change lies in the interval of ours, between the same two rows; None where there is no figure
        or but one seed.
        """
        effect = self.against_base
        if self.paper is None or effect is None or len(effect.seeds) < 2:
            return None
        return bool(effect.low <= self.paper * effect.base <= effect.high)

    @property
    def verdict(self):
        if self.deciding and self.at_chance:
            return AT_CHANCE
        if self.deciding:
            return verdict(self.deciding, self.claim.direction)
        return NOT_RUN if self.measurable else NOT_KNOWN


def measure_claims(results, claims=CLAIMS):
    """``Measured`` for each claim, also for those whose rows are missing."""
    def against(claim, base):
        try:
            return effect(results, claim.row, base, kind=claim.kind) if base else None
        except FileNotFoundError:
            return None

    found = []
    for claim in claims:
        base, control = against(claim, claim.base), against(claim, claim.control)
        known = len(results.factors) or not (claim.kind in PROBED or claim.kind.startswith(("background", "light")))
        found.append(Measured(claim, base, control, base is not None and _at_chance(results, claim, base.seeds), bool(known)))
    return tuple(found)


def error_plot(measured, where):
    """``effects.forest_plot`` of ``Measured`` claims in mm; ``where`` names dataset and preset."""
    interaction = {"interaction": "injection's gain − linear's gain"}
    names = [interaction.get(one.claim.kind, f"{one.claim.row} − {one.claim.base}") for one in measured]
    lines = [(name, one.claim.direction, one.against_base, one.against_control) for name, one in zip(names, measured)]
    return forest_plot(lines, f"difference in MEPE (mm), {where}", ("against the base row", "against the control"))


def gradient_plot(norms):
    """Gradient norm of each layer, a line an epoch: ``norms`` is {row: list of ``gradient_norms``, one a seed}."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for (row, seeds), colour, mark in zip(norms.items(), ("#D55E00", "#0072B2"), ("s", "o")):
        epochs = np.exp(np.mean([np.log(one) for one in seeds], axis=0))  # (epochs, layers)
        for number, line in enumerate(epochs, 1):
            style = dict(lw=2, label=row) if number == len(epochs) else dict(lw=1, alpha=0.15 + 0.45 * number / len(epochs))
            axes.plot(line, mark + "-", color=colour, ms=4, **style)
    layers = next(iter(norms.values()))[0].columns
    axes.set_xticks(range(len(layers)), [name.replace(", ", ",\n") for name in layers], fontsize=8)
    axes.set(yscale="log", ylabel="gradient norm, mean over seeds")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    axes.legend(title="last epoch strong, earlier faint", title_fontsize=8, fontsize=8)
    return figure


_BLOCKS = {"all 128": "#CC79A7", "pose part": "#0072B2", "context part": "#E69F00", "true pose": "#999999"}


def probe_plot(tables):
    """Probe scores as bars, means over seeds, a panel a row: {row: list of ``analysis.probe_table``, one a seed}."""
    size = (1.2 + 2.7 * len(tables), 4.6)
    figure, panels = plt.subplots(1, len(tables), figsize=size, sharey=True, squeeze=False, layout="constrained")
    handles = {}
    for (row, seeds), axes in zip(tables.items(), panels[0]):
        blocks = [block for block in _BLOCKS if block in seeds[0].columns.get_level_values(0)]
        places, height = np.arange(len(seeds[0])), 0.8 / len(blocks)
        for number, block in enumerate(blocks):
            y = places + height * (number + 0.5) - 0.4
            score, low, high = (np.mean([table[block, key] for table in seeds], axis=0) for key in ("score", "low", "high"))
            handles[block] = axes.barh(y, score, height, color=_BLOCKS[block])
            axes.hlines(y, low, high, color="black", lw=0.7)
        axes.vlines(seeds[0]["", "chance"], places - 0.45, places + 0.45, color="black", lw=1.6)
        axes.set_yticks(places, [f"{name}\n({measure})" for name, measure in seeds[0]["", "measure"].items()], fontsize=8)
        axes.set(title=f"row {row}", xlim=(-0.25, 1), xlabel="score", ylim=(len(places) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.3)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure
