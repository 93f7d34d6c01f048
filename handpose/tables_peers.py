"""Table 3: the seven methods beside the paper's own, how the published figures were measured, and what each costs."""

import numpy as np
import pandas as pd

from . import peers
from .cost import cost_of, training_speeds
from .effects import NOT_SUPPORTED, SUPPORTED, paired_effect, verdict
from .experiments import PEERS, TABLE_3, find_preset
from .geometry import crop_box
from .metrics import root_of
from .runs import measure
from .tables import METHODS, NOT_RUN, PAPER, PAPER_STB, PROTOCOLS, mean_and_spread, run_name, seeds_of


def comparison_table(results, seeds=None, protocols=False):
    """Table 3: MEPE and AUC of other methods on RHD and STB as the paper quotes them, and ours on this run's data.

    DataFrame of texts, indexed by method; our column is named as in ``ablation_table``. Methods that have not been trained
    are "not run" there: figures measured on other data don't stand in for it. ``protocols``: also how the quoted figures
    were measured, as far as is known, and whether they can be held against the paper's.
    """
    found = {METHODS[method]: seeds_of(results, METHODS[method], seeds) for method in TABLE_3}
    ours, lines = run_name(results, found), []
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
            | ({(PROTOCOLS, "measured how"): line.protocol, (PROTOCOLS, "comparable with its own?"): line.comparable} if protocols else {})
        )  # fmt: skip
    table = pd.DataFrame(lines).set_index("method")
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def runs_table(runs):
    """MEPE of every method of Table 3, of the baseline and of the baseline trained as long, in several runs: (DataFrame of texts,
    indexed by method; {run: its best}).

    ``runs``: {name: ``Results``}. Each run has a column, under its name and its numbers of frames and pixels.
    """
    rows = METHODS | {"baseline": "baseline", "baseline, trained as long": "baseline-longer"}
    columns, best = {}, {}
    for name, results in runs.items():
        means = {method: [results.errors(row, seed).mean() for seed in results.seeds(row)] for method, row in rows.items()}
        card = next(results[row, seed].card for row in rows.values() for seed in results.seeds(row))
        size = f"{card['frames']['training']} frames, {card['settings']['size']} px"
        columns[name, size] = {method: mean_and_spread(found, 2) for method, found in means.items()}
        _, lowest = min((np.mean(found), method) for method, found in means.items() if found)
        best[name] = f"{lowest}, {mean_and_spread(means[lowest], 2)} mm"
    table = pd.DataFrame(columns).rename_axis("method")
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table, best


def peers_table(results, seeds=None):
    """Table 3's methods on this run's data, beside what each costs: DataFrame of texts, indexed by method.

    Parameters and multiply-adds are of what predicts one picture. "images seen" are those of one seed; "images/s, slowest stage" is
    ``cost.training_speeds``, measured now.
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
            "share of mean pose's": f"{np.mean(mepe) / floor:.2f}" if runs else "",
            "AUC 20-50": mean_and_spread([one["auc"] for one in measured], 3),
        }
        if runs:
            cost = cost_of(row, runs[0].card["preset"])
            lines[method] |= {
                "parameters (M)": f"{cost.parameters / 1e6:.1f}",
                "multiply-adds (M)": f"{cost.multiply_adds / 1e6:.0f}",
                "images/s, slowest stage": f"{speeds[row]:.0f}" if speeds else "",
                "images seen": f"{_pictures_seen(row, runs[0]):.0f}",
            }
    return pd.DataFrame.from_dict(lines, orient="index").fillna("").rename_axis("method")


def _pictures_seen(row, run):
    """Pictures that the networks of a ``Result`` have looked at in training, each time that they did."""
    looks = {name: stage.looks for name, stage in peers.module(PEERS[row].module).STAGES.items()} if row in PEERS else {}
    batch = min(find_preset(run.card["preset"]).batch, run.card["frames"]["training"])
    return batch * sum(epoch["steps"] * looks.get(epoch["stage"], 1) for epoch in run.history)


def peers_effects(results, seeds=None):
    """``effects.Effect`` of row D3 against each method of Table 3 that shares a seed with it: {method: effect}, in mm."""
    found = {}
    for method, row in METHODS.items():
        common = [seed for seed in seeds_of(results, row, seeds) if seed in results.seeds("D3")]
        if row != "D3" and common:
            ours, theirs = ([results.errors(one, seed).mean(1) for seed in common] for one in ("D3", row))
            found[method] = paired_effect(ours, theirs, common)
    return found


def with_true_root(results, run):
    """What a ``Result`` predicts had the root's true depth been given: float32 (N, 21, 3), mm, relative to the root.

    For a method that solves for that depth: each joint stays on its ray, at its depth from the root, which the palm stands for, along
    the line of sight through the middle of the box around the labels. None where the roots were not kept, or where crops are cut
    otherwise.
    """
    if results.root is None or run.uncentred is None or find_preset(run.card["preset"]).view != "crop":
        return None
    true, pose = (joints + results.root[:, None] for joints in (results.target, run.uncentred))
    middle, _ = crop_box(true[..., :2] / true[..., 2:])
    axis = np.concatenate([middle, np.ones_like(middle[:, :1])], -1)
    axis = (axis / np.linalg.norm(axis, axis=-1, keepdims=True))[..., None]
    depth, found, given = pose @ axis, root_of(pose, results.root_joint)[:, None] @ axis, results.root[:, None] @ axis
    pose = pose / depth * (depth + given - found)
    return (pose - root_of(pose, results.root_joint)[:, None]).astype(np.float32)


def standings(effects):
    """The methods that the proposed one is better than, worse than, and neither for certain, by ``effects.verdict``: {words: list}."""
    words = {SUPPORTED: "better than", NOT_SUPPORTED: "worse than"}
    found = {"better than": [], "worse than": [], "undecided against": []}
    for method, effect in effects.items():
        found[words.get(verdict(effect), "undecided against")].append(method)
    return found


def standing(effects):
    """``standings`` in words: "better than 3, worse than 2, 2 undecided"."""
    if not effects:
        return NOT_RUN
    if max(len(effect.seeds) for effect in effects.values()) < 2:
        return f"{len(effects)} undecided (one seed)"
    better, worse, undecided = map(len, standings(effects).values())
    return f"better than {better}, worse than {worse}, {undecided} undecided"
