"""Thirty-nine actions of a hand: each a small region of pose space with a motion in it."""

from dataclasses import dataclass

import numpy as np

from handpose.data.synthetic.anatomy import JOINT_LIMITS

# Angles (degrees) of a finger: flexion at its base, middle and last joint.
_FINGER = {
    "s": (0, 3, 2),  # straight
    "e": (-15, 2, 2),  # bent back
    "r": (18, 24, 12),  # relaxed
    "h": (32, 42, 24),  # half closed
    "g": (48, 58, 32),  # around something thick
    "c": (80, 98, 52),  # closed
    "n": (68, 92, 45),  # nearly closed
    "k": (0, 92, 48),  # hook
    "w": (-8, 62, 42),  # claw
    "p": (74, 6, 4),  # bent at the base only
    "b": (48, 12, 8),  # half bent at the base
    "t": (45, 36, 30),  # tip to the thumb (index)
    "m": (57, 45, 28),  # tip to the thumb (middle)
    "i": (38, 26, 40),  # on a pen
    "j": (40, 60, 44),  # below a pen
    "f": (62, 26, 14),  # tips together
}
# Angles of the thumb: flexion and abduction at its root, flexion at the middle and last joint.
_THUMB = {
    "out": (-16, -4, 2, -8),
    "rest": (6, 6, 12, 14),
    "side": (12, -14, 10, 8),
    "front": (2, 32, 8, 10),
    "over": (28, 22, 38, 42),
    "palm": (36, 14, 48, 48),
    "key": (12, -16, 22, 22),
    "index": (36, -8, 4, -12),  # tip to the index finger
    "middle": (39, -5, 15, -12),  # tip to the middle finger
    "pen": (39, -14, 6, -8),
    "little": (38, -16, 40, -4),  # across, to the little finger
    "beak": (38, 14, 24, -10),
}


@dataclass(frozen=True)
class Action:
    """A motion between key poses. ``keys`` (n, 5, 4) degrees, run through and back in one phase;
    ``lag`` lets each finger follow its neighbour by that much of a phase; ``play`` is the spread (degrees) of
    every joint around the motion."""

    name: str
    keys: np.ndarray
    lag: float
    play: float


def _key(thumb, fingers, spread):
    pose = np.zeros((5, 4))
    pose[0] = _THUMB[thumb]
    for finger, letter in enumerate(fingers, start=1):
        pose[finger, [0, 2, 3]] = _FINGER[letter]
        pose[finger, 1] = spread * (0.8, 0.0, 0.8, 1.3)[finger - 1]
    return np.clip(pose, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])


