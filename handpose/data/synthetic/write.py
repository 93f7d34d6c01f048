"""Write synthetic hands in RHD's official layout, picking up where an interrupted write stopped.

STB's layout: ``write_stb``, behind the same function.

root/synthetic.json                       what was asked for
root/{training,evaluation}/color/%05d.png RGB
                           mask/%05d.png  part ids
                           depth/%05d.png metres = (R * 256 + G) / 65535 * 5
                           anno_{set}.pickle, factors.csv
"""

import json
import operator
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from handpose.data.rhd import MOST_FRAMES
from handpose.data.stb import HEIGHT, WIDTH
from handpose.data.synthetic.factors import factors, table
from handpose.data.synthetic.files import is_unfinished, replace, save_png, whole_files
from handpose.data.synthetic.picture import render
from handpose.data.synthetic.scene import SPLITS, draw_frame, label, project
from handpose.data.synthetic.write_stb import write_sequences
from handpose.data.untrusted import load_arrays, read_bytes
from handpose.records import available_cores, read_json
from handpose.skeleton import RHD_ORDER

#: Changes whenever the same arguments would give other bytes.
VERSION = "1.1"
CHUNK = 16
FARTHEST = 5000.0  # mm, what RHD's depth can hold
FOLDERS = ("color", "mask", "depth")


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


def _write_frame(folder, seed, split, index, size):
    """Write the three pictures of a frame; its labels and factors."""
    frame = draw_frame(seed, split, index, size)
    colour, mask, depth = render(frame)
    for name, pixels in zip(FOLDERS, (colour, mask, encode_depth(depth)), strict=True):
        save_png(folder / name / f"{index:05d}.png", pixels)
    return annotation(frame, mask, depth), factors(frame)


def _write_chunk(folder, seed, split, indices, size, record, progress):
    rows = []
    for index in indices:
        rows.append(_write_frame(folder, seed, split, index, size))
        progress.update()
    replace(record, lambda partial: partial.write_bytes(pickle.dumps(rows, protocol=4)))


def _rows(record, count):
    """Labels and factors of the ``count`` frames of a chunk; None where its record is missing or damaged."""
    try:
        rows = load_arrays(read_bytes(record))
    except (FileNotFoundError, ValueError):  # a power cut leaves files empty, or full of zeros
        return None
    return rows if isinstance(rows, list) and len(rows) == count else None


def _assemble(folder, split, rows):
    """Write factors.csv and the pickle, which marks the set as complete, of all frames' labels and factors."""
    text = table([values for _, values in rows])
    replace(folder / "factors.csv", lambda partial: partial.write_text(text))
    labels = {index: annotations for index, (annotations, _) in enumerate(rows)}
    replace(
        folder / f"anno_{split}.pickle", lambda partial: partial.write_bytes(pickle.dumps(labels, protocol=4))
    )


def _write_split(root, split, count, size, seed, workers):
    folder, records = root / split, root / split / "chunks"
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if f"anno_{split}.pickle" not in whole_files(folder):
        records.mkdir(exist_ok=True)
        chunks = [
            (range(first, min(first + CHUNK, count)), records / f"{first:05d}.pickle")
            for first in range(0, count, CHUNK)
        ]
        rows = {record: _rows(record, len(indices)) for indices, record in chunks}
        missing = [(indices, record) for indices, record in chunks if rows[record] is None]
        _draw(folder, seed, split, missing, size, workers, count)
        rows |= {record: _rows(record, len(indices)) for indices, record in missing}
        if None in rows.values():
            raise ValueError(f"{records} holds a record that can't be read back: check the disk, then run this again")
        _assemble(folder, split, [row for chunk in rows.values() for row in chunk])
    elif "factors.csv" not in whole_files(folder):
        text = table([factors(draw_frame(seed, split, index, size)) for index in range(count)])
        replace(folder / "factors.csv", lambda partial: partial.write_text(text))
    lost = _lost(folder, count)
    if lost:  # pictures that somebody removed; the labels stay
        records.mkdir(exist_ok=True)
        _draw(folder, seed, split, [((index,), records / f"again-{index:05d}.pickle") for index in lost], size, workers, count)
    shutil.rmtree(records, ignore_errors=True)


