"""Write synthetic hands in RHD's official layout, picking up where an interrupted write stopped.

root/synthetic.json                       what was asked for
root/{training,evaluation}/color/%05d.png RGB
                           mask/%05d.png  part ids
                           depth/%05d.png metres = (R * 256 + G) / 65535 * 5
                           anno_{set}.pickle, factors.csv
"""

import io
import json
import os
import pickle
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from handpose.data.rhd import load_arrays
from handpose.data.synthetic.anatomy import FINGER_ANGLES, PEOPLE, THUMB_ANGLES
from handpose.data.synthetic.picture import render, skin_tones
from handpose.data.synthetic.scene import SPLITS, draw_frame, label, project
from handpose.records import available_cores
from handpose.skeleton import FINGERS, RHD_ORDER

#: Changes whenever the same arguments would give other bytes.
VERSION = "1.1"
CHUNK = 16
FARTHEST = 5000.0  # mm, what RHD's depth can hold
FOLDERS = ("color", "mask", "depth")
ANGLES = tuple(
    f"{finger}_{angle}".replace(" ", "_")
    for finger in FINGERS
    for angle in (THUMB_ANGLES if finger == "thumb" else FINGER_ANGLES)
)


def encode_depth(depth):
    """RHD's three depth channels uint8 (H, W, 3) of a depth (H, W) in mm."""
    value = np.round(np.minimum(depth, FARTHEST) * (65535.0 / FARTHEST)).astype(np.uint16)
    encoded = np.zeros((*depth.shape, 3), np.uint8)
    encoded[..., 0], encoded[..., 1] = value >> 8, value & 255
    return encoded


def annotation(frame, mask, depth):
    """RHD's labels of a frame: float32 xyz (42, 3) in metres, uv_vis (42, 3), K (3, 3)."""
    xyz, uv, camera, hand, visible = label(frame, mask, depth)
    other = frame.other_joints()
    drawn = np.concatenate([uv, visible[:, None]], 1)
    aside = np.concatenate([project(camera, other), np.zeros((21, 1))], 1)
    ours, theirs = (slice(0, 21), slice(21, 42)) if hand == "left" else (slice(21, 42), slice(0, 21))
    both_xyz, both_uv = np.empty((42, 3), np.float32), np.empty((42, 3), np.float32)
    both_xyz[ours][RHD_ORDER], both_xyz[theirs][RHD_ORDER] = xyz / 1000.0, other / 1000.0
    both_uv[ours][RHD_ORDER], both_uv[theirs][RHD_ORDER] = drawn, aside
    return {"xyz": both_xyz, "uv_vis": both_uv, "K": camera.astype(np.float32)}


def factors(frame):
    """One row of factors.csv: name to value. Lengths in mm, angles in degrees, colours linear."""
    subject, light = PEOPLE[frame.subject], frame.light
    view, roll = frame.view()
    row = {
        "frame": frame.index,
        "subject": frame.subject,
        "person": subject.kind,
        "scale": subject.scale,
        "action": frame.action,
        "phase": frame.phase,
        "hand": frame.hand,
    }

    def several(name, values, suffixes):
        row.update({f"{name}_{suffix}": float(value) for suffix, value in zip(suffixes, values, strict=True)})

    several("view", view, "xyz")
    row["roll"] = roll
    several("position", frame.position, "xyz")
    row["focal"] = frame.focal
    several("light", light.direction, "xyz")
    row["kelvin"] = light.kelvin
    several("key", light.key, "rgb")
    several("sky", light.sky, "rgb")
    several("ground", light.ground, "rgb")
    row["exposure"] = light.exposure
    several("balance", light.balance, "rgb")
    row.update(background=frame.background_kind, background_seed=frame.background_seed, melanin=frame.melanin)
    several("skin", skin_tones(frame.melanin)[0], "rgb")
    row["sleeve"] = frame.sleeve
    several("cloth", frame.cloth, "rgb")
    row.update(shot_noise=frame.shot_noise, read_noise=frame.read_noise, noise_seed=frame.noise_seed)
    several("wrist", frame.wrist, ("flexion", "deviation"))
    row.update(zip(ANGLES, np.asarray(frame.pose).ravel().tolist(), strict=True))
    return row


