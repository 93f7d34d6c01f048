"""The Rendered Hand Pose dataset in its official layout (Zimmermann & Brox 2017), RHD_published_v2.

``{training,evaluation}/{color,mask,depth}/%05d.png`` and ``{set}/anno_{set}.pickle``. Synthetic hands are
written in the same layout, so this is the one path for both.
"""

import operator
from pathlib import Path

import numpy as np

from ..skeleton import RHD_ORDER
from .frame import Frame, Labelled, read_image
from .untrusted import file_sizes, is_folder, load_arrays, numeric_array, read_bytes

SPLITS = ("training", "evaluation")
#: Frames in the official download, and those that the field's loaders leave out as bad.
OFFICIAL_COUNTS = {"training": 41258, "evaluation": 2728}
BAD_FRAMES = {"training": (20500, 28140), "evaluation": (1012, 1324)}
#: Frames of one split that the five digits of their names can number.
MOST_FRAMES = 100_000
#: Width and height of the official pictures, px.
SIZE = (320, 320)
_FARTHEST, _WIDEST = 1e3, 1e9  # metres, px: no hand is a kilometre away


def load_annotations(path):
    """Labels of one split: xyz (N, 42, 3) mm, uv (N, 42, 2) px, visible bool (N, 42), K (N, 3, 3), float32.

    Raises FileNotFoundError when the file is missing; ValueError, in one line with the path, when it is
    no such pickle, asks for anything but numpy arrays, has more frames than names, or its entries are missing, misshapen,
    not finite or no lengths, pixels or camera.
    """
    try:
        entries = load_arrays(read_bytes(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: is this the folder that holds training/ and evaluation/?") from None
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} can't be read as an RHD annotation ({error}): unpack the dataset again") from None
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path} holds no frames: unpack the dataset again")
    if len(entries) > MOST_FRAMES:  # a few bytes each, where they share their labels
        raise ValueError(f"{path} holds {len(entries)} frames, more than the {MOST_FRAMES} that have names: unpack the dataset again")
    if set(entries) != set(range(len(entries))):
        raise ValueError(f"{path}: frame ids are not 0..{len(entries) - 1}: unpack the dataset again")
    xyz = _column(path, entries, "xyz", (42, 3), lambda value: np.abs(value) < _FARTHEST)
    uv_vis = _column(path, entries, "uv_vis", (42, 3), lambda value: np.abs(value) < _WIDEST)
    K = _column(path, entries, "K", (3, 3), lambda value: np.abs(value) < _WIDEST)
    focal, rest = K[:, [0, 1], [0, 1]], K[:, [1, 2, 2, 2], [0, 0, 1, 2]]
    wrong = np.flatnonzero((focal < 1).any(1) | (rest != [0, 0, 0, 1]).any(1))
    if len(wrong):
        raise ValueError(f"{path}: frame {wrong[0]}: 'K' is no camera matrix [[f, 0, u], [0, f, v], [0, 0, 1]]: unpack the dataset again")
    return xyz * 1000.0, uv_vis[..., :2], uv_vis[..., 2] == 1, K


def _column(path, entries, key, shape, sensible):
    """One label of every frame, float32 (N, *shape); ``sensible`` says of which values it can be made."""
    column = np.empty((len(entries), *shape), np.float32)
    for index in range(len(entries)):
        entry = entries[index]
        value = numeric_array(entry.get(key), shape) if isinstance(entry, dict) else None
        if value is None:
            raise ValueError(f"{path}: frame {index} has no numeric {key!r} of shape {shape}: unpack the dataset again")
        if value.shape != shape:
            raise ValueError(f"{path}: frame {index}: {key!r} has shape {value.shape}, expected {shape}: unpack the dataset again")
        with np.errstate(all="ignore"):  # what is too large becomes infinite, and is refused below
            column[index] = value
    bad = np.flatnonzero(~sensible(column).all((1, 2)))  # NaN too
    if len(bad):
        what = "are not finite" if not np.isfinite(column[bad[0]]).all() else "can't be right"
        raise ValueError(f"{path}: frame {bad[0]}: {key!r} holds values that {what}: unpack the dataset again")
    return column


def dominant_hand(mask):
    """The hand that a frame is about: "left" when more mask pixels are left (ids 2-17) than right (18-33)."""
    left = np.count_nonzero((mask > 1) & (mask < 18))
    right = np.count_nonzero(mask > 17)
    return "left" if left > right else "right"


def decode_depth(png):
    """Depth in mm from RHD's encoding: uint8 (H, W, 3) -> float32 (H, W). Red is the high byte, 65535 is 5 m."""
    return (png[..., 0].astype(np.float32) * 256 + png[..., 1]) * (5000.0 / 65535.0)


class RHD(Labelled):
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
        if not is_folder(root):
            raise FileNotFoundError(f"{root} is not a folder: give the one that holds training/ and evaluation/")
        if is_folder(root / "RHD_published_v2"):
            root = root / "RHD_published_v2"
        self.split, self.root = split, root
        self.folder = root / split
        self.xyz, self.uv, self.visible, self.K = load_annotations(self.folder / f"anno_{split}.pickle")
        for kind in ("color", "mask"):
            if not is_folder(self.folder / kind):
                raise FileNotFoundError(f"{self.folder / kind} is missing: unpack the dataset again")
        official = len(self) == OFFICIAL_COUNTS[split] and not (root / "synthetic.json").exists()
        known_bad = BAD_FRAMES[split] if official else ()
        #: Frames left out of training and measuring, as the field does.
        self.skipped = tuple(known_bad)

    def picture_sizes(self):
        """Bytes on disk of each frame's colour picture and mask, int64 (N, 2); -1 where one is missing."""
        found = [file_sizes(self.folder / kind) for kind in ("color", "mask")]
        return np.array([[sizes.get(f"{index:05d}.png", -1) for sizes in found] for index in range(len(self))])

    def __getitem__(self, index):
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        index %= len(self)
        name = f"{index:05d}.png"
        image = read_image(self.folder / "color" / name, "RGB")
        mask = read_image(self.folder / "mask" / name, "L")
        self._check_size(name, image, mask, self.K[index])
        hand = dominant_hand(mask)
        joints = RHD_ORDER + (0 if hand == "left" else 21)
        return Frame(
            image, self.xyz[index, joints], self.uv[index, joints], self.K[index].copy(), hand, self.visible[index, joints]
        )

    def _check_size(self, name, image, mask, K):
        height, width = image.shape[:2]
        path, size = self.folder / "color" / name, f"{width} x {height} pixels"
        if mask.shape != (height, width):
            raise ValueError(f"{path} is {size}, its mask {mask.shape[1]} x {mask.shape[0]}: unpack the dataset again")
        # A synthetic picture may have another size, with the camera's centre in its middle.
        if (width, height) != SIZE and np.abs(2 * K[:2, 2] - (width, height)).max() > 2:
            u, v = 2 * K[:2, 2]
            raise ValueError(f"{path} is {size}, expected {u:.0f} x {v:.0f}, twice its camera's centre: unpack the dataset again")
