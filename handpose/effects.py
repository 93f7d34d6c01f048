"""Differences between two rows, with their intervals, and what they say in words. Pure functions of arrays."""

from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import stdtrit

_LEVEL = (2.5, 97.5)
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided at this scale"
ONE_SEED, AT_CHANCE, NOT_KNOWN = "undecided (one seed)", "undecided (both at chance)", "not known of these frames"


@dataclass(frozen=True)
class Effect:
    """Paired difference, row minus base, in the unit of what was measured (MEPE: mm).

    mean: over seeds and frames; relative: mean / the base's own mean, ``base``; per_seed: one difference a seed. Intervals of
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
    base: float = float("nan")

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
        raise ValueError(f"row and base must both be lists of arrays (N,), one a seed, got {row.shape} and {base.shape}")
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
        t_interval(per_seed), tuple(map(float, per_seed)), seeds, float(base.mean()),
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
    half = stdtrit(count - 1, _LEVEL[1] / 100) * np.std(per_seed, ddof=1) / np.sqrt(count)
    return float(np.mean(per_seed) - half), float(np.mean(per_seed) + half)


def verdict(effect, direction=-1):
    """What ``effect`` says of a claim that it is negative (``direction`` -1) or positive (1), in words.

    "supported": two seeds at least, all of them agree in sign, and the whole interval from ``effect.low`` to
    ``effect.high`` lies on the claimed side. "not supported": the same on the other side. Else "undecided at this
    scale". The interval holds both the bootstrap and Student's t over the seeds: a bootstrap can only draw the seeds
    that were run, and of three seeds it finds an effect where there is none about one time in four.
    """
    if len(effect.seeds) < 2:
        return ONE_SEED
    for sign, word in ((direction, SUPPORTED), (-direction, NOT_SUPPORTED)):
        ends = sign * np.array([effect.low, effect.high, *effect.per_seed])
        if (ends > 0).all():
            return word
    return UNDECIDED


def forest_plot(lines, xlabel, names):
    """Effects with their intervals: ``lines`` of (label, direction, ``Effect``, a second one or None), ``names`` of the two.

    The claimed side of each line is shaded. Thick: the bootstrap; thin: the interval that verdicts are read from, cut off
    where it is wider than the figure.
    """
    figure, axes = plt.subplots(figsize=(8, 0.48 * len(lines) + 1.3), layout="constrained")
    ends = [abs(end) for _, _, *effects in lines for effect in effects if effect for end in effect.bootstrap]
    reach = 1.15 * max(ends, default=1.0)
    marks, colours = ("o", "D"), ("#0072B2", "#D55E00")
    for place, (_, direction, *effects) in enumerate(lines):
        axes.fill_betweenx([place - 0.42, place + 0.42], 0, reach * direction, color="#009E73", alpha=0.09, lw=0)
        shift = 0.13 if all(effects) else 0.0
        for effect, mark, colour, y in zip(effects, marks, colours, (place - shift, place + shift)):
            if effect:
                axes.plot([effect.low, effect.high], [y, y], color=colour, lw=1)
                axes.plot(effect.bootstrap, [y, y], color=colour, lw=3.5, alpha=0.5, solid_capstyle="butt")
                axes.plot(effect.mean, y, mark, color=colour, ms=5)
    for name, mark, colour in zip(names, marks, colours):
        axes.plot([], [], mark, color=colour, label=name)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(lines)), [line[0] for line in lines], fontsize=8)
    axes.set(xlabel=xlabel, xlim=(-reach, reach), ylim=(len(lines) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure
