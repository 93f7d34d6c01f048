"""Frames decoded once: uint8 crops with a margin for rotation, memory-mapped, with the labels beside them.

A folder of shards holds ``crops.npy`` (N, R, R, 3), the label arrays of ``Shards`` and ``shards.json``. It is made
beside its place, as ``NAME.unfinished-...``, and gets its name when it is whole; writing goes on where it stopped.
Crops are written and hashed as plain bytes: pages of a memory map would count as this process's memory, and a full
disk would end it without a word.
"""

import glob
import hashlib
import os
import shlex
import shutil
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from tqdm.auto import tqdm

from ..geometry import hand_scale, normalise_pose, palm_centre
from ..records import atomic_path, available_cores, digest, read_json, source_digest, sweep, write_json
from .crops import ROTATION_MARGIN, crop_of, cut, rectify
from .untrusted import one_line

_CHUNK = 64
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


def _prepare(frame, index, root_joint, resolution, view):
    """Crop and labels of one frame; None where the frame has no usable hand."""
    try:
        centre, side = crop_of(frame)
    except ValueError:
        return None
    root = palm_centre(frame.xyz) if root_joint == "palm" else frame.xyz[0]
    scale = hand_scale(frame.xyz)
    pose, R = normalise_pose(frame.xyz, centre, frame.K, frame.hand, root, scale)
    if view == "crop":
        crop = cut(frame.image, centre, side, resolution)
    else:
        crop = rectify(frame.image, centre, side, resolution, frame.K, R)
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
    "homography" turns it with the pose (``rectify``). Frames that the dataset skips, or whose hand can't be cropped, are
    left out and listed in ``shards.json``. Returns at once when the folder is complete; goes on where an interrupted call
    stopped.

    ValueError, in one line: the folder was made from other data, for another size or view; the disk has no room; no frame is
    usable; or files can't be read. In the last case all readable frames are kept in an unfinished folder, ``folder`` does
    not exist, and the same call goes on with what was put right.
    """
    if view not in ("crop", "homography"):
        raise ValueError(f'view must be "crop" or "homography", got {view!r}')
    folder, sizes = Path(folder), dataset.picture_sizes()
    resolution = int(np.ceil(size * ROTATION_MARGIN))
    settings = {
        "size": size,
        "resolution": resolution,
        "view": view,
        "data": digest([dataset.label_stamp(), dataset.root_joint, list(dataset.skipped)]),
        "code": source_digest("data/shards.py", "data/crops.py", "geometry.py"),
    }
    work = folder.with_name(f"{folder.name}.unfinished-{digest(settings)}")
    settings["pictures"] = digest(sizes.tobytes())
    if (folder / "shards.json").exists():
        if read_json(folder / "shards.json")["settings"] != settings:
            raise ValueError(f"{folder} was made from other data, another size or older code: remove it and try again")
        _tidy(folder)
        return open_shards(folder)
    if folder.exists():
        raise ValueError(f"{folder} holds something other than shards: choose another folder")

    left_out = set(dataset.skipped)
    indices = [index for index in range(len(dataset)) if index not in left_out]
    if not indices:
        raise ValueError(f"{dataset.folder} holds no usable frame: {_advice(dataset)}")
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    shape = (len(indices), resolution, resolution, 3)
    stale = _unwritten(work, chunks, sizes, resolution * resolution * 3)
    if stale:
        bad = _decode(dataset, work, chunks, stale, sizes, shape, view, workers or available_cores(), progress)
        if bad:
            raise ValueError(f"{len(bad)} of {len(dataset)} frames can't be read, the first: {bad[0]}; {_advice(dataset)}: "
                             "the same call then goes on where it stopped")  # fmt: skip
    _finish(work, chunks, shape, settings, dataset)
    os.rename(work, folder)
    _tidy(folder)
    return open_shards(folder)


def _tidy(folder):
    """Remove what was only there to go on from, also where an earlier call was ended before it could."""
    for leftover in [*folder.glob("labels-*.npz"), *folder.glob("raw.npy")]:
        leftover.unlink(missing_ok=True)
    sweep(folder)
    for other in folder.parent.glob(f"{glob.escape(folder.name)}.unfinished-*"):  # of older labels or code
        shutil.rmtree(other, ignore_errors=True)


def _advice(dataset):
    return f"`python -m handpose.data check {shlex.quote(str(dataset.root))}` names what is wrong; put it right"


def _record(work, number):
    return work / f"labels-{number:05d}.npz"


def _unwritten(work, chunks, sizes, row):
    """Numbers of the chunks that are not there yet, whose crops did not reach the disk, or of whose pictures one has changed."""
    crops = next((work / name for name in ("crops.npy", "raw.npy") if (work / name).exists()), None)
    if crops is None:
        return list(range(len(chunks)))
    packed = crops.name == "crops.npy"  # put together already, and on disk

    def there(number):
        try:
            record = _arrays(_record(work, number))
        except (OSError, ValueError, EOFError, BadZipFile):  # missing, or did not reach the disk
            return False
        if not np.array_equal(record["sizes"], sizes[chunks[number]]):
            return False
        return packed or record["checksum"] == zlib.crc32(_read(file, start, number, len(record["frame"]), row))

    start = _start(crops)
    with open(crops, "rb") as file:
        missing = [number for number in range(len(chunks)) if not there(number)]
    if missing and packed:  # and out of date
        shutil.rmtree(work)
        return list(range(len(chunks)))
    return missing


def _read(file, start, number, count, row):
    file.seek(start + number * _CHUNK * row)
    return file.read(count * row)


def _decode(dataset, work, chunks, numbers, sizes, shape, view, workers, progress):
    """Write crops and labels of the chunks ``numbers``; returns what is wrong with frames that can't be read, one line each."""
    if not (work / "raw.npy").exists():
        need = np.prod(shape, dtype=np.int64)
        work.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work.parent).free
        if need > free:
            raise ValueError(f"{work.parent} has {free / 1e9:.1f} GB of free space and the crops need {need / 1e9:.1f} GB: "
                             "make room or choose another folder")  # fmt: skip
        with atomic_path(work / "raw.npy") as temporary:
            np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
    stop = threading.Event()

    def write(number):
        if stop.is_set():
            return []
        try:
            return _write_chunk(dataset, work, number, chunks[number], sizes, shape[1], view, bar)
        except BaseException:
            stop.set()
            raise

    done = sum(map(len, chunks)) - sum(len(chunks[number]) for number in numbers)
    bar = tqdm(total=shape[0], initial=done, desc=f"decoding {dataset.split}", unit="frame", disable=not progress)
    with bar:
        pool = ThreadPoolExecutor(workers)
        try:
            jobs = [pool.submit(write, number) for number in numbers]
            for job in as_completed(jobs):
                job.result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return [line for job in jobs for line in job.result()]


