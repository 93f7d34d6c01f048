"""Signed distance of the hand's surface and sphere tracing, for packets of rays.

The inner loops run over the lanes of a packet without branches, so that the compiler turns each into vector
instructions. Everything is float32 and millimetres, in the camera frame.
"""

import math

import numpy as np
from numba import njit

F0, F1, F4, QUARTER = (np.float32(v) for v in (0.0, 1.0, 4.0, 0.25))
FAR = np.float32(1e4)
TINY = np.float32(1e-6)
HIT, OVER, OVERMOST = (np.float32(v) for v in (0.12, 0.25, 2.0))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def distance(shapes, kinds, chosen, count, px, py, pz, n, out, palm, chain):
    """Distance of n points to the surface made of the ``count`` chosen capsules, into ``out``.

    The pieces of a group blend. A finger blends with the palm along its proximal piece only; fingers do not
    blend with each other. ``chosen`` is in ascending order, and so are the groups.
    """
    for j in range(n):
        palm[j] = FAR
        chain[j] = FAR
        out[j] = FAR
    current = 0
    for c in range(count):
        i = chosen[c]
        group = kinds[i, 0]
        ax, ay, az = shapes[i, 0], shapes[i, 1], shapes[i, 2]
        bx, by, bz, inv = shapes[i, 3], shapes[i, 4], shapes[i, 5], shapes[i, 6]
        r0, dr, bulge = shapes[i, 7], shapes[i, 8], F4 * shapes[i, 9]
        nx, ny, nz = shapes[i, 10], shapes[i, 11], shapes[i, 12]
        flat, k = shapes[i, 13], max(shapes[i, 14], TINY)
        ik = QUARTER / k
        if group != current:
            if current == 0:
                for j in range(n):
                    out[j] = palm[j]
            else:
                for j in range(n):
                    out[j] = min(out[j], chain[j])
                    chain[j] = FAR
            current = group
        if group == 0:
            for j in range(n):
                qx, qy, qz = px[j] - ax, py[j] - ay, pz[j] - az
                h = min(max((qx * bx + qy * by + qz * bz) * inv, F0), F1)
                qx, qy, qz = qx - h * bx, qy - h * by, qz - h * bz
                d = math.sqrt(qx * qx + qy * qy + qz * qz) - r0 - h * dr - bulge * h * (F1 - h)
                e = max(k - abs(palm[j] - d), F0)
                palm[j] = min(palm[j], d) - e * e * ik
        elif group == 6:
            length = F1 / math.sqrt(inv)
            for j in range(n):
                qx, qy, qz = px[j] - ax, py[j] - ay, pz[j] - az
                g = (qx * bx + qy * by + qz * bz) * inv
                h = min(max(g, F0), F1)
                qx, qy, qz = qx - h * bx, qy - h * by, qz - h * bz
                w = flat * (qx * nx + qy * ny + qz * nz)
                qx, qy, qz = qx + w * nx, qy + w * ny, qz + w * nz
                d = math.sqrt(qx * qx + qy * qy + qz * qz) - r0 - h * dr - bulge * h * (F1 - h)
                chain[j] = min(chain[j], max(d, -g * length))
        else:
            for j in range(n):
                qx, qy, qz = px[j] - ax, py[j] - ay, pz[j] - az
                h = min(max((qx * bx + qy * by + qz * bz) * inv, F0), F1)
                qx, qy, qz = qx - h * bx, qy - h * by, qz - h * bz
                w = flat * (qx * nx + qy * ny + qz * nz)
                qx, qy, qz = qx + w * nx, qy + w * ny, qz + w * nz
                d = math.sqrt(qx * qx + qy * qy + qz * qz) - r0 - h * dr - bulge * h * (F1 - h)
                e = max(k - abs(chain[j] - d), F0)
                chain[j] = min(chain[j], d) - e * e * ik
            if shapes[i, 15] > F0:  # the first of its group: the chain is this piece alone
                join = shapes[i, 15]
                ij = QUARTER / join
                for j in range(n):
                    e = max(join - abs(palm[j] - chain[j]), F0)
                    out[j] = min(out[j], min(palm[j], chain[j]) - e * e * ij)
    if current == 0:
        for j in range(n):
            out[j] = palm[j]
    else:
        for j in range(n):
            out[j] = min(out[j], chain[j])


@njit(cache=True, nogil=True)
def project_shapes(shapes, fx, fy, u0, v0, screen):
    """Where each capsule lies in the image, into ``screen`` (n, 9): two discs (u, v, radius), whether it
    reaches behind the camera, its nearest and farthest distance."""
    for i in range(len(shapes)):
        rmax = max(shapes[i, 7], shapes[i, 7] + shapes[i, 8]) + max(shapes[i, 9], 0.0)
        pad = max(shapes[i, 14], shapes[i, 15])
        near, far = 1e9, 0.0
        behind = 0.0
        a, b = shapes[i, 0:3], shapes[i, 3:6]
        h = min(max(-(a * b).sum() * shapes[i, 6], 0.0), 1.0)
        closest = a + h * b
        near = math.sqrt((closest * closest).sum()) - rmax - pad
        for end in range(2):
            p = a + end * b
            z = p[2]
            far = max(far, math.sqrt((p * p).sum()) + rmax + pad)
            r = shapes[i, 7] + end * shapes[i, 8] + max(shapes[i, 9], 0.0) + pad
            if z - rmax < 25.0:
                behind = 1.0
                z = max(z, 25.0)
            screen[i, 3 * end] = u0 + fx * p[0] / z
            screen[i, 3 * end + 1] = v0 + fy * p[1] / z
            u, v = p[0] / z, p[1] / z
            screen[i, 3 * end + 2] = max(fx, fy) * r / max(z - r, 10.0) * math.sqrt(1.0 + u * u + v * v)
        screen[i, 6] = behind
        screen[i, 7] = near
        screen[i, 8] = far


