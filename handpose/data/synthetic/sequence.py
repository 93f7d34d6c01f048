"""STB's twelve sequences: one person's left hand, counting or moving at random, before six backgrounds.

A sequence is a motion of 1500 moments, as many as the official ones have pictures; fewer frames are spread
evenly over it. Four cameras see it: the stereo pair, and colour and depth side by side. The official files do
not say where these two pairs stand to each other; here the second is ``SK_PLACE`` from the left camera.
"""

import dataclasses
import functools

import numpy as np
from scipy.spatial.transform import Rotation

from handpose.data.stb import (
    BASELINE,
    DEPTH_ROTATION,
    DEPTH_TRANSLATION,
    HEIGHT,
    K_COLOUR,
    K_DEPTH,
    K_STEREO,
    SEQUENCES,
    WIDTH,
)
from handpose.data.synthetic import background
from handpose.data.synthetic.actions import ACTIONS, vary
from handpose.data.synthetic.anatomy import PEOPLE, WRIST_LIMITS, overlap
from handpose.data.synthetic.scene import Lens, SyntheticFrame, draw_light

MOMENTS = 1500
#: The hand for one, two, three, four and five.
COUNTS = ("point", "victory", "count_three", "count_four", "spread")
#: Moments from one key pose to the next, and the part of them that the hand rests.
STEP = {"Counting": 45, "Random": 36}
REST = {"Counting": 0.5, "Random": 0.1}
#: How far the hand turns at most, degrees: about the camera's y, x and z axes.
TURNS = {"Counting": (28.0, 20.0, 16.0), "Random": (65.0, 30.0, 35.0)}
# Where the middle of the hand is in the left camera's frame, mm, and how far it wanders.
MIDDLE, WANDER = np.array([60.0, -5.0, 600.0]), np.array([30.0, 25.0, 55.0])
SK_PLACE = np.array([60.0, 40.0, 0.0])
BEHIND = 1500.0  # mm: how far away the background is
TO_SHOULDER = np.array([0.1, 0.8, 0.6])  # from the elbow, in the camera frame: down and away
PALM_FACES_CAMERA = np.diag([-1.0, -1.0, 1.0])


def _lens(K, place):
    shift = (MIDDLE[:2] - place[:2]) * [1, 0] - place[:2] * [0, 1]
    across, down = np.round(K[0, 0] * shift / BEHIND).astype(int).tolist()
    return Lens(WIDTH, HEIGHT, *K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), (across, down))  # type: ignore[call-arg]


#: For each camera its lens, and R and t that take the left stereo camera's frame to its own: R x + t, mm.
CAMERAS = {
    "BB_left": (_lens(K_STEREO, np.zeros(3)), np.eye(3), np.zeros(3)),
    "BB_right": (_lens(K_STEREO, np.array([BASELINE, 0.0, 0.0])), np.eye(3), np.array([-BASELINE, 0.0, 0.0])),
    "SK_color": (_lens(K_COLOUR, SK_PLACE), np.eye(3), -SK_PLACE),
    "SK_depth": (_lens(K_DEPTH, SK_PLACE), DEPTH_ROTATION, DEPTH_TRANSLATION - DEPTH_ROTATION @ SK_PLACE),
}


def name_of(sequence):
    """"B3Random" -> 3, "Random"."""
    return int(sequence[1]), sequence[2:]


def split_of(sequence):
    """The split that a sequence belongs to."""
    return next(split for split, sequences in SEQUENCES.items() if sequence in sequences)


