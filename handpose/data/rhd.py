"""The Rendered Hand Pose dataset in its official layout (Zimmermann & Brox 2017), RHD_published_v2.

``{training,evaluation}/{color,mask,depth}/%05d.png`` and ``{set}/anno_{set}.pickle``. Synthetic hands are
written in the same layout, so this is the one path for both.
"""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np

from ..skeleton import RHD_ORDER
from .frame import Frame, read_image

SPLITS = ("training", "evaluation")
#: Frames in the official download, and those that the field's loaders leave out as bad.
OFFICIAL_COUNTS = {"training": 41258, "evaluation": 2728}
BAD_FRAMES = {"training": (20500, 28140), "evaluation": (1012, 1324)}

_ALLOWED_GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how Python 3 writes array bytes in protocol 2
    *(
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in ((f"{package}.multiarray", "_reconstruct"), (f"{package}.multiarray", "scalar"),
                             (f"{package}.numeric", "_frombuffer"))
    ),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    """Constructs numpy arrays and plain containers, nothing else: a pickle can otherwise run any code."""

    def find_class(self, module, name):
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no RHD annotation needs")
        if np.__version__ >= "2":  # where numpy 1's names are only aliases that warn
            module = module.replace("numpy.core", "numpy._core")
        return super().find_class(module, name)


def load_arrays(file):
    """Unpickle an open file of numpy arrays and plain containers. Raises UnpicklingError for anything else."""
    return _ArraysOnly(file, encoding="latin1").load()


def load_annotations(path):
    """Labels of one split: xyz (N, 42, 3) mm, uv (N, 42, 2) px, visible bool (N, 42), K (N, 3, 3), float32.

    Raises FileNotFoundError when the file is missing; ValueError, in one line with the path, when it is
    no such pickle, asks for anything but numpy arrays, or its entries are missing, misshapen or not finite.
    """
    try:
        with open(path, "rb") as file:
            entries = load_arrays(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: is this the folder that holds training/ and evaluation/?") from None
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ValueError(f"{path} can't be read as an RHD annotation: {error}") from None
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path} holds no frames")
    if set(entries) != set(range(len(entries))):
        raise ValueError(f"{path}: frame ids are not 0..{len(entries) - 1}")
    columns = []
    for key, shape in (("xyz", (42, 3)), ("uv_vis", (42, 3)), ("K", (3, 3))):
        column = np.empty((len(entries), *shape), np.float32)
        for index in range(len(entries)):
            try:
                value = np.asarray(entries[index][key])
            except (KeyError, TypeError, ValueError):
                value = np.asarray(None)
            if value.dtype.kind not in "fiu":
                raise ValueError(f"{path}: frame {index} has no numeric {key!r}")
            if value.shape != shape:
                raise ValueError(f"{path}: frame {index}: {key!r} has shape {value.shape}, expected {shape}")
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
                column[index] = value
        bad = np.flatnonzero(~np.isfinite(column).all((1, 2)))
        if len(bad):
            raise ValueError(f"{path}: frame {bad[0]}: {key!r} holds values that are not finite")
        columns.append(column)
    xyz, uv_vis, K = columns
    return xyz * 1000.0, uv_vis[..., :2], uv_vis[..., 2] == 1, K


def dominant_hand(mask):
    """The hand that a frame is about: "left" when more mask pixels are left (ids 2-17) than right (18-33)."""
    left = np.count_nonzero((mask > 1) & (mask < 18))
    right = np.count_nonzero(mask > 17)
    return "left" if left > right else "right"


def decode_depth(png):
    """Depth in mm from RHD's encoding: uint8 (H, W, 3) -> float32 (H, W). Red is the high byte, 65535 is 5 m."""
    return (png[..., 0].astype(np.float32) * 256 + png[..., 1]) * (5000.0 / 65535.0)


class RHD:
    """Frames of one split ("training" or "evaluation") of RHD, or of synthetic hands in its layout.

    ``root`` is the folder that holds ``training`` and ``evaluation`` (or the one above
    ``RHD_published_v2``). ``len()``, ``[i]`` gives a ``Frame`` of the dominant hand. Raises ValueError for
    another split, FileNotFoundError or ValueError, in one line, for what is missing or wrong on disk.
    """

    #: Both roots of section 4.2 exist: the palm centre is computed from wrist and middle MCP.
    root_joint = "palm"

    def __init__(self, root, split):
        if split not in SPLITS:
            raise ValueError(f'split must be "training" or "evaluation", got {split!r}')
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root} is not a folder: give the one that holds training/ and evaluation/")
        if (root / "RHD_published_v2").is_dir():
            root = root / "RHD_published_v2"
        self.split = split
        self.folder = root / split
        self.xyz, self.uv, self.visible, self.K = load_annotations(self.folder / f"anno_{split}.pickle")
        for kind in ("color", "mask"):
            if not (self.folder / kind).is_dir():
                raise FileNotFoundError(f"{self.folder / kind} is missing: unpack the dataset again")
        official = len(self) == OFFICIAL_COUNTS[split] and not (root / "synthetic.json").exists()
        known_bad = BAD_FRAMES[split] if official else ()
        #: Frames left out of training and measuring, as the field does.
        self.skipped = tuple(known_bad)

    def stamp(self):
        """Digest of the labels and of the pictures' sizes on disk: tells one dataset from another in seconds."""
        hasher = hashlib.sha256()
        for array in (self.xyz, self.uv, self.visible, self.K):
            hasher.update(np.ascontiguousarray(array))
        for kind in ("color", "mask"):
            with os.scandir(self.folder / kind) as entries:
                sizes = sorted((entry.name, entry.stat().st_size) for entry in entries)
            hasher.update(repr(sizes).encode())
        return hasher.hexdigest()[:16]

    def __len__(self):
        return len(self.xyz)

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        index %= len(self)
        name = f"{index:05d}.png"
        image = read_image(self.folder / "color" / name, "RGB")
        mask = read_image(self.folder / "mask" / name, "L")
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{self.folder / 'color' / name} is {image.shape[:2]}, its mask {mask.shape}")
        hand = dominant_hand(mask)
        joints = RHD_ORDER + (0 if hand == "left" else 21)
        return Frame(
            image, self.xyz[index, joints], self.uv[index, joints], self.K[index], hand, self.visible[index, joints]
        )
