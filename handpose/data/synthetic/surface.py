"""The skin of a posed hand as a list of tapered, slightly flattened capsules.

Numbers of a capsule (columns of ``shapes``, float32, millimetres, camera frame): start (0-2), start to end
(3-5), 1 / length^2 (6), radius at the start (7), change of radius to the end (8), how much thicker it is half
way (9), unit vector out of its back (10-12), how much flatter it is along that vector (13), width of the
blend with its neighbours (14), width of the blend with the palm (15, proximal pieces only).

``kinds`` (int32): group (0: palm and arm, 1-5: a finger, 6: sleeve), RHD part counted from the thumb tip of
its own hand (0-14 the fingers, 15 palm, 16 person) and what it is (see the constants).
"""

import numpy as np
from numba import njit

PALM, PROXIMAL, MIDDLE, DISTAL, ARM, SLEEVE = 0, 1, 2, 3, 4, 5
PALM_PART, PERSON_PART = 15, 16
COLUMNS = 16
CAPACITY = 56
FOREARM, UPPER_ARM = 235.0, 330.0


@njit(cache=True, nogil=True)
def _put(shapes, kinds, row, start, end, r0, r1, bulge, back, flat, blend, join, group, part, kind):
    length = 0.0
    for c in range(3):
        shapes[row, c], shapes[row, 3 + c], shapes[row, 10 + c] = start[c], end[c] - start[c], back[c]
        length += (end[c] - start[c]) ** 2
    shapes[row, 6] = 1.0 / max(length, 1e-3)
    shapes[row, 7] = r0
    shapes[row, 8] = r1 - r0
    shapes[row, 9] = bulge
    shapes[row, 13] = flat
    shapes[row, 14] = blend
    shapes[row, 15] = join
    kinds[row, 0], kinds[row, 1], kinds[row, 2] = group, part, kind
    return row + 1


@njit(cache=True, nogil=True)
def _palm(shapes, kinds, row, start, end, r0, r1, bulge, blend):
    back = np.array([0.0, 0.0, 1.0])
    return _put(shapes, kinds, row, start, end, r0, r1, bulge, back, 0.0, blend, 0.0, 0, PALM_PART, PALM)


@njit(cache=True, nogil=True)
def _at(s, x, y, z):
    return np.array([x * s, y * s, z * s])


@njit(cache=True, nogil=True)
def _hand(joints, frames, radii, bases, s, w, shapes, kinds, row):
    """The palm; ``s`` scales lengths and ``w`` the widths of the reference hand."""
    for finger in range(1, 5):  # metacarpals and their heads
        base, r = bases[finger], radii[finger, 0]
        carpal = np.array([0.42 * base[0], 12.0 * s, -1.0 * s])
        start, end = base + _at(s, 0.0, -3.0, 4.2), base + _at(s, 0.0, 0.0, 4.2)
        body = base + _at(s, 0.0, -3.0, -2.2)
        row = _palm(shapes, kinds, row, carpal, body, 13.0 * w, r * 1.08, -0.8 * s, 7.0 * s)
        row = _palm(shapes, kinds, row, start, end, 0.6 * r, 0.62 * r, 0.0, 5.0 * s)
    # The pads below the fingers and the heel of the hand.
    start, end = bases[1] + _at(s, 2.0, 3.0, -7.0), bases[4] + _at(s, -2.0, 2.0, -5.5)
    row = _palm(shapes, kinds, row, start, end, 8.2 * w, 7.4 * w, 0.0, 9.0 * s)
    start, end = _at(s, 19.0, 15.0, -9.0), bases[4] + _at(s, -1.0, -16.0, -7.0)
    row = _palm(shapes, kinds, row, start, end, 13.0 * w, 9.5 * w, 1.5 * s, 11.0 * s)
    # The ball of the thumb, and the web between thumb and index finger.
    bone = joints[2] - joints[1]
    near, far = joints[1] + 0.45 * bone, joints[1] + 0.80 * bone
    end = far - frames[0, 0, 2] * (5.0 * s)
    row = _palm(shapes, kinds, row, _at(s, -13.0, 17.0, -10.0), end, 13.0 * w, 9.0 * w, 2.5 * s, 12.0 * s)
    start, end = far + _at(s, 2.0, 0.0, 0.0), bases[1] * 0.80 + _at(s, 1.0, 0.0, -3.0)
    row = _palm(shapes, kinds, row, start, end, 6.5 * s, 7.5 * s, -2.2 * s, 12.0 * s)
    end = bases[1] * 0.60 + _at(s, 2.0, 0.0, -3.0)
    row = _palm(shapes, kinds, row, near, end, 9.0 * s, 9.0 * s, 0.0, 12.0 * s)
    for finger in range(1, 4):  # the webs between the other fingers follow their proximal phalanges
        j = 1 + 4 * finger
        start = joints[j] + 0.30 * (joints[j + 1] - joints[j]) - frames[finger, 0, 2] * (1.8 * s)
        end = joints[j + 4] + (0.36 if finger == 3 else 0.30) * (joints[j + 5] - joints[j + 4])
        end = end - frames[finger + 1, 0, 2] * (1.8 * s)
        r0, r1 = 0.60 * radii[finger, 0], 0.60 * radii[finger + 1, 0]
        row = _palm(shapes, kinds, row, start, end, r0, r1, -1.6 * s, 5.0 * s)
    start, end = _at(s, -11.5, 4.0, -1.0), _at(s, 11.5, 4.0, -1.0)  # the wrist
    return _palm(shapes, kinds, row, start, end, 16.0 * w, 15.5 * w, 0.0, 12.0 * s)


