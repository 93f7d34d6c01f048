"""Twenty hands of different people: bones, limits of their joints, forward kinematics.

The hand frame is that of a right hand with the wrist at the origin: x towards the little finger, y towards
the finger tips, z out of the back of the hand. Lengths are millimetres, angles degrees. A left hand is the
mirror image (x -> -x).

A pose is an array (5, 4): one row per finger, thumb first, and four angles per row.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

#: What the four columns of a pose mean for the thumb and for the other fingers.
THUMB_ANGLES = ("cmc flexion", "cmc abduction", "mcp flexion", "ip flexion")
FINGER_ANGLES = ("mcp flexion", "mcp abduction", "pip flexion", "dip flexion")

#: Lowest and highest angle of every joint in degrees, (5 fingers, 4 angles, 2). Flexion closes the hand.
#: Abduction moves a finger away from the middle one (the middle finger itself: towards the thumb) and the
#: thumb away from the palm.
JOINT_LIMITS = np.array(
    [
        [[-20, 40], [-20, 40], [-10, 60], [-15, 80]],
        [[-25, 90], [-10, 22], [-5, 105], [-5, 75]],
        [[-25, 90], [-12, 12], [-5, 105], [-5, 75]],
        [[-25, 90], [-10, 18], [-5, 105], [-5, 75]],
        [[-25, 92], [-10, 28], [-5, 105], [-5, 75]],
    ],
    dtype=np.float64,
)

#: Lowest and highest angle of the wrist: flexion (towards the palm), deviation (towards the little finger).
WRIST_LIMITS = np.array([[-60, 60], [-18, 28]], dtype=np.float64)

# An adult hand whose middle finger has a proximal phalanx of 44.6 mm; phalanges after Buryanov and Kotiuk
# (2010). The end of the last phalanx is the tip joint, about 4.5 mm inside the tip of the finger.
REFERENCE_SCALE = 44.6
BASES = np.array(
    [[-23.0, 21.0, -8.0], [-24.0, 88.0, 1.0], [-3.0, 90.0, 4.0], [17.0, 84.5, 2.5], [35.0, 76.0, -3.5]]
)
PHALANGES = np.array(
    [[45.0, 32.5, 25.0], [40.5, 24.0, 19.5], [44.6, 28.0, 20.5], [41.4, 26.8, 20.5], [32.7, 19.0, 18.5]]
)
# Half the width of a finger at its base, middle joint, last joint and tip.
RADII = np.array(
    [
        [13.5, 11.0, 10.2, 8.2],
        [10.2, 9.3, 8.0, 6.6],
        [10.3, 9.5, 8.2, 6.8],
        [9.7, 8.9, 7.6, 6.4],
        [8.7, 7.8, 6.7, 5.7],
    ]
)
# At rest the fingers fan out a little, and roll towards the middle finger as they close.
FAN = np.array([0.0, -3.0, -0.5, 2.0, 5.0])
ROLL = np.array([0.0, 4.0, 0.0, -5.0, -11.0])
THUMB_AXIS = np.array([-0.64, 0.70, -0.32])
THUMB_BACK = np.array([-0.66, -0.40, 0.64])
ABDUCTION_SIGN = np.array([-1.0, -1.0, -1.0, 1.0, 1.0])

SUBJECTS = 20
#: Subjects seen in evaluation only; the other sixteen are seen in training only.
EVALUATION_SUBJECTS = (3, 8, 12, 17)


@dataclass(frozen=True)
class Subject:
    """One person: ``bases`` (5, 3), ``phalanges`` (5, 3) and ``radii`` (5, 4) in mm; ``size`` is their ratio
    to the reference hand. ``melanin``, ``redness`` and ``roughness`` in 0..1; ``nail`` is its free edge, mm.
    """

    number: int
    kind: str
    size: float
    bases: np.ndarray
    phalanges: np.ndarray
    radii: np.ndarray
    melanin: float
    redness: float
    roughness: float
    nail: float

    @property
    def scale(self):
        """Length of the middle finger's proximal phalanx, mm."""
        return float(self.phalanges[2, 0])


def _subject(number):
    rng = np.random.default_rng([20, number])
    kind = ("man", "woman", "man", "woman", "child")[number % 5]
    low, high = {"man": (42.5, 48.0), "woman": (38.5, 43.5), "child": (34.0, 38.0)}[kind]
    size = rng.uniform(low, high) / REFERENCE_SCALE
    thick = {"man": 1.0, "woman": 0.91, "child": 0.95}[kind] * rng.uniform(0.92, 1.09)
    bases = BASES * size * np.array([rng.uniform(0.95, 1.07), rng.uniform(0.96, 1.04), 1.0])
    bases = bases + rng.normal(0.0, 0.6, bases.shape)
    phalanges = PHALANGES * size * rng.uniform(0.96, 1.04, (5, 1)) * rng.uniform(0.97, 1.03, (5, 3))
    phalanges[2, 0] = REFERENCE_SCALE * size
    radii = RADII * size * thick * rng.uniform(0.97, 1.03, (5, 1))
    melanin = ((number * 7) % SUBJECTS + rng.uniform(0.1, 0.9)) / SUBJECTS
    return Subject(
        number,
        kind,
        float(size),
        bases,
        phalanges,
        radii,
        float(melanin),
        float(rng.uniform(0.1, 1.0)),
        float(rng.uniform(0.1, 1.0)) * (0.3 if kind == "child" else 1.0),
        float(rng.uniform(0.3, 2.5)),
    )


