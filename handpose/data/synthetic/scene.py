"""What one synthetic frame is made of, and how a frame is drawn at random."""

from dataclasses import dataclass

import numpy as np

from handpose.data.synthetic import background
from handpose.data.synthetic.actions import ACTIONS, actions_of, key_pose, vary
from handpose.data.synthetic.anatomy import PEOPLE, WRIST_LIMITS, overlap, pose_joints, subjects_of
from handpose.data.synthetic.surface import FOREARM

SPLITS = ("training", "evaluation")
#: Focal lengths at 320 px and the hand's size in the image, as a share of its side (50 to 220 of 320 px).
FOCAL = (263.0, 306.0)
EXTENT = (50 / 320, 220 / 320)
# Flesh in front of a joint, as a share of the finger's radius there, and mm on the reference hand.
FLESH = np.array([23.0, 22.0] + [0.0] * 3 + [18.0, 0.0, 0.0, 0.0] * 4)


@dataclass(frozen=True)
class Light:
    """``direction`` towards the lamp and ``up`` are unit vectors in the camera frame; ``key``, ``sky`` and
    ``ground`` are linear colours, ``kelvin`` the lamp's temperature; ``exposure`` in stops; ``balance``
    multiplies red, green and blue."""

    direction: tuple
    up: tuple
    kelvin: float
    key: tuple
    sky: tuple
    ground: tuple
    exposure: float
    balance: tuple

    def gain(self):
        """What the camera multiplies linear red, green and blue with, (3,)."""
        return 2.0**self.exposure * np.asarray(self.balance)


@dataclass(frozen=True)
class Lens:
    """A camera of its own: size and K in pixels, and how far what is far away lies to the right and down."""

    width: int
    height: int
    fx: float
    fy: float
    u0: float
    v0: float
    shift: tuple = (0, 0)


@dataclass(frozen=True, eq=False)
class SyntheticFrame:
    """All factors of a frame. ``dataclasses.replace`` gives the same hand under another light or background.

    ``pose`` (5, 4) and ``wrist`` (2,) in degrees; ``turn`` (3, 3) takes the hand's frame to the camera's;
    ``position`` is the wrist in the camera frame and ``other`` the wrist of the hand out of sight, mm.
    ``elbow`` is the upper arm's direction along the forearm's axes: sideways, out of its back, to the hand.
    ``sleeve`` is the distance from the wrist to the cuff in mm (0: short sleeves); ``size`` in pixels.
    Pictures are square with the principal point in the middle, unless there is a ``lens``: then ``size`` and
    ``focal`` do not count.
    """

    split: str
    index: int
    size: int
    subject: int
    action: str
    phase: float
    hand: str
    pose: np.ndarray
    wrist: tuple
    elbow: tuple
    turn: np.ndarray
    position: tuple
    other: tuple
    other_pose: np.ndarray
    focal: float
    light: Light
    background_kind: str
    background_seed: int
    melanin: float
    sleeve: float
    cloth: tuple
    shot_noise: float
    read_noise: float
    noise_seed: int
    lens: Lens | None = None

    def rotation(self):
        """(3, 3) from the right hand's own frame to the camera's; it mirrors when this is a left hand."""
        return self.turn * ([-1.0, 1.0, 1.0] if self.hand == "left" else 1.0)

    def local_joints(self):
        """Joints (21, 3) and axes (5, 3, 3, 3) in the right hand's own frame, mm."""
        return pose_joints(PEOPLE[self.subject], self.pose)

    def joints(self):
        """Joints (21, 3) of the drawn hand in the camera frame, mm."""
        return self.local_joints()[0] @ self.rotation().T + np.asarray(self.position)

    def other_joints(self):
        """Joints (21, 3) of the subject's other hand, which lies outside the picture; camera frame, mm."""
        mirror = np.array([1.0, 1.0, 1.0] if self.hand == "left" else [-1.0, 1.0, 1.0])
        local = pose_joints(PEOPLE[self.subject], self.other_pose)[0]
        return (local * mirror) @ self.turn.T + np.asarray(self.other)

    def shape(self):
        """Rows and columns of the picture."""
        return (self.lens.height, self.lens.width) if self.lens else (self.size, self.size)

    def camera(self):
        """K (3, 3), pixels."""
        if self.lens:
            return np.array([[self.lens.fx, 0, self.lens.u0], [0, self.lens.fy, self.lens.v0], [0, 0, 1.0]])
        half = 0.5 * self.size
        return np.array([[self.focal, 0.0, half], [0.0, self.focal, half], [0.0, 0.0, 1.0]])

    def view(self):
        """Where the camera stands, seen from the hand: a unit vector (3,) in the right hand's frame; and the
        roll of the picture in degrees."""
        towards = -np.asarray(self.position) @ self.rotation()
        along = self.rotation()[:, 1]
        return towards / np.linalg.norm(towards), float(np.degrees(np.arctan2(along[0], -along[1])))


