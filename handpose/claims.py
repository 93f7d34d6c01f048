"""The paper's claims as data, and what the stored results say about each.

A claim holds one row against another. Both are measured frame by frame with the same seeds on the same frames, so
that differences are paired; ``Effect`` has them with their intervals, ``verdict`` turns an effect into words.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from . import analysis, plausibility
from .experiments import find_row

_LEVEL = (2.5, 97.5)
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided at this scale"
ONE_SEED, NOT_RUN = "undecided (one seed)", "not run"


@dataclass(frozen=True)
class Effect:
    """Paired difference, row minus base, in the unit of what was measured (MEPE: mm).

    mean: over seeds and frames; relative: mean / the base's own mean; per_seed: one difference a seed. Intervals of
    95 %: bootstrap over seeds and frames, frames_only with these very seeds, over_seeds by Student's t from per_seed
    alone (NaN with one seed).
    """

    mean: float
    relative: float
    bootstrap: tuple
    frames_only: tuple
    over_seeds: tuple
    per_seed: tuple
    seeds: tuple

    @property
    def low(self):
        """Lower end of the interval that verdicts are read from: the lower one of ``bootstrap`` and ``over_seeds``."""
        return float(np.fmin(self.bootstrap[0], self.over_seeds[0]))

    @property
    def high(self):
        """Upper end of the interval that verdicts are read from: the higher one of ``bootstrap`` and ``over_seeds``."""
        return float(np.fmax(self.bootstrap[1], self.over_seeds[1]))


def paired_effect(row, base, seeds=None, draws=2000, seed=0):
    """``Effect`` of two lists of arrays (N,), one a seed: what row and base measured on the same N frames.

    The bootstrap draws seeds with replacement, then frames with replacement, the same frames for all drawn seeds.
    Raises ValueError for shapes that differ, no seed and no frame.
    """
    row, base = (np.asarray(list(values), np.float64) for values in (row, base))
    if row.shape != base.shape or row.ndim != 2 or row.size == 0:
        raise ValueError(f"row and base must both be a list of arrays (N,), one a seed; got shapes {row.shape} and {base.shape}")
    seeds = tuple(range(len(row))) if seeds is None else tuple(seeds)
    if len(seeds) != len(row):
        raise ValueError(f"{len(row)} arrays for {len(seeds)} seeds")
    difference = row - base  # (S, N)
    per_seed = difference.mean(1)
    frame_draws, seed_draws = _draws(difference.shape[1], draws, seed), _draws(len(row), draws, seed + 1)
    by_seed = frame_draws @ difference.T  # (draws, S): each seed's difference on the drawn frames
    mean, relative = float(per_seed.mean()), float(per_seed.mean() / base.mean()) if base.mean() else float("nan")
    return Effect(
        mean, relative, _interval((by_seed * seed_draws).sum(1)), _interval(by_seed.mean(1)),
        t_interval(per_seed), tuple(map(float, per_seed)), seeds,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _draws(count, draws, seed):
    """``draws`` bootstrap samples of ``count`` things as weights that sum to 1: (draws, count)."""
    drawn = np.random.default_rng(seed).integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count) / count


def _interval(values):
    return tuple(map(float, np.percentile(values, _LEVEL)))


def t_interval(per_seed):
    """95 % interval of the mean of ``per_seed`` (S,) by Student's t; (NaN, NaN) with one seed."""
    count = len(per_seed)
    if count < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf(_LEVEL[1] / 100, count - 1) * np.std(per_seed, ddof=1) / np.sqrt(count)
    return float(np.mean(per_seed) - half), float(np.mean(per_seed) + half)


def verdict(effect, direction=-1):
    """What ``effect`` says of a claim that it is negative (``direction`` -1) or positive (1), in words.

    "supported": two seeds at least, all of them agree in sign, and the whole interval from ``effect.low`` to
    ``effect.high`` lies on the claimed side. "not supported": the same on the other side. Else "undecided at this
    scale". The interval holds both the bootstrap and Student's t over the seeds: a bootstrap can only draw the seeds
    that were run, and of three seeds it finds an effect where there is none about one time in four.
    """
    if effect is None:
        return NOT_RUN
    if len(effect.seeds) < 2:
        return ONE_SEED
    for sign, word in ((direction, SUPPORTED), (-direction, NOT_SUPPORTED)):
        ends = sign * np.array([effect.low, effect.high, *effect.per_seed])
        if (ends > 0).all():
            return word
    return UNDECIDED


# What is measured: functions of (results, row, seed) -> (N,), one value a frame, or (1,) where there is one a seed.


def _error(results, row, seed):
    return results.errors(row, seed).mean(1)


def _interaction(results, row, seed):
    """The paper's Table 2 as one difference: what the injection decoder's error would be if it gained as the plain one does."""
    if row == "injection-pose":
        return _error(results, row, seed)
    return sum(sign * _error(results, name, seed) for sign, name in ((1, "injection-concat"), (1, "linear-pose"), (-1, "linear-concat")))


