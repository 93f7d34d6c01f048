"""Runs: from a row, a preset and data to trained stages, predictions and run cards on disk.

``output_dir`` holds ``data`` (synthetic frames), ``shards`` and ``stages``. A finished stage is a folder
with ``networks.safetensors``, ``predictions.npz``, ``history.json`` and, written last, ``run.json``. Its
name ends in the hash of all that made it, so a stage that several rows need is trained once. While it is trained,
``last.safetensors`` holds its last good epoch, which an interrupted or failed call goes on from.
"""

import math
import numbers
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from . import metrics, peers, pretrained, processes
from .data import RHD, STB, write_shards, write_synthetic
from .data.frame import read_factors
from .data.synthetic.write import VERSION as GENERATOR
from .data.untrusted import exists, one_line
from .experiments import DATASETS, Peer, Row, find_preset, find_row, row_name, row_stages, stage_owner, stage_settings
from .geometry import restore_pose
from .notebook import whole_number
from .records import (
    TRAINING_CODE,
    atomic_path,
    device_name,
    digest,
    environment,
    only_one,
    peak_memory,
    read_arrays,
    read_json,
    source_digest,
    sweep,
    write_json,
)
from .stages import STAGES, make_networks
from .train import make_fabric, predict, train
from .trouble import said_plainly

#: Who reads which dataset.
READERS = dict(zip(DATASETS, (RHD, RHD, STB), strict=True))
_FRAME_CODE = (
    "skeleton.py", "geometry.py", "data/untrusted.py", "data/matlab.py", "data/frame.py", "data/rhd.py", "data/stb.py", "data/crops.py",
    "data/shards.py",
)  # fmt: skip


class NotFinite(FloatingPointError, ValueError):
    """Loss, weights or poses are no longer finite; the message says in one line what is kept and what to do."""


@dataclass(frozen=True)
class Data:
    """The two splits as shards, and the folder of frames that they were made from; ``own_frames``: one that was given."""

    root: Path
    training: object
    evaluation: object
    dataset: str = "synthetic"
    own_frames: bool = False

    def frames(self, split):
        """The frames of "training" or "evaluation" as the files hold them."""
        return READERS[self.dataset](self.root, split)

    @property
    def root_joint(self):
        """What poses are centred on to measure them, a ``root`` of ``metrics``: "palm", or "wrist" for STB."""
        return READERS[self.dataset].root_joint  # type: ignore[attr-defined]

    @property
    def fingerprint(self):
        return digest([self.training.fingerprint, self.evaluation.fingerprint])  # type: ignore[attr-defined]


@said_plainly("frames and shards are written")
def prepare_data(preset="quick", dataset="synthetic", data_root=None, output_dir="runs", progress=True, workers=None):
    """Frames and shards for ``preset``; written when they are not there yet, opened when they are.

    ``dataset`` "synthetic" renders its own frames where ``data_root`` is None; "rhd" and "stb" (its SK camera)
    need the folder of the download. ``workers`` is a number of threads, by default one a core. Raises
    ValueError for another dataset, for a full disk and the like (``trouble``), and what the readers raise.
    """
    settings = find_preset(preset)
    if dataset not in DATASETS:
        raise ValueError(f"no dataset {dataset!r}; choose from {', '.join(DATASETS)}")
    output_dir = Path(output_dir)
    if data_root:
        root = Path(data_root)
        _check_given(root, preset, dataset)
    elif dataset == "synthetic":
        name = f"synthetic-v{GENERATOR}-{settings.training}-{settings.evaluation}-{settings.frame_size}px"
        root = output_dir / "data" / name
        with only_one(root, root / "evaluation" / "anno_evaluation.pickle"):
            write_synthetic(root, training=settings.training, evaluation=settings.evaluation, size=settings.frame_size, workers=workers)
    else:
        raise ValueError(f'dataset "{dataset}" needs data_root: the folder where you unpacked it')
    shards = []
    for split in ("training", "evaluation"):
        folder = _shard_folder(output_dir, root, dataset, settings, split)
        frames = READERS[dataset](root, split)
        with only_one(folder, folder / "shards.json"):
            shards.append(write_shards(frames, folder, settings.size, workers, progress, settings.view))
    read_factors(root / "evaluation", shards[1].frame)  # what is wrong with it is said before the training
    return Data(root, *shards, dataset, bool(data_root))  # type: ignore[call-arg]


