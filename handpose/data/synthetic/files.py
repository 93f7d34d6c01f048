"""Files that are there whole or not at all."""

import contextlib
import os
import re
import time
import zlib
from pathlib import Path

from PIL import Image

from handpose.records import atomic_path

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\..")
_DEAD = 600.0  # seconds after which nobody writes any more: a picture takes less than one


def replace(path, write):
    """Write a file under a temporary name of this call alone, in its own folder, then give it its name."""
    with atomic_path(path) as partial:
        write(partial)


def save_png(path, pixels):
    # Run lengths only: noise does not compress, and looking for matches in it takes half as long again.
    image = Image.fromarray(pixels)
    replace(
        path, lambda partial: image.save(partial, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    )


def is_unfinished(path):
    """Whether ``path`` has the temporary name of a file that is, or was, being written."""
    return _UNFINISHED.match(Path(path).name) is not None


def whole_files(folder):
    """Names of the files in ``folder`` that are there and not empty. What killed writers left goes when it is old."""
    found = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_unfinished(entry.name):
                _remove_old(Path(entry.path))
            elif entry.is_file() and entry.stat().st_size:
                found.add(entry.name)
    return found


def _remove_old(path):
    with contextlib.suppress(OSError):  # somebody else's, or it just got its name
        if time.time() - path.stat().st_mtime > _DEAD:
            path.unlink()