class _Waves:
    """Numbers in -1..1 that change smoothly with time: each the mean of two waves."""

    def __init__(self, count, rng):
        self.rate = 2 * np.pi / rng.uniform([140.0, 300.0], [300.0, 700.0], (count, 2))
        self.phase = rng.uniform(0, 2 * np.pi, (count, 2))

    def at(self, moment):
        return np.sin(self.rate * moment + self.phase).mean(1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Motion:
    keys: np.ndarray  # (n, 5, 4) degrees
    waves: _Waves  # 3 for the place, 3 for the turn, 2 for the wrist


def _key(subject, action, play, rng):
    """A key pose of the action with variation; of a few draws, one whose fingers keep out of each other."""
    centre = action.keys[rng.integers(len(action.keys))]
    draws = [vary(centre, play * 0.7**attempt, rng) for attempt in range(4)] + [centre]
    return min(draws, key=lambda pose: round(overlap(subject, pose)))


@functools.lru_cache(24)
def _motion(seed, sequence):
    number, motion = name_of(sequence)
    rng = np.random.default_rng([seed, 51, number, motion == "Random"])
    subject, keys = PEOPLE[_person(seed)["subject"]], []
    names = list(ACTIONS)
    for place in range(MOMENTS // STEP[motion] + 2):
        name = COUNTS[place % 5] if motion == "Counting" else names[rng.integers(len(names))]
        keys.append(_key(subject, ACTIONS[name], 3.0 if motion == "Counting" else 7.0, rng))
    return _Motion(np.stack(keys), _Waves(8, rng))


@functools.lru_cache(4)
def _person(seed):
    """Who it is and what they wear, the same in all twelve sequences."""
    rng = np.random.default_rng([seed, 50])
    number = int(rng.choice([person.number for person in PEOPLE if person.kind != "child"]))
    return {
        "subject": number,
        "melanin": PEOPLE[number].melanin,
        "sleeve": float(rng.uniform(40.0, 150.0)) if rng.random() < 0.6 else 0.0,
        "cloth": tuple(map(float, np.minimum(np.exp(rng.normal(-1.8, 0.9)) * np.exp(rng.normal(0.0, 0.35, 3)), 0.8))),
        "shot_noise": float(rng.uniform(2e-4, 8e-4)),
        "read_noise": float(rng.uniform(0.001, 0.004)),
    }


@functools.lru_cache(24)
def _place(seed, number):
    """Light and background of the two sequences with this number."""
    rng = np.random.default_rng([seed, 52, number])
    kind = str(rng.choice(background.KINDS, p=background.SHARES))
    return {"light": draw_light(rng), "background_kind": kind, "background_seed": int(rng.integers(2**31))}


def draw_moment(seed, sequence, index, count):
    """The factors of frame ``index`` of ``count`` of a sequence, as the left stereo camera sees it."""
    number, motion = name_of(sequence)
    moment = MOMENTS * (index + 0.5) / count
    moves, person = _motion(seed, sequence), _person(seed)
    step, part = divmod(moment, STEP[motion])
    part = min(max((part / STEP[motion] - REST[motion]) / (1 - REST[motion]), 0.0), 1.0)
    part = part * part * (3 - 2 * part)
    pose = (1 - part) * moves.keys[int(step)] + part * moves.keys[int(step) + 1]
    waves = moves.waves.at(moment)
    turn = Rotation.from_euler("yxz", waves[3:6] * TURNS[motion], degrees=True).as_matrix() @ PALM_FACES_CAMERA
    wrist = np.clip(waves[6:] * [20.0, 10.0], WRIST_LIMITS[:, 0], WRIST_LIMITS[:, 1])
    flex, tilt = np.radians(wrist)
    up = np.array([np.sin(tilt) * np.cos(flex), np.cos(tilt) * np.cos(flex), np.sin(flex)])  # along the forearm
    across = np.array([np.cos(tilt), -np.sin(tilt), 0.0])
    elbow = np.stack([across, np.cross(across, up), up]) @ ((turn * [-1.0, 1.0, 1.0]).T @ TO_SHOULDER)
    middle = turn @ np.array([0.0, 75.0 * PEOPLE[person["subject"]].size, 0.0])
    return SyntheticFrame(
        split=split_of(sequence),
        index=index,
        size=WIDTH,
        action=motion.lower(),
        phase=moment / MOMENTS,
        hand="left",
        pose=pose,
        wrist=tuple(wrist.tolist()),
        elbow=tuple(elbow.tolist()),
        turn=turn,
        position=tuple((MIDDLE + WANDER * waves[:3] - middle).tolist()),
        other=(0.0, 0.0, 0.0),  # not drawn, and not labelled in STB
        other_pose=np.zeros((5, 4)),
        focal=CAMERAS["BB_left"][0].fx,
        noise_seed=int(np.random.default_rng([seed, 53, number, motion == "Random", index]).integers(2**30)),
        lens=CAMERAS["BB_left"][0],
        **person,
        **_place(seed, number),
    )


def seen_by(camera, frame):
    """The same moment (as ``draw_moment`` gives it) through another of ``CAMERAS``."""
    lens, R, t = CAMERAS[camera]
    light = frame.light
    return dataclasses.replace(
        frame,
        lens=lens,
        focal=lens.fx,
        turn=R @ frame.turn,
        position=tuple((R @ np.asarray(frame.position) + t).tolist()),
        light=dataclasses.replace(
            light, direction=tuple((R @ light.direction).tolist()), up=tuple((R @ light.up).tolist())
        ),
        noise_seed=frame.noise_seed + list(CAMERAS).index(camera),
    )


def stb_joints(frame):
    """Joints (21, 3) in canonical order, but joint 0 is the palm centre: the midpoint of wrist and ring MCP.

    STB labels no wrist, and says only that its joint 0 is "not wrist or hand center". The field's codes get a
    wrist back from it as ring MCP + 2 (palm - ring MCP); with this palm they get ours.
    """
    joints = frame.joints()
    joints[0] = 0.5 * (joints[0] + joints[13])
    return joints
