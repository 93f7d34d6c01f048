"""Results on disk, small enough to keep: what every table, curve and claim of the book is computed from.

``results/<dataset>-<preset>/frames.npz`` holds the evaluation labels, once; beside it one folder a row and seed
with ``predictions.npz``, ``history.json``, ``analysis.npz`` for the rows in ``ANALYSED``, ``explorer.npz`` for row D3, and,
written last, ``run.json``. Poses are kept relative to their root, in tenths of a millimetre; where the network put that root
itself stands beside them. A preset with changed settings shares the
labels of its own where it is measured on the same frames.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from . import analysis, explorer, metrics, processes
from . import given as knowledge
from .alike import code_changed
from .data.frame import read_factors
from .data.synthetic.write import VERSION
from .experiments import Peer, Row, find_preset, find_row, row_name, stage_owner, stage_settings
from .records import PACKAGE, atomic_path, digest, only_one, read_arrays, read_json, source_digest, write_json
from .runs import mean_pose, measure, prepare_data, run_stages
from .train import make_fabric
from .trouble import said_plainly

#: The results that come with the repository.
RECORDED = PACKAGE.parent / "book" / "runs" / "results"
#: Rows of which more than the predictions is kept, and what (the beginnings of names in ``analysis.analyse``; "given" is
#: what ``given.pack`` makes).
ANALYSED = {
    "baseline": ("pair",),
    "A": ("latent", "read", "pair"),
    "B": ("latent", "read", "pair"),
    "D0": ("read", "pair"),
    "D3": ("latent", "read", "pair", "given"),
}
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
        return _unpack(self.folder / "predictions.npz")["predicted"]

    @cached_property
    def uncentred(self):
        """The same as the network put them, relative to the true root, float32 (N, 21, 3), mm; None where it was not kept."""
        root = _unpack(self.folder / "predictions.npz").get("root")
        return None if root is None else self.predicted + root

    @cached_property
    def analysis(self):
        """What ``ANALYSED`` keeps of ``analysis.analyse`` for this row: {name: array}, each latent rounded to a 127th of its
        largest (of the largest of all, in what older code kept), poses to a tenth of a millimetre. Raises FileNotFoundError for
        rows without. What is named "given_" is for ``given.unpack``.
        """
        return _unpack(self.folder / "analysis.npz")

    @cached_property
    def explorer(self):
        """The decoder of row D3 as ``explorer.pack`` keeps it: {name: array}. Raises FileNotFoundError where it was not kept."""
        return read_arrays(self.folder / "explorer.npz")

    @property
    def stale(self):
        """Why this result no longer is what the code would give, in words; empty when it still is."""
        reasons = []
        if code_changed(self.card):
            reasons.append("the code that trains has changed")
        for stage, kept in self.card["stages"].items():
            try:
                now = stage_settings(stage, self.card["of_row"], self.card["preset"], self.card["seed"])
            except ValueError as error:
                now = str(error)
            if kept["settings"] != now:
                reasons.append(f"the settings of stage {stage} have changed")
        if self._other_frames():
            reasons.append("the preset's frames have changed")
        return "; ".join(reasons)

    def _other_frames(self):
        """Whether the preset would have other frames rendered now, in number, size or look; a dataset's folder says itself what it holds."""
        try:
            preset = find_preset(self.card["preset"])
        except ValueError:  # which the stages' settings say
            return False
        kept = self.card["frames"] | {"frame_size": self.card.get("frame_size", preset.frame_size)}  # older cards lack it
        now = {name: getattr(preset, name) for name in kept}
        rendered = self.card["dataset"] == "synthetic" and not self.card.get("own_frames")
        return rendered and (kept != now or self.card.get("generator", VERSION) != VERSION)


