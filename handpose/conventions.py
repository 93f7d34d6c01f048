"""Joint orders of datasets and models, and the wrist that codes make up from STB's palm.

An order is an index array as in ``skeleton``: canonical joint i is joint ``order[i]`` of the convention.
"""

from dataclasses import dataclass

import numpy as np

from .skeleton import MIDDLE_MCP, RHD_ORDER, STB_ORDER

RING_MCP = 13
MCPS = (5, MIDDLE_MCP, RING_MCP, 17)

#: MANO has 16 joints: wrist, then index, middle, little, ring and thumb, three each from base to tip. It has no tips;
#: manopth takes five points of the surface for them and puts them behind: thumb, index, middle, ring, little.
MANO_ORDER = np.array([0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20])


@dataclass(frozen=True, eq=False)
class Convention:
    """One way to number the joints of a hand: the order (21,), who uses it, and what to know about it."""

    order: np.ndarray
    users: str
    note: str = ""


CONVENTIONS = {
    "canonical": Convention(np.arange(21), "this book, OpenPose, MediaPipe, FreiHAND", "base to tip, thumb first"),
    "RHD, left": Convention(RHD_ORDER, "RHD", "tip to base, thumb first"),
    "RHD, right": Convention(RHD_ORDER + 21, "RHD", "21 more than the left hand's"),
    "STB": Convention(STB_ORDER, "STB", "base to tip, little finger first; joint 0 is a palm centre, not the wrist"),
    "MANO": Convention(MANO_ORDER, "MANO with manopth's tips", "ring after little finger, thumb last, all tips at the end"),
}


def _find(name):
    if name not in CONVENTIONS:
        raise ValueError(f"no convention {name!r}; choose from {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name].order


def index_array(source, target):
    """The array (21,) with which ``joints[index_array(source, target)]`` goes from one order to another.

    To the right hand of RHD it fills the places 21 to 41, of which it returns the order among themselves. Raises
    ValueError for an unknown name.
    """
    index = np.empty(21, int)
    index[_find(target) % 21] = _find(source)
    return index


def convert(joints, source, target):
    """Joints (..., 21, D) from one order to another; RHD's (..., 42, D) on the source's side.

    Raises ValueError for unknown names and for too few joints.
    """
    joints, index = np.asarray(joints), index_array(source, target)
    if joints.ndim < 2 or joints.shape[-2] <= index.max():
        raise ValueError(f"{source} needs joints (..., {index.max() + 1}, D), got {joints.shape}")
    return joints[..., index, :]


@dataclass(frozen=True)
class Extrapolation:
    """A wrist from STB's palm: base + factor (palm - base), base the mean of canonical ``joints``; who does it so."""

    name: str
    joints: tuple
    factor: float
    users: str

    def wrist(self, pose):
        """Poses (..., 21, 3) whose joint 0 is the palm -> wrists (..., 3)."""
        base = pose[..., list(self.joints), :].mean(-2)
        return base + self.factor * (pose[..., 0, :] - base)


EXTRAPOLATIONS = (
    Extrapolation("ring MCP, 2.0", (RING_MCP,), 2.0, "hand3d, hand-graph-cnn, Minimal-Hand-pytorch"),
    Extrapolation("middle MCP, 2.2", (MIDDLE_MCP,), 2.2, "BiHand"),
    Extrapolation("mean of four MCPs, 2.25", MCPS, 2.25, "BiHand, there but not called"),
    Extrapolation("index tip, 1.43", (8,), 1.43, "cscPy: number 16 of another joint order"),
)

#: What STB's palm may be: the midpoint of the wrist and these canonical joints. Its authors don't say; our rendered
#: frames have the first, which is the one that the most common extrapolation takes for granted.
PALMS = {"ring MCP": (RING_MCP,), "middle MCP": (MIDDLE_MCP,), "mean of four MCPs": MCPS}


def with_palm(pose, joints=(RING_MCP,)):
    """Poses (..., 21, 3) with the wrist replaced by a palm: its midpoint with the mean of ``joints``."""
    pose = np.array(pose, np.float64)
    pose[..., 0, :] = 0.5 * (pose[..., 0, :] + pose[..., list(joints), :].mean(-2))
    return pose


def with_wrist(pose, extrapolation):
    """Poses (..., 21, 3) whose joint 0 is the palm, with a made-up wrist in its place."""
    pose = np.array(pose, np.float64)
    pose[..., 0, :] = extrapolation.wrist(pose)
    return pose


def wrist_errors(pose):
    """How far made-up wrists lie from the true one: {(extrapolation, palm): (N,), mm} for poses (N, 21, 3) with wrists."""
    wrist = np.asarray(pose, np.float64)[:, 0]
    return {
        (one.name, palm): np.linalg.norm(one.wrist(with_palm(pose, joints)) - wrist, axis=-1)
        for one in EXTRAPOLATIONS
        for palm, joints in PALMS.items()
    }
