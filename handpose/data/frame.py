"""One frame, whatever the dataset, and the checks that every dataset shares."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


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


def read_image(path, mode):
    """Decode a picture into a uint8 array: ``mode`` "RGB" (H, W, 3) or "L" (H, W).

    Raises FileNotFoundError when it is missing, ValueError when it is truncated, no picture, or of a mode
    that would lose values (16 bit, alpha, palette).
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("RGB", "L"):
                raise ValueError(f"{path}: expected an 8 bit RGB or grey picture, found mode {picture.mode}")
            return np.asarray(picture.convert(mode))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: unpack the dataset again") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} can't be decoded ({error}): unpack the dataset again") from None