class Results:
    """All results of one dataset and preset. ``results[row, seed]`` is a ``Result``.

    target, mean_pose: float32 (N, 21, 3), mm, relative to the root (``root_joint``: a ``root`` of ``metrics``);
    root: (N, 3), mm, camera frame, None where it was not kept; visible: bool (N, 21); left: bool (N,), left hands; frame: int (N,),
    index in the evaluation split; sample: uint8 (8, R, R, 3), the first crops, to see whether data made anew are the same; factors:
    DataFrame of what the rendered frames were made of, a line a frame (empty for photographs). Raises FileNotFoundError when there
    are none.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        frames = self.folder / "frames.npz"
        frames = frames if frames.exists() else labels_of(self.folder)
        if not frames.exists():
            raise FileNotFoundError(f"{self.folder} holds no results: run `make book`, or execute notebooks/row.ipynb, first")
        arrays = _unpack(frames)
        self.target, self.mean_pose = arrays["target"], arrays["mean_pose"]
        self.root = arrays["root"][:, 0] if "root" in arrays else None
        self.visible, self.left, self.frame, self.sample = (arrays[name] for name in ("visible", "left", "frame", "sample"))
        self.root_joint, self.fingerprint = str(arrays["root_joint"]), str(arrays["fingerprint"])
        self.factors = pd.DataFrame({name[7:]: arrays[name] for name in arrays if name.startswith("factor_")})

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
        names = (path.parent.name for path in self.folder.glob(f"{row}-seed*/run.json"))
        found = (re.fullmatch(r".*-seed(0|[1-9][0-9]*)", name) for name in names)
        return sorted(int(match[1]) for match in found if match)

    @property
    def data_name(self):
        """``dataset_name`` of these results: what they were measured on, in words."""
        card = next(iter(sorted(self.folder.glob("*/run.json"))), None)
        return dataset_name(read_json(card)) if card else ""

    def errors(self, row, seed):
        """Error of each frame and joint: (N, 21), mm. ``row`` "mean pose" is what predicting the mean training pose gets."""
        predicted = self.mean_pose if row == "mean pose" else self[row, seed].predicted
        return metrics.joint_errors(predicted, self.target, self.root_joint)


def dataset_name(card):
    """What a result was measured on, in words: hands rendered in a dataset's layout never go under its name."""
    dataset = card["dataset"]
    return f"synthetic in {dataset.upper()}'s layout" if dataset != "synthetic" and card.get("rendered") else dataset


def training_size(card):
    """What the networks of a result learnt from, in words: frames, crops, epochs of the stages that D3 goes through, and their start."""
    preset = find_preset(card["preset"])
    stages = (preset.disentangle_epochs, preset.align_frozen_epochs + preset.align_epochs, preset.refine_epochs)
    warmup = f"{preset.warmup_epochs} of warm-up, then " * (preset.weights == "warmup")
    start = "" if preset.weights == "warmup" else f"; where the backbone starts: {card['weights']}"
    return (f"trained on {card['frames']['training']} frames, crops of {preset.size} px, epochs: {warmup}"
            f"{stages[0]} + {stages[1]} + {stages[2]} in stages 1 to 3{start}")


def results_folder(preset, dataset="synthetic", output_dir="runs", recorded=False):
    """Where the results of ``preset`` on ``dataset`` lie; ``recorded``: those that come with the repository.

    Raises ValueError for names that would lead elsewhere.
    """
    name = f"{dataset}-{preset}"
    if name != Path(name).name:
        raise ValueError(f"{name!r} can't be the name of a folder of results: preset and dataset are names, no paths")
    return (RECORDED if recorded else Path(output_dir) / "results") / name


def obtain(row="D3", stage=None, recorded=False, analysed=True, **options):
    """The ``Result`` of ``row``, or of the row that ends with its ``stage``; trains what is not there.

    ``options`` are those of ``run_stages``. ``recorded``: only opens what came with the repository. ``analysed`` False leaves
    out what ``ANALYSED`` keeps beside the predictions: it draws hundreds of hands anew. Raises FileNotFoundError
    when what is recorded is not there, ValueError for unknown names.
    """
    preset, dataset, seed = options.get("preset", "quick"), options.get("dataset", "synthetic"), options.get("seed", 0)
    row = row_name(row) if isinstance(row, (Row, Peer)) else row
    name = stage_owner(stage, row) if stage else row
    stage = stage or find_row(row).stages[-1]
    seed = stage_settings(stage, row, preset, seed)["seed"]
    folder = results_folder(preset, dataset, options.get("output_dir", "runs"), recorded)
    if not recorded:
        labels = _frames_of(folder, preset)
        if labels.exists() and not (folder / f"{name}-seed{seed}" / "run.json").exists():  # said before hours of training
            make_fabric(device=options.get("device", "auto"))  # without it nothing is begun
            with processes.first():
                given = (options.get(key, default) for key, default in _DATA_OPTIONS)
                _refuse_other_frames(labels, prepare_data(*given, progress=processes.rank() == 0 and options.get("progress", True)))  # type: ignore[misc]
        runs = run_stages(stage, row, **options)
        with processes.first():
            _save(folder, name, row, seed, runs, options, analysed and name in ANALYSED)
    return Results(folder)[name, seed]


