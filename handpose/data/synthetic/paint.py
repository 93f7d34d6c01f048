"""The kernel that draws a hand: one packet of rays after another."""

import math

import numpy as np
from numba import njit

from handpose.data.synthetic import shade, trace
from handpose.data.synthetic.surface import PALM_PART, PERSON_PART

SUB = 2  # samples per pixel along each axis
TILE = 8  # samples; a tile of 64 rays is one packet
LANES = TILE * TILE
NEAREST, REACH = 12.0, 26.0  # mm: how far skin colour and ambient occlusion look around
HARD = np.float32(7.0)
WRIST_LINE = -12.0  # mm on the reference hand: where the forearm begins in the mask


@njit(cache=True, nogil=True, error_model="numpy")
def paint(shapes, kinds, fx, fy, u0, v0, width, height, rotation, offset, person, light, colour, sky, ground, up, layer,
           depth, parts):
    """Trace the hand: radiance ``layer`` (H, W, 3), ``depth`` (H, W) mm, ``parts`` (H, W), SUB samples a pixel."""
    rows, columns = height * SUB, width * SUB
    scale_x, shift_x = fx * SUB, u0 * SUB - 0.5
    scale_y, shift_y = fy * SUB, v0 * SUB - 0.5
    screen = np.empty((len(shapes), 9))
    trace.project_shapes(shapes, scale_x, scale_y, shift_x, shift_y, screen)
    chosen, near = np.empty(len(shapes), np.int32), np.empty(len(shapes), np.int32)
    lanes = np.empty((22, LANES), np.float32)
    dx, dy, dz, px, py, pz = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5]
    t, gap = lanes[6], lanes[7]
    hx, hy, hz, nx, ny, nz = lanes[8], lanes[9], lanes[10], lanes[11], lanes[12], lanes[13]
    sx, sy, sz, far, palm, chain = lanes[14], lanes[15], lanes[16], lanes[17], lanes[18], lanes[19]
    open_sky, lit = lanes[20], lanes[21]
    place, owner, pieces = np.empty(LANES, np.int32), np.empty(LANES, np.int32), np.empty(LANES, np.int32)
    colours = np.empty((LANES, 3))
    point, normal, view, local, albedo = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    half = 0.5 * TILE * math.sqrt(2.0)
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            u, v = left + 0.5 * TILE - 0.5, top + 0.5 * TILE - 0.5
            count = trace.choose_in_tile(screen, u, v, half, chosen)
            if count == 0:
                continue
            start, stop = 1e9, 0.0
            for c in range(count):
                start, stop = min(start, screen[chosen[c], 7]), max(stop, screen[chosen[c], 8])
            start = max(start, 20.0)
            for j in range(LANES):
                x = (left + j % TILE - shift_x) / scale_x
                y = (top + j // TILE - shift_y) / scale_y
                norm = 1.0 / math.sqrt(1.0 + x * x + y * y)
                dx[j], dy[j], dz[j] = x * norm, y * norm, norm
            trace.march(shapes, kinds, chosen, count, dx, dy, dz, LANES, np.float32(start), np.float32(stop),
                        np.float32(max(0.2, 0.3 * start / fx)), t, gap, px, py, pz, palm, chain)
            n = 0
            mx = my = mz = 0.0
            for j in range(LANES):
                owner[j] = -1
                row, column = top + j // TILE, left + j % TILE
                if gap[j] > 0.5 or t[j] >= stop + trace.OVERMOST or column >= columns or row >= rows:
                    continue
                # Samples of one pixel on the same piece of skin share one colour.
                row, column = row // SUB, column // SUB
                for other in range(n - 1, -1, -1):
                    k = place[other]
                    same = (top + k // TILE) // SUB == row and (left + k % TILE) // SUB == column
                    if same and abs(t[k] - t[j]) < 1.5 * t[j] / fx:
                        owner[j] = other
                        break
                if owner[j] < 0:
                    owner[j], place[n] = n, j
                    hx[n], hy[n], hz[n] = t[j] * dx[j], t[j] * dy[j], t[j] * dz[j]
                    mx, my, mz = mx + hx[n], my + hy[n], mz + hz[n]
                    n += 1
            if n == 0:
                continue
            mx, my, mz = mx / n, my / n, mz / n
            spread = 0.0
            for j in range(n):
                spread = max(spread, (hx[j] - mx) ** 2 + (hy[j] - my) ** 2 + (hz[j] - mz) ** 2)
            spread = math.sqrt(spread)
            cx, cy, cz = np.float32(mx), np.float32(my), np.float32(mz)

            count = trace.choose_near(shapes, cx, cy, cz, np.float32(spread + REACH), chosen)
            _normals(shapes, kinds, chosen, count, hx, hy, hz, n, nx, ny, nz, px, py, pz, gap, palm, chain)
            _occlusion(shapes, kinds, chosen, count, hx, hy, hz, nx, ny, nz, n, open_sky, px, py, pz, gap,
                       palm, chain)
            count = trace.choose_towards(shapes, cx, cy, cz, light, np.float32(spread + 6.0), chosen)
            for j in range(n):
                px[j] = hx[j] + np.float32(0.8) * nx[j]
                py[j] = hy[j] + np.float32(0.8) * ny[j]
                pz[j] = hz[j] + np.float32(0.8) * nz[j]
            trace.soft_shadow(shapes, kinds, chosen, count, px, py, pz, n, light, HARD, lit, far, sx, sy, sz,
                              gap, palm, chain)

            count = trace.choose_near(shapes, cx, cy, cz, np.float32(spread + NEAREST), near)
            for j in range(n):
                point[0], point[1], point[2] = hx[j], hy[j], hz[j]
                normal[0], normal[1], normal[2] = nx[j], ny[j], nz[j]
                norm = 1.0 / math.sqrt(point[0] ** 2 + point[1] ** 2 + point[2] ** 2)
                for c in range(3):
                    view[c] = point[c] * norm
                    local[c] = 0.0
                    for axis in range(3):
                        local[c] += (point[axis] - offset[axis]) * rotation[axis, c] / person[shade.SIZE]
                part, gloss, fuzz = shade.skin(shapes, kinds, near, count, point, normal, local, person,
                                               albedo)
                shade.lit_colour(albedo, gloss, fuzz, normal, view, lit[j], open_sky[j], light, colour, sky,
                                 ground, up, colours[j])
                reach = local[0] ** 2 + local[1] ** 2 + local[2] ** 2
                if part >= PALM_PART and fuzz == 0.0 and reach < 45.0**2:
                    part = PALM_PART if local[1] > WRIST_LINE else PERSON_PART
                pieces[j] = part
            for j in range(LANES):
                if owner[j] >= 0:
                    row, column = top + j // TILE, left + j % TILE
                    for c in range(3):
                        layer[row, column, c] = colours[owner[j], c]
                    depth[row, column] = t[j] * dz[j]
                    parts[row, column] = pieces[owner[j]]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normals(shapes, kinds, chosen, count, hx, hy, hz, n, nx, ny, nz, px, py, pz, gap, palm, chain):
    e = np.float32(0.4)
    for j in range(n):
        nx[j], ny[j], nz[j] = trace.F0, trace.F0, trace.F0
    for corner in range(4):
        ex = e if corner == 0 or corner == 3 else -e
        ey = e if corner == 2 or corner == 3 else -e
        ez = e if corner == 1 or corner == 3 else -e
        for j in range(n):
            px[j], py[j], pz[j] = hx[j] + ex, hy[j] + ey, hz[j] + ez
        trace.distance(shapes, kinds, chosen, count, px, py, pz, n, gap, palm, chain)
        for j in range(n):
            nx[j] += ex * gap[j]
            ny[j] += ey * gap[j]
            nz[j] += ez * gap[j]
    for j in range(n):
        norm = trace.F1 / math.sqrt(nx[j] * nx[j] + ny[j] * ny[j] + nz[j] * nz[j] + trace.TINY * trace.TINY)
        nx[j], ny[j], nz[j] = nx[j] * norm, ny[j] * norm, nz[j] * norm


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _occlusion(shapes, kinds, chosen, count, hx, hy, hz, nx, ny, nz, n, open_sky, px, py, pz, gap, palm,
               chain):
    for j in range(n):
        open_sky[j] = trace.F1
    for tap in range(4):
        far = np.float32((1.8, 5.0, 11.0, 22.0)[tap])
        share = np.float32((0.24, 0.26, 0.25, 0.22)[tap])
        for j in range(n):
            px[j], py[j], pz[j] = hx[j] + far * nx[j], hy[j] + far * ny[j], hz[j] + far * nz[j]
        trace.distance(shapes, kinds, chosen, count, px, py, pz, n, gap, palm, chain)
        for j in range(n):
            open_sky[j] -= share * min(max((far - gap[j]) / far, trace.F0), trace.F1)
