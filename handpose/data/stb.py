"""The Stereo Hand Pose Tracking Benchmark in its official layout (Zhang et al. 2017), as unpacked.

``images/B1Counting/{BB_left,BB_right,SK_color,SK_depth}_%d.png`` ... ``B6Random`` (numbers without leading
zeros) and ``labels/B1Counting_{BB,SK}.mat``. Some copies have the sequence folders directly under the root.

Cameras, all 640 x 480: "BB_left" and "BB_right", a rectified stereo pair whose labels are in the left
camera's frame; "SK", a colour camera whose labels are in the frame of the depth camera beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry import project
from ..skeleton import STB_ORDER
from .frame import Frame, Labelled, read_image
from .matlab import load_matlab
from .untrusted import file_sizes, is_folder, read_bytes

#: Sequences of each split: the first background is measured, the other five are learned from.
SEQUENCES = {
    "training": tuple(f"B{number}{motion}" for number in range(2, 7) for motion in ("Counting", "Random")),
    "evaluation": ("B1Counting", "B1Random"),
}
#: Frames in the official download, for one camera.
OFFICIAL_COUNTS = {"training": 15000, "evaluation": 3000}
WIDTH, HEIGHT = 640, 480
WRISTS = ("palm", "extrapolated")
_MOST = 100_000  # frames in one label file; the official ones have 1500


def _intrinsics(fx, fy, u0, v0):
    return np.array([[fx, 0.0, u0], [0.0, fy, v0], [0.0, 0.0, 1.0]])


K_STEREO = _intrinsics(822.79041, 822.79041, 318.47345, 250.31296)
K_COLOUR = _intrinsics(607.92271, 607.88192, 314.78337, 236.42484)
K_DEPTH = _intrinsics(475.62768, 474.77709, 336.41179, 238.77962)
#: mm from the left to the right stereo camera, along x.
BASELINE = 120.054
#: From the colour to the depth camera: x_depth = R x_colour + t, mm.
DEPTH_ROTATION = Rotation.from_rotvec([0.00531, -0.01196, 0.00301]).as_matrix()
DEPTH_TRANSLATION = np.array([-24.0381, -0.4563, -1.2326])


def depth_to_colour(points):
    """Points (..., 3), mm, from the SK depth camera's frame (the labels') to the colour camera's: R^T (x - t)."""
    return (points - DEPTH_TRANSLATION) @ DEPTH_ROTATION


def left_to_right(points):
    """Points (..., 3), mm, from the left (the labels') to the right stereo camera's frame."""
    return points - np.array([BASELINE, 0.0, 0.0])


@dataclass(frozen=True)
class _View:
    """One camera's pictures: the first part of their names, whose labels they use, K, and into which frame."""

    prefix: str
    labels: str
    K: np.ndarray
    move: object


_LEFT = _View("BB_left", "BB", K_STEREO, np.asarray)
_RIGHT = _View("BB_right", "BB", K_STEREO, left_to_right)
_COLOUR = _View("SK_color", "SK", K_COLOUR, depth_to_colour)
CAMERAS = {"SK": (_COLOUR,), "BB_left": (_LEFT,), "BB_right": (_RIGHT,), "BB": (_LEFT, _RIGHT)}


def load_labels(path):
    """Labels of one sequence: float64 (N, 21, 3), mm, STB's joint order, the frame of the camera they were made in.

    Raises FileNotFoundError when the file is missing; ValueError, in one line with the path, when it is no
    MATLAB 5 file, has no numeric ``handPara`` of 3 x 21 x N, or holds values that are not finite.
    """
    try:
        hands = load_matlab(read_bytes(path, 2**27), "handPara", 3 * 21 * _MOST)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: unpack STB's labels again") from None
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} can't be read as an STB label file ({error}): unpack it again") from None
    if hands is None:
        raise ValueError(f"{path} has no variable handPara: is it an STB label file? unpack it again")
    if hands.shape == (3, 21):  # MATLAB drops a last dimension of 1
        hands = hands[..., None]
    if hands.ndim != 3 or hands.shape[:2] != (3, 21):
        raise ValueError(f"{path}: handPara has shape {hands.shape}, expected (3, 21, frames): unpack it again")
    xyz = hands.transpose(2, 1, 0).astype(np.float64)
    bad = np.flatnonzero(~(np.abs(xyz) < 1e6).all((1, 2)))  # NaN too; a kilometre is no hand
    if len(bad):
        raise ValueError(f"{path}: frame {bad[0]} holds values that are not finite or not millimetres: unpack it again")
    return xyz