def _replace(path, write):
    """Write a file under a temporary name in its own folder, then give it its name."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def _save_png(path, pixels):
    # Run lengths only: noise does not compress, and looking for matches in it takes half as long again.
    image = Image.fromarray(pixels)
    _replace(
        path, lambda partial: image.save(partial, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    )


def _write_frame(folder, seed, split, index, size):
    """Write the three pictures of a frame; its labels and factors."""
    frame = draw_frame(seed, split, index, size)
    colour, mask, depth = render(frame)
    for name, pixels in zip(FOLDERS, (colour, mask, encode_depth(depth)), strict=True):
        _save_png(folder / name / f"{index:05d}.png", pixels)
    return annotation(frame, mask, depth), factors(frame)


def _write_chunk(folder, seed, split, indices, size, record, progress):
    rows = []
    for index in indices:
        rows.append(_write_frame(folder, seed, split, index, size))
        progress.update()
    _replace(record, lambda partial: partial.write_bytes(pickle.dumps(rows, protocol=4)))


def _text(value):
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _assemble(folder, split, records):
    """Join the chunks' records into factors.csv and the pickle, which marks the set as complete."""
    rows = [row for record in records for row in load_arrays(io.BytesIO(record.read_bytes()))]
    names = list(rows[0][1]) if rows else ["frame"]
    lines = [",".join(names)] + [",".join(_text(values[name]) for name in names) for _, values in rows]
    _replace(folder / "factors.csv", lambda partial: partial.write_text("\n".join(lines) + "\n"))
    labels = {index: annotations for index, (annotations, _) in enumerate(rows)}
    _replace(
        folder / f"anno_{split}.pickle", lambda partial: partial.write_bytes(pickle.dumps(labels, protocol=4))
    )


def _write_split(root, split, count, size, seed, workers):
    folder, records = root / split, root / split / "chunks"
    if not (folder / f"anno_{split}.pickle").exists():
        for name in (*FOLDERS, "chunks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        chunks = [
            (range(first, min(first + CHUNK, count)), records / f"{first:05d}.pickle")
            for first in range(0, count, CHUNK)
        ]
        missing = [(indices, record) for indices, record in chunks if not record.exists()]
        done = count - sum(len(indices) for indices, _ in missing)
        with tqdm(total=count, initial=done, desc=f"{split} hands", unit="frame") as progress:
            pool = ThreadPoolExecutor(workers)
            try:
                jobs = [
                    pool.submit(_write_chunk, folder, seed, split, indices, size, record, progress)
                    for indices, record in missing
                ]
                for job in as_completed(jobs):
                    job.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        _assemble(folder, split, [record for _, record in chunks])
    shutil.rmtree(records, ignore_errors=True)


def _check(layout, training, evaluation, size, seed):
    if layout != "rhd":
        raise ValueError(f"layout is {layout!r}; only 'rhd' exists")
    for name, value in (("training", training), ("evaluation", evaluation), ("seed", seed)):
        if value < 0:
            raise ValueError(f"{name} is {value}; it must be 0 or more")
    if max(training, evaluation) > 100000:
        raise ValueError("training and evaluation can be at most 100000: RHD's file names have five digits")
    if not 32 <= size <= 1024:
        raise ValueError(f"size is {size}; it must be 32 to 1024 pixels")


def write_synthetic(root, layout="rhd", training=0, evaluation=0, size=320, seed=0, workers=None):
    """Write synthetic hands under ``root`` in RHD's layout and return ``root`` as a Path.

    ``training`` and ``evaluation`` are numbers of frames, ``size`` the side of the pictures in pixels and
    ``workers`` a number of threads (default: the processors this process may use). The same ``seed`` gives
    the same bytes with any number of workers. An interrupted write goes on; a finished one returns at once.

    ValueError: bad arguments, or ``root`` holds something else.
    """
    _check(layout, training, evaluation, size, seed)
    root = Path(root)
    wanted = {
        "layout": layout,
        "training": int(training),
        "evaluation": int(evaluation),
        "size": int(size),
        "seed": int(seed),
        "version": VERSION,
    }
    settings = root / "synthetic.json"
    if settings.exists():
        found = json.loads(settings.read_text())
        if found != wanted:
            other = ", ".join(f"{key}={found.get(key)!r}" for key in wanted if found.get(key) != wanted[key])
            raise ValueError(
                f"{root} holds synthetic hands made with {other}: choose another folder or remove it"
            )
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{root} holds something other than synthetic hands: choose another, empty folder")
    else:
        root.mkdir(parents=True, exist_ok=True)
        _replace(settings, lambda partial: partial.write_text(json.dumps(wanted, indent=2) + "\n"))
    workers = workers or available_cores()
    for split, count in zip(SPLITS, (training, evaluation), strict=True):
        _write_split(root, split, count, size, seed, workers)
    return root
