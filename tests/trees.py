"""Small datasets in the layouts of RHD and STB, made by hand and in a moment; tests and fuzzing damage copies of them."""

import contextlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from handpose.data import open_shards
from handpose.data.doctor import examine
from handpose.data.shards import write_shards
from handpose.data.stb import SEQUENCES

SIZE = 48  # px, of RHD's pictures here
COUNTS = {"training": 3, "evaluation": 2}
#: What a line says to do.
ADVICE = ("unpack", "is this the folder", "give the one", "save it with", "put it right")


def rhd_entry(seed, size=SIZE):
    """RHD's labels of one frame: two hands before the camera, the joints' pixels where K puts them."""
    rng = np.random.default_rng(seed)
    K = np.array([[900.0, 0, size / 2], [0, 900.0, size / 2], [0, 0, 1]])
    xyz = rng.uniform(-1, 1, (42, 3)) * [0.011, 0.011, 0.02] * size / 48 + [0, 0, 0.6]
    uv = xyz @ K.T
    uv_vis = np.column_stack([uv[:, :2] / uv[:, 2:], rng.random(42) < 0.8])
    return {"xyz": xyz.astype(np.float32), "uv_vis": uv_vis.astype(np.float32), "K": K.astype(np.float32)}


def rhd_mask(hand, size=SIZE):
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 10:30] = 5 if hand == "left" else 20
    return mask


def write_rhd(root, synthetic=True, size=SIZE):
    for split, count in COUNTS.items():
        rng = np.random.default_rng(count)
        for kind in ("color", "mask", "depth"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            name = f"{index:05d}.png"
            Image.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(root / split / "color" / name)
            Image.fromarray(rhd_mask(["left", "right"][index % 2], size)).save(root / split / "mask" / name)
            Image.new("RGB", (size, size)).save(root / split / "depth" / name)
        write_labels(root, {index: rhd_entry([index, count], size) for index in range(count)}, split)
    if synthetic:
        settings = {"layout": "rhd", **COUNTS, "size": size, "seed": 0, "version": "1.1"}
        (root / "synthetic.json").write_text(json.dumps(settings))
    return root


def labels_path(root, split="training"):
    return root / split / f"anno_{split}.pickle"


def write_labels(root, entries, split="training", protocol=4):
    """Write RHD's labels of a split; ``entries`` may be a whole pickle already."""
    path = labels_path(root, split)
    path.unlink(missing_ok=True)  # it may be a link to a healthy one
    path.write_bytes(entries if isinstance(entries, bytes) else pickle.dumps(entries, protocol))
    return path


def stb_hands(sequence, kind, count=1):
    """handPara of one label file: 3 x 21 x count, mm."""
    rng = np.random.default_rng([len(sequence), int(sequence[1]), kind == "BB"])
    return rng.uniform(-1, 1, (3, 21, count)) * 60 + np.array([40.0, 0.0, 600.0])[:, None, None]


def write_mat(root, sequence, kind, value, name="handPara", **options):
    path = root / "labels" / f"{sequence}_{kind}.mat"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    savemat(path, {name: value}, **options)
    return path


def write_stb(root, count=1):
    for sequence in (*SEQUENCES["evaluation"], *SEQUENCES["training"]):
        folder = root / "images" / sequence
        folder.mkdir(parents=True)
        for kind in ("BB", "SK"):
            write_mat(root, sequence, kind, stb_hands(sequence, kind, count))
        for value, prefix in enumerate(("BB_left", "BB_right", "SK_color")):
            for number in range(count):
                picture = Image.new("RGB", (640, 480), (40 * int(sequence[1]), len(sequence), 50 * value))
                picture.putpixel((value, number), (255, 255, 255))
                picture.save(folder / f"{prefix}_{number}.png", compress_level=1)
    return root


def link_tree(source, target):
    """A copy of a tree whose files are hard links: rewrite a file only after unlinking it."""
    return shutil.copytree(source, target, copy_function=os.link)


def replace(path, data):
    """Other bytes in place of a file that may be a hard link."""
    path.unlink()
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def refused(kind, *parts):
    """The block ends in one line that names every part."""
    with pytest.raises(kind) as caught:
        yield
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1000
    for part in parts:
        assert str(part) in line, line


def read_all(dataset):
    return [dataset[index] for index in range(len(dataset))]


def assert_refused_everywhere(open_dataset, root, folder, named, kept):
    """Loader, ``write_shards`` and doctor all refuse ``root`` in one line that names ``named`` and says what to do.

    ``kept``: whether an unfinished folder of shards may stay, to go on with. Never one that looks finished.
    """
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_all(open_dataset())
    line = str(caught.value)
    assert "\n" not in line and str(named) in line and any(word in line for word in ADVICE), line
    with refused((ValueError, FileNotFoundError), named):
        write_shards(open_dataset(), folder / "shards", 8, workers=1, progress=False)
    with pytest.raises(FileNotFoundError, match="no finished shards"):
        open_shards(folder / "shards")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert all(kept and ".unfinished-" in name for name in names), names
    report = examine(root, progress=False)
    assert not report.healthy
    assert any(str(named) in line for line in report.problems), report.problems
    assert all("\n" not in line for line in report.text().split("\n"))
    assert "python -m handpose.data check" in report.next
