"""A row of the reader's own: any parts, any weights, trained for two minutes and drawn on top of the recorded rows.

``python -m handpose.trial`` trains what the notebook ``change_row`` shows where the repository's own is missing or stale.
"""

import argparse
import sys

import numpy as np
import pandas as pd

from .experiments import find_preset
from .records import available_cores
from .results import Results, obtain, results_folder

#: The size of a trial, and that of the recorded run.
PRESET, LARGE = "minutes", "desktop"
#: Rows that a trial is held against, and the one that the notebook starts with: kinematic losses with no alignment before.
REFERENCES, EXAMPLE = ("baseline", "D3"), "injection+disentangle+kcs+geo"


def changed_preset(preset, **settings):
    """The text of ``preset`` with those ``settings`` that differ from it: "minutes", kcs_weight=1 -> "minutes+kcs_weight=1".

    Raises ValueError for an unknown setting or a value of another type.
    """
    known, text = find_preset(preset), str(preset)
    for name, value in settings.items():
        if getattr(known, name, None) != value:
            text += f"+{name}={_shortest(value)}"
    find_preset(text)
    return text


def _shortest(value):
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def comes_along(row, preset=PRESET, dataset="synthetic", seed=0, data_root=None):
    """Whether the result of ``row`` comes with the repository and is current: there is nothing to train."""
    kept = None if data_root else _find(results_folder(preset, dataset, recorded=True), row, seed)
    return kept is not None and not kept.stale


def _find(folder, row, seed):
    try:
        return Results(folder)[row, seed]
    except FileNotFoundError:
        return None


def held_against(result, preset=PRESET, dataset="synthetic", output_dir="runs", recorded=False):
    """What is drawn beside a trial's ``result``: {label: (predictions (N, 21, 3), one a seed, their ``Result`` objects)}.

    First rows of the same size and seed, then the recorded run's, on the very frames of the trial. What has not been
    trained, is stale, or was measured on other frames is left out.
    """
    own, seed, found = Results(result.folder.parent), result.card["seed"], {}
    for row in REFERENCES:
        folders = [results_folder(preset, dataset, recorded=True), results_folder(preset, dataset, output_dir)]
        for folder in folders[: 1 if recorded else 2]:
            kept = _find(folder, row, seed)
            if kept and not kept.stale and f"{row}, {preset}" not in found:
                found |= _curve(f"{row}, {preset}", own, Results(folder), [kept])
    large = results_folder(LARGE, dataset, recorded=True)
    for row in REFERENCES if large.exists() and large.name != f"{dataset}-{preset}" else ():
        everything = Results(large)
        found |= _curve(f"{row}, {LARGE}", own, everything, [everything[row, number] for number in everything.seeds(row)])
    return found


def _curve(label, own, other, results):
    index = common_frames(own, other)
    return {} if index is None or not results else {label: ([result.predicted[index] for result in results], results)}


def common_frames(own, other):
    """Places of the frames of ``own`` (``Results``) in ``other``: (N,), or None where the other was measured on other frames."""
    places = {frame: place for place, frame in enumerate(other.frame)}
    if own.sample.shape != other.sample.shape or not set(own.frame) <= set(places):
        return None
    index = np.array([places[frame] for frame in own.frame])
    same = np.abs(other.target[index] - own.target).max() < 0.11  # kept in tenths of a millimetre
    return index if same and np.abs(own.sample - other.sample.astype(float)).mean() < 1 else None


def trial_table(curves, measure):
    """Who was trained on what, and what came of it: a DataFrame of texts indexed by curve.

    curves: {label: (predictions, results)} as from ``held_against``; measure: predictions (N, 21, 3) -> {"mepe", "auc"}.
    Columns: training frames, passes over them, "training (s)" of one seed, "MEPE (mm)", "AUC 20-50", means over seeds.
    """
    lines = {}
    for label, (predictions, results) in curves.items():
        measured = [measure(predicted) for predicted in predictions]
        lines[label] = {
            "training frames": results[0].card["frames"]["training"],
            "passes over them": len(results[0].history),
            "training (s)": f"{np.mean([result.card['seconds'] for result in results]):.0f}",
            "seeds": len(results),
            "MEPE (mm)": f"{np.mean([one['mepe'] for one in measured]):.2f}",
            "AUC 20-50": f"{np.mean([one['auc'] for one in measured]):.3f}",
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("curve")


def main(arguments=None):
    """Command line: train the rows that the notebook change_row shows, as far as the recorded ones are missing or stale."""
    parser = argparse.ArgumentParser(prog="python -m handpose.trial", description=main.__doc__)
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--output-dir", default="runs")
    parser.add_argument("--threads", type=int, default=min(4, available_cores()))
    options = vars(parser.parse_args(arguments))
    try:
        for row in (*REFERENCES, EXAMPLE):
            result = obtain(row, recorded=comes_along(row, options["preset"]), **options)
            card = result.card
            print(f"row {row}: MEPE {card['metrics']['mepe']:.2f} mm, {card['seconds']:.0f} s of training: {result.folder}", flush=True)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