def _draw(folder, seed, split, missing, size, workers, count):
    """Write the pictures of the frames in ``missing``, pairs of indices and the file for their records, of ``count`` in all."""
    done = count - sum(len(indices) for indices, _ in missing)
    with tqdm(total=count, initial=done, desc=f"{split} hands", unit="frame") as progress:
        pool = ThreadPoolExecutor(workers)
        try:
            jobs = [
                pool.submit(_write_chunk, folder, seed, split, indices, size, record, progress) for indices, record in missing
            ]
            for job in as_completed(jobs):
                job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _lost(folder, count):
    """Numbers of the frames that lack a picture, or have an empty one."""
    there = [whole_files(folder / name) for name in FOLDERS]
    return [index for index in range(count) if not all(f"{index:05d}.png" in names for names in there)]


def _check(layout, workers, **counts):
    """``counts`` and ``workers`` as integers. ValueError where an argument is none, or out of range."""
    if layout not in ("rhd", "stb"):
        raise ValueError(f"layout is {layout!r}; it must be 'rhd' or 'stb'")
    for name, value in (counts | {"workers": workers or available_cores()}).items():
        try:
            counts[name] = operator.index(value)
        except TypeError:
            raise ValueError(f"{name} is {value!r}; it must be a whole number") from None
        if counts[name] < 0:
            raise ValueError(f"{name} is {value}; it must be 0 or more")
    if layout == "rhd" and max(counts["training"], counts["evaluation"]) > MOST_FRAMES:
        raise ValueError(f"training and evaluation can be at most {MOST_FRAMES}: RHD's file names have five digits")
    if not 32 <= counts["size"] <= 1024:
        raise ValueError(f"size is {counts['size']}; it must be 32 to 1024 pixels")
    return counts


def write_synthetic(root, layout="rhd", training=0, evaluation=0, size=320, seed=0, workers=None):
    """Write synthetic hands under ``root`` in RHD's or STB's layout and return ``root`` as a Path.

    ``training`` and ``evaluation`` are numbers of frames, ``size`` the side of the pictures in pixels (not
    for layout "stb", whose cameras are known: its pictures are always 640 x 480, and ``size`` does not
    count) and ``workers`` a number of threads (default: the processors this process may use). The same ``seed`` gives
    the same bytes with any number of workers. An interrupted write goes on; of a finished one only pictures that were lost are
    drawn again.

    ValueError: bad arguments, or ``root`` holds something else, or lies below a file.
    """
    counts = _check(layout, workers, training=training, evaluation=evaluation, size=size, seed=seed)
    training, evaluation, size, seed, workers = counts.values()
    root = Path(root)
    wanted = {
        "layout": layout,
        "training": training,
        "evaluation": evaluation,
        "size": size if layout == "rhd" else [WIDTH, HEIGHT],
        "seed": seed,
        "version": VERSION,
    }
    settings = root / "synthetic.json"
    if settings.exists():
        found = read_json(settings)
        if not isinstance(found, dict):
            raise ValueError(f"{settings} does not say what the folder holds: choose another folder or remove it")
        if found != wanted:
            other = ", ".join(f"{key}={found.get(key)!r}" for key in wanted if found.get(key) != wanted[key])
            raise ValueError(
                f"{root} holds synthetic hands made with {other}: choose another folder or remove it"
            )
    elif root.exists() and (not root.is_dir() or not all(map(is_unfinished, root.iterdir()))):
        raise ValueError(f"{root} holds something other than synthetic hands: choose another, empty folder")
    else:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except NotADirectoryError:
            raise ValueError(f"{root} lies below a file: choose another folder") from None
        replace(settings, lambda partial: partial.write_text(json.dumps(wanted, indent=2) + "\n"))
    if layout == "stb":
        write_sequences(root, training, evaluation, seed, workers)
        return root
    for split, count in zip(SPLITS, (training, evaluation), strict=True):
        _write_split(root, split, count, size, seed, workers)
    return root