def decode_depth(png):
    """Depth in mm from STB's encoding: uint8 (H, W, 3) -> float32 (H, W). Green is the high byte; 0 is no reading."""
    return png[..., 0].astype(np.float32) + png[..., 1].astype(np.float32) * 256


def extrapolate_wrist(xyz):
    """The wrist that the field's codes make up from STB's palm: ring MCP + 2 (palm - ring MCP). (..., 21, 3) -> (..., 3)."""
    ring = xyz[..., 13, :]
    return ring + 2.0 * (xyz[..., 0, :] - ring)


class STB(Labelled):
    """Frames of one split ("training": B2 to B6, "evaluation": B1) of STB, or of synthetic hands in its layout.

    ``root`` is the folder that holds ``labels`` and ``images`` (or the sequence folders themselves).
    ``camera``: "SK", "BB_left", "BB_right", or "BB" for both of the pair, all left pictures, then all right
    ones. ``len()``, ``[i]`` gives a ``Frame``: always a left hand, all joints visible, xyz in the frame of
    the camera that took the picture. Joint 0 is the palm centre as labelled (``wrist="palm"``) or a wrist
    extrapolated from it (``wrist="extrapolated"``).

    Labels of the split in canonical order: ``xyz`` float32 (N, 21, 3) mm, ``uv`` (N, 21, 2) px, ``visible``
    bool (N, 21), ``K`` (N, 3, 3); ``paths``: its N pictures. Raises ValueError for another split, camera or
    wrist, FileNotFoundError or ValueError, in one line, for what is missing or wrong on disk.
    """

    #: Poses are centred on joint 0: STB has no wrist, its joint 0 is the palm centre. (Training never extrapolates one.)
    root_joint = "wrist"
    #: No list of bad frames is known.
    skipped = ()

    def __init__(self, root, split, camera="SK", wrist="palm"):
        for name, value, known in (("split", split, SEQUENCES), ("camera", camera, CAMERAS), ("wrist", wrist, WRISTS)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
        root = Path(root)
        if not is_folder(root):
            raise FileNotFoundError(f"{root} is not a folder: give the one that holds labels/ and images/")
        self.split, self.root, self.folder = split, root, root
        images = root / "images" if is_folder(root / "images") else root
        for sequence in SEQUENCES[split]:
            if not is_folder(images / sequence):
                raise FileNotFoundError(f"{images / sequence} is missing: unpack STB's {sequence}.zip again")
        xyz, K, self.paths = [], [], []
        for view in CAMERAS[camera]:
            for sequence in SEQUENCES[split]:
                path = root / "labels" / f"{sequence}_{view.labels}.mat"
                hands = view.move(load_labels(path))[:, STB_ORDER]  # type: ignore[operator]
                if wrist == "extrapolated":
                    hands[:, 0] = extrapolate_wrist(hands)
                behind = np.flatnonzero((hands[..., 2] < 1).any(1))  # mm
                if len(behind):
                    raise ValueError(f"{path}: frame {behind[0]} lies behind the camera {view.prefix}: unpack it again")
                xyz.append(hands)
                K.append(np.broadcast_to(view.K, (len(hands), 3, 3)))
                self.paths += [images / sequence / f"{view.prefix}_{number}.png" for number in range(len(hands))]
        if not self.paths:
            raise ValueError(f"{root / 'labels'} holds no frames of the {split} split: unpack STB's labels again")
        xyz, K = np.concatenate(xyz), np.concatenate(K)
        self.uv = project(xyz, K).astype(np.float32)
        self.xyz, self.K = xyz.astype(np.float32), K.astype(np.float32)
        self.visible = np.ones(self.xyz.shape[:2], bool)

    def picture_sizes(self):
        """Bytes on disk of each frame's picture, int64 (N, 1); -1 where it is missing."""
        found = {folder: file_sizes(folder) for folder in {path.parent for path in self.paths}}
        return np.array([[found[path.parent].get(path.name, -1)] for path in self.paths])

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        path = self.paths[index]
        image = read_image(path, "RGB")
        if image.shape[:2] != (HEIGHT, WIDTH):
            raise ValueError(f"{path} is {image.shape[1]} x {image.shape[0]} pixels, expected {WIDTH} x {HEIGHT}: unpack it again")
        xyz, uv, K, visible = (labels[index].copy() for labels in (self.xyz, self.uv, self.K, self.visible))
        return Frame(image, xyz, uv, K, "left", visible)