def project(camera, points):
    """Pixels (n, 2) of points (n, 3)."""
    image = points @ camera.T
    return image[:, :2] / image[:, 2:]


def label(frame, mask, depth):
    """xyz (21, 3) mm in canonical order, uv (21, 2) px, K (3, 3), hand and visible (21,) bool of a frame.

    A joint is visible where the picture shows the flesh around it and nothing in front of that.
    """
    xyz, camera = frame.joints(), frame.camera()
    uv = project(camera, xyz)
    subject = PEOPLE[frame.subject]
    flesh = FLESH * subject.size
    flesh[[2, 3, 4]] = subject.radii[0, 1:]
    for finger in range(1, 5):
        flesh[[2 + 4 * finger, 3 + 4 * finger, 4 + 4 * finger]] = subject.radii[finger, 1:]
    first = 2 if frame.hand == "left" else 18
    rows, columns = frame.shape()
    visible = np.zeros(21, bool)
    for joint in range(21):
        column, row = int(np.floor(uv[joint, 0])), int(np.floor(uv[joint, 1]))
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        part = int(mask[row, column]) - first
        if not 0 <= part <= 15 or (joint > 0 and (joint - 1) % 4 and part // 3 not in ((joint - 1) // 4, 5)):
            continue
        visible[joint] = xyz[joint, 2] - depth[row, column] < 1.25 * flesh[joint] + 2.0
    return xyz, uv, camera, frame.hand, visible


def _rotation(rng):
    """A rotation (3, 3), uniform over all."""
    w, x, y, z = (q := rng.normal(size=4)) / np.sqrt(q @ q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _pose(subject, action, phase, rng):
    """A pose of the action with its variation; of a few draws, one whose fingers keep out of each other."""
    centre = key_pose(action, phase)
    allowed = overlap(subject, centre) + 1.0
    best, least = centre, np.inf
    for attempt in range(6):
        pose = vary(centre, action.play * 0.8**attempt, rng)
        depth = overlap(subject, pose)
        if depth < least:
            best, least = pose, depth
        if depth <= max(allowed, 2.0):
            break
    return best


def _orientation(hand, down, rng):
    """A turn (3, 3) that does not look along the forearm from behind the elbow."""
    mirror = np.array([-1.0, 1.0, 1.0] if hand == "left" else [1.0, 1.0, 1.0])
    while True:
        turn = _rotation(rng)
        if -(turn @ (down * mirror))[2] < 0.70:  # the cosine of the angle between forearm and camera
            return turn


def _place(points, rotation, size, focal, arm, rng):
    """Wrist position (3,) that gives the hand a log-uniform size in the picture and a place inside it."""
    turned = points @ rotation.T
    low, high = turned.min(0), turned.max(0)
    extent = size * np.exp(rng.uniform(np.log(EXTENT[0]), np.log(EXTENT[1])))
    flesh = 16.0
    distance = focal * (max(high[0] - low[0], high[1] - low[1]) + flesh) / extent - 0.5 * (low[2] + high[2])
    # Neither the hand nor the elbow may come close to the camera.
    distance = max(distance, 140.0 - low[2], 170.0 - arm)
    margin = -0.12 * extent if rng.random() < 0.08 else 0.015 * size
    position = np.array([0.0, 0.0, distance])
    for axis in range(2):
        image = focal * turned[:, axis] / (turned[:, 2] + distance)
        width = 0.5 * focal * flesh / distance
        room = max(0.5 * size - margin - 0.5 * (image.max() - image.min()) - width, 0.0)
        shift = rng.uniform(-room, room) * (0.45 + 0.55 * rng.random()) - 0.5 * (image.max() + image.min())
        position[axis] = shift * distance / focal
    return position


def _black_body(kelvin):
    """Rough linear colour (3,) of a lamp, relative to daylight at 6000 K."""
    t = np.log(kelvin / 6000.0)
    return np.array([np.exp(-0.55 * t), 1.0, np.exp(0.75 * t)])


def draw_light(rng):
    """A random light: direction, colours, exposure and white balance."""
    while True:
        direction = rng.normal(size=3) * [1.0, 1.0, 0.9] + [0.0, -0.7, -0.55]
        direction /= np.sqrt(direction @ direction)
        if direction[2] < 0.55 and direction[1] < 0.55:
            break
    up = np.array([0.25 * rng.normal(), -1.0, 0.25 * rng.normal()])
    kelvin = float(np.exp(rng.uniform(np.log(2700.0), np.log(8500.0))))
    ambient = float(np.exp(rng.uniform(np.log(0.14), np.log(0.75))))
    key = _black_body(kelvin) * (1.30 - 0.6 * ambient)
    sky = ambient * np.exp(rng.normal(0.0, 0.10, 3)) * _black_body(float(rng.uniform(4500.0, 9000.0)))
    ground = sky * rng.uniform(0.35, 0.85) * np.array([1.06, 1.0, 0.93])
    camera = 1.0 / _black_body(kelvin) ** rng.uniform(
        0.45, 1.0
    )  # the camera corrects most of the lamp's colour
    balance = camera * np.exp(rng.normal(0.0, 0.04, 3))
    exposure = float(np.clip(rng.normal(-0.15, 0.38), -1.1, 0.6))
    vectors = [
        tuple(vector.tolist()) for vector in (direction, up / np.sqrt(up @ up), key, sky, ground, balance)
    ]
    return Light(vectors[0], vectors[1], kelvin, *vectors[2:5], exposure, vectors[5])  # type: ignore[arg-type, call-arg]


def _aside(joints, focal, size, depth, sign):
    """How far left (-1) or right (1) a hand's joints (21, 3) must go to leave the picture, and its depth."""
    depth = max(depth, 60.0 - joints[:, 2].min())
    edge = sign * 0.55 * size * (joints[:, 2] + depth) / focal
    x = (edge - joints[:, 0]).max() if sign > 0 else (edge - joints[:, 0]).min()
    return float(x), float(depth)


def draw_frame(seed, split, index, size):
    """The factors of frame ``index`` of a split; they depend on nothing but these four arguments."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    number = int(rng.choice(subjects_of(split)))
    subject = PEOPLE[number]
    name = str(rng.choice(actions_of(split)))
    action, phase = ACTIONS[name], float(rng.random())
    hand = "left" if rng.random() < 0.5 else "right"
    pose = _pose(subject, action, phase, rng)
    wrist = np.clip(rng.normal(0.0, 1.0, 2) * [20.0, 9.0], WRIST_LIMITS[:, 0], WRIST_LIMITS[:, 1])
    flex, tilt = np.radians(wrist)
    down = np.array([-np.sin(tilt) * np.cos(flex), -np.cos(tilt) * np.cos(flex), -np.sin(flex)])
    turn = _orientation(hand, down, rng)
    rotation = turn * ([-1.0, 1.0, 1.0] if hand == "left" else 1.0)
    focal = rng.uniform(*FOCAL) * size / 320.0

    local = pose_joints(subject, pose)[0]
    arm = float((rotation @ down)[2] * FOREARM * subject.size)
    position = _place(local, rotation, size, focal, arm, rng)
    side, bend = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.3, 1.7)
    elbow = np.array([np.sin(bend) * np.cos(side), np.sin(bend) * np.sin(side), -np.cos(bend)])
    across = np.array([np.cos(tilt), -np.sin(tilt), 0.0])
    axes = np.stack([across, np.cross(across, -down), -down])
    if (rotation @ (elbow @ axes))[2] < 0.0:  # the upper arm goes away from the camera
        elbow[:2] = -elbow[:2]
    if (rotation @ (elbow @ axes))[2] < -0.3:
        elbow = np.array([0.0, 0.0, -1.0])

    other_pose = vary(key_pose(ACTIONS["relaxed"], float(rng.random())), 4.0, rng)
    mirror = np.array([1.0, 1.0, 1.0] if hand == "left" else [-1.0, 1.0, 1.0])
    other = (pose_joints(subject, other_pose)[0] * mirror) @ turn.T
    sign = 1.0 if rng.random() < 0.5 else -1.0
    x, z = _aside(other, focal, size, position[2] * rng.uniform(0.85, 1.25), sign)

    light = draw_light(rng)
    sleeve = float(rng.uniform(25.0, 150.0)) if rng.random() < 0.45 else 0.0
    cloth = np.minimum(np.exp(rng.normal(-1.8, 0.9)) * np.exp(rng.normal(0.0, 0.35, 3)), 0.8)
    kind = str(rng.choice(background.KINDS, p=background.SHARES))
    return SyntheticFrame(
        split,
        index,
        size,
        number,
        name,
        phase,
        hand,
        pose,
        tuple(map(float, wrist)),
        tuple(map(float, elbow)),
        turn,
        tuple(map(float, position)),
        (x, float(position[1] + 30.0 * rng.normal()), z),
        other_pose,
        float(focal),
        light,
        kind,
        int(rng.integers(2**31)),
        float(np.clip(subject.melanin + rng.normal(0.0, 0.02), 0.0, 1.0)),
        sleeve,
        tuple(map(float, cloth)),
        float(rng.uniform(2e-4, 1.2e-3)),
        float(rng.uniform(0.001, 0.006)),
        int(rng.integers(2**31)),
    )
