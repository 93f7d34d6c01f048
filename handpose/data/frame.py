"""One frame, whatever the dataset; its picture; and what both datasets do with their labels."""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .untrusted import one_line, read_bytes

#: Pixels of the largest picture that is decoded: RHD's have 0.1 million, STB's 0.3, synthetic ones 1 at most.
LARGEST = 2**24
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


@dataclass(frozen=True)
class Frame:
    """One picture of one hand.

    image uint8 (H, W, 3); xyz float32 (21, 3), mm, camera frame, canonical joint order; uv float32 (21, 2),
    px; K float32 (3, 3); hand "left" or "right"; visible bool (21,).
    """

    image: np.ndarray
    xyz: np.ndarray
    uv: np.ndarray
    K: np.ndarray
    hand: str
    visible: np.ndarray


class Labelled:
    """Frames whose labels are in memory: ``xyz``, ``uv``, ``visible`` and ``K``, each (N, ...), and ``picture_sizes()``."""

    def __len__(self):
        return len(self.xyz)

    def label_stamp(self):
        """Digest of the labels, 16 hex digits."""
        hasher = hashlib.sha256()
        for array in (self.xyz, self.uv, self.visible, self.K):
            hasher.update(np.ascontiguousarray(array))
        return hasher.hexdigest()[:16]


def read_image(path, mode):
    """Decode a PNG of 8 bits a channel into a uint8 array: ``mode`` "RGB" (H, W, 3) or "L" (H, W).

    Grey becomes RGB; RGB becomes grey where its channels agree. Raises FileNotFoundError when it is missing, ValueError
    when it is no PNG, cut short, damaged (its checksums), too large, or of a mode that would lose values (16 bit,
    alpha, palette).
    """
    data = read_bytes(path, 4 * LARGEST)
    try:
        _check_png(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode not in ("RGB", "L"):
                raise ValueError(f"expected an 8 bit RGB or grey picture, found mode {picture.mode}")
            pixels = np.array(picture.convert("RGB") if (picture.mode, mode) == ("L", "RGB") else picture)
    except Exception as error:  # a broken picture can raise nearly anything
        raise ValueError(f"{path} can't be decoded ({one_line(error)}): unpack the dataset again") from None
    if mode == "L" and pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise ValueError(f"{path} can't be decoded (expected a grey picture, found mode RGB): unpack the dataset again")
        pixels = pixels[..., 0]
    return pixels


def _check_png(data):
    """Walk through a PNG's chunks; ValueError where one is cut short, damaged, or says what we don't decode."""
    if data[:8] != _SIGNATURE:
        raise ValueError("it is no PNG")
    position, kind, view = 8, b"", memoryview(data)
    while kind != b"IEND":
        if position + 12 > len(data):
            raise ValueError("it is cut short")
        (length,), kind = struct.unpack_from(">I", data, position), data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise ValueError("it is cut short")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError("it is damaged: a checksum is wrong")
        if (kind == b"IHDR") != (position == 8) or position == 8 and length != 13:
            raise ValueError("it has no proper header")
        if position == 8:
            _check_header(*struct.unpack_from(">IIBB", data, 16))
        position = end


def _check_header(width, height, bits, colour):
    if not 0 < width * height <= LARGEST:
        raise ValueError(f"{width} x {height} pixels are no frame of a dataset")
    if bits != 8 or colour not in (0, 2):
        raise ValueError(f"expected an 8 bit RGB or grey picture, found mode {_COLOURS.get(colour, colour)}, {bits} bit")


def read_factors(folder, frames):
    """What the ``frames`` (N,) of a split were rendered from, ``factors.csv`` in its ``folder``: a DataFrame of N lines; None for
    photographs.

    Raises ValueError when the file can't be read, or has no line for one of them.
    """
    import pandas as pd

    path = Path(folder) / "factors.csv"
    if not path.exists():
        return None
    try:
        return pd.read_csv(path).set_index("frame").loc[frames]
    except (KeyError, ValueError) as error:  # an empty file and bytes that are no text are ValueErrors too
        raise ValueError(f"{path} is damaged ({one_line(error)}): remove it and make the synthetic hands again") from None