# name: key poses as (thumb, index to little, spread of the fingers), then lag and play where not usual.
_TABLE = {
    "open": ([("rest", "ssss", 4), ("out", "ssss", 10)],),
    "spread": ([("out", "ssss", 12), ("out", "eeee", 18)],),
    "flat": ([("side", "ssss", 0), ("side", "ssss", -2)],),
    "relaxed": ([("rest", "rrrr", 3), ("rest", "rhhh", 2)],),
    "fist": ([("over", "nnnn", 0), ("over", "cccc", 0)],),
    "point": ([("over", "scnn", 0), ("over", "rccc", 0)],),
    "victory": ([("palm", "sscc", 12), ("palm", "ssnn", 6)],),
    "scissors": ([("palm", "ssnn", 0), ("palm", "ssnn", 15)],),
    "ok": ([("index", "tsss", 2), ("index", "trss", 4)], 0.0, 2.5),
    "pinch": ([("index", "trhh", 1), ("front", "hrhh", 3)], 0.0, 3.0),
    "pinch_middle": ([("middle", "rmrr", 2), ("middle", "smss", 5)], 0.0, 2.5),
    "thumbs_up": ([("out", "cccc", 0), ("out", "nnnn", 0)],),
    "call_me": ([("out", "cccs", 6), ("out", "nnne", 10)],),
    "horns": ([("palm", "snns", 4), ("palm", "sccs", 8)],),
    "love_you": ([("out", "snns", 6), ("out", "sccs", 10)],),
    "gun": ([("out", "sccc", 0), ("rest", "snnn", 0)],),
    "two_barrels": ([("out", "sscc", 0), ("rest", "ssnn", 0)],),
    "count_three": ([("little", "sssf", 5), ("little", "sssg", 3)], 0.0, 3.0),
    "count_four": ([("palm", "ssss", 6), ("palm", "ssss", 12)],),
    "count_thumb_three": ([("out", "sscc", 12), ("out", "ssnn", 8)],),
    "little_up": ([("over", "cccs", 4), ("over", "nnns", 8)],),
    "vulcan": ([("out", "ssss", 0), ("out", "ssss", 0)],),
    "claw": ([("front", "wwww", 10), ("front", "gggg", 8)],),
    "hook": ([("rest", "kkkk", 1), ("side", "kkkk", 0)],),
    "tabletop": ([("rest", "pppp", 1), ("rest", "bbbb", 2)],),
    "beak": ([("beak", "pffh", -1), ("front", "bbbb", -1)], 0.0, 2.5),
    "pen_grip": ([("pen", "ijnn", 0), ("pen", "hjnn", 0)], 0.0, 2.5),
    "key_grip": ([("key", "gnnn", 0), ("key", "hgnn", 0)], 0.0, 3.0),
    "cylinder_grip": ([("front", "gggg", 1), ("front", "hhhh", 2)],),
    "ball_grip": ([("front", "hhhh", 12), ("front", "rrhh", 14)],),
    "card_hold": ([("key", "bbbb", 0), ("key", "hhhh", 0)], 0.0, 3.0),
    "letter_c": ([("front", "bbbb", 0), ("front", "hhhh", 0)],),
    "beckon": ([("rest", "ssss", 2), ("rest", "gggg", 1)], 0.08),
    "wave": ([("rest", "ssss", 4), ("rest", "bbbb", 2)],),
    "piano": ([("rest", "rrrr", 8), ("rest", "bhbh", 6)], 0.25),
    "drum": ([("rest", "hrrr", 3), ("rest", "ghhh", 3)], 0.2),
    "mouse_click": ([("rest", "rrrh", 6), ("rest", "hrrh", 6)],),
    "trigger": ([("rest", "rgnn", 0), ("rest", "ggnn", 0)],),
    "scroll": ([("over", "ssnn", 2), ("over", "hhnn", 1)],),
}

#: Actions seen in evaluation only; the other thirty-one are seen in training only.
EVALUATION_ACTIONS = ("love_you", "count_four", "gun", "vulcan", "claw", "pen_grip", "tabletop", "beckon")


def _action(name, keys, lag=0.0, play=5.0):
    poses = np.stack([_key(*key) for key in keys])
    if name == "vulcan":  # index with middle, ring with little
        poses[:, 1:, 1] = np.array([-1.0, 7.0, 9.0, 4.0]) * np.array([[1.0], [0.8]])
    return Action(name, poses, lag, play)


#: The thirty-nine actions by name.
ACTIONS = {name: _action(name, *row) for name, row in _TABLE.items()}


def actions_of(split):
    """Names of the actions of ``"training"`` (31) or ``"evaluation"`` (8)."""
    if split == "evaluation":
        return EVALUATION_ACTIONS
    return tuple(name for name in ACTIONS if name not in EVALUATION_ACTIONS)


def key_pose(action, phase):
    """The pose (5, 4) in degrees of an action at ``phase`` in 0..1, without any variation."""
    stops = len(action.keys) - 1
    finger = np.arange(5)
    place = (0.5 - 0.5 * np.cos(2 * np.pi * (phase - action.lag * finger))) * stops
    first = np.minimum(place.astype(int), stops - 1)
    part = (place - first)[:, None]
    return (1 - part) * action.keys[first, finger] + part * action.keys[first + 1, finger]


def vary(pose, play, rng):
    """``pose`` (5, 4) with a draw of the joints' own variation (``play`` degrees), inside the limits."""
    draw = rng.normal(0.0, play, (5, 4))
    draw[1:] += rng.normal(0.0, 0.6 * play, (1, 4))
    draw[:, 1] *= 0.5
    draw[1:, 3] = 0.5 * draw[1:, 3] + 0.5 * draw[1:, 2]
    return np.clip(pose + draw, JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1])