@njit(cache=True, nogil=True)
def choose_in_tile(screen, u, v, half, chosen):
    """Capsules that a square of half diagonal ``half`` around (u, v) may see; their number."""
    count = 0
    for i in range(len(screen)):
        if screen[i, 6] == 0.0:
            du, dv = screen[i, 3] - screen[i, 0], screen[i, 4] - screen[i, 1]
            h = ((u - screen[i, 0]) * du + (v - screen[i, 1]) * dv) / max(du * du + dv * dv, 1e-6)
            h = min(max(h, 0.0), 1.0)
            su, sv = u - screen[i, 0] - h * du, v - screen[i, 1] - h * dv
            # Between the ends perspective makes the outline bulge: take the larger disc for steep capsules.
            r = (
                max(screen[i, 2] + h * (screen[i, 5] - screen[i, 2]), 0.8 * max(screen[i, 2], screen[i, 5]))
                + half
            )
            if su * su + sv * sv > r * r:
                continue
        chosen[count] = i
        count += 1
    return count


@njit(cache=True, nogil=True)
def choose_near(shapes, x, y, z, reach, chosen):
    """Capsules within ``reach`` of a point; their number."""
    count = 0
    for i in range(len(shapes)):
        qx, qy, qz = x - shapes[i, 0], y - shapes[i, 1], z - shapes[i, 2]
        bx, by, bz = shapes[i, 3], shapes[i, 4], shapes[i, 5]
        h = min(max((qx * bx + qy * by + qz * bz) * shapes[i, 6], F0), F1)
        qx, qy, qz = qx - h * bx, qy - h * by, qz - h * bz
        r = shapes[i, 7] + h * shapes[i, 8] + max(shapes[i, 9], F0) + reach
        if qx * qx + qy * qy + qz * qz < r * r:
            chosen[count] = i
            count += 1
    return count


@njit(cache=True, nogil=True)
def choose_towards(shapes, x, y, z, light, reach, chosen):
    """Capsules that may stand between a point and the light (unit vector towards it); their number."""
    count = 0
    for i in range(len(shapes)):
        qx, qy, qz = x - shapes[i, 0], y - shapes[i, 1], z - shapes[i, 2]
        bx, by, bz = shapes[i, 3], shapes[i, 4], shapes[i, 5]
        rmax = max(shapes[i, 7], shapes[i, 7] + shapes[i, 8]) + max(shapes[i, 9], F0) + reach
        ql = qx * light[0] + qy * light[1] + qz * light[2]
        bl = bx * light[0] + by * light[1] + bz * light[2]
        if max(-ql, bl - ql) + rmax < F0:
            continue
        qx, qy, qz = qx - ql * light[0], qy - ql * light[1], qz - ql * light[2]
        bx, by, bz = bx - bl * light[0], by - bl * light[1], bz - bl * light[2]
        h = min(max((qx * bx + qy * by + qz * bz) / max(bx * bx + by * by + bz * bz, TINY), F0), F1)
        qx, qy, qz = qx - h * bx, qy - h * by, qz - h * bz
        if qx * qx + qy * qy + qz * qz < rmax * rmax:
            chosen[count] = i
            count += 1
    return count


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def march(shapes, kinds, chosen, count, dx, dy, dz, n, start, stop, least, t, gap, px, py, pz, palm, chain):
    """Walk n unit rays from the camera from ``start`` to the surface; ``t`` and the last ``gap`` per ray.

    A ray that grazes the skin takes many small steps: ``least`` (mm) is the smallest it takes, and each goes
    a little too far. A ray that lands inside walks back.
    """
    for j in range(n):
        t[j] = start
    for _ in range(112):
        for j in range(n):
            px[j], py[j], pz[j] = t[j] * dx[j], t[j] * dy[j], t[j] * dz[j]
        distance(shapes, kinds, chosen, count, px, py, pz, n, gap, palm, chain)
        going = 0
        for j in range(n):
            move = abs(gap[j]) > HIT and t[j] < stop + OVERMOST
            stride = max(gap[j] + min(OVER * gap[j], OVERMOST), least) if gap[j] > F0 else gap[j]
            t[j] += stride if move else F0
            going += 1 if move else 0
        if going == 0:
            break


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def soft_shadow(
    shapes, kinds, chosen, count, px, py, pz, n, light, hard, lit, t, sx, sy, sz, gap, palm, chain
):
    """How much of the light reaches n points (0..1), with a penumbra: ``hard`` is larger for a small lamp."""
    for j in range(n):
        lit[j] = F1
        t[j] = np.float32(2.5)
    for _ in range(14):
        for j in range(n):
            sx[j] = px[j] + t[j] * light[0]
            sy[j] = py[j] + t[j] * light[1]
            sz[j] = pz[j] + t[j] * light[2]
        distance(shapes, kinds, chosen, count, sx, sy, sz, n, gap, palm, chain)
        going = 0
        for j in range(n):
            lit[j] = min(lit[j], max(hard * gap[j] / t[j], F0))
            t[j] += min(max(gap[j], np.float32(2.5)), np.float32(24.0))
            going += 1 if lit[j] > np.float32(0.02) else 0
        if going == 0:
            break
    for j in range(n):
        lit[j] = lit[j] * lit[j] * (np.float32(3.0) - np.float32(2.0) * lit[j])