def _bones(results, row, seed):
    return plausibility.bone_length_error(results[row, seed].predicted, results.target)


def _violations(results, row, seed):
    return 100 * plausibility.violations(results[row, seed].predicted, left_hands(results)).mean(1)


def left_hands(results):
    """Which frames show a left hand: bool (N,). Raises FileNotFoundError for photographs, where it was not kept."""
    if "hand" not in results.factors:
        raise FileNotFoundError(f"{results.folder} does not say which hands are left")
    return results.factors["hand"].to_numpy() == "left"


def moved(results, row, seed, change):
    """How far predictions move when only the ``change`` ("background" or "light") of a picture is another: (M,), mm."""
    arrays = _analysis(results, row, seed, f"pair_{change}")
    shift = arrays[f"pair_{change}"].astype(np.float64) - arrays["pair_same"]
    return np.linalg.norm(shift, axis=-1).mean(1)


def _analysis(results, row, seed, needed):
    arrays = results[row, seed].analysis
    if needed not in arrays:
        raise FileNotFoundError(f"row {row}, seed {seed} was analysed without {needed}")
    return arrays


def gradient_norms(result):
    """Mean gradient norm of each watched layer, an epoch of the first stage a line: DataFrame (epochs, layers)."""
    norms = [epoch["gradients"] for epoch in result.history if epoch["stage"] == "disentangle" and epoch.get("gradients")]
    if not norms:
        raise FileNotFoundError(f"{result.folder} holds no gradient norms")
    return pd.DataFrame(norms)


def _gradient(results, row, seed, layer, over=None):
    logarithms = np.log(gradient_norms(results[row, seed])).mean()  # of the geometric mean over epochs
    return np.array([logarithms[layer] - (logarithms[over] if over else 0)])


BACKBONE, LAYER_1, LAST_LAYER = "backbone, first layer", "decoder layer 1", "decoder layer 4"


def _probe(results, row, seed, factor):
    """Score of the linear probe that reads ``factor`` from one part of the latent; ``row`` is "B pose" or "B context"."""
    row, part = row.split()
    if not len(results.factors):
        raise FileNotFoundError(f"nothing is known of the {factor} of photographs")
    latent = analysis.latent_blocks(_analysis(results, row, seed, "latent"))[f"{part} part"]
    columns, kind = analysis.PROBES[factor]
    targets = analysis.probe_targets(results)
    return np.array([analysis.probe(latent, np.column_stack([targets[name] for name in columns]).squeeze(), kind).score])


