"""What trained networks know and do, beyond their error.

Section 3.1.1 wants the background and the light in the context half of the latent, and out of the pose half. Here are
the means to see whether they are: the latents of all evaluation frames with linear probes that read them, and the
predictions for pictures of which only the background, or only the light, was exchanged.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from . import metrics
from .data.augment import warp
from .data.shards import ROTATION_MARGIN, cut, rectify
from .data.synthetic import background, draw_frame, draw_light, render
from .data.synthetic.write import VERSION
from .geometry import crop_box, hand_scale, restore_pose, view_rotation
from .models import POSE_LATENT
from .records import read_json

_BATCH = 256
#: Latents are kept of the first evaluation frames, which come in no order: enough for the probes, and for a scatter.
LATENT_FRAMES, _READ_FRAMES = 1024, 256
#: The pictures of one pose: as it was, on another background, in another light.
CHANGES = ("same", "background", "light")
#: What the probes read, {name: (columns of ``probe_targets``, "regression" or "class")}.
PROBES = {
    "pose": (("pose",), "regression"),
    "view": (("view_x", "view_y", "view_z"), "regression"),
    "background": (("background",), "class"),
    "light, direction": (("light_x", "light_y", "light_z"), "regression"),
    "light, colour": (("kelvin",), "regression"),
    "exposure": (("exposure",), "regression"),
    "skin": (("melanin",), "regression"),
    "subject": (("subject",), "class"),
}
_DRAWS = 1000
_STRENGTHS = np.logspace(-4, 3, 15)


def analyse(networks, data, size, pairs=256):
    """Latents of N evaluation frames, and M = min(pairs, all) frames with something exchanged: {name: array}.

    N: the first ``LATENT_FRAMES``, or all where there are fewer.

    networks: ``stages.Networks`` in evaluation mode, on the CPU; data: ``runs.Data``; size: the networks' pixels.
    float16, means of the Gaussians: ``latent`` (N, 128) of the picture, with disentanglement 64 of pose, then 64 of
    context; ``latent_pose`` (N, 64) of the true pose; of the first 256 frames ``read_rgb`` (., L), what the decoder reads
    from the picture, and with alignment ``read_pose`` (., L), what it reads from the true pose.

    Only for frames that can be drawn again (rendered by us, in RHD's layout): ``pair`` int (M,), rows of the evaluation
    shards, evenly spread; ``pair_same``, ``pair_background``, ``pair_light``: predictions (M, 21, 3) from the picture drawn
    again unchanged, with another background, with another light (direction, colours, exposure, white balance), all else
    and the sensor's noise the same. float16, mm, relative to the root.
    """
    arrays = _latents(networks, data.evaluation, size)
    settings = data.root / "synthetic.json"
    if settings.exists():
        settings = read_json(settings)
        if settings["layout"] == "rhd" and settings["version"] == VERSION:
            arrays |= _pairs(networks, data, size, pairs, settings)
    return arrays


@torch.no_grad()
def _latents(networks, shards, size):
    parts = {}
    count = min(LATENT_FRAMES, len(shards))
    for start in range(0, count, _BATCH):
        rows = slice(start, min(start + _BATCH, count))
        crops, pose = np.array(shards.crops[rows]), shards.pose[rows]
        batch = warp(torch.from_numpy(crops), torch.from_numpy(pose), size)
        latent, true = networks.rgb_encoder(batch.images), networks.pose_encoder(batch.pose)
        means = {"latent": latent, "latent_pose": true, "read_rgb": networks.aligned(latent)}
        if networks.pose_mapper is not None:
            means["read_pose"] = networks.pose_mapper(*true)
        for name, (mean, _) in means.items():
            parts.setdefault(name, []).append(mean.numpy().astype(np.float16))
    whole = {name: np.concatenate(part) for name, part in parts.items()}
    return {name: latent[:_READ_FRAMES] if name.startswith("read") else latent for name, latent in whole.items()}


def _pairs(networks, data, size, pairs, settings):
    shards, root = data.evaluation, data.root_joint
    rows = np.linspace(0, len(shards) - 1, min(pairs, len(shards))).round().astype(int)
    crops = redraw(data, rows, settings["seed"], settings["size"])
    poses = {f"pair_{name}": _predict(networks, shards, rows, crops[name], size) for name in CHANGES}
    relative = {name: pose - metrics.root_of(pose, root)[:, None] for name, pose in poses.items()}
    return {"pair": rows} | {name: pose.astype(np.float16) for name, pose in relative.items()}


@torch.no_grad()
def _predict(networks, shards, rows, crops, size):
    """Poses (M, 21, 3), mm, camera frame, from crops that stand in for those of ``rows``."""
    poses = []
    for start in range(0, len(rows), _BATCH):
        part = torch.from_numpy(crops[start : start + _BATCH])
        poses.append(networks(warp(part, torch.from_numpy(shards.pose[rows[start : start + _BATCH]]), size).images).numpy())
    left, scale = shards.left[rows], shards.scale[rows]
    return restore_pose(np.concatenate(poses), shards.rotation[rows], left, shards.root[rows], scale)


def redraw(data, rows, seed, size):
    """The rendered evaluation frames ``rows`` drawn again and cut as the shards cut them: {change: uint8 (M, R, R, 3)}.

    ``CHANGES`` names what is exchanged; ``seed`` and ``size`` are those that the frames were drawn with. What is put in
    its place is drawn as for a new frame, from the seed and the frame's index.
    """
    shards, frames = data.evaluation, data.frames("evaluation")
    view = read_json(Path(shards.crops.filename).with_name("shards.json"))["settings"]["view"]
    crops = {name: np.empty((len(rows), *shards.crops.shape[1:]), np.uint8) for name in CHANGES}
    for place, row in enumerate(rows):
        index = int(shards.frame[row])
        drawn, labels = draw_frame(seed, "evaluation", index, size), frames[index]
        changed = exchanged(drawn, seed, index)
        centre, side = crop_box(labels.uv)
        side, resolution = side * ROTATION_MARGIN, shards.crops.shape[1]
        for name, frame in changed.items():
            image = render(frame)[0]
            if view == "crop":
                crop = cut(image, centre, side, resolution)
            else:
                crop = rectify(image, centre, side, resolution, labels.K, view_rotation(centre, labels.K))
            crops[name][place] = crop[:, ::-1] if shards.left[row] else crop
    return crops


def exchanged(drawn, seed, index):
    """The ``SyntheticFrame`` ``drawn`` as it is, and with only the background, or only the light, exchanged: {change: frame}.

    seed, index: those that it was drawn with; what is put in its place depends on them alone.
    """
    rng = np.random.default_rng([seed, index, 1])
    kind = str(rng.choice(background.KINDS, p=background.SHARES))
    return {
        "same": drawn,
        "background": replace(drawn, background_kind=kind, background_seed=int(rng.integers(2**31))),
        "light": replace(drawn, light=draw_light(rng)),
    }


class Probe(NamedTuple):
    """Score on held-out frames, its interval (2.5 to 97.5 % of bootstrap draws), and what knowing nothing scores."""

    score: float
    low: float
    high: float
    chance: float


def _bootstrap(columns, statistic, seed):
    """``statistic`` of the means (..., K) of columns (N, K): (value, low, high); the draws resample the N frames."""
    count = len(columns)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _DRAWS)
    low, high = np.percentile(statistic(draws @ columns / count), [2.5, 97.5])
    return float(statistic(columns.mean(0))), float(low), float(high)


def _ridge(features, target, held_out, weights):
    """Weighted ridge regression on standardised features, in closed form: predictions for ``held_out``, one for each strength."""
    weights = weights / weights.sum()
    centre, mean = weights @ features, weights @ target
    spread = np.sqrt(weights @ (features - centre) ** 2)
    spread = np.where(spread > 0, spread, 1.0)
    X, held_out = (features - centre) / spread, (held_out - centre) / spread
    values, vectors = np.linalg.eigh((X.T * weights) @ X)
    projected, held_out = vectors.T @ ((X.T * weights) @ (target - mean)), held_out @ vectors
    return [held_out / (values.clip(0) + strength) @ projected + mean for strength in _STRENGTHS]


def _correct(target, predicted):
    right = target.argmax(1) == predicted.argmax(1)
    return np.column_stack([target * right[:, None], target])


def _recall(means):
    """Mean over the classes that are there of the share of each that is told right."""
    right, there = np.split(means, 2, axis=-1)
    return np.nanmean(np.divide(right, there, out=np.full_like(there, np.nan), where=there > 0), axis=-1)


def _squares(target, predicted):
    centred = target - target.mean(0)
    return np.column_stack([((target - predicted) ** 2).sum(1), (centred**2).sum(1), centred])


def _r_squared(means):
    return 1 - means[..., 0] / (means[..., 1] - (means[..., 2:] ** 2).sum(-1))


def probe(features, target, kind, seed=0):
    """How well a linear map reads ``target`` from ``features`` (N, D): a ``Probe``, scored on frames it has not seen.

    Half of the frames, drawn by ``seed``, fit a ridge regression; a quarter of that half picks its strength. The other
    half gives the score and, resampled, its interval. "regression": target (N,) or (N, K), score R² over all K together,
    so that 0 is as good as their mean; "class": target (N,) of labels, one regression for each against the rest, score the
    balanced accuracy: the share of frames whose label scores highest, label by label, and the mean of these shares, so that
    always saying the commonest is chance, one in as many as there are labels. Rare labels weigh as much as common ones in
    the fit, too. Features are standardised: what is there counts, however small. Raises ValueError for another kind, lengths
    that differ, fewer than 16 frames, values that are not finite, and a target that never changes.
    """
    features, target = np.asarray(features, np.float64), np.asarray(target)
    if kind not in ("regression", "class"):
        raise ValueError(f'kind must be "regression" or "class", got {kind!r}')
    count = len(features)
    if features.ndim != 2 or len(target) != count:
        raise ValueError(f"features must be (N, D) with N targets, got {features.shape} and {target.shape}")
    if count < 16:
        raise ValueError(f"{count} frames are too few for a probe: 16 at least")
    order = np.random.default_rng(seed).permutation(count)
    training, held_out = order[: count // 2], order[count // 2 :]
    fitting, picking = training[: 3 * len(training) // 4], training[3 * len(training) // 4 :]
    chance, statistic, compare, weights = 0.0, _r_squared, _squares, np.ones(count)
    if kind == "class":
        labels, number = np.unique(target, return_inverse=True)
        target = np.eye(len(labels))[number]
        chance = 1 / len(np.unique(number[held_out]))
        weights = (1 / np.bincount(number))[number]
        statistic, compare = _recall, _correct
    target = np.asarray(target, np.float64).reshape(count, -1)
    if not (np.isfinite(features).all() and np.isfinite(target).all()):
        raise ValueError("features or target hold values that are not finite (NaN or infinity)")
    if any((target[part] == target[part[0]]).all() for part in (training, held_out)):
        raise ValueError("the target is the same for all frames: nothing to read")
    tried = _ridge(features[fitting], target[fitting], features[picking], weights[fitting])
    best = np.argmin([weights[picking] @ ((guess - target[picking]) ** 2).mean(1) for guess in tried])
    predicted = _ridge(features[training], target[training], features[held_out], weights[training])[best]
    return Probe(*_bootstrap(compare(target[held_out], predicted), statistic, seed), chance)  # type: ignore[call-arg]


def probe_targets(results):
    """What the probes read, {name: array of N}: the factors of the rendered frames, and "pose" (N, 63): the true pose over
    the hand's scale, relative to the root.

    Networks see every hand as a right hand, so what is given in the camera frame (pose, light) is mirrored (x -> -x) for
    left hands. The view needs none: it is given in the right hand's own frame, for left hands too. Raises ValueError for
    photographs, which have no factors.
    """
    factors = results.factors
    if not len(factors):
        raise ValueError("photographs have no factors to probe: what they were made of is known of rendered frames only")
    mirror = np.where(factors["hand"].to_numpy() == "left", -1.0, 1.0)
    pose = results.target / hand_scale(results.target)[:, None, None]
    pose = pose * np.stack([mirror, np.ones_like(mirror), np.ones_like(mirror)], 1)[:, None]
    targets = {name: factors[name].to_numpy() for name in factors}
    return targets | {"pose": pose.reshape(len(pose), -1), "light_x": targets["light_x"] * mirror}


def latent_blocks(analysis):
    """The latents to compare, {name: (N, D)}: "pose part" and "context part" of the picture's where the decoder reads the
    pose part alone, else "all 128"; and "true pose": the pose encoder's latent, which has never seen a picture.
    """
    latent = analysis["latent"]
    if analysis["read_rgb"].shape[1] == POSE_LATENT:
        blocks = {"pose part": latent[:, :POSE_LATENT], "context part": latent[:, POSE_LATENT:]}
    else:
        blocks = {"all 128": latent}
    return blocks | {"true pose": analysis["latent_pose"]}


def probe_table(result, results, seed=0):
    """``PROBES`` of one row, a DataFrame: a line for each; columns (block, "score" | "low" | "high") for the
    ``latent_blocks``, ("", "chance") and ("", "measure"): "R²" or "balanced accuracy".

    result: a ``Result`` or its ``analysis``; results: the ``Results`` that it is one of.

    "true pose" shows what a latent that knows the pose and nothing else would score: the view shows in the pose itself.
    Raises ValueError when ``result`` and ``results`` are of different frames, and as ``probe`` does.
    """
    analysis = result if isinstance(result, dict) else result.analysis
    if len(analysis["latent"]) != min(LATENT_FRAMES, len(results)):
        raise ValueError(f"latents of {len(analysis['latent'])} frames, but results of {len(results)}")
    targets, lines = probe_targets(results), {}
    targets = {name: target[:LATENT_FRAMES] for name, target in targets.items()}
    for name, (columns, kind) in PROBES.items():
        target = targets[columns[0]] if len(columns) == 1 else np.column_stack([targets[column] for column in columns])
        line = lines[name] = {}
        for block, features in latent_blocks(analysis).items():
            found = probe(features, target, kind, seed)
            line |= {(block, key): getattr(found, key) for key in ("score", "low", "high")}
        line |= {("", "chance"): found.chance, ("", "measure"): "balanced accuracy" if kind == "class" else "R²"}
    table = pd.DataFrame(list(lines.values()), index=list(lines))
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table