@said_plainly("results are written")
def _save(folder, name, row, seed, runs, options, analysed):
    last, place = runs[-1], folder / f"{name}-seed{seed}"
    card, analysis_kept = place / "run.json", place / "analysis.npz"
    asked = {key: options.get(key, default) for key, default in _DATA_OPTIONS[:2]}
    made = result_card(name, row, [run.card for run in runs]) | asked
    kept = read_json(card) if card.exists() else None
    frames = _frames_of(folder, asked["preset"])
    code = {"analysis_code": source_digest(*_ANALYSIS_CODE)} if analysed else {}
    wanted = (place / "predictions.npz", place / "history.json", frames, *([analysis_kept] if analysed else []))
    if kept and kept["identity"] == made["identity"] and kept | code == kept and all(path.exists() for path in wanted):
        if kept | asked != kept:  # of an earlier version, under the name of whoever trained the stage first
            write_json(card, made | {key: kept[key] for key in ("analysis_code",) if key in kept})
        return
    data = prepare_data(*(options.get(key, default) for key, default in _DATA_OPTIONS), progress=False)  # type: ignore[misc]
    with only_one(frames):
        _save_frames(frames, data)
    card.unlink(missing_ok=True)
    with atomic_path(place / "predictions.npz") as temporary:
        poses = last.predictions - data.evaluation.root[:, None]
        centred = _centred(poses, data.root_joint)
        np.savez_compressed(temporary, **_pack(predicted=centred, root=(poses - centred)[:, :1]))
    write_json(place / "history.json", [{"stage": run.card["stage"]} | epoch for run in runs for epoch in run.history])
    for left in () if analysed else (analysis_kept, place / "explorer.npz"):  # of an earlier training
        left.unlink(missing_ok=True)
    if analysed:
        arrays = analysis.analyse(last.networks(), data, find_preset(last.card["preset"]).size)
        arrays = {key: array for key, array in arrays.items() if key.startswith(ANALYSED[name])}
        if "given" in ANALYSED[name]:
            arrays |= knowledge.pack(knowledge.given(last, data))
        with atomic_path(analysis_kept) as temporary:
            np.savez_compressed(temporary, **_pack(**arrays))
    if analysed and name == "D3" and len(arrays["read_rgb"]) > explorer.DIRECTIONS:
        kept = explorer.pack(last.networks().rgb_decoder, arrays["read_rgb"], last.card["scale_mm"])
        with atomic_path(place / "explorer.npz") as temporary:
            np.savez_compressed(temporary, **kept)
    write_json(card, made | code)


#: What makes the files that are kept of ``ANALYSED`` rows: where it has changed they are made anew.
_ANALYSIS_CODE = ("analysis.py", "given.py", "explorer.py")
_DATA_OPTIONS = (("preset", "quick"), ("dataset", "synthetic"), ("data_root", None), ("output_dir", "runs"))


def result_card(name, row, cards):
    """The run card of a row: its last stage's, with the cost and the settings of all ``cards`` of its stages.

    Adds ``paper``, the paper's MEPE on RHD, and ``stages``: folder, identity, settings, seconds, precision and device of each,
    and the preset and dataset that it was trained under: another name may stand for the very same stage.
    """
    keys = ("identity", "settings", "seconds", "threads", "precision", "device", "preset", "dataset")
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


def labels_of(folder):
    """Where the labels of a preset lie whose name says what is changed in another."""
    return folder.with_name(folder.name.partition("+")[0]) / "frames.npz"


def _frames_of(folder, preset):
    """Where the labels of results in ``folder`` are kept: the plain preset's, unless ``preset`` has frames of its own."""
    changed, base = find_preset(preset), find_preset(labels_of(folder).parent.name.partition("-")[2])
    own = any(getattr(changed, name) != getattr(base, name) for name in ("training", "evaluation", "frame_size"))
    return folder / "frames.npz" if own else labels_of(folder)