#: What can be measured: {kind: (function, unit)}. "times" is the logarithm of a ratio.
KINDS = {
    "mepe": (_error, "mm"),
    "interaction": (_interaction, "mm"),
    "bones": (_bones, "mm"),
    "violations": (_violations, "% of joints"),
    "background": (lambda *of: moved(*of, "background"), "mm"),
    "light": (lambda *of: moved(*of, "light"), "mm"),
    "gradient": (lambda *of: _gradient(*of, BACKBONE), "times"),
    "gradient, layer 1": (lambda *of: _gradient(*of, LAYER_1), "times"),
    "gradient, layer 1 to 4": (lambda *of: _gradient(*of, LAYER_1, LAST_LAYER), "times"),
    "probe background": (lambda *of: _probe(*of, "background"), "score"),
    "probe light": (lambda *of: _probe(*of, "light, direction"), "score"),
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


def _kept_out(row):
    return [
        Claim(f"{factor}-out-{row}", f"The pose part of row {row}'s latent tells less about the {factor} than the context part", "section 3.1.1",
              f"{row} pose", f"{row} context", kind=f"probe {factor}") for factor in ("background", "light")
    ]  # fmt: skip


def _steadier(row, base, what):
    return [
        Claim(f"steady-{factor}-{row}", f"Under another {factor}, predictions move less with {what}", "sections 3.1.1, 4.3",
              row, base, kind=factor) for factor in ("background", "light")
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
    Claim("whole", "The whole method beats the baseline", _TABLE_1, "D3", "baseline"),
    Claim("pose-part", "The injection decoder gains from reading the pose part alone", _TABLE_2, "injection-pose", "injection-concat"),
    Claim("pose-part-linear", "The linear decoder does not", _TABLE_2, "linear-pose", "linear-concat", direction=1),
    Claim("pose-part-interaction", "The injection decoder gains more from it than the linear one", _TABLE_2,
          "injection-pose", "injection-concat", kind="interaction"),
    Claim("gradient", "With the injection decoder more gradient reaches the backbone's first layer", "section 3.3", "A", "baseline",
          kind="gradient", direction=1),
    Claim("gradient-decoder", "... and the decoder's first layer", "section 3.3", "A", "baseline", kind="gradient, layer 1", direction=1),
    Claim("gradient-vanishing", "... and less of it is lost from the decoder's last hidden layer to its first", "section 3.3",
          "A", "baseline", kind="gradient, layer 1 to 4", direction=1),
    Claim("bones-kcs", "The KCS loss brings bones closer to their true lengths", _REFINE, "D1", "D0", "D0-longer", "bones"),
    Claim("bones-geo", "The GEO loss does", _REFINE, "D2", "D0", "D0-longer", "bones"),
    Claim("bones-both", "Both losses do", _REFINE, "D3", "D0", "D0-longer", "bones"),
    Claim("angles-kcs", "With the KCS loss fewer joints bend as no hand can", _REFINE, "D1", "D0", "D0-longer", "violations"),
    Claim("angles-geo", "With the GEO loss fewer do", _REFINE, "D2", "D0", "D0-longer", "violations"),
    Claim("angles-both", "With both losses fewer do", _REFINE, "D3", "D0", "D0-longer", "violations"),
    *_kept_out("B"), *_kept_out("D3"), *_steadier("B", "A", "disentanglement"), *_steadier("D3", "baseline", "the whole method"),
)  # fmt: skip


def paper_change(claim):
    """Relative change of MEPE that the paper prints for ``claim``, on RHD; None where it prints no figure."""
    if claim.kind not in ("mepe", "interaction"):
        return None
    row, base = find_row(claim.row).paper, find_row(claim.base).paper
    if claim.kind == "interaction":
        row -= find_row("linear-pose").paper - find_row("linear-concat").paper
    return row / base - 1


@dataclass(frozen=True)
class Measured:
    """A claim and what was measured: row against base, row against the control; None for what has not been run."""

    claim: Claim
    against_base: Effect | None
    against_control: Effect | None

    @property
    def deciding(self):
        """The effect that the verdict is on: against the control where it was run, since both saw as many images."""
        return self.against_control or self.against_base

    @property
    def verdict(self):
        return verdict(self.deciding, self.claim.direction)


def measure_claims(results, claims=CLAIMS):
    """``Measured`` for each claim, also for those whose rows are missing."""
    return tuple(
        Measured(claim, _effect_or_none(results, claim, claim.base), claim.control and _effect_or_none(results, claim, claim.control))
        for claim in claims
    )  # fmt: skip


def _effect_or_none(results, claim, base):
    try:
        return effect(results, claim.row, base, kind=claim.kind)
    except FileNotFoundError:
        return None


def amount(effect, unit):
    """The mean of an effect in words, with its unit: "-0.62 mm (-2.9 %)", "times 0.45", "-0.31"."""
    if effect is None:
        return NOT_RUN
    share = f" ({100 * effect.relative:+.1f} %)" if unit == "mm" else ""
    return {"times": f"times {np.exp(effect.mean):.2f}", "score": f"{effect.mean:+.2f}"}.get(unit, f"{effect.mean:+.2f} {unit}{share}")


def interval(effect, unit):
    """The interval that the verdict is read from, in words; says when it stands on one seed."""
    if effect is None:
        return ""
    low, high = (np.exp(effect.low), np.exp(effect.high)) if unit == "times" else (effect.low, effect.high)
    if len(effect.seeds) < 2 and effect.frames_only[0] == effect.frames_only[1]:
        return "none with one seed"
    text = f"{low:.2f} to {high:.2f}" if unit == "times" else f"{low:+.2f} to {high:+.2f}"
    return text + (" (one seed)" if len(effect.seeds) < 2 else "")


def claims_table(results, claims=CLAIMS):
    """All claims, what was measured and the verdict: DataFrame, a line a claim, indexed by ``Claim.name``.

    Columns: claim, where, compared, effect, 95 % interval, control, effect against control, its interval, paper's
    change (MEPE on RHD), seeds, verdict: all text.
    """
    return as_table(measure_claims(results, claims))


def as_table(measured):
    """``Measured`` claims as the table that ``claims_table`` describes."""
    lines = {}
    for one in measured:
        claim, unit, paper = one.claim, one.claim.unit, paper_change(one.claim)
        lines[claim.name] = {
            "claim": claim.statement,
            "where": claim.where,
            "compared": f"{claim.row} against {claim.base}",
            "effect": amount(one.against_base, unit),
            "95 % interval": interval(one.against_base, unit),
            "control": claim.control or "",
            "effect against control": amount(one.against_control, unit) if claim.control else "",
            "its 95 % interval": interval(one.against_control, unit),
            "paper, RHD": "" if paper is None else f"{100 * paper:+.1f} %",
            "seeds": ", ".join(map(str, one.deciding.seeds)) if one.deciding else "",
            "verdict": one.verdict,
        }
    return pd.DataFrame.from_dict(lines, orient="index")
