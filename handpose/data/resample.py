"""The warp of a batch on the CPU: pictures turned, resized and normalised in one pass, from bytes to the network's input.

What ``torch.nn.functional.grid_sample`` does with bilinear weights, border padding and ``align_corners=False``, without
a float copy of the whole batch before it and a channels-last copy after it: ten times as fast at 256 px.
The kernel calls none of another file, so that Numba itself sees when its compiled code is stale.
"""

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit

from .synthetic import kernels  # noqa: F401  finds a place for compiled kernels first

F32 = np.float32
ZERO, ONE = F32(0), F32(1)
#: Green and blue come after red. An index without a sign can't count from the end, which takes a fifth of the time to look at.
G, B = np.uintp(1), np.uintp(2)


# Not all of fastmath: with NaN and infinity left out, a place that is no number could point outside the picture.
@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def _resample(pictures, rows, inverse, scale, shift, out):
    """``rows`` int64 (B,) of pictures uint8 (N, H, W, 3), inverse float64 (B, 2, 2) -> out float32 (B, S, S, 3): colour * scale +
    shift, both (3,).
    """
    _, height, width, _ = pictures.shape
    count, size = len(rows), out.shape[1]
    pixels, middle = 3 * width, (size - 1) / 2
    right, low = F32(width - 1), F32(height - 1)
    first, second = np.empty(size, np.int32), np.empty(size, np.int32)  # upper and lower neighbours' offsets
    step, across, down = np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32)
    r_scale, g_scale, b_scale = scale[0], scale[1], scale[2]
    r_shift, g_shift, b_shift = shift[0], shift[1], shift[2]
    source = np.empty(height * pixels, np.float32)
    for n in range(count):
        picture, place = pictures[rows[n]].reshape(-1), out[n].reshape(size, 3 * size)
        for at in range(picture.size):  # a picture's bytes become numbers once, and not for each of four neighbours
            source[at] = F32(picture[at])
        ax, ay = F32(inverse[n, 0, 0] * width / size), F32(inverse[n, 1, 0] * height / size)
        for row in range(size):
            away = (row - middle) / size
            x_row = F32(inverse[n, 0, 1] * width * away + (width - 1) / 2)
            y_row = F32(inverse[n, 1, 1] * height * away + (height - 1) / 2)
            for column in range(size):  # turned into vector instructions
                along = F32(column) - F32(middle)
                x, y = x_row + ax * along, y_row + ay * along
                x, y = x if x > ZERO else ZERO, y if y > ZERO else ZERO
                x, y = x if x < right else right, y if y < low else low
                left, top = np.int32(x), np.int32(y)
                across[column], down[column] = x - F32(left), y - F32(top)
                offset = top * np.int32(pixels) + np.int32(3) * left
                first[column] = offset
                second[column] = offset + (np.int32(pixels) if y < low else np.int32(0))
                step[column] = np.int32(3) if x < right else np.int32(0)
            line = place[row]
            for column in range(size):
                u, v, to = np.uintp(first[column]), np.uintp(second[column]), np.uintp(3 * column)
                fx, fy, over = across[column], down[column], np.uintp(step[column])
                gx, gy, p, q = ONE - fx, ONE - fy, u + over, v + over
                a, b, c, d = gx * gy, fx * gy, gx * fy, fx * fy
                red = a * source[u] + b * source[p] + c * source[v] + d * source[q]
                green = a * source[u + G] + b * source[p + G] + c * source[v + G] + d * source[q + G]
                blue = a * source[u + B] + b * source[p + B] + c * source[v + B] + d * source[q + B]
                line[to] = red * r_scale + r_shift
                line[to + G] = green * g_scale + g_shift
                line[to + B] = blue * b_scale + b_shift


@functools.cache
def _pool(process, threads):
    """Threads of this process; after a fork the child has none of its parent's, and gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="warp")


def resample(crops, inverse, size, mean, std, rows=None):
    """Pictures uint8 (B, H, W, 3), on the CPU -> float32 (B, 3, size, size), channels last in memory, (colour / 255 - mean) / std.

    inverse: (B, 2, 2), from places in the output to places in the picture, both -1..1 from edge to edge. ``rows``: the B of
    the N pictures that are meant, int (B,); all by default. On as many threads as torch may use; what comes out does not
    depend on how many. Raises ValueError on other pictures, and on rows that are not there.
    """
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != torch.uint8 or 0 in crops.shape[1:]:
        raise ValueError(f"crops must be uint8 (B, R, R, 3), got {crops.dtype} {tuple(crops.shape)}")
    rows = np.arange(len(crops)) if rows is None else np.asarray(rows, np.int64)
    if inverse.shape != (len(rows), 2, 2):
        raise ValueError(f"{len(rows)} crops and {len(inverse)} motions")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(crops):  # compiled code would read whatever lies there
        raise ValueError(f"rows {rows.min()} to {rows.max()} of {len(crops)} crops")
    out = np.empty((len(rows), size, size, 3), np.float32)  # NumPy asks for large pages, PyTorch does not: a third of the time
    norm = (1 / (255 * np.array(std))).astype(np.float32), (-np.array(mean) / std).astype(np.float32)
    pictures, matrices = crops.contiguous().numpy(), inverse.double().contiguous().numpy()
    threads = min(torch.get_num_threads(), len(rows))
    if threads < 2:
        _resample(pictures, rows, matrices, *norm, out)
    else:
        cuts = [len(rows) * part // threads for part in range(threads + 1)]
        parts = [slice(*cut) for cut in itertools.pairwise(cuts)]
        done = _pool(os.getpid(), threads).map(lambda part: _resample(pictures, rows[part], matrices[part], *norm, out[part]), parts)
        list(done)  # waits, and raises what a thread raised
    return torch.from_numpy(out).permute(0, 3, 1, 2)


@functools.cache
def _on(device, *values):
    """Tuples of numbers times 255 as tensors on a device: to send them with every batch would make the GPU wait each time."""
    with torch.inference_mode(False):
        return [torch.tensor(numbers, device=device) * 255 for numbers in values]


def grid_resample(crops, inverse, size, mean, std, rows=None):
    """The same by PyTorch's operations, on the device that ``crops`` is on."""
    crops = crops if rows is None else crops[torch.as_tensor(rows, device=crops.device)]
    grid = F.affine_grid(F.pad(inverse, (0, 1)), [len(crops), 3, size, size], align_corners=False)
    mean, std = _on(crops.device, tuple(mean), tuple(std))
    images = ((crops.float() - mean) / std).permute(0, 3, 1, 2)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)
