"""Results on disk, small enough to keep: what every table, curve and claim of the book is computed from.

``results/<dataset>-<preset>/frames.npz`` holds the evaluation labels, once; beside it one folder a row and seed
with ``predictions.npz``, ``history.json``, ``analysis.npz`` for the rows in ``ANALYSED``, and, written last,
``run.json``. Poses are kept relative to the root, in hundredths of a millimetre.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from . import analysis, metrics
from .experiments import find_preset, find_row, row_stages, stage_owner, stage_settings
from .records import PACKAGE, atomic_path, only_one, read_json, write_json
from .runs import mean_pose, measure, prepare_data, run_stage, training_code

#: The results that come with the repository.
RECORDED = PACKAGE.parent / "book" / "runs" / "results"
#: Rows whose latents and answers to changed pictures are kept, for the claims about them.
ANALYSED = ("baseline", "A", "B", "D0", "D3")
_FACTORS = (
    "subject", "action", "hand", "scale", "view_x", "view_y", "view_z", "roll", "light_x", "light_y", "light_z", "kelvin",
    "exposure", "background", "background_seed", "melanin", "sleeve",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One row (or stage) and seed on disk: its run card, history and predictions."""

    folder: Path

    @cached_property
    def card(self):
        return read_json(self.folder / "run.json")

    @cached_property
    def history(self):
        """One dict an epoch, over all stages of the row; "stage" says which."""
        return read_json(self.folder / "history.json")

    @cached_property
    def predicted(self):
        """Predicted poses of the evaluation split relative to the root: float32 (N, 21, 3), mm."""
        return _read_poses(self.folder / "predictions.npz", "predicted")

    @cached_property
    def analysis(self):
        """What ``analysis.analyse`` gave for this row: {name: array}. Raises FileNotFoundError for rows without."""
        with np.load(self.folder / "analysis.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}

    @property
    def stale(self):
        """Why this result no longer is what the code would give, in words; empty when it still is."""
        reasons = []
        if self.card["training_code"] != training_code():
            reasons.append("the code that trains has changed")
        for stage, kept in self.card["stages"].items():
            try:
                now = stage_settings(stage, self.card["of_row"], self.card["preset"], self.card["seed"])
            except ValueError as error:
                now = str(error)
            if kept["settings"] != now:
                reasons.append(f"the settings of stage {stage} have changed")
        return "; ".join(reasons)


class Results:
    """All results of one dataset and preset. ``results[row, seed]`` is a ``Result``.

    target, mean_pose: float32 (N, 21, 3), mm, relative to the root (``root_joint``: a ``root`` of ``metrics``);
    visible: bool (N, 21); left: bool (N,), left hands; frame: int (N,), index in the evaluation split; sample: uint8
    (8, R, R, 3), the first crops, to see whether data made anew are the same; factors: DataFrame of what the rendered
    frames were made of, a line a frame (empty for photographs). Raises FileNotFoundError when there are none.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not (self.folder / "frames.npz").exists():
            raise FileNotFoundError(f"{self.folder} holds no results: run `make book`, or execute notebooks/row.ipynb, first")
        with np.load(self.folder / "frames.npz") as arrays:
            self.visible, self.left, self.frame, self.sample = (arrays[name] for name in ("visible", "left", "frame", "sample"))
            self.root_joint, self.fingerprint = str(arrays["root_joint"]), str(arrays["fingerprint"])
            self.factors = pd.DataFrame({name[7:]: arrays[name] for name in arrays.files if name.startswith("factor_")})
        self.target = _read_poses(self.folder / "frames.npz", "target")
        self.mean_pose = _read_poses(self.folder / "frames.npz", "mean_pose")

    def __len__(self):
        return len(self.target)

    def __getitem__(self, key):
        row, seed = key
        folder = self.folder / f"{row}-seed{seed}"
        if not (folder / "run.json").exists():
            raise FileNotFoundError(f"row {row}, seed {seed} has not been run ({folder} is missing)")
        return Result(folder)

    def seeds(self, row):
        """Seeds for which ``row`` has been run, sorted."""
        return sorted(int(path.parent.name.rpartition("-seed")[2]) for path in self.folder.glob(f"{row}-seed*/run.json"))

    def errors(self, row, seed):
        """Error of each frame and joint: (N, 21), mm. ``row`` "mean pose" is what predicting the mean training pose gets."""
        predicted = self.mean_pose if row == "mean pose" else self[row, seed].predicted
        return metrics.joint_errors(predicted, self.target, self.root_joint)


def results_folder(preset, dataset="synthetic", output_dir="runs", recorded=False):
    """Where the results of ``preset`` on ``dataset`` lie; ``recorded``: those that come with the repository."""
    return (RECORDED if recorded else Path(output_dir) / "results") / f"{dataset}-{preset}"


def obtain(row="D3", stage=None, recorded=False, **options):
    """The ``Result`` of ``row``, or of the row that ends with its ``stage``; trains what is not there.

    ``options`` are those of ``run_stage``. ``recorded``: only opens what came with the repository. Raises
    FileNotFoundError when that is not there, ValueError for unknown names.
    """
    preset, dataset, seed = options.get("preset", "quick"), options.get("dataset", "synthetic"), options.get("seed", 0)
    name = stage_owner(stage, row) if stage else row
    stage = stage or find_row(row).stages[-1]
    seed = stage_settings(stage, row, preset, seed)["seed"]
    folder = results_folder(preset, dataset, options.get("output_dir", "runs"), recorded)
    if not recorded:
        runs = []
        for part in row_stages(row, preset):
            runs.append(run_stage(part, row, **options))
            if part == stage:
                break
        _save(folder, name, row, seed, runs, options)
    return Results(folder)[name, seed]


def _save(folder, name, row, seed, runs, options):
    last, place = runs[-1], folder / f"{name}-seed{seed}"
    card = place / "run.json"
    if card.exists() and read_json(card)["identity"] == last.card["identity"]:
        return
    data = prepare_data(*(options.get(key, default) for key, default in _DATA_OPTIONS), progress=False)
    with only_one(folder / "frames"):
        _save_frames(folder, data)
    card.unlink(missing_ok=True)
    root = data.root_joint
    with atomic_path(place / "predictions.npz") as temporary:
        np.savez_compressed(temporary, **_poses(predicted=_centred(last.predictions, root)))
    write_json(place / "history.json", [{"stage": run.card["stage"]} | epoch for run in runs for epoch in run.history])
    if name in ANALYSED:
        arrays = analysis.analyse(last.networks(), data, find_preset(last.card["preset"]).size)
        with atomic_path(place / "analysis.npz") as temporary:
            np.savez_compressed(temporary, **arrays)
    write_json(card, result_card(name, row, [run.card for run in runs]))


_DATA_OPTIONS = (("preset", "quick"), ("dataset", "synthetic"), ("data_root", None), ("output_dir", "runs"))


def result_card(name, row, cards):
    """The run card of a row: its last stage's, with the cost and the settings of all ``cards`` of its stages.

    Adds ``paper``, the paper's MEPE on RHD, and ``stages``: folder, identity, settings and seconds of each.
    """
    keys = ("identity", "settings", "seconds", "threads")
    return cards[-1] | {
        "row": name,
        "of_row": row,
        "paper": None if name == "warmup" else find_row(name).paper,
        "seconds": round(sum(card["seconds"] for card in cards), 1),
        "wall_seconds": round(sum(card["wall_seconds"] for card in cards), 1),
        "peak_memory_mib": max(card["peak_memory_mib"] for card in cards),
        "stages": {card["stage"]: {"folder": stage_folder(card)} | {key: card[key] for key in keys} for card in cards},
    }


def stage_folder(card):
    """Name of the folder of a stage's networks, from its card."""
    return f"{card['trained_as']}-{card['stage']}-{card['preset'].partition('+')[0]}-seed{card['seed']}-{card['identity']}"


def _save_frames(folder, data):
    path = folder / "frames.npz"
    if path.exists():
        with np.load(path) as arrays:
            if str(arrays["fingerprint"]) != data.fingerprint:
                raise ValueError(f"{folder} holds results on other data: move it away and try again")
        return
    split, factors = data.evaluation, {}
    table = data.root / "evaluation" / "factors.csv"
    if table.exists():
        lines = pd.read_csv(table).set_index("frame").loc[split.frame]
        factors = {f"factor_{name}": lines[name].to_numpy() for name in _FACTORS if name in lines}
        factors = {name: values.astype(str) if values.dtype == object else values for name, values in factors.items()}
    root = data.root_joint
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, **_poses(target=_centred(split.target, root), mean_pose=_centred(mean_pose(data), root)), **factors,
            visible=split.visible, left=split.left, frame=split.frame, root_joint=root, fingerprint=data.fingerprint,
            sample=np.array(split.crops[:8]),
        )  # fmt: skip


def _centred(pose, root):
    return pose - metrics.root_of(pose, root)[:, None]


def _poses(**named):
    """Poses as 16 bit integers, with the unit (mm) that they count in: 0.01, or more where a pose is too large for it."""
    arrays = {}
    for name, pose in named.items():
        unit = max(0.01, float(np.abs(pose).max()) / 32767)
        arrays |= {name: np.round(pose / unit).astype(np.int16), f"{name}_unit": unit}
    return arrays


def _read_poses(path, name):
    with np.load(path) as arrays:
        return (arrays[name] * arrays[f"{name}_unit"]).astype(np.float32)


__all__ = ["ANALYSED", "RECORDED", "Result", "Results", "measure", "obtain", "result_card", "results_folder"]