#: The twenty people, in order of their number.
PEOPLE = tuple(_subject(number) for number in range(SUBJECTS))


def subjects_of(split):
    """Numbers of the subjects of ``"training"`` (16) or ``"evaluation"`` (4)."""
    if split == "evaluation":
        return EVALUATION_SUBJECTS
    return tuple(number for number in range(SUBJECTS) if number not in EVALUATION_SUBJECTS)


def _rest_frames():
    """Axes (5, 3, 3) of each finger's base at angle zero; rows: sideways, along it, out of its back."""
    frames = np.empty((5, 3, 3))
    for finger in range(5):
        fan, roll = np.radians(FAN[finger]), np.radians(ROLL[finger])
        along = np.array([np.sin(fan), np.cos(fan), 0.0])
        back = np.array([-np.sin(roll), 0.0, np.cos(roll)])
        if finger == 0:
            along, back = THUMB_AXIS, THUMB_BACK
        along = along / np.linalg.norm(along)
        back = back - (back @ along) * along
        back /= np.linalg.norm(back)
        frames[finger] = np.stack([np.cross(along, back), along, back])
    return frames


REST_FRAMES = _rest_frames()


@njit(cache=True, nogil=True)
def _kinematics(bases, phalanges, rest, sign, pose, joints, frames):
    joints[0] = 0.0
    for finger in range(5):
        side, along, back = rest[finger, 0].copy(), rest[finger, 1].copy(), rest[finger, 2].copy()
        angle = np.radians(pose[finger, 1]) * sign[finger]
        c, s = np.cos(angle), np.sin(angle)
        along, side = along * c + side * s, side * c - along * s
        joints[1 + 4 * finger] = bases[finger]
        for bone in range(3):
            angle = np.radians(pose[finger, 0 if bone == 0 else bone + 1])
            c, s = np.cos(angle), np.sin(angle)
            along, back = along * c - back * s, back * c + along * s
            frames[finger, bone, 0], frames[finger, bone, 1], frames[finger, bone, 2] = side, along, back
            joints[2 + 4 * finger + bone] = joints[1 + 4 * finger + bone] + along * phalanges[finger, bone]


def pose_joints(subject, pose):
    """Joints (21, 3) in mm and axes (5, 3, 3, 3) of the phalanges, in the frame of a right hand.

    ``pose`` (5, 4) degrees. ``frames[finger, bone]`` has the rows sideways, along the bone, out of its back.
    """
    joints, frames = np.empty((21, 3)), np.empty((5, 3, 3, 3))
    pose = np.ascontiguousarray(pose, dtype=np.float64)
    _kinematics(subject.bases, subject.phalanges, REST_FRAMES, ABDUCTION_SIGN, pose, joints, frames)
    return joints, frames


@njit(cache=True, nogil=True)
def _segment_distance(p, q, a, b):
    """Distance of the segments pq and ab."""
    uu, uv, vv, uw, vw, ww = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for c in range(3):
        u, v, w = q[c] - p[c], b[c] - a[c], p[c] - a[c]
        uu, uv, vv, uw, vw, ww = uu + u * u, uv + u * v, vv + v * v, uw + u * w, vw + v * w, ww + w * w
    den = uu * vv - uv * uv
    s = min(max((uv * vw - vv * uw) / den, 0.0), 1.0) if den > 1e-9 else 0.0
    t = min(max((uv * s + vw) / vv, 0.0), 1.0)
    s = min(max((uv * t - uw) / uu, 0.0), 1.0)
    # |w + s u - t v|^2
    square = ww + s * s * uu + t * t * vv + 2.0 * (s * uw - t * vw - s * t * uv)
    return np.sqrt(max(square, 0.0))


@njit(cache=True, nogil=True)
def _overlap(joints, radii):
    worst = 0.0
    for finger in range(5):
        for bone in range(3):
            if finger == 0 and bone == 0:
                continue
            i = 1 + 4 * finger + bone
            size = 0.5 * (radii[finger, bone] + radii[finger, bone + 1])
            for other in range(finger + 1, 5):
                for piece in range(3):
                    if finger == 0 and bone == 1 and piece == 0:
                        continue
                    k = 1 + 4 * other + piece
                    room = size + 0.5 * (radii[other, piece] + radii[other, piece + 1])
                    gap = _segment_distance(joints[i], joints[i + 1], joints[k], joints[k + 1])
                    worst = max(worst, room - gap)
            if bone > 0 and finger > 0:
                for other in range(1, 5):
                    room = size + 0.9 * radii[other, 0]
                    gap = _segment_distance(
                        joints[i], joints[i + 1], 0.55 * joints[1 + 4 * other], joints[1 + 4 * other]
                    )
                    worst = max(worst, room - gap)
    return worst


def overlap(subject, pose):
    """How deep, in mm, the fingers of this pose run into each other or into the palm; 0 when they do not."""
    return _overlap(pose_joints(subject, pose)[0], subject.radii)
