"""From one frame's factors to its picture, mask and depth."""

import functools
import math

import numpy as np
from numba import njit

from handpose.data.synthetic import background, shade
from handpose.data.synthetic.anatomy import PEOPLE
from handpose.data.synthetic.paint import SUB, paint
from handpose.data.synthetic.surface import PERSON_PART, hand_surface

# Back of the hand (sRGB) from the palest to the darkest skin, and its palm.
BACKS = np.array(
    [[240, 202, 180], [226, 181, 152], [205, 154, 121], [173, 121, 88], [126, 84, 60], [84, 55, 42]]
)
PALMS = np.array(
    [[240, 196, 178], [234, 186, 164], [224, 170, 145], [208, 150, 125], [186, 130, 108], [166, 112, 93]]
)


def srgb_to_linear(colour):
    """Linear light 0..1 of sRGB values 0..255."""
    value = np.asarray(colour, dtype=np.float64) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_BACKS, _PALMS = srgb_to_linear(BACKS), srgb_to_linear(PALMS)


def skin_tones(melanin):
    """Linear colours (3,), (3,) of the back of the hand and of the palm for ``melanin`` in 0..1."""
    place = melanin * (len(BACKS) - 1)
    low = min(int(place), len(BACKS) - 2)
    part = place - low
    back, palm = ((1 - part) * tones[low] + part * tones[low + 1] for tones in (_BACKS, _PALMS))
    return back, palm


def person_vector(frame, pixel):
    """What the colours of this frame's skin and sleeve depend on; ``pixel`` is a pixel's width in mm."""
    subject = PEOPLE[frame.subject]
    vector = np.zeros(shade.PERSON, np.float32)
    vector[shade.SIZE], vector[shade.PIXEL], vector[shade.SEED] = subject.size, pixel, 7.3 * frame.subject
    vector[shade.ROUGH], vector[shade.NAIL] = subject.roughness, subject.nail
    back, palm = skin_tones(frame.melanin)
    vector[shade.DORSAL:shade.DORSAL + 3], vector[shade.PALMAR:shade.PALMAR + 3] = back, palm
    vector[shade.BLOOD] = subject.redness
    vector[shade.CLOTH:shade.CLOTH + 3] = frame.cloth
    vector[shade.BEND:] = np.clip(frame.pose[:, 2:] / 60.0, 0.0, 1.0).ravel()
    return vector


@njit(cache=True, nogil=True)
def _noise_bits(state):
    state ^= (state << np.uint64(13))
    state ^= (state >> np.uint64(7))
    state ^= (state << np.uint64(17))
    return state


@njit(cache=True, nogil=True)
def _develop(layer, depth_samples, part_samples, scene, gain, shot, read, seed, curve, first_part, picture,
             mask, depth):
    """Average the samples over the background ``scene``, add the sensor's noise and encode."""
    rows, columns = mask.shape
    state = np.uint64(seed) * np.uint64(2654435761) + np.uint64(88172645463325252)
    steps = len(curve) - 1
    share = 1.0 / (SUB * SUB)
    for row in range(rows):
        for column in range(columns):
            hits = 0
            closest, part = 1e9, 0
            red = green = blue = 0.0
            for sample in range(SUB * SUB):
                r, c = SUB * row + sample // SUB, SUB * column + sample % SUB
                z = depth_samples[r, c]
                if z > 0.0:
                    hits += 1
                    red += layer[r, c, 0]
                    green += layer[r, c, 1]
                    blue += layer[r, c, 2]
                    if z < closest:
                        closest, part = z, part_samples[r, c]
            rest = 1.0 - share * hits
            values = (red * share + rest * scene[row, column, 0],
                      green * share + rest * scene[row, column, 1],
                      blue * share + rest * scene[row, column, 2])
            for c in range(3):
                state = _noise_bits(state)
                # Four 16-bit numbers add up to nearly a normal draw.
                draw = (state & np.uint64(0xFFFF)) + ((state >> np.uint64(16)) & np.uint64(0xFFFF))
                draw += ((state >> np.uint64(32)) & np.uint64(0xFFFF)) + (state >> np.uint64(48))
                value = values[c] * gain[c]
                spread = 1.73 * math.sqrt(shot * max(value, 0.0) + read * read)
                value += (float(draw) / 65535.0 - 2.0) * spread
                picture[row, column, c] = curve[int(min(max(value, 0.0), 1.0) * steps + 0.5)]
            if 2 * hits >= SUB * SUB:
                depth[row, column] = closest
                mask[row, column] = 1 if part == PERSON_PART else first_part + part


def _curve():
    value = np.linspace(0.0, 1.0, 4097)
    value = np.minimum(value * (1.0 + 0.18 * value ** 2) / 1.18 * 1.06, 1.0)  # a gentle shoulder
    encoded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.round(255.0 * np.minimum(encoded, 1.0)).astype(np.uint8)


_CURVE = _curve()


#: Columns of the background beyond the picture's on either side, for cameras that stand side by side.
ASIDE = 64


@functools.lru_cache(4)
def _wide_background(kind, seed, side):
    return background.paint(kind, seed, side)


def _background(frame):
    """What is behind the hand, linear light (H, W, 3): its own for a square picture, else cut from a wide one."""
    if frame.lens is None:
        return background.paint(frame.background_kind, frame.background_seed, frame.size)
    height, width = frame.shape()
    side = max(height, width) + 2 * ASIDE
    wide = _wide_background(frame.background_kind, frame.background_seed, side)
    left, top = (side - width) // 2 - frame.lens.shift[0], (side - height) // 2 - frame.lens.shift[1]
    return np.ascontiguousarray(wide[top : top + height, left : left + width])


def render(frame):
    """Colour uint8 (H, W, 3), RHD mask uint8 (H, W) and depth float32 (H, W) in mm of a frame.

    Depth is along the camera's axis, and infinite where only the background is seen.
    """
    (height, width), subject = frame.shape(), PEOPLE[frame.subject]
    fx, fy, u0, v0 = frame.camera()[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    joints, frames = frame.local_joints()
    rotation, offset = frame.rotation(), np.asarray(frame.position)
    wrist, elbow = np.asarray(frame.wrist), np.asarray(frame.elbow)
    shapes, kinds = hand_surface(subject, joints, frames, wrist, elbow, frame.sleeve, rotation, offset)
    samples = (height * SUB, width * SUB)
    layer = np.empty((*samples, 3), np.float32)
    depth_samples = np.zeros(samples, np.float32)
    part_samples = np.zeros(samples, np.uint8)
    light = frame.light
    person = person_vector(frame, frame.position[2] / fx)
    paint(shapes, kinds, fx, fy, u0, v0, width, height, rotation, offset, person,
           np.asarray(light.direction, np.float32), np.asarray(light.key), np.asarray(light.sky),
           np.asarray(light.ground), np.asarray(light.up), layer, depth_samples, part_samples)
    colour = np.empty((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    depth = np.full((height, width), np.inf, np.float32)
    _develop(layer, depth_samples, part_samples, _background(frame), light.gain(), frame.shot_noise, frame.read_noise,
             frame.noise_seed, _CURVE, 2 if frame.hand == "left" else 18, colour, mask, depth)
    return colour, mask, depth