@njit(cache=True, nogil=True)
def _arm(s, w, wrist, elbow, sleeve, dressed, shapes, kinds, row):
    """The bare arm, or its sleeve: a long one that ends ``sleeve`` from the wrist, or a short one."""
    flex, tilt = np.radians(wrist[0]), np.radians(wrist[1])
    down = np.array([-np.sin(tilt) * np.cos(flex), -np.cos(tilt) * np.cos(flex), -np.sin(flex)])
    side = np.array([np.cos(tilt), -np.sin(tilt), 0.0])
    back = np.cross(side, -down)
    end = down * (FOREARM * s)
    upper = end + (elbow[0] * side + elbow[1] * back - down * elbow[2]) * (UPPER_ARM * s)
    if not dressed:
        for sign in (-1.0, 1.0):  # two bones side by side
            start, stop = side * (sign * 12.0 * s) + down * (6.0 * s), side * (sign * 17.0 * s) + end
            row = _put(shapes, kinds, row, start, stop, 16.0 * w, 26.0 * w, 5.0 * w, back, 0.0, 15.0 * s, 0.0,
                       0, PERSON_PART, ARM)
        return _put(shapes, kinds, row, end, upper, 33.0 * w, 46.0 * w, 4.0 * s, back, 0.0, 20.0 * s, 0.0,
                    0, PERSON_PART, ARM)
    cuff = end + 0.42 * (upper - end)
    if sleeve > 0.0:
        r0 = 31.0 * w + 0.08 * sleeve * s
        row = _put(shapes, kinds, row, down * (sleeve * s), end, r0, 50.0 * w, 4.0 * s, back, 0.16, 0.0, 0.0,
                   6, PERSON_PART, SLEEVE)
        cuff = end
    return _put(shapes, kinds, row, cuff, upper, 50.0 * w, 60.0 * w, 4.0 * s, back, 0.0, 0.0, 0.0,
                6, PERSON_PART, SLEEVE)


@njit(cache=True, nogil=True)
def _fingers(joints, frames, radii, s, shapes, kinds, row):
    """One capsule per phalanx, and a pad of flesh on its inner side."""
    for finger in range(5):
        for bone in range(3):
            a, b = joints[1 + 4 * finger + bone], joints[2 + 4 * finger + bone]
            n, d = frames[finger, bone, 2], frames[finger, bone, 1]
            r0, r1 = radii[finger, bone], radii[finger, bone + 1]
            group, part, kind = finger + 1, 3 * finger + 2 - bone, PROXIMAL + bone
            bulge, flat = -0.25 * s, 0.03
            join = 0.0
            if bone == 0:
                join = 12.0 * s if finger == 0 else 7.0 * s
            if bone == 2:
                b = b - d * (r1 - 4.5 * s)
                bulge, flat = 0.35 * s, 0.13
            row = _put(shapes, kinds, row, a, b, r0, r1, bulge, n, flat, 3.5 * s, join, group, part, kind)
            if finger == 0 and bone == 0:
                continue
            first, last = (0.34, 0.70) if bone < 2 else (0.42, 0.88)
            drop = n * ((0.26 if bone < 2 else 0.24) * r1)
            start, end = a + first * (b - a) - drop, a + last * (b - a) - drop
            r0 = 0.86 * r0 if bone == 0 else 0.82 * r0
            row = _put(shapes, kinds, row, start, end, r0, 0.84 * r1, 0.3 * s, n, 0.0, 5.0 * s, 0.0,
                       group, part, kind)
    return row


@njit(cache=True, nogil=True)
def _build(joints, frames, radii, bases, s, thick, wrist, elbow, sleeve, shapes, kinds):
    """Fill shapes and kinds in the frame of a right hand; the number of rows used."""
    w = s * thick
    row = _hand(joints, frames, radii, bases, s, w, shapes, kinds, 0)
    row = _arm(s, w, wrist, elbow, sleeve, False, shapes, kinds, row)
    row = _fingers(joints, frames, radii, s, shapes, kinds, row)
    return _arm(s, w, wrist, elbow, sleeve, True, shapes, kinds, row)


def hand_surface(subject, joints, frames, wrist, elbow, sleeve, rotation, offset):
    """Capsules of a posed hand: ``shapes`` (n, 16) float32 and ``kinds`` (n, 3) int32, see the module.

    ``joints`` (21, 3) and ``frames`` (5, 3, 3, 3) in the right hand's own frame; ``wrist`` two angles in
    degrees; ``elbow`` the upper arm's direction; ``sleeve`` mm from the wrist to the cuff, 0 for a short one.
    ``rotation`` (3, 3), which mirrors a left hand too, and ``offset`` (3,) take that frame to the camera's.
    """
    shapes, kinds = np.zeros((CAPACITY, COLUMNS)), np.zeros((CAPACITY, 3), np.int32)
    thick = float(subject.radii[2, 1] / (9.5 * subject.size))
    size, sleeve = subject.size, float(sleeve)
    rows = _build(
        joints, frames, subject.radii, subject.bases, size, thick, wrist, elbow, sleeve, shapes, kinds
    )
    shapes, kinds = shapes[:rows], kinds[:rows]
    shapes[:, 0:3] = shapes[:, 0:3] @ rotation.T + offset
    shapes[:, 3:6] = shapes[:, 3:6] @ rotation.T
    shapes[:, 10:13] = shapes[:, 10:13] @ rotation.T
    return shapes.astype(np.float32), np.ascontiguousarray(kinds)
