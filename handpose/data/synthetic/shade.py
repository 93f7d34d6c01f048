"""Colour of the skin, the nails and the sleeve at points of the surface, in linear light.

``person`` (float32) holds what the colours depend on: local axes, see ``picture.person_vector``.
"""

import math

import numpy as np
from numba import njit

from handpose.data.synthetic.surface import ARM, DISTAL, MIDDLE, PALM, PALM_PART, PROXIMAL, SLEEVE

# Positions in the person vector.
SIZE, ROUGH, NAIL, PIXEL, SEED, TIP = 0, 1, 2, 3, 4, 5
DORSAL, PALMAR, BLOOD, CLOTH = 6, 9, 12, 13
BEND = 16  # bend of the last two joints of each finger, 0..1: 10 numbers
PERSON = 26


@njit(cache=True, nogil=True, error_model="numpy")
def _hash(x, y, z):
    h = np.uint32(x * 374761393 + y * 668265263 + z * 2147483647 + 1274126177)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return np.float32(h & np.uint32(0xFFFF)) * np.float32(1.0 / 65535.0)


@njit(cache=True, nogil=True, error_model="numpy")
def noise(x, y, z):
    """Smooth random numbers in 0..1 over space, with a period of about two units."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    ix, iy, iz = np.int64(fx), np.int64(fy), np.int64(fz)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y), z * z * (3.0 - 2.0 * z)
    total = 0.0
    for k in range(2):
        wz = z if k else 1.0 - z
        low = _hash(ix, iy, iz + k) * (1.0 - x) + _hash(ix + 1, iy, iz + k) * x
        high = _hash(ix, iy + 1, iz + k) * (1.0 - x) + _hash(ix + 1, iy + 1, iz + k) * x
        total += wz * (low * (1.0 - y) + high * y)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _step(low, high, x):
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True, error_model="numpy")
def _line(gap, width, pixel):
    """Darkness of a fine line at a distance, kept visible but pale when it is finer than a pixel."""
    broad = max(width, 0.6 * pixel)
    return (width / broad) * math.exp(-((gap / broad) ** 2))


@njit(cache=True, nogil=True, error_model="numpy")
def _palm_lines(x, y, pixel):
    """Darkness of the three large creases of the palm; x, y in the reference hand, mm."""
    dark = 0.0
    if x > -14.0 and x < 40.0:
        heart = 62.0 + 17.0 * ((40.0 - x) / 54.0) ** 1.6
        dark = max(dark, _line(y - heart, 0.9, pixel))
    if x > -33.0 and x < 26.0:
        head = 66.0 - 20.0 * ((x + 33.0) / 59.0) ** 1.4
        dark = max(dark, _line(y - head, 0.9, pixel))
    if y > 14.0 and x > -36.0 and y < 68.0:
        u, v = (x + 36.0) / 33.0, (y - 8.0) / 58.0
        dark = max(dark, _line((math.sqrt(u * u + v * v) - 1.0) * 36.0, 1.0, pixel))
    return dark


@njit(cache=True, nogil=True, error_model="numpy")
def skin(shapes, kinds, chosen, count, p, normal, local, person, albedo):
    """Fill ``albedo`` (3,) at point ``p``; returns its part, gloss and fuzziness.

    ``local`` is the point in the reference hand's frame, ``normal`` its unit normal in the camera frame.
    """
    best, nearest = 1e9, chosen[0]
    bx = by = bz = 0.0
    weight = 0.0
    for c in range(count):
        i = chosen[c]
        qx, qy, qz = p[0] - shapes[i, 0], p[1] - shapes[i, 1], p[2] - shapes[i, 2]
        h = (qx * shapes[i, 3] + qy * shapes[i, 4] + qz * shapes[i, 5]) * shapes[i, 6]
        g = min(max(h, 0.0), 1.0)
        qx, qy, qz = qx - g * shapes[i, 3], qy - g * shapes[i, 4], qz - g * shapes[i, 5]
        w = shapes[i, 13] * (qx * shapes[i, 10] + qy * shapes[i, 11] + qz * shapes[i, 12])
        qx, qy, qz = qx + w * shapes[i, 10], qy + w * shapes[i, 11], qz + w * shapes[i, 12]
        d = (
            math.sqrt(qx * qx + qy * qy + qz * qz)
            - shapes[i, 7]
            - g * shapes[i, 8]
            - 4.0 * shapes[i, 9] * g * (1.0 - g)
        )
        if kinds[i, 0] == 6:
            length = 1.0 / math.sqrt(shapes[i, 6])
            d = max(d, -h * length) - 0.3
        if d < best:
            best, nearest = d, i
        share = math.exp(-0.35 * max(d, 0.0))
        bx, by, bz = bx + share * shapes[i, 10], by + share * shapes[i, 11], bz + share * shapes[i, 12]
        weight += share
    i = nearest
    kind, part = kinds[i, 2], kinds[i, 1]
    size, pixel = person[SIZE], person[PIXEL]
    if kind == SLEEVE:
        shade = 0.86 + 0.28 * noise(0.08 * local[0] + 31.0, 0.05 * local[1], 0.08 * local[2])
        for c in range(3):
            albedo[c] = person[CLOTH + c] * shade
        return part, 0.04, 1.0

    scale = 1.0 / max(math.sqrt(bx * bx + by * by + bz * bz), 1e-6)
    back = (
        bx * normal[0] + by * normal[1] + bz * normal[2]
    ) * scale  # 1 on the back of the hand, -1 in the palm
    palmar = _step(0.25, -0.45, back)
    if kind == ARM or kind == PALM:
        palmar *= 0.3 + 0.7 * _step(-22.0, 14.0, local[1])
    seed = person[SEED]
    blotch = noise(0.05 * local[0] + seed, 0.05 * local[1], 0.05 * local[2] + seed) - 0.5
    fine = noise(0.28 * local[0] - seed, 0.28 * local[1], 0.28 * local[2]) - 0.5

    # Place along the nearest bone: from its start and to its end, mm; and across it.
    length = 1.0 / math.sqrt(shapes[i, 6])
    along = (
        (
            (p[0] - shapes[i, 0]) * shapes[i, 3]
            + (p[1] - shapes[i, 1]) * shapes[i, 4]
            + (p[2] - shapes[i, 2]) * shapes[i, 5]
        )
        * shapes[i, 6]
        * length
    )
    finger = kinds[i, 0] - 1
    blood = 0.25 * palmar + 0.5 * blotch
    dark = 0.0
    gloss = 0.30
    if kind >= PROXIMAL and kind <= DISTAL:
        ends = shapes[i, 14]
        first = ends < 4.4 * size  # the bone's own capsule, not the pad
        if first:
            knuckle = 0.0
            if kind > PROXIMAL:
                bend = person[BEND + 2 * finger + (kind - MIDDLE)]
                knuckle = math.exp(-(((along + 1.0) / (5.5 * size)) ** 2))
                fold = knuckle * (0.55 + 0.45 * math.cos(along * 2.1 / size)) * (1.0 - 0.7 * bend)
                dark += 0.26 * (1.0 - palmar) * fold * _step(0.1, 0.7, back) * _step(2.6, 0.6, pixel)
                dark += 0.10 * (1.0 - palmar) * knuckle
                dark += 0.34 * palmar * _line(along, 0.8 * size, pixel)
            if kind < DISTAL:
                other = length - along
                more = math.exp(-((other / (5.0 * size)) ** 2))
                dark += 0.10 * (1.0 - palmar) * more
                dark += 0.34 * palmar * _line(other, 0.8 * size, pixel)
                knuckle = max(knuckle, more)
            if kind == PROXIMAL and finger > 0:
                dark += 0.32 * palmar * _line(along - 0.42 * length, 0.9 * size, pixel)
            blood += 0.45 * knuckle * (1.0 - palmar)
        if kind == DISTAL:
            blood += 0.5 * _step(0.2, 1.0, along / length)
            if finger >= 0 and first:
                # The nail: a rounded rectangle on the back of the last phalanx.
                radius = shapes[i, 7] + shapes[i, 8]
                sx = shapes[i, 4] * shapes[i, 12] - shapes[i, 5] * shapes[i, 11]
                sy = shapes[i, 5] * shapes[i, 10] - shapes[i, 3] * shapes[i, 12]
                sz = shapes[i, 3] * shapes[i, 11] - shapes[i, 4] * shapes[i, 10]
                across = (
                    (p[0] - shapes[i, 0]) * sx + (p[1] - shapes[i, 1]) * sy + (p[2] - shapes[i, 2]) * sz
                ) / length
                tip = length + radius
                half = 0.40 * tip if finger > 0 else 0.36 * tip
                middle = tip - half - 0.6 * size + person[NAIL] * 0.5
                u, v = across / (0.78 * radius), (along - middle) / half
                edge = math.sqrt(math.sqrt(u * u * u * u + v * v * v * v))
                if back > 0.12 and edge < 1.22:
                    inside = _step(1.05 + 0.05 * pixel, 0.95 - 0.05 * pixel, edge)
                    rim = math.exp(-(((edge - 1.04) / (0.10 + 0.05 * pixel)) ** 2))
                    free = _step(0.74, 0.84, v)
                    moon = _step(0.62, 0.5, math.sqrt(u * u * 0.6 + (v + 1.0) ** 2))
                    for c in range(3):
                        base = 0.72 * person[PALMAR + c] + (0.16, 0.10, 0.09)[c]
                        base = base * (1.0 - 0.35 * free) + 0.35 * free * (0.80, 0.76, 0.70)[c]
                        base = base * (1.0 - 0.18 * moon) + 0.18 * moon * 0.8
                        albedo[c] = base * inside + (1.0 - inside) * person[DORSAL + c] * 0.9
                        albedo[c] *= 1.0 - 0.22 * rim
                    return part, 0.30 + 0.75 * inside, 0.0
    elif kind == PALM and part == PALM_PART:
        dark += 0.40 * palmar * _palm_lines(local[0], local[1], pixel)
        gap = 1e9
        for f in range(4):
            kx, ky = (-24.0, -3.0, 17.0, 35.0)[f], (88.0, 90.0, 84.5, 76.0)[f]
            gap = min(gap, (local[0] - kx) ** 2 + (local[1] - ky) ** 2)
        knuckle = math.exp(-gap / 70.0) * (1.0 - palmar)
        blood += 0.45 * knuckle
        dark += 0.08 * knuckle
        vein = abs(noise(0.045 * local[0] + seed, 0.022 * local[1], seed) - 0.5)
        dark += 0.12 * (1.0 - palmar) * math.exp(-((vein / 0.035) ** 2)) * person[ROUGH]
    dark += 0.10 * fine * (0.5 + person[ROUGH])
    blood = min(max(blood * (0.5 + 0.5 * person[BLOOD]), -0.4), 1.0)
    bright = (1.0 + 0.22 * blotch) * (1.0 - min(max(dark, -0.2), 0.75))
    for c in range(3):
        tone = person[DORSAL + c] * (1.0 - palmar) + person[PALMAR + c] * palmar
        albedo[c] = tone * bright * (1.0 + blood * (0.06, -0.20, -0.17)[c])
    return part, gloss - 0.08 * palmar, 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def lit_colour(albedo, gloss, fuzz, normal, view, lit, open_sky, light, colour, sky, ground, up, out):
    """Radiance (3,) of a surface towards the camera: key light, hemisphere of ambient light, highlight.

    ``view`` is the unit direction from the camera; ``lit`` and ``open_sky`` in 0..1; ``light`` and ``up``
    unit vectors. Light that has gone through skin makes the edge of a shadow red.
    """
    facing = normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]
    hx, hy, hz = light[0] - view[0], light[1] - view[1], light[2] - view[2]
    norm = 1.0 / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
    half = max((normal[0] * hx + normal[1] * hy + normal[2] * hz) * norm, 0.0)
    rim = 1.0 - max(-(normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]), 0.0)
    fresnel = 0.035 + 0.4 * rim * rim * rim * rim * rim
    power = 18.0 if gloss < 0.5 else 70.0
    shine = gloss * fresnel * (power + 8.0) * 0.12 * half**power * lit * max(facing, 0.0)
    above = 0.5 + 0.5 * (normal[0] * up[0] + normal[1] * up[1] + normal[2] * up[2])
    for c in range(3):
        wrap = (0.30, 0.14, 0.08)[c] * (1.0 - fuzz)
        bleed = lit ** (0.62, 0.9, 1.0)[c] if fuzz == 0.0 else lit
        key = max((facing + wrap) / (1.0 + wrap), 0.0) * bleed * colour[c]
        dim = open_sky / (
            open_sky + (1.0 - open_sky) * (1.0 - 0.75 * albedo[c]) + 1e-6
        )  # light bounces in folds
        around = (sky[c] * above + ground[c] * (1.0 - above)) * min(dim, 1.0)
        out[c] = albedo[c] * (key + around) + shine * colour[c] + 0.25 * gloss * fresnel * sky[c] * open_sky
