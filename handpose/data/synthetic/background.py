"""Cluttered backgrounds: dead leaves with power-law sizes, blurred ones, 1/f clouds, walls.

Natural images look statistically like opaque shapes that cover each other, with sizes s drawn with density
s^-3 (Lee, Mumford and Huang 2001).
"""

import math

import numpy as np
from numba import njit

KINDS = ("leaves", "defocused", "clouds", "wall")
#: Share of the frames that have each kind of background.
SHARES = (0.55, 0.25, 0.1, 0.1)


@njit(cache=True, nogil=True)
def _leaves(picture, shapes, tones, soft):
    """Cover ``picture`` (S, S, 3), linear, with ``shapes``: (u, v, size, squash, turn, round or
    square, gradient, and the strength and number of its stripes)."""
    side = picture.shape[0]
    for i in range(len(shapes)):
        u, v, size, squash, turn, square, slope, grain, rate = shapes[i]
        reach = size * (1.42 if square > 0.5 else 1.0) + soft
        ca, sa = math.cos(turn) / size, math.sin(turn) / size
        thin, rise = 1.0 / squash, size * min(squash, 1.0) / soft
        for row in range(max(int(v - reach), 0), min(int(v + reach) + 2, side)):
            for column in range(max(int(u - reach), 0), min(int(u + reach) + 2, side)):
                x, y = column - u, row - v
                p, q = ca * x + sa * y, (ca * y - sa * x) * thin
                if square > 0.5:
                    edge = max(abs(p), abs(q))
                else:
                    edge = math.sqrt(p * p + q * q)
                cover = (1.0 - edge) * rise + 0.5
                if cover <= 0.0:
                    continue
                cover = min(cover, 1.0)
                stripe = rate * p + 0.6 * q
                tone = 1.0 + slope * q + grain * (4.0 * abs(stripe - math.floor(stripe) - 0.5) - 1.0)
                for c in range(3):
                    picture[row, column, c] += cover * (tones[i, c] * tone - picture[row, column, c])


@njit(cache=True, nogil=True)
def _enlarge(small, picture, scale):
    """Add ``small`` (s, s, 3), stretched bilinearly and multiplied by ``scale``, to ``picture``."""
    side, cells = picture.shape[0], small.shape[0] - 1
    ratio = cells / side
    for row in range(side):
        y = (row + 0.5) * ratio
        iy = min(int(y), cells - 1)
        fy = np.float32(y - iy)
        for column in range(side):
            x = (column + 0.5) * ratio
            ix = min(int(x), cells - 1)
            fx = np.float32(x - ix)
            for c in range(3):
                low = small[iy, ix, c] + fx * (small[iy, ix + 1, c] - small[iy, ix, c])
                high = small[iy + 1, ix, c] + fx * (small[iy + 1, ix + 1, c] - small[iy + 1, ix, c])
                picture[row, column, c] += scale * (low + fy * (high - low))


def _palette(rng, colours=7):
    """Linear colours (n, 3): a few hues, mostly muted, over a wide range of brightness."""
    grey = np.exp(rng.normal(-1.7, 0.85, (colours, 1)))
    tint = np.exp(rng.normal(0.0, rng.uniform(0.03, 0.38), (colours, 3)) + rng.normal(0.0, 0.08, 3))
    tint *= [1.08, 1.0, 0.90]
    return np.minimum(grey * tint / tint.mean(1, keepdims=True), 1.2)


def _scatter(rng, side, count, smallest):
    """Draw the dead leaves of a picture: shapes (n, 9) and tones (n, 3)."""
    largest = 0.45 * side
    part = rng.random(count)
    sizes = (smallest**-2 + part * (largest**-2 - smallest**-2)) ** -0.5
    shapes = np.empty((count, 9))
    shapes[:, :2] = rng.uniform(-0.1 * side, 1.1 * side, (count, 2))
    shapes[:, 2] = sizes
    shapes[:, 3] = np.exp(rng.normal(-0.25, 0.35, count))
    shapes[:, 3] = np.minimum(shapes[:, 3], 1.0)
    upright = rng.random(count) < 0.35
    shapes[:, 4] = np.where(upright, 0.0, rng.uniform(0.0, np.pi, count))
    shapes[:, 5] = rng.random(count) < rng.uniform(0.2, 0.7)
    shapes[:, 6] = rng.uniform(-0.35, 0.35, count)
    shapes[:, 7] = np.maximum(rng.normal(-0.07, 0.13, count), 0.0)
    shapes[:, 8] = np.exp(rng.uniform(0.0, 1.5, count)) * (1.0 + sizes / smallest) ** 0.5
    palette = _palette(rng)
    tones = palette[rng.integers(0, len(palette), count)] * np.exp(rng.normal(0.0, 0.25, (count, 1)))
    return shapes, tones


def paint(kind, seed, size):
    """A background (size, size, 3) float32 in linear light, of one of ``KINDS``."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size, 3), np.float32)
    if kind == "leaves":
        picture[:] = _palette(rng, 1)[0]
        smallest = max(size / rng.uniform(45.0, 95.0), 1.6)
        area = 4.7 * smallest**2 * np.log(0.45 * size / smallest)  # of a leaf, on average
        shapes, tones = _scatter(rng, size, int(2.6 * size**2 / area), smallest)
        _leaves(picture, shapes, tones, max(1.0, size / 320.0 * rng.uniform(0.8, 3.0)))
    elif kind == "defocused":
        side = int(rng.integers(24, 72))
        small = np.empty((side, side, 3), np.float32)
        small[:] = _palette(rng, 1)[0]
        shapes, tones = _scatter(rng, side, 260, 1.5)
        _leaves(small, shapes, tones, 1.5)
        _enlarge(small, picture, np.float32(1.0))
    elif kind == "clouds":
        tint = rng.normal(0.0, 0.15, (3, 3)) + 0.4 * np.eye(3)
        for octave in range(6):
            cells = 2 ** (octave + 1)
            if cells * 2 > size:
                break
            small = (
                rng.normal(0.0, 1.0, (cells + 1, cells + 1, 1)) @ np.ones((1, 3))
                + 0.5 * rng.normal(0.0, 1.0, (cells + 1, cells + 1, 3)) @ tint
            ).astype(np.float32)
            _enlarge(small, picture, np.float32(0.55 * 0.62**octave))
        picture = np.exp(picture + np.log(_palette(rng, 1)[0] + 0.02)).astype(np.float32)
    else:
        corners = (
            (_palette(rng, 1) * np.exp(rng.normal(0.0, 0.35, (4, 1)))).reshape(2, 2, 3).astype(np.float32)
        )
        _enlarge(np.ascontiguousarray(corners), picture, np.float32(1.0))
        shapes, tones = _scatter(rng, size, int(rng.integers(0, 5)), 0.1 * size)
        _leaves(picture, shapes, tones, max(1.0, size / 320.0 * rng.uniform(1.0, 6.0)))
    return np.clip(picture, 0.004, 2.0)