def _check_given(root, preset, dataset):
    if dataset == "synthetic" and root.is_dir() and not (root / "synthetic.json").exists():
        raise ValueError(f"{root} holds frames that were not rendered here: say which dataset they are, rhd or stb")
    changed = [name for name in ("training", "evaluation", "frame_size") if f"+{name}=" in f"+{preset}"]
    if changed:
        raise ValueError(f"a folder of frames is used whole: {changed[0]} can't be changed for {root}")


def _shard_folder(output_dir, root, dataset, settings, split):
    place = root.name if root.parent == output_dir / "data" else f"{dataset}-{digest(str(root.resolve()))[:8]}"
    code = source_digest(*_FRAME_CODE)[:8]
    return output_dir / "shards" / f"{place}-{settings.size}px-{settings.view}-{code}-{split}"


@dataclass(frozen=True)
class Run:
    """One finished stage on disk."""

    folder: Path
    card: dict

    @property
    def history(self):
        return read_json(self.folder / "history.json")

    @property
    def predictions(self):
        """Predicted poses of the evaluation split, float32 (N, 21, 3), mm, camera frame."""
        return read_arrays(self.folder / "predictions.npz")["predicted"]

    def networks(self):
        """The trained networks, on the CPU, in evaluation mode. Raises ValueError when the file is damaged or another run's."""
        row, preset, state = _owner_row(self.card["trained_as"]), find_preset(self.card["preset"]), self.state()
        try:
            with torch.random.fork_rng():  # whoever looks at a run draws the numbers that they would have drawn
                networks = _make_networks(self.card["stage"], row, preset, 0, state)
            networks.load_state_dict(state)
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"the weights in {self.folder} are not those of its run card ({one_line(error)}): train it again") from None
        return networks.eval()

    def state(self):
        """The trained weights: {name: tensor}, on the CPU. Raises ValueError when the file is damaged."""
        path = self.folder / "networks.safetensors"
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}): remove {self.folder} and train it again") from None


def run_stages(stage, row="D3", preset="quick", dataset="synthetic", data_root=None, seed=0, output_dir="runs",
               threads=1, device="auto", progress=True):  # fmt: skip
    """Train ``stage`` of ``row`` and measure it; the stages below it first. Returns the ``Run`` of each, the first first.

    A finished stage is only opened; an interrupted one goes on from its last epoch. ``threads`` is the
    number of processor threads for this process; of several, started by torchrun, all call this (``processes``). Raises
    ValueError for unknown names, where the preset's weights can't be had, without the GPU that was asked for, and for a full
    disk, too little memory and the like (``trouble``); NotFinite when the loss is no longer finite. What was trained until then
    stays.
    """
    row = row_name(row) if isinstance(row, (Row, Peer)) else row
    if not isinstance(preset, str):
        raise ValueError(f'preset must be its name, "quick" or "quick+refine_epochs=2" say, got {type(preset).__name__}')
    make_fabric(stage_settings(stage, row, preset, seed)["precision"], device)  # a GPU that isn't there is said before hands are rendered
    torch.set_num_threads(whole_number("threads", threads, 1))
    progress = progress and processes.rank() == 0
    with processes.first():
        data = prepare_data(preset, dataset, data_root, output_dir, progress)
    stages, runs = row_stages(row, preset), []
    for part in stages[: stages.index(stage) + 1]:
        runs.append(_run_on(data, part, runs[-1] if runs else None, row, preset, seed, output_dir, threads, device, progress))
    return runs


def run_stage(stage, row="D3", *others, **options):
    """The last ``Run`` of ``run_stages``, which takes the same."""
    return run_stages(stage, row, *others, **options)[-1]


def _run_on(data, stage, parent, row, preset, seed, output_dir, threads, device, progress):
    """The ``Run`` of one stage on ``data`` and on its ``parent``, the run of the stage below."""
    settings = stage_settings(stage, row, preset, seed)
    file = pretrained.content_digest(settings.get("weights"), output_dir)
    code = training_code(None if stage == "warmup" else row)
    identity = digest([settings, parent and parent.card["identity"], data.fingerprint, code, *([file] if file else [])])
    owner, seed = stage_owner(stage, row), settings["seed"]
    # Without what was changed in the preset's name: the identity knows it, and stages that don't depend on it are shared.
    folder = Path(output_dir) / "stages" / f"{owner}-{stage}-{preset.partition('+')[0]}-seed{seed}-{identity}"
    with said_plainly(f"stage {stage} of row {owner} is trained"), processes.one_group(folder, folder / "run.json") as may_write:
        may_write = may_write and processes.rank() == 0
        if may_write:
            sweep(folder)
        if not (folder / "run.json").exists():
            run = (preset, data.dataset, seed, threads, device, progress, code)
            checkpoint = _check_checkpoint(folder / "last.safetensors")
            try:
                _train_stage(folder, stage, owner, settings, parent, data, identity, run, output_dir)
            except FloatingPointError as error:
                kept = f"the last good epoch is in {folder}"
                raise NotFinite(str(error).replace(kept, kept if checkpoint.exists() else "no epoch was good")) from None
        if may_write:
            (folder / "last.safetensors").unlink(missing_ok=True)
    return open_run(folder)


