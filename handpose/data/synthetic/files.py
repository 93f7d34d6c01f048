"""Files that are there whole or not at all."""

import os
import zlib

from PIL import Image


def replace(path, write):
    """Write a file under a temporary name in its own folder, then give it its name."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    os.replace(partial, path)


def save_png(path, pixels):
    # Run lengths only: noise does not compress, and looking for matches in it takes half as long again.
    image = Image.fromarray(pixels)
    replace(
        path, lambda partial: image.save(partial, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    )
