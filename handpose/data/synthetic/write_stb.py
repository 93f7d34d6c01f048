"""Write synthetic hands in STB's official layout, picking up where an interrupted write stopped.

root/images/B1Counting/{BB_left,BB_right,SK_color}_%d.png  RGB, 640 x 480
                       SK_depth_%d.png                     mm = R + 256 * G, 0 where nothing is in reach
root/labels/B1Counting_{BB,SK}.mat                         handPara 3 x 21 x n, mm, left and depth camera's frame
root/factors.csv                                           what each frame was made of
... and eleven more sequences, B1 to B6, Counting and Random.
"""

import io
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from scipy.io import savemat
from tqdm.auto import tqdm

from handpose.data.stb import SEQUENCES
from handpose.data.synthetic.factors import factors, table
from handpose.data.synthetic.files import replace, save_png, whole_files
from handpose.data.synthetic.picture import render
from handpose.data.synthetic.sequence import CAMERAS, draw_moment, seen_by, split_of, stb_joints
from handpose.skeleton import STB_ORDER

#: Which camera's frame each label file is in.
LABELS = {"BB": "BB_left", "SK": "SK_depth"}


def encode_depth(depth):
    """STB's depth picture uint8 (H, W, 3) of a depth (H, W) in mm."""
    value = np.where(np.isfinite(depth), np.round(depth), 0).astype(np.uint16)
    encoded = np.zeros((*depth.shape, 3), np.uint8)
    encoded[..., 0], encoded[..., 1] = value & 255, value >> 8
    return encoded


def frames_of(sequence, training, evaluation):
    """How many frames a sequence has when its split's frames are spread evenly over the split's sequences."""
    split = split_of(sequence)
    total, sequences = (training if split == "training" else evaluation), SEQUENCES[split]
    place = sequences.index(sequence)
    return total * (place + 1) // len(sequences) - total * place // len(sequences)


def _write_frame(folder, seed, sequence, index, count, progress):
    moment = draw_moment(seed, sequence, index, count)
    for camera in CAMERAS:
        colour, _, depth = render(seen_by(camera, moment))
        pixels = encode_depth(depth) if camera == "SK_depth" else colour
        save_png(folder / f"{camera}_{index}.png", pixels)
    progress.update()


def _missing(folder, count):
    """Numbers of the frames that lack a picture, or have an empty one."""
    names = whole_files(folder)
    return [n for n in range(count) if not all(f"{camera}_{n}.png" in names for camera in CAMERAS)]


def _mat(hands):
    """The bytes of a MATLAB 5 file of ``handPara``; its header says when it was made, which we leave out."""
    file = io.BytesIO()
    savemat(file, {"handPara": hands})
    text = b"MATLAB 5.0 MAT-file, synthetic hands in the layout of STB"
    return text.ljust(116) + file.getvalue()[116:]


def _write_labels(root, seed, counts):
    """The label files, and factors.csv, which marks the whole as complete."""
    rows = []
    for sequence, count in counts.items():
        moments = [draw_moment(seed, sequence, index, count) for index in range(count)]
        rows += [{"sequence": sequence} | factors(moment) for moment in moments]
        for kind, camera in LABELS.items():
            hands = np.zeros((3, 21, count))
            for index, moment in enumerate(moments):
                hands[:, STB_ORDER, index] = stb_joints(seen_by(camera, moment)).T
            data = _mat(hands)
            replace(root / "labels" / f"{sequence}_{kind}.mat", lambda partial, data=data: partial.write_bytes(data))
    text = table(rows)
    replace(root / "factors.csv", lambda partial: partial.write_text(text))


def write_sequences(root, training, evaluation, seed, workers):
    """Write what is missing of the twelve sequences under ``root``."""
    names = sorted(SEQUENCES["evaluation"] + SEQUENCES["training"])
    counts = {sequence: frames_of(sequence, training, evaluation) for sequence in names}
    work = []
    for sequence, count in counts.items():
        folder = root / "images" / sequence
        folder.mkdir(parents=True, exist_ok=True)
        work += [(folder, seed, sequence, index, count) for index in _missing(folder, count)]
    total = training + evaluation
    with tqdm(total=total, initial=total - len(work), desc="synthetic STB", unit="frame", disable=not work) as progress:
        pool = ThreadPoolExecutor(workers)
        try:
            for job in as_completed([pool.submit(_write_frame, *frame, progress) for frame in work]):
                job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    (root / "labels").mkdir(exist_ok=True)
    labels = {f"{sequence}_{kind}.mat" for sequence in names for kind in LABELS}
    if not labels <= whole_files(root / "labels") or "factors.csv" not in whole_files(root):
        _write_labels(root, seed, counts)