def training_code(row=None):
    """Digest of the source that decides what a stage of ``row`` learns; a card with another one is stale."""
    row = row and find_row(row)
    shared = source_digest(*TRAINING_CODE)
    return digest([shared, peers.code(row.module)]) if isinstance(row, Peer) else shared


def untrained(stage, row, preset):
    """The networks of ``stage`` of ``row`` as they are before any training, from scratch."""
    with torch.random.fork_rng():
        return _make_networks(stage, find_row(row), replace(find_preset(preset), weights=None), 0)


def _make_networks(stage, row, preset, seed, parent=None):
    if isinstance(row, Peer):
        return peers.make_networks(row.module, preset, seed, parent)
    return make_networks(stage, row, preset, seed, parent)


def _owner_row(owner):
    return Row() if owner == "warmup" else find_row(owner)


def open_run(folder):
    """Open a finished stage, or the last stage of a result: a folder with a run card, or the card itself.

    Raises FileNotFoundError when there is none, or when the card's networks are not on this machine; ValueError for a card
    that is none or leads elsewhere.
    """
    folder = Path(folder).parent if Path(folder).name == "run.json" else Path(folder)
    if not exists(folder / "run.json"):
        raise FileNotFoundError(f"{folder} holds no finished run (no run.json): train it first")
    card = checked_card(folder / "run.json", **_CARD)
    if "stages" in card:  # a result's card: runs/results/NAME/ROW/run.json
        name = str(card["stages"][card["stage"]]["folder"])
        if name != Path(name).name or name == "..":
            raise ValueError(f"{folder / 'run.json'} names the folder {name!r}, which is no stage's: take another run card")
        folder = folder.absolute().parents[2] / "stages" / name
        if not (folder / "run.json").exists():
            how = f"python -m handpose train {card['row']} --preset {card['preset']} --seed {card['seed']}"
            raise FileNotFoundError(f"the networks of this run are not on this machine, results come without them ({folder} is missing): {how}")
    return Run(folder, card)


#: What a run card must hold for its networks to be opened, and for what is said of them.
_CARD = {"trained_as": str, "stage": str, "preset": str, "root_joint": str, "scale_mm": numbers.Real, "settings": dict,
         "row": str, "dataset": str, "seed": int, "identity": str, "metrics": dict}  # fmt: skip


def checked_card(path, **wanted):
    """The run card in a file, with the values ``wanted``: {name: type}. Raises ValueError, in one line, when it is none."""
    card = read_json(path)
    wrong = next((name for name, kind in wanted.items() if not isinstance(card, dict) or not isinstance(card.get(name), kind)), None)
    if wrong is None and "settings" in wanted:
        size, view = (card["settings"].get(name) for name in ("size", "view"))
        wrong = None if type(size) is int and size > 0 and view in ("crop", "homography") else "settings"
    if wrong is None and "scale_mm" in wanted and (card["scale_mm"] is True or not 0 < card["scale_mm"] < math.inf):
        wrong = "scale_mm"
    if wrong is None and "metrics" in wanted and not isinstance(card["metrics"].get("mepe"), float):
        wrong = "metrics"
    if wrong is None and "stages" in card and "stage" in wanted:
        stages = card["stages"]
        stage = stages.get(card["stage"]) if isinstance(stages, dict) else None
        wrong = None if isinstance(stage, dict) and "folder" in stage else "stages"
    if wrong:
        raise ValueError(f"{path} is no run card ({wrong} is missing or wrong): train the run again, or take another")
    return card


def _check_checkpoint(path):
    """The path of the checkpoint of an interrupted stage; raises ValueError when it is there and can't be read."""
    try:
        if path.exists():
            with safe_open(path, "pt") as file:
                read = file.metadata() or {}
            if "record" not in read:
                raise ValueError("it does not say where training stood")
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and the stage is trained from its beginning") from None
    return path