def _fingerprint(data):
    split = data.evaluation
    return digest([split.target.tobytes().hex(), split.frame.tolist(), data.root_joint])


def _refuse_other_frames(path, data):
    """The labels that are kept in ``path``; ValueError unless they are those of ``data``."""
    kept = _unpack(path)
    if str(kept["fingerprint"]) != _fingerprint(data) and not _nearly_same_labels(kept, data.evaluation, data.root_joint):
        raise ValueError(
            f"{path.parent} holds results on other frames ({len(kept['target'])} there, {len(data.evaluation)} here): "
            "move it away and try again"
        )
    return kept


def _save_frames(path, data):
    split, root, sample = data.evaluation, data.root_joint, np.array(data.evaluation.crops[:8])
    fingerprint = _fingerprint(data)
    if path.exists():
        kept = _refuse_other_frames(path, data)
        same = "root" in kept and np.abs(kept["mean_pose"] - _centred(mean_pose(data), root)).max() < 0.11
        if same and np.array_equal(kept["visible"], split.visible):  # other hands to learn from have another mean
            return
        sample = kept["sample"]  # a changed setting may cut the crops otherwise
    factors, lines = {}, read_factors(data.root / "evaluation", split.frame)
    if lines is not None:
        factors = {f"factor_{name}": lines[name].to_numpy() for name in _FACTORS if name in lines}
        factors = {name: values.astype(str) if values.dtype == object else values for name, values in factors.items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, **_pack(target=_centred(split.target, root), mean_pose=_centred(mean_pose(data), root), root=split.root[:, None]), **factors,
            visible=split.visible, left=split.left, frame=split.frame, sample=sample,
            root_joint=root, fingerprint=fingerprint,
        )  # fmt: skip


def same_labels(labels, others):
    """Whether two ``frames.npz`` hold the labels of the same frames."""
    one, other = _unpack(labels), _unpack(others)
    return str(one["fingerprint"]) == str(other["fingerprint"])


def _nearly_same_labels(kept, split, root):
    """Whether frames rendered anew are those that were kept: another processor may round the last digit otherwise.

    Labels agree to the tenth of a millimetre that is kept, the first crops to a grey level.
    """
    if not np.array_equal(kept["frame"], split.frame):
        return False
    crops = np.abs(kept["sample"].astype(float) - split.crops[:8]).mean()
    return np.abs(kept["target"] - _centred(split.target, root)).max() < 0.1 and crops < 1


def _centred(pose, root):
    return pose - metrics.root_of(pose, root)[:, None]


def _pack(**named):
    """Arrays of floats as small integers with the unit that they count in: poses (N, 21, 3) 0.1 mm in two bytes, each latent of
    (N, D) a 127th of its largest in one. High and low bytes are kept apart, which compresses better. Others stay as they are.
    """
    arrays = {}
    for name, array in named.items():
        if array.dtype.kind != "f":
            arrays[name] = array
            continue
        kind = np.int16 if array.ndim == 3 else np.int8
        largest = np.abs(array).max(None if kind is np.int16 else 0) / np.iinfo(kind).max  # each latent's own: some are ten times as wide
        unit = np.maximum(0.1, largest) if kind is np.int16 else np.where(largest > 0, largest, 1.0)
        counts = np.round(array.astype(np.float64) / unit).astype(kind)
        arrays |= {f"{name}|bytes": np.moveaxis(counts[..., None].view(np.uint8), -1, 0), f"{name}|unit": unit}
    return arrays


def _unpack(path):
    arrays, stored = {}, read_arrays(path)
    for name in stored:
        key, _, part = name.partition("|")
        if part == "bytes":
            kept = np.ascontiguousarray(np.moveaxis(stored[name], 0, -1))
            counts = kept.view(np.int16 if kept.shape[-1] == 2 else np.int8)[..., 0]
            arrays[key] = (counts * stored[f"{key}|unit"]).astype(np.float32)
        elif not part:
            arrays[name] = stored[name]
    return arrays


__all__ = ["ANALYSED", "RECORDED", "Result", "Results", "dataset_name", "measure", "obtain", "result_card", "results_folder"]
