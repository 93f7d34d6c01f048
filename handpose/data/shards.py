"""Frames decoded once: uint8 crops with a margin for rotation, memory-mapped, with the labels beside them.

A folder of shards holds ``crops.npy`` (N, R, R, 3), the label arrays of ``Shards`` and ``shards.json``,
which is written last: without it the folder is unfinished, and writing goes on where it stopped.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from ..geometry import crop_box, hand_scale, normalise_pose, palm_centre
from ..records import atomic_path, available_cores, digest, read_json, source_digest, write_json

#: A crop is stored this much larger than the network sees it, so that turning by 45 degrees stays inside.
ROTATION_MARGIN = 2**0.5
_CHUNK = 64
_LARGEST = 16
_LABELS = ("pose", "rotation", "root", "scale", "left", "visible", "frame", "target")


@dataclass(frozen=True)
class Shards:
    """One split, ready for training. N hands, all as right hands.

    crops uint8 (N, R, R, 3), memory-mapped; pose float32 (N, 21, 3), the network's target without unit;
    rotation (N, 3, 3), root (N, 3) mm, scale (N,) mm, left bool (N,): what leads from ``pose`` back to the
    camera frame; target float32 (N, 21, 3), mm, the labels there; visible bool (N, 21); frame int (N,),
    index in the dataset; fingerprint: digest of all of it.
    """

    crops: np.ndarray
    pose: np.ndarray
    rotation: np.ndarray
    root: np.ndarray
    scale: np.ndarray
    left: np.ndarray
    visible: np.ndarray
    frame: np.ndarray
    target: np.ndarray
    fingerprint: str
    skipped: tuple

    def __len__(self):
        return len(self.pose)


def cut(image, centre, side, resolution):
    """Square crop of ``side`` px around ``centre`` (2,) px, resized with antialiasing; black outside the picture.

    image uint8 (H, W, 3) -> uint8 (resolution, resolution, 3). Raises ValueError when the side is not
    positive or nothing of the crop lies inside the picture.
    """
    left, top = np.asarray(centre, float) - side / 2
    if not (np.isfinite([left, top]).all() and side > 0):
        raise ValueError(f"crop of side {side} px at {tuple(centre)} is not a box")
    height, width = image.shape[:2]
    if side > _LARGEST * max(height, width):
        raise ValueError(f"crop of side {side:.0f} px is more than {_LARGEST} times the picture")
    if left >= width or top >= height or left + side <= 0 or top + side <= 0:
        raise ValueError(f"crop of side {side:.0f} px at {tuple(np.round(centre))} lies outside the picture")
    low = np.floor([left, top]).astype(int)
    high = np.ceil([left + side, top + side]).astype(int)
    outer = Image.fromarray(image).crop((*low, *high))
    box = (left - low[0], top - low[1], left - low[0] + side, top - low[1] + side)
    return np.asarray(outer.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box))


def rectify(image, centre, side, resolution, K, R):
    """The crop as the view-corrected camera would see it: the homography K' R K^-1, black outside the picture.

    Takes and returns what ``cut`` does, and K (3, 3) with R (3, 3) from ``view_rotation``. A point X lands on
    K' R X with K' of focal length f * resolution / side and its centre in the middle of the crop. Raises
    ValueError as ``cut`` does.
    """
    cut(image, centre, side, 1)  # the same boxes are refused
    K = np.asarray(K, np.float64)
    zoom = resolution / side
    K_crop = np.array([[K[0, 0] * zoom, 0, resolution / 2], [0, K[1, 1] * zoom, resolution / 2], [0, 0, 1]])
    # Shrinking needs antialiasing, which a homography has not: shrink the picture first.
    shrink = max(1.0, 1 / zoom)
    small = Image.fromarray(image)
    if shrink > 1:
        small = small.resize([max(1, round(length / shrink)) for length in small.size], Image.Resampling.BILINEAR)
    to_small = np.diag([small.width / image.shape[1], small.height / image.shape[0], 1.0])
    back = to_small @ K @ R.T @ np.linalg.inv(K_crop)
    coefficients = (back / back[2, 2]).ravel()[:8]
    size = (resolution, resolution)
    return np.asarray(small.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR))


def _prepare(dataset, index, resolution, view):
    """Crop and labels of one frame; None where the frame has no usable hand."""
    frame = dataset[index]
    centre, side = crop_box(frame.uv)
    side = side * ROTATION_MARGIN
    root = palm_centre(frame.xyz) if dataset.root_joint == "palm" else frame.xyz[0]
    scale = hand_scale(frame.xyz)
    try:
        pose, R = normalise_pose(frame.xyz, centre, frame.K, frame.hand, root, scale)
        if view == "crop":
            crop = cut(frame.image, centre, side, resolution)
        else:
            crop = rectify(frame.image, centre, side, resolution, frame.K, R)
    except ValueError:
        return None
    left = frame.hand == "left"
    if left:
        crop = crop[:, ::-1]
    return crop, dict(
        pose=pose.astype(np.float32), rotation=R.astype(np.float32), root=root.astype(np.float32),
        scale=np.float32(scale), left=left, visible=frame.visible, frame=index, target=frame.xyz,
    )  # fmt: skip


def write_shards(dataset, folder, size, workers=None, progress=True, view="crop"):
    """Decode ``dataset`` (RHD or STB) into ``folder`` for networks that see ``size`` px, and open it.

    ``view`` says what view correction does to the picture: "crop" cuts it out (section 4.2's references),
    "homography" turns it with the pose (``rectify``). Frames that the dataset skips, or whose hand can't be cropped, are left out and listed in
    ``shards.json``. Returns at once when the folder is complete; goes on where an interrupted call
    stopped. Raises ValueError when the folder was made from other data or for another size, and for another view.
    """
    if view not in ("crop", "homography"):
        raise ValueError(f'view must be "crop" or "homography", got {view!r}')
    folder = Path(folder)
    resolution = int(np.ceil(size * ROTATION_MARGIN))
    settings = {
        "size": size,
        "resolution": resolution,
        "view": view,
        "data": digest([dataset.stamp(), dataset.root_joint, list(dataset.skipped)]),
        "code": source_digest("data/shards.py", "geometry.py"),
    }
    done = folder / "shards.json"
    if done.exists():
        if read_json(done)["settings"] != settings:
            raise ValueError(f"{folder} was made from other data, another size or older code: remove it and try again")
        return open_shards(folder)
    if folder.exists():
        raise ValueError(f"{folder} holds something other than shards: choose another folder")

    work = folder.with_name(f"{folder.name}.unfinished-{digest(settings)}")
    work.mkdir(parents=True, exist_ok=True)
    left_out = set(dataset.skipped)
    indices = [index for index in range(len(dataset)) if index not in left_out]
    if not indices:
        raise ValueError(f"{dataset.folder} holds no usable frame")
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    if not (work / "crops.npy").exists():
        _decode(dataset, chunks, work, resolution, view, workers or available_cores(), progress)
    _finish(work, len(chunks), settings, dataset)
    os.rename(work, folder)
    for leftover in [*folder.glob("labels-*.npz"), *folder.glob("raw.npy")]:
        leftover.unlink()
    return open_shards(folder)


def _decode(dataset, chunks, work, resolution, view, workers, progress):
    count = sum(map(len, chunks))
    if not (work / "raw.npy").exists():
        with atomic_path(work / "raw.npy") as temporary:
            np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(count, resolution, resolution, 3))
    raw = np.load(work / "raw.npy", mmap_mode="r+")
    bar = tqdm(total=count, desc=f"decoding {dataset.split}", unit="frame", disable=not progress)
    with ThreadPoolExecutor(workers) as pool, bar:
        for number, chunk in enumerate(chunks):
            record = work / f"labels-{number:05d}.npz"
            if not record.exists():
                prepared = list(pool.map(lambda index: _prepare(dataset, index, resolution, view), chunk))
                good = [item for item in prepared if item is not None]
                for offset, (crop, _) in enumerate(good):
                    raw[number * _CHUNK + offset] = crop
                raw.flush()  # pixels first: a record says that they are there
                with atomic_path(record) as temporary:
                    np.savez(temporary, **{name: np.array([label[name] for _, label in good]) for name in _LABELS})
            bar.update(len(chunk))


def _finish(work, chunk_count, settings, dataset):
    records = [dict(np.load(work / f"labels-{number:05d}.npz")) for number in range(chunk_count)]
    rows = [number * _CHUNK + offset for number, record in enumerate(records) for offset in range(len(record["frame"]))]
    records = [record for record in records if len(record["frame"])]
    if not records:
        raise ValueError(f"{dataset.folder} holds no hand that can be cropped")
    labels = {name: np.concatenate([record[name] for record in records]) for name in _LABELS}
    if not (work / "crops.npy").exists():
        raw = np.load(work / "raw.npy", mmap_mode="r")
        if len(rows) < len(raw):  # frames were left out: close the gaps
            with atomic_path(work / "crops.npy") as temporary:
                packed = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(len(rows), *raw.shape[1:]))
                for start in range(0, len(rows), _CHUNK):
                    packed[start : start + _CHUNK] = raw[rows[start : start + _CHUNK]]
        else:
            os.replace(work / "raw.npy", work / "crops.npy")
    with atomic_path(work / "labels.npz") as temporary:
        np.savez(temporary, **labels)
    hasher = hashlib.sha256()
    crops = np.load(work / "crops.npy", mmap_mode="r")
    for start in range(0, len(crops), _CHUNK):
        hasher.update(np.ascontiguousarray(crops[start : start + _CHUNK]))
    for name in _LABELS:
        hasher.update(np.ascontiguousarray(labels[name]))
    skipped = sorted(set(range(len(dataset))) - set(labels["frame"].tolist()))
    fingerprint = hasher.hexdigest()[:16]
    write_json(work / "shards.json", {"settings": settings, "fingerprint": fingerprint, "skipped": skipped})


def open_shards(folder):
    """Open a finished folder of shards. Raises FileNotFoundError when it is missing or unfinished."""
    folder = Path(folder)
    if not (folder / "shards.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished shards: run write_shards first")
    record = read_json(folder / "shards.json")
    with np.load(folder / "labels.npz") as labels:
        arrays = {name: labels[name] for name in _LABELS}
    return Shards(
        np.load(folder / "crops.npy", mmap_mode="r"),
        **arrays,
        fingerprint=record["fingerprint"],
        skipped=tuple(record["skipped"]),
    )