def _write_chunk(dataset, work, number, chunk, sizes, resolution, view, bar):
    good, bad = [], []
    for index in chunk:
        try:
            frame = dataset[index]
        except (FileNotFoundError, ValueError) as error:
            bad.append(str(error))
            continue
        item = _prepare(frame, index, dataset.root_joint, resolution, view)
        if item is not None:
            good.append(item)
        bar.update()
    if bad:
        return bad
    checksum = 0
    try:
        with open(work / "raw.npy", "r+b") as file:
            file.seek(_start(work / "raw.npy") + number * _CHUNK * resolution * resolution * 3)
            for crop, _ in good:
                crop = np.ascontiguousarray(crop)
                checksum = zlib.crc32(crop, checksum)
                file.write(crop)
    except OSError as error:  # a full disk, say
        raise OSError(error.errno, f"{error.strerror}: make room, then the same call goes on where it stopped", str(work)) from None
    labels = {name: np.array([label[name] for _, label in good]) for name in _LABELS}
    with atomic_path(_record(work, number)) as temporary:  # after the pixels; should they be lost, the checksum tells
        np.savez(temporary, sizes=sizes[chunk], checksum=checksum, **labels)  # type: ignore[arg-type]
    return []


def _arrays(path):
    with open(path, "rb") as file, np.load(file) as arrays:
        return dict(arrays)


def _start(path):
    """Where the values of a .npy file begin."""
    return np.load(path, mmap_mode="r").offset


def _finish(work, chunks, shape, settings, dataset):
    records = [_arrays(_record(work, number)) for number in range(len(chunks))]
    rows = [number * _CHUNK + offset for number, record in enumerate(records) for offset in range(len(record["frame"]))]
    records = [record for record in records if len(record["frame"])]
    if not records:
        shutil.rmtree(work)
        raise ValueError(f"{dataset.folder} holds no hand that can be cropped: {_advice(dataset)}")
    labels = {name: np.concatenate([record[name] for record in records]) for name in _LABELS}
    row = shape[1] * shape[2] * 3
    if not (work / "crops.npy").exists():
        if len(rows) < shape[0]:  # frames were left out: close the gaps
            with atomic_path(work / "crops.npy") as temporary, open(work / "raw.npy", "rb") as raw:
                start = _start(work / "raw.npy")
                np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(len(rows), *shape[1:]))
                with open(temporary, "r+b") as packed:
                    packed.seek(_start(temporary))
                    for number in rows:
                        raw.seek(start + number * row)
                        packed.write(raw.read(row))
        else:
            os.replace(work / "raw.npy", work / "crops.npy")
    with atomic_path(work / "labels.npz") as temporary:
        np.savez(temporary, **labels)  # type: ignore[arg-type]
    hasher = hashlib.sha256()
    with open(work / "crops.npy", "r+b") as crops:
        crops.seek(_start(work / "crops.npy"))
        while block := crops.read(2**20):
            hasher.update(block)
        os.fsync(crops.fileno())  # before shards.json says that all is there
    for name in _LABELS:
        hasher.update(np.ascontiguousarray(labels[name]))
    skipped = sorted(set(range(len(dataset))) - set(labels["frame"].tolist()))
    fingerprint = hasher.hexdigest()[:16]
    write_json(work / "shards.json", {"settings": settings, "fingerprint": fingerprint, "skipped": skipped})


def open_shards(folder):
    """Open a finished folder of shards.

    Raises FileNotFoundError when it is missing or unfinished, ValueError when its files were damaged since.
    """
    folder = Path(folder)
    if not (folder / "shards.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished shards: run write_shards first")
    record = read_json(folder / "shards.json")
    try:
        arrays = _arrays(folder / "labels.npz")
        crops = np.load(folder / "crops.npy", mmap_mode="r")
        if len(crops) != len(arrays["frame"]):
            raise ValueError(f"{len(crops)} crops and {len(arrays['frame'])} labels")
        return Shards(crops, **arrays, fingerprint=record["fingerprint"], skipped=tuple(record["skipped"]))
    except Exception as error:  # a broken archive can raise nearly anything
        raise ValueError(f"{folder} is damaged ({one_line(error)}): remove it and write it again") from None