def _train_stage(folder, stage, owner, settings, parent, data, identity, run, output_dir):
    preset_name, dataset, seed, threads, device, progress, code = run
    preset, row = find_preset(preset_name), _owner_row(owner)
    if stage == "warmup":
        started = "from scratch"
    elif parent is None:
        weights, started = pretrained.find(preset.weights, output_dir)
        preset = replace(preset, weights=weights)
    else:
        started = pretrained.WARMED_UP if parent.card["stage"] == "warmup" else pretrained.started_from(parent.card)
    began, where = time.time(), environment()
    networks = _make_networks(stage, row, preset, seed, parent and parent.state())
    fabric = make_fabric(preset.precision, device)
    if isinstance(row, Peer):
        training = peers.training_shards(data, preset.view)
        module = peers.module(row.module).STAGES[stage](networks, preset)
        history = train(module, training, data.evaluation, folder, seed, fabric, progress, data.root_joint)
        predicted = peers.predict(networks, data, preset.size, fabric, preset.view)
    else:
        module = STAGES[stage](networks, row, preset)
        history = train(module, data.training, data.evaluation, folder, seed, fabric, progress, data.root_joint)
        predicted = predict(networks, data.evaluation, preset.size, fabric)
    if not np.isfinite(predicted).all():
        raise NotFinite(f"the networks of stage {stage} predict poses that are not finite: lower the learning rate")
    if processes.rank() > 0:  # the first writes what all have found
        return
    write_json(folder / "history.json", history)
    with atomic_path(folder / "predictions.npz") as temporary:
        np.savez_compressed(temporary, predicted=predicted, frame=data.evaluation.frame)
    with atomic_path(folder / "networks.safetensors") as temporary:
        save_file({name: value.cpu().contiguous() for name, value in networks.state_dict().items()}, temporary)
    rendered = data.root / "synthetic.json"
    about = read_json(rendered) if rendered.exists() else {}
    card = {
        "row": owner,
        "trained_as": owner,
        "stage": stage,
        "preset": preset_name,
        "dataset": dataset,
        "seed": seed,
        "metrics": measure(predicted, data.evaluation.target, data.evaluation.visible, data.root_joint),
        "mean_pose": measure(mean_pose(data), data.evaluation.target, data.evaluation.visible, data.root_joint),
        "root_joint": data.root_joint,
        "seconds": round(sum(record["seconds"] for record in history), 1),
        "wall_seconds": round(time.time() - began, 1),
        "peak_memory_mib": peak_memory(),
        "device": device_name(fabric.device),
        "precision": fabric._precision.precision,
        "threads": threads,
        "processes": processes.count(),
        "identity": identity,
        "parent": parent and parent.card["identity"],
        "data_fingerprint": data.fingerprint,
        "training_code": code,  # as it was before: who edits it meanwhile has not trained with that
        "rendered": rendered.exists(),  # whatever ``dataset`` it was read as
        "own_frames": data.own_frames,
        "frame_size": about.get("size"),
        "generator": about.get("version"),
        "frames": {"training": len(data.training), "evaluation": len(data.evaluation)},
        "scale_mm": round(float(data.training.scale.mean()), 2),
        "parameters": sum(weight.numel() for weight in networks.parameters()),
        "settings": settings,
        "weights": started,
        **where,
    }
    if fabric.device.type == "cuda":
        card["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated(fabric.device) // 2**20
    write_json(folder / "run.json", card)


def measure(predicted, target, visible, root="palm"):
    """MEPE and AUC of one set of predictions, (N, 21, 3) mm: the paper's protocol and the field's variants.

    ``root`` as in ``metrics``: ``Data.root_joint`` of the data that was predicted.
    """
    return {
        "mepe": metrics.mepe(predicted, target, root=root),
        "auc": metrics.auc(predicted, target, root=root),
        "auc_hand3d": metrics.auc(predicted, target, protocol="hand3d", root=root),
        "mepe_visible": metrics.mepe(predicted, target, visible, root=root),
    }


def mean_pose(data):
    """What predicting the mean training pose gets on the evaluation split: predictions (N, 21, 3), mm."""
    pose = np.broadcast_to(data.training.pose.mean(0), data.evaluation.pose.shape)
    split = data.evaluation
    return restore_pose(pose, split.rotation, split.left, split.root, split.scale).astype(np.float32)


def run_row(row, **options):
    """Train all stages of ``row`` (those that are missing) and return the ``Run`` of its last."""
    return run_stage(find_row(row).stages[-1], row, **options)
